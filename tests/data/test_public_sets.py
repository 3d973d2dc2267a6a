"""Public sets: fetched from a server on loopback, refused where they should be, and converted."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from recbole_enhance.data.atomic import file_sha256
from recbole_enhance.data.fetching import fetch, unpack
from recbole_enhance.data.public_sets import get_data, listed, public_sets
from recbole_enhance.data.reading import read_atomic
from recbole_enhance.options.errors import InputError

pytestmark = pytest.mark.serial
LOG = b"user,item,rating,time\n" + b"".join(
    b"u%d,i%d,%d,%d\n" % (n % 50, n % 70, n % 5 + 1, 1_500_000_000 + n) for n in range(20_000)
)


class Server:
    """Files by name; ``breaks`` says after how many bytes the next answers stop."""

    def __init__(self):
        self.files, self.breaks, self.asked, self.tag = {}, [], [], '"one"'
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                content = outer.files.get(self.path.strip("/"))
                if content is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range")
                outer.asked.append(asked)
                start = 0
                if asked and self.headers.get("If-Range") == outer.tag:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.send_header("ETag", outer.tag)
                self.end_headers()
                stop = outer.breaks.pop(0) if outer.breaks else len(content)
                self.wfile.write(content[start:stop])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()


def refused(function, *args, **options):
    with pytest.raises(InputError) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- fetching --------------------------------------------------------------------------------


def test_a_file_is_fetched_once(server, tmp_path):
    server.files["log.csv"] = LOG
    path, digest = fetch(f"{server.address}/log.csv", md5(LOG), tmp_path, quiet=True)
    assert path.read_bytes() == LOG
    assert digest == hashlib.sha256(LOG).hexdigest() == file_sha256(path)
    assert fetch(f"{server.address}/log.csv", md5(LOG), tmp_path, quiet=True) == (path, digest)
    assert server.asked == [None]
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("known", [True, False])
def test_a_download_that_broke_goes_on_where_it_stopped(server, tmp_path, known):
    server.files["log.csv"], server.breaks = LOG, [100_000]
    arguments = (f"{server.address}/log.csv", md5(LOG) if known else None, tmp_path, True)
    assert "continues from what was" in refused(fetch, *arguments)
    kept = (tmp_path / "log.csv.part").stat().st_size
    assert 0 < kept <= 100_000
    assert fetch(*arguments)[0].read_bytes() == LOG
    assert server.asked == [None, f"bytes={kept}-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_start(server, tmp_path):
    server.files["log.csv"], server.breaks = LOG, [100_000]
    arguments = (f"{server.address}/log.csv", None, tmp_path, True)
    refused(fetch, *arguments)
    server.files["log.csv"], server.tag = LOG[::-1], '"two"'
    assert fetch(*arguments)[0].read_bytes() == LOG[::-1]


def test_a_wrong_hash_is_refused_and_leaves_nothing(server, tmp_path):
    server.files["log.csv"] = LOG + b"more"
    told = refused(fetch, f"{server.address}/log.csv", md5(LOG), tmp_path, True)
    assert "has another hash than expected, and was removed" in told
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_does_not_answer_is_one_line(server, tmp_path):
    assert "404" in refused(fetch, f"{server.address}/none.csv", None, tmp_path, True)
    server.server.shutdown()
    server.server.server_close()
    told = refused(fetch, f"{server.address}/x.csv", None, tmp_path, True)
    assert "cannot be downloaded (no connection)" in told


# ---- unpacking -------------------------------------------------------------------------------


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil"])
def test_an_archive_that_leads_out_is_refused(tmp_path, name):
    target = tmp_path / "in" / "log.csv"
    target.parent.mkdir()
    archive = zipped(tmp_path / "a.zip", {"log.csv": "x", name: "evil"})
    assert "leads out of it" in refused(unpack, archive, {"log.csv": target})
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for entry in ("log.csv", name):
            info = tarfile.TarInfo(entry)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    assert "leads out of it" in refused(unpack, tmp_path / "a.tar", {"log.csv": target})
    assert not target.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.zip", "in"]


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_enhance.data.fetching._LEAST", 1000)
    bomb, target = b"0" * 10_000_000, tmp_path / "log.csv"
    archive = zipped(tmp_path / "a.zip", {"log.csv": bomb})
    assert "150 times its size" in refused(unpack, archive, {"log.csv": target})
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(bomb))
    assert "150 times its size" in refused(unpack, tmp_path / "a.csv.gz", {"": target})
    assert not target.exists()
    two = zipped(tmp_path / "b.zip", {"a": b"0" * 90_000, "b": b"0" * 90_000})  # each is below
    places = {"a": tmp_path / "a", "b": tmp_path / "b"}
    monkeypatch.setattr("recbole_enhance.data.fetching._LEAST", 100_000)
    assert "150 times its size" in refused(unpack, two, places)
    assert not any(path.exists() for path in places.values())


def test_a_broken_archive_is_one_line(tmp_path):
    content = zipped(tmp_path / "a.zip", {"log.csv": LOG}).read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(LOG)[:-50])
    assert "cannot be unpacked" in refused(unpack, tmp_path / "cut.csv.gz", {"": tmp_path / "x"})
    (tmp_path / "a.zip").write_bytes(content)
    told = refused(unpack, tmp_path / "a.zip", {"other.csv": tmp_path / "x"})
    assert "there is no file other.csv in it, but log.csv" in told
    assert not (tmp_path / "x").exists()
    damaged = bytearray(gzip.compress(LOG))
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    (tmp_path / "damaged.csv.gz").write_bytes(damaged)
    assert "cannot be unpacked" in refused(
        unpack, tmp_path / "damaged.csv.gz", {"": tmp_path / "x"}
    )
    (tmp_path / "one.csv").write_bytes(LOG)
    told = refused(unpack, tmp_path / "one.csv", {"a.csv": tmp_path / "x", "b": tmp_path / "y"})
    assert "an archive or a folder with a.csv, b is expected" in told
    unpack(zipped(tmp_path / "one.zip", {"inner.csv": LOG}), {"": tmp_path / "x"})
    assert (tmp_path / "x").read_bytes() == LOG


# ---- the registry ----------------------------------------------------------------------------


def test_the_registry_is_whole():
    sets = public_sets()
    assert len(sets) >= 10
    assert len(listed()) == len(sets)
    for name, entry in sets.items():
        assert "{" not in name, name
        assert entry.address or entry.by_hand, name
        assert entry.address is None or entry.address.startswith(("https://", "http://")), name
        assert entry.licence, name
        assert entry.citation, name
        assert {"user", "item"} <= set(entry.columns), name
        if entry.hash is not None:
            kind, _, digits = entry.hash.partition(":")
            assert len(digits) == {"md5": 32, "sha256": 64}[kind], name
    hashes = [entry.hash for entry in sets.values() if entry.hash]
    assert len(hashes) == len(set(hashes))  # one hash for two files would be a slip


def films(*rows):
    return "".join(f"{row}\n" for row in rows).encode("latin-1")


ML = ("1::1193::5::978300760", "2::661::3::978302109")
YELP = {
    "yelp_academic_dataset_review.json": [
        {"review_id": "r", "user_id": "u", "business_id": "b", "stars": 5.0, "text": "good\tfood",
         "date": "2018-07-07 22:09:11"},
    ],
    "yelp_academic_dataset_business.json": [
        {"business_id": "b", "name": "Café", "city": "X", "state": "Y",
         "categories": "Bars, Fast Food", "hours": {"Monday": "0:0-0:0"}},
    ],
}  # fmt: skip
ARCHIVES = {
    "ml-100k": {
        "ml-100k/u.data": b"196\t242\t3\t881250949\n22\t377\t1\t878887116\n",
        "ml-100k/u.item": films(
            "242|Caf\xe9 (1996)|01-Jan-1996||http://x|0|1|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0",
            "377|None|||http://x|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
        ),
        "ml-100k/u.user": b"196|49|M|writer|00124\n22|25|M|writer|40206\n",
    },
    "ml-1m": {
        "ml-1m/ratings.dat": films(*ML),
        "ml-1m/movies.dat": films(
            '1193::"Caf\xe9": One (1975)::Drama|War', "661::James::Children's"
        ),
        "ml-1m/users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n",
    },
    "ml-10m": {
        "ml-10M100K/ratings.dat": films("1::122::4.5::838985046", "1::185::5::838983525"),
        "ml-10M100K/movies.dat": films("122::Boomerang (1992)::Comedy|Romance", "185::Net::Crime"),
    },
    "lastfm-hetrec": {
        "user_artists.dat": b"userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n",
        "artists.dat": "id\tname\turl\n51\tDuran Duran\tx\n52\tMötley\tx\n".encode(),
    },
    "ciao-dvd": {"movie-ratings.txt": b"1,1,10,1,5,2003-07-01\n2,1,10,2,4,2003-07-02\n"},
    "book-crossing": {
        "BX-Book-Ratings.csv": b'"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n'
    },
}
CSV = {
    f"ml-{size}": {
        f"ml-{size}/ratings.csv": b"userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n",
        f"ml-{size}/movies.csv": b'movieId,title,genres\n2,"American, The",Comedy|Drama\n',
    }
    for size in ("20m", "25m", "32m", "latest-small")
}


@pytest.mark.parametrize("name", [*ARCHIVES, *CSV])
def test_a_zip_of_a_set_becomes_a_dataset(tmp_path, name):
    archive = zipped(tmp_path / f"{name}.zip", {**ARCHIVES, **CSV}[name])
    made = get_data(name, tmp_path / "dataset", archive=archive)
    table = read_atomic(made.path / f"{name}.inter", required=["user_id", "item_id"])
    assert len(table) == made.interactions > 0
    assert any(note.startswith("cite: ") for note in made.notes)
    if "items" in public_sets()[name].tables:
        mark = yaml.safe_load((made.path / f"{name}.yaml").read_text()).get("seq_separator", " ")
        items = read_atomic(made.path / f"{name}.item", seq_separator=mark)
        assert items["title"].notna().all()
        assert set(items["item_id"]) == set(table["item_id"])


def test_what_the_converters_make(tmp_path):
    for name in ("ml-100k", "ml-1m"):
        get_data(
            name,
            tmp_path,
            archive=zipped(tmp_path / f"{name}.zip", ARCHIVES[name]),
        )
    items = read_atomic(tmp_path / "ml-100k" / "ml-100k.item").set_index("item_id")
    assert items["class"]["242"].tolist() == ["Action", "Comedy"]
    assert items["class"]["377"].tolist() == ["unknown"]
    assert items["title"]["242"] == "Café (1996)"
    assert read_atomic(tmp_path / "ml-100k" / "ml-100k.user")["zip_code"][0] == "00124"
    items = read_atomic(tmp_path / "ml-1m" / "ml-1m.item").set_index("item_id")
    assert items["title"]["1193"] == '"Café": One (1975)'
    assert items["genres"]["1193"].tolist() == ["Drama", "War"]
    table = read_atomic(tmp_path / "ml-1m" / "ml-1m.inter")
    assert table["timestamp"].tolist() == [978300760, 978302109]


def test_sets_of_one_file_and_of_a_folder(tmp_path):
    amazon = tmp_path / "ratings_Beauty.csv"
    amazon.write_text("A3,0205616461,5.0,1369699200\nA1,B00,4.0,1369699300\n")
    made = get_data("amazon-beauty-2014", tmp_path / "d", archive=amazon)
    table = read_atomic(made.path / "amazon-beauty-2014.inter")
    assert table["item_id"].tolist() == ["0205616461", "B00"]
    older = tmp_path / "Appliances.csv"
    older.write_text("B00,A1,5.0,1369699200\n")  # the item comes first
    made = get_data("amazon-appliances-2018", tmp_path / "d", archive=older)
    assert read_atomic(made.path / "amazon-appliances-2018.inter")["user_id"].tolist() == ["A1"]
    places = tmp_path / "loc.txt.gz"
    places.write_bytes(gzip.compress(b"0\t2010-10-19T23:55:27Z\t30.2\t-97.7\t22847\n"))
    made = get_data("gowalla-checkins", tmp_path / "d", archive=places)
    assert read_atomic(made.path / "gowalla-checkins.inter")["timestamp"].tolist() == [1287532527]
    with tarfile.open(tmp_path / "plays.tar.gz", "w:gz") as tar:
        content = b'u1\tm\t"weird" al\t2137\nu1\t\t\t99\n'
        info = tarfile.TarInfo("lastfm-dataset-360K/usersha1-artmbid-artname-plays.tsv")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    made = get_data("lastfm-360k", tmp_path / "d", archive=tmp_path / "plays.tar.gz")
    assert read_atomic(made.path / "lastfm-360k.inter")["item_id"].tolist() == ['"weird" al']
    assert any("1 rows left out" in note for note in made.notes)
    folder = tmp_path / "yelp"
    folder.mkdir()
    for name, rows in YELP.items():
        (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    made = get_data("yelp", tmp_path / "d", archive=folder)
    items = read_atomic(made.path / "yelp.item", seq_separator="|")
    assert items["categories"][0].tolist() == ["Bars", "Fast Food"]
    assert read_atomic(made.path / "yelp.inter")["timestamp"].tolist() == [1531001351]


@pytest.fixture
def registry(server, tmp_path):
    """A registry whose addresses are on loopback."""
    entry = {
        "about": "a toy",
        "address": f"{server.address}/{{category}}.csv.gz",
        "licence": "none",
        "citation": "toy",
        "tables": {"log": {"form": "csv"}},
        "columns": {"user": "user", "item": "item", "rating": "rating", "time": "time"},
        "more_items": {
            "address": f"{server.address}/meta_{{category}}.jsonl.gz",
            "table": {"form": "jsonl", "columns": ["item", "title", "categories"]},
            "columns": {"title": "title", "category": "categories"},
        },
        "categories": ["Toy_Set", "Other"],
        "hashes": {"Toy_Set": md5(gzip.compress(LOG, mtime=0))},
    }
    items = [
        {"item": f"i{n}", "title": f"T {n}", "categories": ["a b", f"c{n % 3}"]} for n in range(70)
    ]
    server.files |= {
        "Toy_Set.csv.gz": gzip.compress(LOG, mtime=0),
        "Other.csv.gz": gzip.compress(LOG),
        "meta_Toy_Set.jsonl.gz": gzip.compress("\n".join(map(json.dumps, items)).encode()),
    }
    path = tmp_path / "registry.yaml"
    content = {
        "licences": {"none": "none stated"},
        "citations": {"toy": "T. Toy."},
        "sets": {},
        "families": {"{}-1999": entry},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_get_ends_in_the_same_writer(registry, server, tmp_path):
    where = {"cache": tmp_path / "cache", "registry": registry, "quiet": True}
    made = get_data("toy-set-1999", tmp_path / "d", with_items=True, **where)
    assert (made.interactions, made.users, made.items) == (20_000, 50, 70)
    items = read_atomic(made.path / "toy-set-1999.item", seq_separator="|").set_index("item_id")
    assert items["title"]["i4"] == "T 4"
    assert items["categories"]["i4"].tolist() == ["a b", "c1"]
    assert any("(md5:" in note and "as it should be" in note for note in made.notes)
    made = get_data("other-1999", tmp_path / "d", **where)
    assert any("sha256:" in n and "not checked, none is known" in n for n in made.notes)
    asked = len(server.asked)
    shutil.rmtree(tmp_path / "cache")
    assert "is there already" in refused(get_data, "other-1999", tmp_path / "d", **where)
    assert len(server.asked) == asked  # it is refused before it is fetched


def test_names_that_are_none_are_told(registry, tmp_path):
    where = {"cache": tmp_path / "cache", "registry": registry, "quiet": True}
    assert "did you mean toy-set-1999" in refused(get_data, "toy-set", tmp_path / "d", **where)
    assert "by hand from https://" in refused(get_data, "yelp", tmp_path / "d")
    told = refused(get_data, "ml-1m", tmp_path / "d", archive=tmp_path / "no.zip")
    assert "there is no such file" in told
    assert not (tmp_path / "d").exists()
