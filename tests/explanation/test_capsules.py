import json
from pathlib import Path

import pytest
import torch
from calling import call
from iacn_backbones import options_of

from recbole_enhance.data.loaders import join
from recbole_enhance.evaluation.ties import drawn_order
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.explanation import capsules
from recbole_enhance.testing.worlds import run_toy


@pytest.fixture(scope="module")
def titled(tmp_path_factory, toy):
    """The toy data with a column of titles."""
    folder = tmp_path_factory.mktemp("titled") / "toy"
    folder.mkdir()
    (folder / "toy.inter").write_bytes((toy / "toy" / "toy.inter").read_bytes())
    lines = (toy / "toy" / "toy.item").read_text().splitlines()
    rows = [f"{lines[0]}\tmovie_title:token_seq"]
    rows += [f'{line}\tThe {line.split()[0]} "story"' for line in lines[1:]]
    (folder / "toy.item").write_text("\n".join(rows) + "\n")
    return folder.parent


def a_run(folder, backbone, run_dir, **options):
    options = options_of(folder, backbone, epochs=1, run_dir=str(run_dir), quiet=True, **options)
    return Path(run_recbole_enhance(config_dict=options)["run_dir"])


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("DIN", {}),
        ("DIEN", {}),
        ("WideDeep", {"iacn_use_user_id": True}),
        ("SASRec", {"iacn_interest": "attention", "iacn_aux_init_scale": 1.0}),
        ("BERT4Rec", {"iacn_routing": "normal"}),
    ],
)
def test_explain_says_in_titles_what_goes_where(titled, tmp_path, backbone, options):
    folder = a_run(titled, backbone, tmp_path / backbone, **options)
    status, out, err = call("explain", folder, "--rows=3", "--topk=2")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in (folder / "capsules.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert len(line["recommended"]) == 2
        assert 1 <= len(line["history"]) <= 10
        seen = {entry["item"] for entry in line["history"]}
        assert not seen & {answer["item"] for answer in line["recommended"]}
        for entry in line["history"] + line["columns"]:
            assert entry["capsule"] == 1 + max(
                range(len(entry["weights"])), key=entry["weights"].__getitem__
            )
            if options.get("iacn_interest") != "attention":
                assert sum(entry["weights"]) == pytest.approx(1, abs=1e-3)
        for answer in [*line["recommended"], line["target"]]:
            assert sum(answer["attention"]) == pytest.approx(1, abs=1e-3)
            assert answer["title"] == f'The {answer["item"]} "story"'
            assert answer["title"] in out
        assert [c["column"] for c in line["columns"]] == ["user_id"] * bool(
            options.get("iacn_use_user_id")
        )
    first = (folder / "capsules.jsonl").read_text()
    assert call("explain", folder, "--rows=3", "--topk=2", "--quiet") == (0, "", "")
    assert (folder / "capsules.jsonl").read_text() == first  # the same noise each time


def test_users_titles_and_other_runs(toy, titled, tmp_path):
    folder = a_run(titled, "WideDeep", tmp_path / "one")
    status, out, _ = call("explain", folder, "--users=u7,u3,u7", "--title=genres")
    assert status == 0
    assert out.index("user u7") < out.index("user u3")
    explained = (folder / "capsules.jsonl").read_text().splitlines()
    assert len(explained) == len(set(explained))  # who is named twice is explained once
    assert "old" in out
    plain = a_run(toy, "WideDeep", tmp_path / "two")
    assert "recommended: i" in call("explain", plain)[1]  # no titles: tokens
    other = run_toy(toy, "Pop", run_dir=str(tmp_path / "three"))["run_dir"]
    for words_, message in (
        ((folder, "--users=nobody"), "users=nobody: no test row of this user"),
        ((folder, "--title=price"), "title=price: toy.item has the columns item_id, genres"),
        ((folder, "--top=3"), "--top: unknown option; did you mean topk?"),
        ((folder, "--rows=0"), "rows=0: a whole number above 0 is expected"),
        ((other,), "there is nothing to explain its lists by"),
        ((tmp_path,), "the folder of a finished run is expected"),
        ((), "explain RUN_DIR: the folder of a finished run is expected"),
    ):
        status, out, err = call("explain", *words_)
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


def test_equal_scores_stand_as_in_evaluation(titled, tmp_path, monkeypatch):
    run = load_run(a_run(titled, "DIN", tmp_path / "din"))
    model, dataset = run.trainer.model, run.test_data._dataset
    monkeypatch.setattr(model, "predict", lambda batch: torch.zeros(len(batch)))
    rows = join(dataset, capsules._rows(dataset, [], 2))
    listed = capsules._best(model, dataset, rows, 5)
    history = rows[dataset.iid_field + run.config["LIST_SUFFIX"]]
    order = drawn_order(dataset.item_num, run.config["seed"]).argsort().tolist()
    for items, seen in zip(listed.tolist(), history.tolist()):
        assert items == [item for item in order if item not in {0, *seen}][:5]
