import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import recbole.evaluator.register as recbole_metrics
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.utils import EvaluatorType
from scipy.sparse import csr_matrix

from recbole_enhance.experiment.validation import refuse_bad_metrics
from recbole_enhance.metric import base
from recbole_enhance.metric.base import UserMetric
from recbole_enhance.metric.fairness import ERRORS
from recbole_enhance.metric.registry import (
    BY_NAME,
    METRICS,
    register,
    requirements_of,
)
from recbole_enhance.options.general import GeneralOptions
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.schema import validated
from recbole_enhance.testing.plugin import TABLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
DEFAULTS = yaml.safe_load((resource_dir("properties") / "overall.yaml").read_text("utf-8"))
CONFIG = {
    **DEFAULTS,
    "topk": [1, 2],
    "metric_decimal_place": 4,
    "group_metric": "Recall",
    "tail_ratio": 0.25,
}


def struct(**values):
    data = DataStruct()
    for key, value in values.items():
        data.set(key.replace("__", "."), value)
    return data


def small_world(items=((3, 4), (2, 3), (2, 0))):
    """Three users and four items; every number below is told by hand."""
    past = [(1, 1), (1, 2), (2, 1), (3, 1), (3, 3)]
    users, ids = zip(*past)
    return struct(
        rec__items=torch.tensor(items),
        rec__users=torch.tensor([1, 2, 3]),
        rec__positive_u=torch.tensor([0, 1, 2, 2]),
        rec__positive_i=torch.tensor([3, 4, 2, 4]),
        rec__positive_score=torch.tensor([2.0, 1.0, 0.0, 3.0]),
        data__train_matrix=csr_matrix((np.ones(5), (users, ids)), shape=(4, 5)),
        data__item_category=torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]).bool(),
        data__item_embedding=torch.tensor(
            [[5.0, 5.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]]
        ),
        data__item_group=torch.tensor([-1, 0, 1, 0, 1]),
        data__user_group={
            "gender": (["F", "M"], torch.tensor([-1, 0, 1, 1])),
            "one group": (["all"], torch.tensor([-1, 0, 0, 0])),
        },
        data__num_items=5,
        data__count_items=Counter({1: 4, 2: 2, 3: 1}),  # users repeat themselves
    )


def entropy(*shares):
    return -sum(p * math.log(p) for p in shares)


def bound(*rates):
    """Epsilon of an item from the groups' smoothed rates."""
    logs = [math.log(p) for p in rates], [math.log(1 - p) for p in rates]
    return max(max(side) - min(side) for side in logs)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


D2 = 1 / math.log2(3)
DIVERGENCE = 0.75 * math.log(0.75 / 0.0075) + 0.25 * math.log(0.25 / (0.99 + 0.0025))
AT_2 = {
    "categorycoverage": (0.5 + 1 + 1) / 3,
    "categoryrecall": 1.0,  # the second user's held-out item has no category
    "subtopicrecall": 1.0,
    "ild": (1 + 0.5 + 0) / 3,
    "embeddingild": (1 + 1 + 0) / 3,
    "categoryentropy": (0 + entropy(0.25, 0.75) + entropy(0.5, 0.5)) / 3,
    "calibration": (DIVERGENCE + math.log(1 / (0.99 * 0.25 + 0.01)) + 0) / 3,
    "itemcoverage": 3 / 4,
    "giniindex": (-1 * 1 + 1 * 2 + 3 * 2) / (4 * 5),
    "shannonentropy": entropy(2 / 5, 2 / 5, 1 / 5),
    "averagepopularity": (0.5 + 1.5 + 2) / 3,
    "tailpercentage": 0.5 / 3,
    "arp": (0.5 + 1 + 1) / 3,
    "aplt": (0.5 + 0.5 + 1) / 3,
    "epc": (2 / 3 / (1 + D2) + 0 + 2 / 3) / 3,
    "efd": math.log2(5) * (1 / (1 + D2) + 0 + 1) / 3,
    "miuf": math.log2(3),
    "serendipity": (0.25 / 2 + 0 + 0.25) / 3,
    "groupgap": 1 - (0 + 0.5) / 2,
    "groupmad": 1 - (0 + 0.5) / 2,
    "nonparityunfairness": 2 - (1 + 0 + 3) / 3,
    "valueunfairness": (1 + 1 + 1) / 3,
    "absoluteunfairness": (1 + 1 + 1) / 3,
    "underunfairness": (0 + 0 + 1) / 3,
    "overunfairness": (1 + 1 + 0) / 3,
    "differentialfairness": (
        bound((sigmoid(2) + 0.5) / 2, 0.5)
        + bound(0.5, (sigmoid(1) + sigmoid(3) + 0.5) / 3)
        + bound(0.5, (sigmoid(0) + 0.5) / 2)
    )
    / 3,
    "tailexposure": (2 + D2) / (3 + 2 * D2),
    "exposureratio": (1 + D2) / (2 + D2),
    "popreo": (1 - 1 / 3) / (1 + 1 / 3),
    "poprsp": (1 - 3 / 5) / (1 + 3 / 5),
}
every_metric = pytest.mark.parametrize("name", sorted(BY_NAME))


def test_every_metric_is_told_by_hand():
    assert set(AT_2) == set(BY_NAME)


@every_metric
def test_value_at_two(name):
    metric = BY_NAME[name](CONFIG)
    assert metric.value(small_world(), 2) == pytest.approx(AT_2[name], rel=1e-6, abs=1e-9)


@every_metric
def test_result_has_recboles_form(name):
    metric = BY_NAME[name](CONFIG)
    result = metric.calculate_metric(small_world())
    assert list(result) == [f"{name}@1", f"{name}@2"]
    assert all(type(value) is float for value in result.values())
    assert result[f"{name}@2"] == round(metric.value(small_world(), 2), 4)
    first = small_world([(3, 0), (2, 0), (2, 0)])  # @1 looks at the first place only
    assert metric.value(first, 2) == pytest.approx(metric.value(small_world(), 1), nan_ok=True)


@every_metric
def test_metric_need_names_all_keys_that_are_read(name):
    whole, cls = small_world(), BY_NAME[name]
    needed = struct(**{key.replace(".", "__"): whole[key] for key in cls.metric_need})
    assert cls(CONFIG).value(needed, 2) == pytest.approx(AT_2[name], rel=1e-6, abs=1e-9)


@every_metric
def test_lists_of_nothing_are_no_error(name):
    data = small_world([(0, 0), (0, 0), (0, 0)])
    value = BY_NAME[name](CONFIG).calculate_metric(data)[f"{name}@2"]
    assert math.isnan(value) or value >= 0


@every_metric
def test_no_positive_and_no_history_is_no_error(name):
    data, none = small_world(), torch.zeros(0, dtype=torch.long)
    data["rec.positive_u"] = data["rec.positive_i"] = none
    data["rec.positive_score"] = none.float()
    data["data.train_matrix"] = csr_matrix((4, 5))
    data["data.count_items"] = Counter()
    value = BY_NAME[name](CONFIG).calculate_metric(data)[f"{name}@2"]
    assert math.isnan(value) or value >= -1e-12 or name == "miuf"


def test_users_without_a_value_are_left_out_of_the_mean():
    recall = BY_NAME["categoryrecall"](CONFIG)
    values = recall.per_user(small_world(), 2)
    assert values.isnan().tolist() == [False, True, False]
    assert recall.value(small_world(), 2) == values[[0, 2]].mean()


@pytest.mark.parametrize("cls", [cls for cls in METRICS if issubclass(cls, UserMetric)])
def test_a_value_for_each_user(cls):
    values = cls(CONFIG).per_user(small_world(), 2)
    assert values.shape == (3,)
    assert values.dtype == torch.float64


@st.composite
def worlds(draw):
    """Lists without repetition, some of them short, of random users."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(3, 12))
    k = draw(st.integers(1, min(5, n_items - 1)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    items = torch.rand(n_users, n_items - 1, generator=generator).topk(k).indices + 1
    items[torch.arange(k) >= torch.randint(0, k + 1, (n_users, 1), generator=generator)] = 0
    kind = torch.randint(0, 3, (n_users, n_items), generator=generator)
    kind[:, 0] = 0
    past = np.zeros((n_users + 2, n_items))  # the padding, and a user who is not ranked
    past[1:-1] = (kind == 1).numpy()
    past[-1, 1] = 1
    rows, held_out = (kind == 2).nonzero(as_tuple=True)
    codes = torch.randint(-1, 3, (n_users + 2,), generator=generator)
    matrix = csr_matrix(past)
    return struct(
        rec__items=items,
        rec__users=torch.arange(1, n_users + 1),
        rec__positive_u=rows,
        rec__positive_i=held_out,
        rec__positive_score=torch.randn(len(rows), generator=generator),
        data__train_matrix=matrix,
        data__item_category=torch.rand(n_items, 3, generator=generator) < 0.4,
        data__item_embedding=torch.randn(n_items, 2, generator=generator),
        data__item_group=torch.tensor([-1] + [i % 2 for i in range(1, n_items)]),
        data__user_group={"field": (["a", "b", "c"], codes)},
        data__num_items=n_items,
        data__count_items=Counter(matrix.indices.tolist()),
    )


@settings(deadline=None)
@given(worlds())
def test_every_value_is_in_the_range_that_the_page_says(data):
    """Ranges whose upper end is a number; all others must not be below 0."""
    k = data["rec.items"].shape[1]
    for name, row in page_rows().items():
        value = BY_NAME[name]({**CONFIG, "topk": [k]}).value(data, k)
        low, high = re.match(r"\[(\d), ([^\])]*)", row["range"]).groups()
        assert math.isnan(value) or value >= int(low) - 1e-12, name
        assert not high.isdigit() or math.isnan(value) or value <= int(high) + 1e-12, name


@settings(deadline=None)
@given(worlds())
def test_keys_are_read_as_a_loop_reads_them(data):
    matrix = data["data.train_matrix"].toarray()
    n_users, n_items = matrix.shape
    columns = [sum(matrix[u][i] > 0 for u in range(n_users)) for i in range(n_items)]
    assert base.popularity(data).tolist() == columns
    assert base.interactions(data).tolist() == columns
    assert base.n_active(data) == sum(any(row) for row in matrix)
    rows, items = base.history(data)
    expected = [
        (row, item)
        for row, user in enumerate(data["rec.users"].tolist())
        for item in range(n_items)
        if matrix[user][item]
    ]
    assert sorted(zip(rows.tolist(), items.tolist())) == expected
    held_out = set(zip(data["rec.positive_u"].tolist(), data["rec.positive_i"].tolist()))
    assert base.relevant(data, 2).tolist() == [
        [(row, item) in held_out for item in listed]
        for row, listed in enumerate(base.top(data, 2).tolist())
    ]


WORSE = ((1, 0), (1, 0), (1, 0))  # the most popular item for all, and nothing else
BETTER_BY_LISTS = sorted(
    set(BY_NAME)
    - {
        "calibration",
        "popreo",
        "groupgap",
        "groupmad",
        "nonparityunfairness",
        "differentialfairness",
        *(f"{kind}unfairness" for kind in ERRORS),
    }
)


@pytest.mark.parametrize("name", BETTER_BY_LISTS)
def test_other_lists_than_the_most_popular_item_are_better(name):
    metric = BY_NAME[name](CONFIG)
    better, worse = metric.value(small_world(), 2), metric.value(small_world(WORSE), 2)
    assert (better < worse) if metric.smaller else (better > worse)


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - set(BETTER_BY_LISTS)))
def test_what_measures_a_difference_is_better_when_smaller(name):
    assert BY_NAME[name].smaller  # and 0 for equal groups or distributions, as their tests say


# ---- groups and options ---------------------------------------------------------------------


@pytest.mark.parametrize("accuracy", ["Recall", "ndcg", "MAP", "Hit", "Precision", "MRR"])
def test_gap_of_any_accuracy(accuracy):
    metric = BY_NAME["groupgap"]({**CONFIG, "group_metric": accuracy})
    assert 0 < metric.value(small_world(), 2) <= 1


def test_the_worst_field_counts_and_one_group_is_no_field():
    data = small_world()
    fields = data["data.user_group"]
    fields["worse"] = (["a", "b"], torch.tensor([-1, 0, 1, 0]))  # recall 1 and 1/2 against 0
    fields["better"] = (["a", "b"], torch.tensor([-1, 0, 0, 1]))  # 1 and 0 against 1/2
    assert BY_NAME["groupgap"](CONFIG).value(data, 2) == pytest.approx(0.75)
    del fields["gender"], fields["worse"]
    assert BY_NAME["groupgap"](CONFIG).value(data, 2) == pytest.approx(0)
    del fields["better"]
    assert math.isnan(BY_NAME["groupgap"](CONFIG).value(data, 2))


def test_scores_that_are_no_probabilities_need_the_sigmoid():
    metric = BY_NAME["differentialfairness"]({**CONFIG, "score_link": "identity"})
    with pytest.raises(ValueError, match="score_link=identity: the model's scores are not in"):
        metric.value(small_world(), 2)
    data = small_world()
    data["rec.positive_score"] = data["rec.positive_score"].sigmoid()
    assert metric.value(data, 2) == pytest.approx(AT_2["differentialfairness"], rel=1e-6)


def test_the_defaults_are_allowed():
    validated(GeneralOptions, DEFAULTS)
    validated(GeneralOptions, {"group_fields": ["gender", "activity"], "tail_ratio": 3})


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("group_fields", "gender", "a list of user columns"),
        ("group_fields", [], "a list of user columns"),
        ("group_fields", [1], "a list of user columns"),
        ("group_metric", "AUC", "one of recall, ndcg, map, hit, precision, mrr"),
        ("group_metric", None, "one of recall"),
        ("activity_groups", 1, "a whole number between 2 and 1000000"),
        ("activity_groups", 2.5, "a whole number between 2 and 1000000"),
        ("item_head_share", 1, "between 0 and 1"),
        ("item_head_share", "half", "between 0 and 1"),
        ("calibration_alpha", 0, "between 0 and 1"),
        ("score_link", "log", "one of sigmoid, identity"),
        ("tail_ratio", 0, "a number above 0"),
        ("tail_ratio", None, "a number above 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(option, value, allowed):
    with pytest.raises(ValueError, match=f"^{option}=") as error:
        validated(GeneralOptions, {**DEFAULTS, option: value})
    assert allowed in str(error.value)
    assert "\n" not in str(error.value)


# ---- RecBole's tables -----------------------------------------------------------------------


def test_importing_registers_nothing_and_registering_twice_changes_nothing():
    assert "ild" not in recbole_metrics.metrics_dict
    held = {name: getattr(recbole_metrics, name) for name in TABLES}
    register()
    once = {name: table.copy() for name, table in held.items()}
    register()
    assert held == once
    assert all(getattr(recbole_metrics, name) is table for name, table in held.items())
    for cls in METRICS:
        name = cls.__name__.lower()
        assert recbole_metrics.metrics_dict[name] is cls
        assert recbole_metrics.metric_information[name] == list(cls.metric_need)
        assert recbole_metrics.metric_types[name] == EvaluatorType.RANKING
        assert recbole_metrics.smaller_metrics.count(name) == cls.smaller
    assert {"recall", "gauc"} <= set(recbole_metrics.metrics_dict)


def test_the_names_are_different_and_none_of_recboles_but_the_repaired():
    assert len(BY_NAME) == len(METRICS)
    assert set(BY_NAME) & set(recbole_metrics.metrics_dict) == {
        "itemcoverage",
        "giniindex",
        "shannonentropy",
        "averagepopularity",
        "tailpercentage",
    }
    for name in set(BY_NAME) & set(recbole_metrics.smaller_metrics):
        assert BY_NAME[name].smaller


def test_recboles_evaluator_and_our_checks_take_them():
    register()
    names = [cls.__name__ for cls in METRICS]
    result = Evaluator({**CONFIG, "metrics": names}).evaluate(small_world())
    assert len(result) == 2 * len(names)
    given = {"item_category_field": "genres", "group_fields": ["gender"], "rerank": None}
    for name in names:
        values = {"metrics": [name, "Recall"], "topk": [10], "valid_metric": f"{name}@10"}
        refuse_bad_metrics({**values, **given})


def test_what_a_metric_requires():
    assert requirements_of("CategoryCoverage") == {"categories"}
    assert requirements_of("embeddingild") == {"embedding"}
    assert requirements_of("GroupGap") == requirements_of("OverUnfairness") == {"groups"}
    assert requirements_of("PopREO") == requirements_of("NDCG") == frozenset()
    keys = {
        "categories": "data.item_category",
        "groups": "data.user_group",
        "embedding": "data.item_embedding",
    }
    for cls in METRICS:
        assert cls.requires == {word for word, key in keys.items() if key in cls.metric_need}


# ---- the page -------------------------------------------------------------------------------


def page_rows():
    """Lower-case name -> its row of docs/metrics.md."""
    rows = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6 and cells[0].startswith("`"):
            keys = ("name", "formula", "range", "direction", "needs", "reference")
            row = dict(zip(keys, cells))
            rows[row["name"].strip("`").lower()] = row
    return rows


def test_every_metric_is_on_the_page_as_it_is():
    rows = page_rows()
    assert set(rows) == set(BY_NAME)
    words = {"categories": "categories", "groups": "groups", "embedding": "embedding"}
    for name, row in rows.items():
        cls = BY_NAME[name]
        assert row["name"] == f"`{cls.__name__}`"
        assert row["direction"] == ("smaller" if cls.smaller else "larger"), name
        assert {word for word in words if word in row["needs"]} == cls.requires, name
        assert all(row.values()), name


def test_every_key_is_described_once_and_read_by_somebody():
    described = re.findall(r"^((?:rec|data)\.\w+)", base.__doc__, re.MULTILINE)
    assert len(described) == len(set(described))
    assert set(described) == {key for cls in METRICS for key in cls.metric_need}
    assert all(f"`{key}`" in PAGE for key in described)


def test_every_option_is_on_the_page_with_its_default():
    options = (
        "group_fields",
        "group_metric",
        "activity_groups",
        "item_head_share",
        "calibration_alpha",
        "score_link",
        "tail_ratio",
    )
    for option in options:
        default = DEFAULTS[option]
        text = "~" if default is None else str(default)
        assert re.search(rf"^\| `{option}` \| {re.escape(text)} \|", PAGE, re.MULTILINE), option
