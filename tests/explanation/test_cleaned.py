"""A dataset without what a run valued least, from the verb to a run on it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.cli.program import main
from recbole_enhance.data.rows import WEIGHT
from recbole_enhance.experiment import quick_start
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.explanation.cleaned import lowest, soft_weights, write_clean
from recbole_enhance.explanation.values import read_values
from recbole_enhance.options.errors import InputError, OptionError, RunFolderError
from recbole_enhance.testing.worlds import run_toy

VALUES = st.lists(st.floats(-9, 9), min_size=1, max_size=50).map(np.array)
SHARES = st.floats(0.02, 0.98)


@given(VALUES, SHARES)
def test_the_lowest_are_no_higher_than_the_others(values, share):
    chosen = lowest(values, share)
    assert chosen.sum() == round(share * len(values))
    if 0 < chosen.sum() < len(values):
        assert values[chosen].max() <= values[~chosen].min()


@given(VALUES, SHARES)
def test_soft_weights_rise_with_the_value(values, share):
    weights = soft_weights(values, share)
    assert ((weights > 0) & (weights <= 1)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(weights[order]) >= 0).all()
    assert (weights < 1).sum() == np.ceil(share * len(values) - 1e-9) - 1


@pytest.fixture
def run_dir(toy):
    return Path(run_toy(toy, "DVR", epochs=3, run_dir="valued")["run_dir"])


def lines_of(path):
    header, *rows = path.read_text().splitlines()
    return header, rows


def pairs_of(part):
    rows = part.inter_feat
    tokens = [part.id2token(f, rows[f].numpy()) for f in (part.uid_field, part.iid_field)]
    return sorted(zip(*tokens))


def hidden_pairs(loader):
    """Users and items, as the user's tokens, that are not ranked."""
    part, pairs = loader._dataset, set()
    for users, (row, item), *_ in loader:
        ids = users[part.uid_field][row].numpy(), item.numpy()
        fields = part.uid_field, part.iid_field
        pairs |= set(zip(*(part.id2token(f, x) for f, x in zip(fields, ids))))
    return pairs


def on(options, model="BPR"):
    return assemble(Config(model, config_file_list=[options], config_dict={"epochs": 1}))


def test_a_tenth_is_dropped_and_held_out_rows_stay(toy, run_dir):
    done = write_clean(run_dir, "clean", 0.25)
    table = read_values(run_dir)
    n_dropped = round(0.25 * len(table))
    assert len(table) - done.kept.interactions == n_dropped == done.dropped.interactions
    lows = table.sort_values("value", kind="stable")[:n_dropped]
    lows = set(zip(lows["user_id"], lows["item_id"]))
    before, after = load_run(run_dir), on(done.options)
    expected = [pair for pair in pairs_of(before.train_data._dataset) if pair not in lows]
    assert pairs_of(after.train_data._dataset) == expected
    for name in ("valid_data", "test_data"):
        parts = [getattr(run, name)._dataset for run in (before, after)]
        assert pairs_of(parts[0]) == pairs_of(parts[1])
    # Whoever lost all interactions is still ranked.
    sizes = [
        (r.train_data._dataset.user_num, r.train_data._dataset.item_num) for r in (before, after)
    ]
    assert sizes[0] == sizes[1]
    # The cells are the user's own.
    original = set(lines_of(toy / "toy" / "toy.inter")[1])
    for part in ("train", "valid", "test"):
        header, rows = lines_of(Path("clean/toy", f"toy.{part}.inter"))
        assert header == lines_of(toy / "toy" / "toy.inter")[0]
        assert set(rows) <= original


def test_the_account_of_a_run_on_it_tells_what_was_dropped(run_dir, caplog):
    done = write_clean(run_dir, "clean", 0.1)
    result = run_recbole_enhance("BPR", config_file_list=[done.options], config_dict={"epochs": 1})
    account = json.loads(Path(result["run_dir"], "data.json").read_text())
    assert account["cleaned"] == {
        "run": "valued",
        "share": 0.1,
        "soft": False,
        "dropped": done.dropped._asdict(),
    }
    assert account["split"]["split"] == "ready-made"
    told = f"before that, {done.dropped.interactions} training interactions were dropped"
    assert told in caplog.text
    Path("clean/toy/toy.cleaned.json").write_text('{"run": 3}')
    with pytest.raises(InputError, match=r"toy.cleaned.json.*is not what values --write_clean"):
        on(done.options)


def test_soft_weights_reach_training(run_dir):
    done = write_clean(run_dir, "soft", 0.3, soft=True)
    assert done.dropped == (0, 0, 0)
    weights = on(done.options).train_data._dataset.inter_feat[WEIGHT]
    expected = torch.from_numpy(soft_weights(read_values(run_dir)["value"].to_numpy(), 0.3))
    torch.testing.assert_close(weights.double(), expected / expected.mean(), rtol=1e-4, atol=1e-6)
    assert "lower weights" in on(done.options).train_data._dataset.account.lines()[0]


def test_with_weight_0_the_lowest_are_known_and_not_learnt(run_dir):
    done = write_clean(run_dir, "zero", 0.25, zero=True)
    assert done.dropped == (0, 0, 0)
    before, after = load_run(run_dir), on(done.options)
    weights = after.train_data._dataset.inter_feat[WEIGHT]
    gone = lowest(read_values(run_dir)["value"].to_numpy(), 0.25)
    assert ((weights == 0).numpy() == gone).all()
    assert weights[weights > 0].unique().numel() == 1
    assert "has weight 0" in after.train_data._dataset.account.lines()[0]
    # The same items are hidden as in the run whose values decided.
    for name in ("valid_data", "test_data"):
        hidden = [hidden_pairs(getattr(run, name)) for run in (before, after)]
        assert hidden[0] == hidden[1]
    dropped = on(write_clean(run_dir, "dropped", 0.25).options)
    assert hidden_pairs(dropped.test_data) < hidden[0]
    with pytest.raises(OptionError, match="zero=True: cannot be used with soft"):
        write_clean(run_dir, "both", soft=True, zero=True)


def test_ready_made_parts_and_rows_trained_on_are_written_as_they_were(run_dir):
    """Of a run on cleaned data, some of whose validation rows are trained on."""
    first = write_clean(run_dir, "first", 0.1)
    again = {"epochs": 3, "train_on_validation": 0.5, "run_dir": "second", "dvr_reward": "loss"}
    run = run_recbole_enhance("DVR", config_file_list=[first.options], config_dict=again)
    done = write_clean(run["run_dir"], "second_clean", 0.1)
    before, after = load_run(run["run_dir"]), on(done.options)
    for name in ("valid_data", "test_data"):
        parts = [getattr(r, name)._dataset for r in (before, after)]
        assert pairs_of(parts[0]) == pairs_of(parts[1])
    assert done.kept.interactions == len(read_values(run["run_dir"])) - done.dropped.interactions


def test_amortised_values_decide_where_the_run_has_them(toy):
    run = run_toy(toy, "DVR", epochs=3, run_dir="amortised", dvr_amortise=True)["run_dir"]
    table = read_values(run)
    assert list(table.columns)[2:] == ["value", "standard_error", "amortised", "times_seen"]
    assert table["amortised"].between(-0.5, 1.5).all()
    done = write_clean(run, "clean", 0.25)
    lows = table.sort_values("amortised", kind="stable")[: done.dropped.interactions]
    kept = set(pairs_of(on(done.options).train_data._dataset))
    assert not kept & set(zip(lows["user_id"], lows["item_id"]))


def test_the_verb_says_what_it_wrote_and_refuses_the_rest(run_dir, capsys):
    assert main(["values", str(run_dir), "--write_clean=clean", "--drop=0.2"]) == 0
    told = capsys.readouterr().out
    assert "train on it: recbole-enhance --model=BPR --config_files=clean/toy.yaml" in told
    assert "dropped items are ranked for their users (with --zero they are not)" in told
    assert main(["values", str(run_dir), "--write_clean=zero", "--zero"]) == 0
    told = capsys.readouterr().out
    assert "all of them, with weights" in told
    assert "dropped" not in told
    for words, message in (
        (["--write_clean=clean"], "write_clean=clean: toy is there already"),
        (["--write_clean=other", "--drop=1"], "drop=1: a number above 0 and below 1"),
        (["--write_clean=other", "--drop=x"], "drop=x: a number above 0 and below 1"),
        (["--drop=0"], "drop=0: can only be used with --write_clean=FOLDER"),
        (["--drop=0.1"], "drop=0.1: can only be used with --write_clean=FOLDER"),
        (["--write_clean=other", "--by=item"], "by=item: cannot be used with --write_clean"),
        (["--write_clean=other", "--out=a.csv"], "out=a.csv: cannot be used with --write_clean"),
        (["--soft"], "soft=True: can only be used with --write_clean=FOLDER"),
        (["--zero"], "zero=True: can only be used with --write_clean=FOLDER"),
        (["--write_clean=other", "--zero", "--soft"], "zero=True: cannot be used with soft"),
    ):
        assert main(["values", str(run_dir), *words]) == 2
        assert message in capsys.readouterr().err
    assert not Path("other").exists()


def test_a_taken_folder_is_refused_before_the_run_is_loaded(run_dir, monkeypatch):
    Path("clean/toy").mkdir(parents=True)
    monkeypatch.setattr(quick_start, "load_run", None)
    with pytest.raises(OptionError, match="write_clean=clean: toy is there already"):
        write_clean(run_dir, "clean")


def test_values_of_other_rows_are_refused(run_dir):
    import gzip

    path = run_dir / "values.csv.gz"
    with gzip.open(path, "rt") as file:
        header, first, *rows = file.read().splitlines()
    with gzip.open(path, "wt") as file:
        file.write("\n".join([header, *rows, first, ""]))
    with pytest.raises(RunFolderError, match="not those of its training interactions"):
        write_clean(run_dir, "clean")
    assert not Path("clean").exists()
