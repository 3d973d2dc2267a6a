import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct

from recbole_enhance.compat import mends
from recbole_enhance.evaluation.evaluator import EnhancedEvaluator
from recbole_enhance.metric import lists, registry

TOPK, N_ITEMS, N_CATEGORIES = [1, 3, 10], 60, 7
RECBOLES = ["Recall", "NDCG", "MRR", "MAP", "Hit", "Precision"]


@pytest.fixture(autouse=True)
def _as_a_run_finds_them():
    mends.apply()
    registry.register()


def ranked(n, seed):
    """Random lists of n users as the collector hands them over."""
    generator = torch.Generator().manual_seed(seed)
    hits = torch.rand(n, max(TOPK), generator=generator) < 0.2
    possible = hits.sum(1) + torch.randint(1, 5, (n,), generator=generator)
    data = DataStruct()
    data.set("rec.topk", torch.cat([hits, possible.unsqueeze(1)], dim=1).int())
    items = torch.rand(n, N_ITEMS, generator=generator).argsort(1)[:, : max(TOPK)]
    data.set("rec.items", torch.where(hits.any(1, keepdim=True), items, 0))  # some have no list
    data.set("data.item_category", torch.rand(N_ITEMS, N_CATEGORIES, generator=generator) < 0.3)
    return data


def settings_of(metrics, places):
    return {
        "metrics": metrics,
        "topk": TOPK,
        "metric_decimal_place": places,
        "item_category_field": "c",
    }


@pytest.mark.parametrize("places", [4, 12])
@pytest.mark.parametrize("n", [1, 2, 300, 5000])
def test_results_are_recboles_and_the_values_are_behind_them(n, places):
    config, data = settings_of([*RECBOLES, "ILD", "CategoryEntropy"], places), ranked(n, n)
    evaluator = EnhancedEvaluator(config)
    result = evaluator.evaluate(data)
    assert result == Evaluator(config).evaluate(data)
    assert list(evaluator.per_user) == list(result)
    for name, values in evaluator.per_user.items():
        assert values.shape == (n,)
        mean = np.nan if np.isnan(values).all() else np.nanmean(values)
        assert result[name] == pytest.approx(mean, abs=0.6 * 10**-places, nan_ok=True)


def test_values_are_computed_once_and_are_of_the_last_result(monkeypatch):
    times = []
    monkeypatch.setattr(
        lists.ILD,
        "per_user",
        lambda self, data, k, own=lists.ILD.per_user: times.append(k) or own(self, data, k),
    )
    evaluator = EnhancedEvaluator(settings_of(["Recall", "ILD"], 4))
    first = evaluator.evaluate(ranked(20, 0))
    assert times == TOPK
    values = evaluator.per_user
    evaluator.evaluate(ranked(30, 1))
    assert all(len(column) == 30 for column in evaluator.per_user.values())
    assert all(len(column) == 20 for column in values.values())
    assert evaluator.evaluate(ranked(20, 0)) == first


def test_metrics_without_values_of_users_have_no_column():
    data = ranked(40, 3)
    data.set("data.num_items", N_ITEMS)
    evaluator = EnhancedEvaluator(settings_of(["ItemCoverage", "Hit"], 4))
    assert len(evaluator.evaluate(data)) == 6
    assert list(evaluator.per_user) == [f"hit@{k}" for k in TOPK]
