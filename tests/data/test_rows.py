"""Weights of interactions, and validation interactions that are trained on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.data.rows import WEIGHT, random_part
from recbole_enhance.options.errors import OptionError
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options


def parts_of(toy, model="BPR", **options):
    _, loaders = assemble(toy_options(toy, model, show_progress=False, **options))
    return [loader._dataset for loader in loaders]


def pairs_of(part):
    rows = part.inter_feat
    return list(zip(rows["user_id"].tolist(), rows["item_id"].tolist()))


@given(
    n=st.integers(0, 200),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_a_smaller_share_is_within_a_larger_one(n, shares, seed):
    small, large = (random_part(n, share, seed) for share in sorted(shares))
    assert int(small.sum()) == int(n * min(shares))
    assert not (small & ~large).any()


def test_a_share_of_validation_moves_to_training(toy):
    before, after = parts_of(toy), parts_of(toy, train_on_validation=0.5)
    assert pairs_of(after[2]) == pairs_of(before[2])
    n, added = len(before[0]), set(pairs_of(after[0])[len(before[0]) :])
    assert pairs_of(after[0])[:n] == pairs_of(before[0])
    assert len(added) == len(before[1]) // 2
    assert added | set(pairs_of(after[1])) == set(pairs_of(before[1]))
    assert not added & set(pairs_of(after[1]))
    assert after[0].account.split["train_on_validation"] == 0.5
    assert "train_on_validation" not in before[0].account.split


def test_added_interactions_are_no_items_to_rank(toy):
    _, (train, valid, test) = assemble(toy_options(toy, "BPR", train_on_validation=0.5))
    added = train._dataset.moved.added.inter_feat
    for loader in (valid, test):
        assert loader.history.holds(added["user_id"], added["item_id"]).all()


def test_dvr_takes_the_added_ones_as_judges(toy):
    options = {"dvr_reward": "ndcg@5", "epochs": 4, "train_on_validation": 0.5}
    trainer, (train, valid, _) = assemble(toy_options(toy, "DVR", **options))
    alone, loaders = assemble(toy_options(toy, "DVR", **options | {"train_on_validation": 0}))
    trainer.fit(train, valid)
    alone.fit(*loaders[:2])
    judges = [t.utility.ranking._dataset.inter_feat["item_id"] for t in (trainer, alone)]
    assert torch.equal(*judges)  # so that the two rows of a board differ in training alone
    assert trainer.validation == alone.validation
    # Their items are not known to their own lists, or no list could have them.
    users, items = (trainer.utility.dataset.inter_feat[f] for f in ("user_id", "item_id"))
    assert not trainer.utility.ranking.history.holds(users, items).any()


def test_a_share_of_nothing_is_refused(toy):
    with pytest.raises(OptionError, match=r"train_on_validation=0.01: is less than one of 60"):
        parts_of(toy, train_on_validation=0.01)
    with pytest.raises(OptionError, match=r"dvr_judges=0.01: is less than one of 60"):
        run_toy(toy, "DVR", dvr_judges=0.01)


def test_judges_are_not_named_twice(toy):
    with pytest.raises(OptionError, match=r"dvr_judges=0.5: .*train_on_validation=0.5 adds"):
        run_toy(toy, "DVR", dvr_judges=0.5, train_on_validation=0.5)


def test_an_items_list_weighs_by_its_length(toy, tmp_path):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    for path in (toy / "toy").iterdir():
        text = path.read_text()
        if path.suffix == ".item":
            text = text.replace(" new", "")
        (tmp_path / "data" / "toy" / path.name).write_text(text)
    training, *others = parts_of(tmp_path / "data", interaction_weight_field="genres")
    rows = training.inter_feat
    tokens = training.id2token("item_id", rows["item_id"].numpy())
    lengths = torch.tensor([2.0 if int(token[1:]) < 24 else 1.0 for token in tokens])
    torch.testing.assert_close(rows[WEIGHT], lengths / lengths.mean())
    assert all(WEIGHT not in part.inter_feat for part in others)


@pytest.mark.parametrize("normalize", [True, None])
@pytest.mark.parametrize("model", ["BPR", "FM", "SASRec"])
def test_a_column_weighs_and_no_model_reads_it(toy, model, normalize):
    protocol = {
        "threshold": {"timestamp": 1000},
        "eval_args": {"mode": "uni5"},
        "metrics": ["Recall"],
        "valid_metric": "Recall@5",
    }
    options = {"normalize_all": normalize, **(protocol if model == "FM" else {})}
    if model == "SASRec":
        options["train_neg_sample_args"] = None
    config = toy_options(toy, model, interaction_weight_field="rating", **options)
    trainer, (train, valid, test) = assemble(config)
    weights = train._dataset.inter_feat[WEIGHT]
    assert weights.double().mean() == pytest.approx(1)
    assert weights.max() / weights.min() == pytest.approx(5 / 2)
    for loader in (train, valid, test):
        assert not {"rating", "rating_list"} & set(loader._dataset.field2type)
        assert not {"rating", "rating_list"} & set(loader._dataset.inter_feat.columns)
    batch = next(iter(train))
    assert len(batch[WEIGHT]) == len(batch)
    trainer.fit(train, valid)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-1", "interaction_weight_field=rating: has -1: weights must be at least 0"),
        ("", r"toy.inter:2: column rating: is missing"),
        ("all0", "interaction_weight_field=rating: is 0 for all training interactions"),
    ],
)
def test_bad_weights_are_refused(toy, tmp_path, line, message):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    for path in (toy / "toy").iterdir():
        header, *rows = path.read_text().splitlines()
        if path.suffix == ".inter":
            cells = [row.split("\t") for row in rows]
            for row in cells if line == "all0" else cells[:1]:
                row[2] = "0" if line == "all0" else line
            rows = ["\t".join(row) for row in cells]
        (tmp_path / "data" / "toy" / path.name).write_text("\n".join([header, *rows, ""]))
    with pytest.raises(ValueError, match=message):
        parts_of(tmp_path / "data", interaction_weight_field="rating")


@pytest.mark.parametrize("field", ["gender", "user_id", "nothing"])
def test_a_column_that_cannot_weigh_is_refused(toy, field):
    with pytest.raises(OptionError, match=f"interaction_weight_field={field}: .*toy.inter: rating"):
        parts_of(toy, interaction_weight_field=field)
