"""Files that unpack to more than they are, or hold what no run writes."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from recbole_enhance.leaderboard import protocol
from recbole_enhance.leaderboard.analysis import analyse
from recbole_enhance.leaderboard.collect import collect
from recbole_enhance.leaderboard.pages import html_page
from recbole_enhance.options.errors import InputError, RunFolderError
from recbole_enhance.options.read import MAX_YAML_DEPTH, MAX_YAML_REPEATED, parse_value, parse_yaml
from recbole_enhance.storage import files
from recbole_enhance.storage.tensor_files import dump_tensors, load_tensors
from recbole_enhance.testing.made_runs import make_run


def aliases(levels, width=9):
    """A short text that stands for ``width ** levels`` values."""
    lines = [f"k0: &k0 [{', '.join('x' * width)}]"]
    lines += [f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi")
)
YAML_BOMBS = {
    "aliases": (aliases(10), "values by aliases"),
    "merges": (MERGES, "values by aliases"),
    "deep": ("[" * 200_000, "levels"),
    "deep mappings": ("{a: " * 200_000, "levels"),
    "a value that contains itself": ("a: &a [1, *a]", "contains itself"),
    "long": ("a: " + "x" * 2**23, "is too large"),
}


@pytest.mark.parametrize(("text", "says"), YAML_BOMBS.values(), ids=YAML_BOMBS)
def test_yaml_that_is_too_much_is_refused(text, says):
    with pytest.raises(InputError, match=rf"config file f\.yaml: .*{says}"):
        parse_yaml(text, "f.yaml")
    with pytest.raises(InputError, match=r"topk=.*: not a YAML value"):
        parse_value("topk", text)


def test_yaml_within_the_limits_is_read():
    nested = "[" * (MAX_YAML_DEPTH - 1) + "]" * (MAX_YAML_DEPTH - 1)
    assert parse_yaml(f"a: {nested}", "f")
    few = MAX_YAML_REPEATED // 10
    content = parse_yaml(f"a: &a [{', '.join('x' * few)}]\nb: [*a, *a]\nc: *a", "f")
    assert len(content["b"]) == 2
    assert content["c"] == content["a"]
    assert parse_yaml("{a: 010, b: '1:30', c: 1:30, d: 1e3}", "f") == {
        "a": "010",
        "b": "1:30",
        "c": "1:30",
        "d": 1000.0,
    }


def test_every_verb_refuses_a_yaml_bomb(finished, refused):
    bomb = aliases(10)
    Path("bomb.yaml").write_text(bomb)
    for words in (
        ("--config_files=bomb.yaml", "--model=BPR", "--dataset=toy"),
        ("config", "show", "--config_files=bomb.yaml", "--model=BPR", "--dataset=toy"),
        ("tune", "--config_files=bomb.yaml", "--model=BPR", "--dataset=toy"),
        ("leaderboard", "run", "bomb.yaml"),
        ("explain", finished, "--config_files=bomb.yaml"),
    ):
        assert "bomb.yaml: more than 10,000 values by aliases" in refused(*words)
    with open(finished / "config.yaml", "a") as file:
        file.write(bomb)
    for words in (
        (f"--resume={finished}", "--model=BPR:x"),
        ("reproduce", finished, "--model=a:B"),
        ("explain", finished),
        ("attack", finished),
        ("values", finished, "--by=item"),
        ("leaderboard", "build", "board"),
    ):
        if "resume" in str(words[0]):
            (finished / "metrics.json").rename("kept.json")
        assert "config.yaml: more than 10,000 values by aliases" in refused(*words)
        if "resume" in str(words[0]):
            Path("kept.json").rename(finished / "metrics.json")
    Path("board/board.yaml").write_text(bomb)
    (finished / "config.yaml").write_text((finished / "config.yaml").read_text().removesuffix(bomb))
    assert "board.yaml: more than 10,000 values" in refused("leaderboard", "build", "board")


# ---- JSON, gzip --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": 1e999}', "a number that is too large"),
        ('{"a": ' + "9" * 30 + "}", "a number of 30 digits"),
        ('{"a": ' + "9" * 10_000 + "}", "a number of 10000 digits"),
        ("\xff", "not text in UTF-8"),
    ],
)
def test_json_that_no_run_writes_is_refused(finished, refused, text, says):
    (finished / "metrics.json").write_bytes(text.encode("latin-1"))
    assert says in refused("reproduce", finished)
    line = refused("leaderboard", "build", "board")
    assert "metrics.json" in line
    assert says in line
    assert len(line) < 400


def test_a_file_beyond_the_limit_is_not_read():
    with open("large.json", "wb") as file:
        file.truncate(files.MAX_TEXT + 1)
    with pytest.raises(RunFolderError, match=r"large\.json: is too large: 268,435,457 bytes"):
        files.read_json("large.json")


@pytest.fixture(scope="session")
def bomb():
    """A gzipped file of 256 MiB, in a quarter of one."""
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(b"user_id,item_id,value,standard_error\n")
        for _ in range(64):
            file.write(b"u1,i1,0,0\n" * 2**18)
    return content.getvalue()


def test_a_gzip_bomb_is_refused_and_never_held(finished, refused, bomb):
    for name, verb in (
        ("values.csv.gz", ("values", finished)),
        ("per_user.csv.gz", ("leaderboard", "build", "board")),
    ):
        whole = (finished / name).read_bytes()
        (finished / name).write_bytes(bomb)
        assert f"{name}: unpacks to more than the limit of 67,108,864 bytes" in refused(*verb)
        (finished / name).write_bytes(whole)


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b"x" + b, lambda b: b""])
def test_what_is_no_gzip_is_named(finished, refused, spoil):
    path = finished / "values.csv.gz"
    path.write_bytes(spoil(path.read_bytes()))
    assert "values.csv.gz: not gzip" in refused("values", finished)


def test_a_table_is_unpacked_as_gzip_does():
    text = "".join(f"u{n},{n / 7}\n" for n in range(200_000)).encode()
    Path("t.csv.gz").write_bytes(gzip.compress(text))
    assert files.read_gzip("t.csv.gz").read() == text


@pytest.mark.parametrize(
    "text",
    ["user_id,item_id,value,standard_error\nu1,i1,x,0\n", "a\n", "", "user_id,item_id\nu,i\n"],
)
def test_a_table_of_other_values_is_named(finished, refused, text):
    (finished / "values.csv.gz").write_bytes(gzip.compress(text.encode()))
    line = refused("values", finished)
    assert "board/run" in line
    assert "value" in line


# ---- tensors -----------------------------------------------------------------------------------


class Runs:
    """What a pickle can do."""

    def __reduce__(self):
        return open, ("it ran", "w")


def rewritten(path, change):
    state = torch.load(path, weights_only=True)
    change(state)
    path.write_bytes(dump_tensors(state))


def test_a_pickle_runs_no_code(finished, stopped, refused):
    for name in ("model.pt", "checkpoint.pt"):
        whole = (stopped / name).read_bytes()
        torch.save({"format": 1, "label": "DVR-BPR", "x": Runs()}, stopped / name)
        assert f"{name}: not a checkpoint of tensors and plain" in refused(f"--resume={stopped}")
        (stopped / name).write_bytes(whole)
    assert not Path("it ran").exists()


def test_a_compressed_model_is_refused(stopped, refused):
    path = stopped / "model.pt"
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    path.write_bytes(packed.getvalue())
    assert "model.pt: is compressed" in refused(f"--resume={stopped}")


BAD_CHECKPOINTS = {
    "an array that is none": lambda s: s["other_parameter"].update(a={"__array__": 5}),
    "an unknown type": lambda s: s["other_parameter"].update(
        a={"__array__": torch.zeros(1), "dtype": "bogus"}
    ),
    "a huge view": lambda s: s["other_parameter"].update(
        a={"__array__": torch.zeros(1).expand(10**15), "dtype": "int8"}
    ),
    "a matrix that is none": lambda s: s["other_parameter"].update(
        a={"__sparse__": [torch.zeros(2)] * 3, "shape": [10**12, 3], "layout": "csr"}
    ),
    "a method as a counter": lambda s: s["counters"].update(forward=1),
    "an attribute that is no counter": lambda s: s["counters"].update(training="no"),
    "an epoch before the first": lambda s: s.update(epoch=-(10**9)),
    "an epoch that was not": lambda s: s.update(epoch=7),
    "a text as epoch": lambda s: s.update(epoch="0"),
    "no history": lambda s: s.update(history=[]),
    "a history of numbers": lambda s: s.update(history=[3]),
    "no optimiser": lambda s: s.update(optimizers={}),
    "a foreign optimiser": lambda s: s["optimizers"].update(optimizer="__class__"),
    "no random states": lambda s: s.update(random={}),
    "other parameters": lambda s: s["state_dict"].popitem(),
}


@pytest.mark.parametrize("change", BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_a_checkpoint_of_other_values_does_not_fit(stopped, refused, change):
    rewritten(stopped / "checkpoint.pt", change)
    line = refused(f"--resume={stopped}")
    assert "checkpoint.pt: does not fit this model or these data" in line


def test_tensors_come_back_as_they_were(tmp_path):
    content = {"label": "x", "run": "y", "a": torch.arange(6).reshape(2, 3).T}
    Path("m.pt").write_bytes(dump_tensors(content))
    assert torch.equal(load_tensors(Path("m.pt"), "x", "cpu", "y")["a"], content["a"])


# ---- reports -----------------------------------------------------------------------------------


WRONG = (None, "x", -1, 1.5, 10**18, True, [1], {"a": {}})
KEYS = {
    "metrics.json": ("test_result", "label", "dataset", "seed", "seconds", "best_epoch"),
    "env.json": ("data_sha256", "versions", "python", "cpu_threads"),
    "config.yaml": ("metric_decimal_place", "metrics", "load_col", "eval_args", "topk"),
}


def verdict():
    """What becomes of the board: built, or why not."""
    try:
        collected = collect(Path("b"))
        for table in protocol.tables(collected.runs):
            html_page([analyse(table, collected)], [[]], collected, "")
    except InputError as error:
        return str(error)
    return "built"


@pytest.mark.parametrize("name", KEYS)
def test_reports_of_other_kinds_are_named(name):
    """Each value replaced by one of each other kind: a board, or a line that names the file."""
    path = make_run("b", results={"recall@10": 0.1}) / name
    content = yaml.safe_load(path.read_text())
    verdicts = []
    for key in KEYS[name]:
        for wrong in WRONG:
            path.write_text(json.dumps({**content, key: wrong}))
            verdicts.append(verdict())
    told = [line for line in verdicts if line != "built"]
    assert len(told) >= len(verdicts) // 2
    for line in told:
        assert line.startswith(str(path)), line
        assert "\n" not in line


@pytest.mark.parametrize("wrong", [{"rows": 3}, {"attack": "x"}, {"history_columns": [1]}])
def test_a_board_of_other_kinds_is_named(refused, wrong):
    make_run("b", results={"recall@10": 0.1})
    Path("b/board.yaml").write_text(json.dumps(wrong))
    assert f"b/board.yaml: {next(iter(wrong))}" in refused("leaderboard", "build", "b")
