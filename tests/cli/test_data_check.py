"""``data check``: the account, what is wrong, and the exit status."""

import json
import shutil
from pathlib import Path

import pytest

from recbole_enhance.cli.program import main

HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Write a dataset and check it; gives status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(files, *words):
        shutil.rmtree("data", ignore_errors=True)
        Path("data/d").mkdir(parents=True)
        for suffix, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            Path(f"data/d/d.{suffix}").write_bytes(content)
        status = main(["data", "check", "d", "--data_path=data", *words])
        return status, *capsys.readouterr()

    return call


def rows(first=1_500_000_000, header=HEADER, n_users=6, n_items=8):
    body = "".join(
        f"u{u}\ti{i}\t{first + 1000 * i + u}\n" for u in range(n_users) for i in range(n_items)
    )
    return header + body


def test_good_data(check):
    status, out, err = check({"inter": rows()}, "--eval_args.order=TO")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "data: 48 interactions of 6 users and 8 items read (d.inter 48)"
    assert lines[2].startswith("split: 36 training (6 users), 6 validation (6 users), 6 test")
    assert "note  time:      d.inter: timestamp is in seconds, from 2017 to 2017" in lines
    assert lines[-1] == "nothing is wrong"


WRONG = {
    "repeated": ({"inter": rows() + rows()[len(HEADER) :]}, "pairs of a user and an item are in"),
    "a gap": (
        {"inter": rows(), "item": "item_id:token\n" + "".join(f"i{n}\n" for n in range(9) if n)},
        "d.item: 1 items with interactions have no row, such as 'i0'",
    ),
    "two forms": (
        {
            "inter": HEADER
            + "".join(f"u{u}\t{i}\t{9 * u}\n" for u in range(9) for i in ("1", "1.0", "a"))
        },
        "column item_id: 2 ids differ only in form, such as '1', '1.0'",
    ),
    "a year": ({"inter": rows() + "u1\tj\t0\n"}, "1 interactions are before 1990 or after"),
    "a mark": ({"inter": b"\xef\xbb\xbf" + rows().encode()}, "byte order mark"),
    "bytes": ({"inter": rows().encode() + b"u\xff\ti1\t5\n"}, "d.inter:50: is not text in UTF-8"),
    "a row": ({"inter": rows() + "u1\ti1\n"}, "d.inter:50: 2 cells, and the header has 3"),
    "no number": ({"inter": rows() + "u1\ti1\tsoon\n"}, "d.inter:50: timestamp='soon': a number"),
    "nothing": ({"inter": HEADER}, "has no interactions"),
}


@pytest.mark.parametrize(("files", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_and_is_status_1(check, files, says):
    status, out, err = check(files, "--json=found.json")
    assert (status, err) == (1, "")
    (line,) = [line for line in out.splitlines() if says in line][:1]
    assert line.startswith("wrong ")
    found = json.loads(Path("found.json").read_text())
    assert found["wrong"] is True
    assert any(says in f["text"] and f["wrong"] for f in found["findings"])


def test_ready_made_parts_are_compared(check):
    def part(*some):
        return HEADER + "".join(f"{u}\t{i}\t{t}\n" for u, i, t in some)

    files = {
        "train.inter": part(("u1", "i1", 5), ("u2", "i2", 5), ("u1", "i3", 1)),
        "valid.inter": part(("u1", "i2", 6), ("u2", "i3", 6)),
        "test.inter": part(("u1", "i1", 7), ("u2", "i1", 2), ("u2", "i4", 9)),
    }
    ready = "--benchmark_filename=[train,valid,test]"
    columns = "--load_col={inter: [user_id,item_id,timestamp]}"
    status, out, _ = check(files, ready, columns, "--topk=2", "--valid_metric=MRR@2")
    assert status == 1
    wrong = [line for line in out.splitlines() if line.startswith("wrong ")]
    assert "1 pairs of a user and an item are in training and in test" in wrong[0]
    assert "1 of 3 test interactions are earlier than a training interaction of the" in wrong[1]
    assert "1 test interactions are of 1 items without training interactions" in out


def test_a_random_split_is_not_wrong_for_being_random(check):
    status, out, _ = check({"inter": rows()})
    assert status == 0
    assert "note  leakage:" in out
    assert "earlier than a training interaction of the same user" in out


def test_the_options_of_the_run_decide_the_split(check):
    status, out, _ = check({"inter": rows()}, "--model=SASRec", "--json=found.json", "--quiet")
    assert (status, out) == (0, "")
    account = json.loads(Path("found.json").read_text())["account"]
    assert account["split"]["split"] == {"LS": "valid_and_test"}
    assert account["parts"]["test"]["interactions"] == 6
    Path("options.yaml").write_text("model: SASRec\n")
    check({"inter": rows()}, "--config_files=options.yaml", "--json=found.json")
    again = json.loads(Path("found.json").read_text())["account"]
    assert again == account


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dataset=x"], "--dataset: write the dataset without it: data check NAME"),
        (["--epocs=3"], "epocs: unknown option"),
        (["--variant=core"], "variant=core: d has no variants"),
        (["--model=BPPR"], "model=BPPR: unknown model"),
        (["--json=no/such/file.json"], "json=no/such/file.json: there is no folder no/such"),
        (["more"], "data check takes one NAME, not 2"),
    ],
)
def test_bad_input_is_status_2(check, words, says):
    status, out, err = check({"inter": rows()}, *words)
    assert (status, out) == (2, "")
    assert says in err


def test_a_dataset_that_is_not_there(capsys, tmp_path):
    assert main(["data", "check", "nope", f"--data_path={tmp_path}"]) == 2
    assert "dataset='nope': there is no file" in capsys.readouterr().err
    assert main(["data", "check"]) == 2
    assert "data check NAME: the name of a dataset is expected" in capsys.readouterr().err
