"""``recommend`` and ``export`` as a user calls them, and what they refuse."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from calling import call, refused
from recbole.utils.case_study import full_sort_scores, full_sort_topk

import recbole_enhance
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.options.errors import DataError, InputError, OptionError
from recbole_enhance.recommendation.export import embeddings, export
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.recommendation.similar import similar_items
from recbole_enhance.recommendation.writing import growing_table
from recbole_enhance.testing.worlds import toy_options, write_toy


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_toy(tmp_path_factory.mktemp("data"))
    items = folder / "toy" / "toy.item"
    lines = items.read_text().splitlines()
    titled = [lines[0] + "\tmovie_title:token_seq"]
    titled += [f"{line}\tThe {line.split()[0]}, part 1" for line in lines[1:]]
    items.write_text("\n".join(titled) + "\n")
    return folder


def finished(data, model, folder, **options):
    """Folder of a short run."""
    told = toy_options(data, model, epochs=1, quiet=True, run_dir=str(folder), **options)
    if model != "BPR" and model != "NeuMF":
        del told["embedding_size"]
    return run_recbole_enhance(config_dict=told)["run_dir"]


@pytest.fixture(scope="module")
def folders(data, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    for model in ("BPR", "SASRec", "MultiVAE"):
        finished(data, model, place / model)
    return place


@pytest.fixture(scope="module")
def bpr(folders):
    return load_run(folders / "BPR")


def brute_force(run, user, k, parts, blocked=()):
    """The list of a user by plain Python."""
    dataset, model = run.test_data._dataset, run.trainer.model
    uid = dataset.field2token_id["user_id"][user]
    scores = model.user_embedding.weight[uid] @ model.item_embedding.weight.T
    had = set()
    for part in parts:
        rows = getattr(run, f"{part}_data")._dataset.inter_feat
        had |= set(rows["item_id"][rows["user_id"] == uid].tolist())
    had |= {dataset.field2token_id["item_id"][item] for item in blocked}
    order = sorted(set(range(1, dataset.item_num)) - had, key=lambda item: -float(scores[item]))
    return [dataset.id2token("item_id", item) for item in order[:k]]


PARTS = {
    "all": ("train", "valid", "test"),
    "train+valid": ("train", "valid"),
    "train": ("train",),
}


@pytest.mark.parametrize("history", PARTS)
def test_lists_leave_out_what_the_user_has_in_the_parts_that_are_said(bpr, history):
    lists = recommend(bpr, ["u3", "u1"], 5, history=history)
    assert lists["user_id"].tolist() == ["u3"] * 5 + ["u1"] * 5
    for user, items in lists.groupby("user_id")["item_id"]:
        assert items.tolist() == brute_force(bpr, user, 5, PARTS[history])


def test_items_that_are_excluded_or_the_only_ones(bpr, tmp_path):
    some = [f"i{n}" for n in range(0, 40)]
    (tmp_path / "only").write_text("\n".join([*some, ""]))
    lists = recommend(bpr, ["u2"], 4, only_items=tmp_path / "only", exclude=["i1", "i2"])
    blocked = ["i1", "i2", *(f"i{n}" for n in range(40, 48))]
    assert lists["item_id"].tolist() == brute_force(bpr, "u2", 4, PARTS["all"], blocked)
    one = recommend(bpr, "u2", 1, only_items="i7", filter_seen=False)
    assert one["item_id"].tolist() == ["i7"]
    with pytest.raises(OptionError, match="k=2: from 1 to 1, the number of items"):
        recommend(bpr, ["u2"], 2, only_items=["i7"])


def test_a_user_with_few_candidates_has_a_short_list(bpr):
    lists = recommend(bpr, ["u2"], 48)
    assert 0 < len(lists) < 48
    assert lists["rank"].tolist() == list(range(1, len(lists) + 1))
    assert len(recommend(bpr, ["u2"], 48, filter_seen=False)) == 48


def test_every_kind_of_file_holds_the_same_lists(bpr, tmp_path):
    lists = recommend(bpr)
    assert recommend(bpr, titles=None).equals(lists.drop(columns="title"))
    assert lists.columns.tolist() == ["user_id", "item_id", "score", "rank", "title"]
    assert lists["title"][0] == f"The {lists['item_id'][0]}, part 1"
    assert recommend(bpr, titles="movie_title").equals(lists)
    text = {"user_id": str, "item_id": str, "title": str}
    for ending in (".csv", ".parquet", ".jsonl"):
        out = tmp_path / f"recs{ending}"
        assert recommend(bpr, titles="auto", out=out) is None
    tables = [
        pd.read_csv(tmp_path / "recs.csv", dtype=text),
        pd.read_parquet(tmp_path / "recs.parquet"),
        pd.DataFrame(map(json.loads, (tmp_path / "recs.jsonl").read_text().splitlines())),
    ]
    for table in tables:
        assert table.drop(columns="score").equals(lists.drop(columns="score"))
        assert np.allclose(table["score"], lists["score"], rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "recs.csv",
        "recs.jsonl",
        "recs.parquet",
    ]


def test_a_file_grows_batch_by_batch_and_is_there_when_it_is_whole(bpr, tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_enhance.recommendation.recommend.rows_in_memory", lambda *_: 7)
    pieces = []

    @contextlib.contextmanager
    def spied(path):
        with growing_table(path) as write:
            yield lambda piece: (pieces.append(len(piece)), write(piece))

    monkeypatch.setattr("recbole_enhance.recommendation.recommend.growing_table", spied)
    recommend(bpr, out=tmp_path / "recs.csv")
    assert pieces == [70] * 8 + [40]
    before = (tmp_path / "recs.csv").read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bpr.trainer.model, "full_sort_predict", fail, raising=False)
    with pytest.raises(KeyboardInterrupt):
        recommend(bpr, out=tmp_path / "recs.csv")
    assert (tmp_path / "recs.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["recs.csv"]


def test_a_reranked_run_lists_as_its_test_did(data, tmp_path):
    options = {"rerank": "coverage", "rerank_lambda": 0.7, "save_recs": True}
    folder = finished(data, "BPR", tmp_path / "run", **options)
    tested = pd.read_csv(Path(folder, "recs.csv.gz"), dtype=str)
    lists = recommend(folder, tested["user_id"].unique(), history="train+valid")
    assert lists["item_id"].tolist() == tested["item_id"].tolist()


def test_similar_items_are_the_nearest_by_cosine(bpr):
    table = similar_items(bpr, ["i7", "i3"], 4, titles="auto")
    vectors = torch.nn.functional.normalize(bpr.trainer.model.item_embedding.weight, dim=1)
    ids = bpr.test_data._dataset.field2token_id["item_id"]
    for item, rows in table.groupby("item_id"):
        own = {other: float(vectors[ids[item]] @ vectors[ids[other]]) for other in ids}
        best = sorted((o for o in ids if o not in (item, "[PAD]")), key=lambda o: -own[o])
        assert rows["similar_item_id"].tolist() == best[:4]
        assert np.allclose(rows["similarity"], [own[o] for o in best[:4]], atol=1e-5)
    assert table["item_id"].tolist() == ["i7"] * 4 + ["i3"] * 4
    assert table["title"][0] == f"The {table['similar_item_id'][0]}, part 1"


def test_a_model_without_vectors_of_items_is_refused_by_name(data, tmp_path):
    folder = finished(data, "EASE", tmp_path / "ease")
    with pytest.raises(InputError, match=r"^EASE has no vectors of items$"):
        similar_items(folder, ["i1"])
    with pytest.raises(InputError, match=r"^EASE has no vectors of items$"):
        export(folder, tmp_path / "e.npz")
    assert not (tmp_path / "e.npz").exists()


@pytest.mark.parametrize("model", ["BPR", "SASRec", "MultiVAE"])
def test_exported_vectors_multiply_to_the_score(folders, tmp_path, model):
    run = load_run(folders / model)
    export(run, tmp_path / "e.npz")
    file = np.load(tmp_path / "e.npz", allow_pickle=False)
    assert file["is_score"]
    assert bool(file["bias"]) == (model == "MultiVAE")
    lists = recommend(run, k=48, filter_seen=False)
    user = {token: row for row, token in enumerate(file["users"])}
    item = {token: row for row, token in enumerate(file["items"])}
    rows = file["user_vectors"][lists["user_id"].map(user)]
    product = (rows * file["item_vectors"][lists["item_id"].map(item)]).sum(1)
    assert np.allclose(product, lists["score"], rtol=1e-4, atol=1e-5)
    export(run, tmp_path / "e.parquet")
    table = pd.read_parquet(tmp_path / "e.parquet")
    assert table["token"].tolist() == [*file["users"], *file["items"]]
    assert table["kind"].tolist() == ["user"] * 60 + ["item"] * 48
    wanted = np.concatenate([file["user_vectors"], file["item_vectors"]])
    assert np.array_equal(np.stack(table["vector"]), wanted)


def test_where_no_product_is_the_score_only_items_are_exported(data, tmp_path, caplog):
    folder = finished(data, "NeuMF", tmp_path / "run")
    found = export(folder, tmp_path / "e.parquet")
    assert (len(found.users), len(found.items), found.is_score) == (0, 48, False)
    assert (
        "NeuMF: a score is not a product of two vectors; only the vectors of items are"
        in caplog.text
    )
    assert set(pd.read_parquet(tmp_path / "e.parquet")["kind"]) == {"item"}


def test_the_index_finds_what_the_product_ranks_first(bpr, tmp_path):
    hnswlib = pytest.importorskip("hnswlib", reason="hnswlib (extra index) is not installed")
    export(bpr, tmp_path / "e.npz", index="hnsw")
    found = embeddings(bpr)
    index = hnswlib.Index(space="ip", dim=found.item_vectors.shape[1])
    index.load_index(str(tmp_path / "e.hnsw"))
    index.set_ef(100)
    labels, _ = index.knn_query(found.user_vectors, k=10, num_threads=1)
    lists = recommend(bpr, found.users.tolist(), 10, filter_seen=False)
    listed = lists["item_id"].to_numpy().reshape(-1, 10)
    near = found.items[labels.astype(int)]
    hits = [len(set(a) & set(b)) for a, b in zip(near, listed)]
    assert np.mean(hits) > 9.8


def test_an_index_without_its_package_is_refused(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"index=hnsw: needs hnswlib: .* install .*hnswlib"):
        export(folders / "BPR", tmp_path / "e.npz", index="hnsw")


def test_recboles_case_study_works_on_our_loaders(bpr, folders):
    dataset, model = bpr.test_data._dataset, bpr.trainer.model
    users = np.array([3, 5, 8])
    scores, items = full_sort_topk(users, model, bpr.test_data, k=5)
    lists = recommend(bpr, dataset.id2token("user_id", users), 5, history="train+valid")
    assert dataset.id2token("item_id", items).flatten().tolist() == lists["item_id"].tolist()
    assert np.allclose(scores.detach().flatten(), lists["score"], rtol=1e-5)
    had = UserLists.of_datasets([bpr.train_data._dataset, bpr.valid_data._dataset])
    every = full_sort_scores(users, model, bpr.test_data)
    row, item = had.of(torch.from_numpy(users))
    assert torch.isinf(every[row, item]).all()
    assert torch.isinf(every).sum() == len(row) + len(users)
    run = load_run(folders / "SASRec")
    scores = full_sort_scores([4], run.trainer.model, run.test_data)
    user = run.test_data._dataset.id2token("user_id", [4])
    rows = run.test_data._dataset.inter_feat["user_id"] == 4
    assert scores.shape == (int(rows.sum()), 49)
    lists = recommend(run, user, 1, history="train+valid", filter_seen=False)
    assert np.isclose(scores[0].max().item(), lists["score"][0])


def test_the_face_offers_it(folders):
    lists = recbole_enhance.recommend(folders / "BPR", ["u1"], 3)
    assert len(lists) == 3
    assert len(recbole_enhance.similar_items(folders / "BPR", ["i1"], 2)) == 2


# ---- the command line --------------------------------------------------------------------------


def test_the_verb_prints_lists_or_writes_them(folders, tmp_path):
    status, out, _ = call("recommend", folders / "BPR", "--users=u1,u2", "--k=2")
    assert status == 0
    assert len(out.splitlines()) == 5
    assert "part 1" in out
    status, out, _ = call("recommend", folders / "BPR", "--all", "--out", tmp_path / "a.csv")
    assert (status, out) == (0, f"lists: {tmp_path / 'a.csv'}\n")
    assert len(pd.read_csv(tmp_path / "a.csv")) == 600
    (tmp_path / "users").write_text("u5\nu9\n")
    status, out, _ = call("recommend", folders / "BPR", "--users-file", tmp_path / "users", "--k=1")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["u5", "u9"]
    (tmp_path / "new.csv").write_text("user_id,item_id\nx,i1\nx,i5\n")
    status, out, _ = call("recommend", folders / "BPR", f"--histories={tmp_path}/new.csv", "--k=2")
    assert out.splitlines()[1].split()[0] == "x"
    assert out.splitlines()[1].split()[-1] == "fold-in"
    near = tmp_path / "near.csv"
    status, out, _ = call("recommend", folders / "BPR", "--similar-to=i1,i2", f"--out={near}")
    assert len(pd.read_csv(near)) == 20
    assert call("recommend", folders / "BPR", "--users=u1", "--quiet") == (0, "", "")
    seen = call("recommend", folders / "BPR", "--users=u1", "--k=48", "--filter-seen=false")[1]
    assert len(seen.splitlines()) == 49


LONG = "a" * 300 + ".csv"  # nobody can write it, an administrator neither


def test_the_verb_export_says_what_it_wrote(folders, tmp_path):
    out = call("export", folders / "MultiVAE", f"--embeddings={tmp_path}/e.npz")[1]
    assert "60 users and 48 items, " in out
    assert "their product is the score; the last number of an item is its bias" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--users=u1,zz"], "users=zz: no such user in toy"),
        (
            ["--users=u1", "--all"],
            "recommend: one of --users, --all, --users_file, --histories, "
            "--similar_to is expected, not --users and --all",
        ),
        (
            [],
            "recommend: one of --users, --all, --users_file, --histories, --similar_to is "
            "expected, not none",
        ),
        (["--all"], "all=True: the lists of all users go into a file: --out=FILE"),
        (["--users=u1", "--k=49"], "k=49: from 1 to 48, the number of items that are allowed"),
        (["--users=u1", "--k=0"], "k=0: a whole number above 0 is expected"),
        (["--users_file=empty"], "empty: is empty: users needs one id on each line"),
        (["--users_file=gone"], "gone: there is no such file"),
        (["--users_file=bad"], "bad:2: user='zz': no such user in toy"),
        (["--users_file=binary"], "binary: is not text in UTF-8 (invalid start byte)"),
        (["--users=u1", "--exclude=bad"], "bad:1: item='u1': no such item in toy"),
        (
            ["--users=u1", "--out=a.xlsx"],
            "out=a.xlsx: a name that ends in .csv, .parquet or .jsonl is expected",
        ),
        (["--users=u1", "--out=no/a.csv"], "out=no/a.csv: there is no folder no"),
        (
            ["--users=u1", "--out=folder.csv"],
            "out=folder.csv: is a folder, and the name of a file is expected",
        ),
        (
            ["--users=u1", f"--out={LONG}"],
            f"out={LONG}: cannot be written (File name too long)",
        ),
        (
            ["--users=u1", "--titles=zz"],
            "titles=zz: toy.item has the columns item_id, genres, movie_title",
        ),
        (["--users=u1", "--history=test"], "history=test: one of all, train+valid, train"),
        (["--histories=empty"], "empty: holds no history"),
        (["--histories=bad", "--history=train"], "history=train: cannot be used with --histories"),
        (["--similar-to=zz"], "similar_to=zz: no such item in toy"),
        (["--similar-to=i1", "--k=48"], "k=48: from 1 to 47, the number of other items"),
        (
            ["--similar-to=i1", "--filter-seen=no"],
            "filter_seen=False: cannot be used with --similar_to",
        ),
        (["--usrs=u1"], "--usrs: unknown option; did you mean users?"),
    ],
)
def test_bad_input_is_one_line(folders, tmp_path, words, message):
    Path("empty").write_text("")
    Path("folder.csv").mkdir()
    Path("bad").write_text("u1\nzz\n")
    Path("binary").write_bytes(b"\xff\xfe")
    assert refused("recommend", folders / "BPR", *words) == message


def test_folders_that_cannot_recommend_are_refused(data, folders, tmp_path):
    words = ("recommend", "--users=u1")
    assert "not a finished run (config.yaml is missing)" in refused(*words, tmp_path)
    run = shutil.copytree(folders / "BPR", tmp_path / "run")
    (run / "model.pt").unlink()
    assert "not a finished run (model.pt is missing)" in refused(*words, run)
    assert "not a finished run (model.pt is missing)" in refused(
        "export", run, "--embeddings=a.npz"
    )
    assert "--embeddings=FILE is expected" in refused("export", folders / "BPR")
    ending = "embeddings=a.csv: a name that ends in .npz or .parquet is expected"
    assert refused("export", folders / "BPR", "--embeddings=a.csv") == ending


def test_data_that_are_gone_or_others_are_refused(tmp_path):
    data = write_toy(tmp_path / "data")
    run = finished(data, "BPR", tmp_path / "run")
    file = data / "toy" / "toy.inter"
    text = file.read_text()
    file.write_text(text.rsplit("\n", 2)[0] + "\n")
    assert refused("recommend", run, "--users=u1") == (
        f"{run}: toy.inter changed since the run: restore the data, or train again"
    )
    file.unlink()
    assert "toy.inter" in refused("recommend", run, "--users=u1")


def test_a_run_that_was_stopped_lists_by_its_best_epoch_and_says_so(folders, tmp_path):
    run = shutil.copytree(folders / "BPR", tmp_path / "run")
    whole = call("recommend", run, "--users=u1")[1]
    (run / "metrics.json").unlink()
    status, out, err = call("recommend", run, "--users=u1")
    assert (status, out) == (0, whole)
    assert f"{run}: not finished; its best epoch so far is taken" in err


def test_python_is_refused_the_same(bpr, tmp_path):
    for arguments, message in (
        ({"users": ["[PAD]"]}, r"users=\[PAD\]: no such user in toy"),
        ({"users": []}, r"users=\[\]: at least one is expected"),
        ({"users": ["u1"], "histories": {"x": ["i1"]}}, "histories=given: are of users who are"),
        ({"history": "test"}, "history=test: one of all"),
        ({"histories": {}}, "histories=given: they contain no item"),
        ({"histories": pd.DataFrame({"user": ["x"]})}, "histories: has no column user_id"),
    ):
        with pytest.raises((OptionError, DataError), match=message):
            recommend(bpr, **arguments)


def test_a_sequential_model_needs_a_history(folders, caplog):
    run = load_run(folders / "SASRec")
    dataset, rows = run.test_data._dataset, run.train_data._dataset.interactions
    one = dataset.id2token("user_id", 1)
    # As if all that user 1 has were held out for the test.
    dataset.inter_feat["user_id"] = torch.ones(int((rows["user_id"] == 1).sum()))
    dataset.inter_feat["user_id"] = dataset.inter_feat["user_id"].long()
    reason = f"users={one}: has no history in train\\+valid, and the model needs one"
    with pytest.raises(OptionError, match=reason):
        recommend(run, [one], history="train+valid")
    assert recommend(run, history="train+valid")["user_id"].nunique() == 59
    assert "1 users have no history in train+valid and get no list" in caplog.text
    assert recommend(run)["user_id"].nunique() == 60
