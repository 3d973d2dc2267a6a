from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.data.mentions import (
    Mentions,
    item_feature_matrix,
    truth_matrix,
    user_feature_matrix,
)
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.storage.run_folder import run_key
from recbole_enhance.testing.worlds import (
    assemble,
    feature_toy_options,
    toy_options,
    write_feature_toy,
)

entries = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2), st.sampled_from([1, -1])),
    max_size=40,
)


def table(rows):
    columns = list(zip(*rows)) or [(), (), (), ()]
    return Mentions(
        *(torch.tensor(c, dtype=torch.long) for c in columns[:3]),
        torch.tensor(columns[3], dtype=torch.float),
    )


@settings(max_examples=60, deadline=None)
@given(entries, st.sampled_from([5.0, 3.0]))
def test_both_matrices_equal_a_loop(rows, scale):
    x = user_feature_matrix(table(rows), 5, 3, scale)
    y = item_feature_matrix(table(rows), 6, 3, scale)
    for user in range(5):
        for f in range(3):
            t = sum(r[0] == user and r[2] == f for r in rows)
            want = 0 if t == 0 else 1 + (scale - 1) * (2 / (1 + 2.718281828459045**-t) - 1)
            assert x[user, f].item() == pytest.approx(want, abs=1e-6)
    for item in range(6):
        for f in range(3):
            signs = [r[3] for r in rows if r[1] == item and r[2] == f]
            want = 1 + (scale - 1) / (1 + 2.718281828459045 ** -sum(signs)) if signs else 0
            assert y[item, f].item() == pytest.approx(want, abs=1e-6)
    assert ((x == 0) | ((x > 1) & (x <= scale))).all()
    assert ((y == 0) | ((y >= 1) & (y <= scale))).all()


def test_hand_counts():
    one = table([(1, 1, 0, 1)])
    two = table([(1, 1, 0, 1), (1, 1, 0, -1)])
    assert user_feature_matrix(one, 2, 1)[1].item() == pytest.approx(2.848, abs=1e-3)
    assert user_feature_matrix(two, 2, 1)[1].item() == pytest.approx(4.046, abs=1e-3)
    assert item_feature_matrix(one, 2, 1)[1].item() == pytest.approx(3.924, abs=1e-3)
    bad = one._replace(sentiment=-one.sentiment)
    assert item_feature_matrix(bad, 2, 1)[1].item() == pytest.approx(2.076, abs=1e-3)
    assert item_feature_matrix(two, 2, 1)[1].item() == 3.0


@settings(max_examples=40, deadline=None)
@given(entries, st.randoms())
def test_the_order_of_interactions_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    for build, n in ((user_feature_matrix, 5), (item_feature_matrix, 6)):
        assert torch.equal(build(table(rows), n, 3), build(table(shuffled), n, 3))


@settings(max_examples=60, deadline=None)
@given(
    entries, st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), max_size=8), st.booleans()
)
def test_truth_equals_a_loop(rows, pairs, positive):
    user, item = (torch.tensor([p[i] for p in pairs], dtype=torch.long) for i in (0, 1))
    truth = truth_matrix(table(rows), user, item, 6, 3, positive)
    for number, (u, i) in enumerate(pairs):
        want = {r[2] for r in rows if r[:2] == (u, i) and (r[3] > 0 or not positive)}
        assert set(truth[number].nonzero().flatten().tolist()) == want


def test_the_splits_carry_their_own_mentions_and_no_wide_columns(reviews):
    _, loaders = assemble(feature_toy_options(reviews))
    total = 0
    for loader in loaders:
        dataset = loader._dataset
        pairs = set(
            zip(dataset.inter_feat["user_id"].tolist(), dataset.inter_feat["item_id"].tolist())
        )
        total += len(dataset.mentions.user)
        assert set(zip(dataset.mentions.user.tolist(), dataset.mentions.item.tolist())) <= pairs
        assert "feature" not in dataset.inter_feat.columns
    lines = Path(reviews, "reviews", "reviews.inter").read_text().splitlines()[1:]
    assert total == sum(len(line.split("\t")[3].split()) for line in lines)
    batch = next(iter(loaders[0]))
    assert set(batch.columns) == {"user_id", "item_id", "rating", "label"}


def by_token(trainer, loaders):
    """Y as (item, feature) -> value, free of ids."""
    dataset, y = loaders[0]._dataset, trainer.model.item_feature_matrix
    return {
        (str(dataset.id2token("item_id", i)), dataset.feature_names[f]): y[i, f].item()
        for i, f in y.nonzero().tolist()
    }


def test_nothing_of_test_and_validation_rows_reaches_x_and_y(tmp_path):
    """Other words in the held-out reviews, and even none: X and Y stay as they are."""
    write_feature_toy(tmp_path)
    path = Path(tmp_path, "reviews", "reviews.inter")
    trainer, loaders = assemble(feature_toy_options(tmp_path))
    before, x = by_token(trainer, loaders), trainer.model.user_feature_matrix.sort(1).values
    held = set()
    for loader in loaders[1:]:
        data = loader._dataset
        held |= set(
            zip(
                data.id2token("user_id", data.inter_feat["user_id"]),
                data.id2token("item_id", data.inter_feat["item_id"]),
            )
        )
    header, *lines = path.read_text().splitlines()
    changed = []
    for line in lines:
        cells = line.split("\t")
        cells[3:] = ["f0", "-1"] if tuple(cells[:2]) in held else cells[3:]
        changed.append("\t".join(cells))
    assert changed != lines
    path.write_text("\n".join([header, *changed]) + "\n")
    trainer, loaders = assemble(feature_toy_options(tmp_path))
    assert by_token(trainer, loaders) == before
    assert torch.equal(trainer.model.user_feature_matrix.sort(1).values, x)


def test_item_attributes_stand_in_and_ratings_give_the_tone(toy):
    trainer, loaders = assemble(toy_options(toy, "CER", show_progress=False))
    dataset = loaders[0]._dataset
    assert trainer.config["feature_source"] == "item_attribute"
    assert sorted(dataset.feature_names) == ["g0", "g1", "g2", "g3", "new", "old"]
    found = dataset.mentions
    row = {
        (u, i): r
        for u, i, r in zip(
            *(dataset.inter_feat[c].tolist() for c in ("user_id", "item_id", "rating"))
        )
    }
    for u, i, s in zip(found.user.tolist(), found.item.tolist(), found.sentiment.tolist()):
        assert s == (1 if row[u, i] >= 4 else -1)
    assert len(found.user) == 2 * len(dataset.inter_feat)  # a genre and an age each


def rewrite(folder, change):
    write_feature_toy(folder)
    path = Path(folder, "reviews", "reviews.inter")
    path.write_text(change(path.read_text()))
    return feature_toy_options(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("\t1 1\n", "\t1 0.5\n", 1), "sentiments are 1 or -1, not 0.5"),
        (lambda t: t.replace("\t1 1\n", "\t1\n", 1), "1 interactions differ in length"),
        (lambda t: t.replace("\t1 1\n", "\t1 good\n", 1), "reviews.inter:2: sentiment='good'"),
        (lambda t: t.replace("feature:", "word:"), "columns feature and sentiment"),
        (lambda t: t.replace("sentiment:float_seq", "sentiment:float"), "sentiment:float_seq"),
    ],
)
def test_bad_mentions_are_said_in_one_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        assemble(rewrite(tmp_path, change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_source": "reviews"}, "feature_source=reviews: one of auto"),
        ({"feature_source": "item_attribute"}, "needs item_feature_field"),
        ({"feature_source": "item_attribute", "item_feature_field": "brand"}, "brand|no file"),
        ({"feature_field": "aspect"}, "columns aspect and sentiment"),
        ({"feature_source": "interaction", "feature_field": "aspect"}, "aspect"),
        ({"feature_scale": 1.0}, "feature_scale=1.0: must be above 1"),
        ({"feature_field": 3}, "feature_field=3: text is expected"),
    ],
)
def test_bad_options_are_refused_before_data_are_read(reviews, options, message):
    with pytest.raises(ValueError, match=message):
        Config(config_dict=feature_toy_options(reviews, **options))


def test_an_item_column_must_hold_names(toy):
    options = toy_options(toy, "CER", item_feature_field="item_id")
    with pytest.raises(ValueError, match="item_feature_field='item_id': is the item's id"):
        assemble(options)


def test_a_stopped_run_of_reviews_knows_itself_again(reviews):
    """The columns that the model adds are part of the run's key, before and after."""
    options = feature_toy_options(reviews, epochs=1)
    folder = run_recbole_enhance(config_dict=options)["run_dir"]
    saved = Config(config_file_list=[Path(folder, "config.yaml")])
    assert run_key(saved) == run_key(Config(config_dict=options))
    assert saved["feature_source"] == "interaction"


def test_other_models_do_not_load_the_mentions(reviews):
    config = Config(config_dict=feature_toy_options(reviews, "BPR"))
    assert config["load_col"]["inter"] == ["user_id", "item_id", "rating"]
