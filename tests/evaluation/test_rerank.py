"""Greedy re-ranking against a slow loop over users and places."""

import math

import pytest
import torch

from recbole_enhance.evaluation.rerank import RERANKERS, rerank
from recbole_enhance.experiment.config import Config
from recbole_enhance.metric import diversity
from recbole_enhance.options.errors import OptionError
from recbole_enhance.testing.worlds import run_toy, toy_options

K = 5


@pytest.fixture
def world(generator):
    scores = torch.randn((12, 30), generator=generator, dtype=torch.float64).sort(1, True).values
    scores[3, 8:] = -torch.inf
    scores[4, 3:] = -torch.inf  # less than a list
    items = torch.stack([torch.randperm(60, generator=generator)[:30] + 1 for _ in range(12)])
    items[scores == -torch.inf] = 0
    categories = torch.rand((61, 7), generator=generator) < 0.3
    categories[0] = True  # padding has none, whatever its row says
    categories[5] = False
    popularity = torch.randint(0, 50, (61,), generator=generator)
    taste = torch.rand((12, 7), generator=generator, dtype=torch.float64)
    return scores, items, categories, popularity, taste / taste.sum(1, keepdim=True)


def bonus(how, item, chosen, categories, popularity, taste):
    own = set(categories[item].nonzero().flatten().tolist()) if item else set()
    before = [set(categories[i].nonzero().flatten().tolist()) if i else set() for i in chosen]
    if how == "coverage":
        return len(own - set().union(*before)) / max(len(own), 1)
    if how == "mmr":
        alike = [len(own & b) / len(own | b) if own | b else 1.0 for b in before]
        return -max(alike, default=0.0)
    if how == "popularity":
        return (popularity[1:] > popularity[item]).double().mean().item()
    q = torch.zeros(len(taste), dtype=torch.float64)
    for categories_of in [*before, own]:
        for c in categories_of:
            q[c] += 1 / len(categories_of)
    q /= len(before) + 1
    mixed = 0.99 * q + 0.01 * taste
    return -sum(p * math.log(p / m) for p, m in zip(taste.tolist(), mixed.tolist()) if p > 0)


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("how", RERANKERS)
def test_it_is_the_greedy_loop(world, how, weight):
    scores, items, categories, popularity, taste = world
    found = rerank(how, weight, scores, items, K, categories, popularity, taste)
    for user in range(len(items)):
        real = scores[user].isfinite().nonzero().flatten().tolist()
        low, high = scores[user, real[-1]].item(), scores[user, 0].item()
        chosen = []
        for place in range(min(K, len(real))):
            values = {
                c: (1 - weight) * (scores[user, c].item() - low) / (high - low)
                + weight
                * bonus(
                    how,
                    items[user, c].item(),
                    [items[user, p].item() for p in chosen],
                    categories,
                    popularity,
                    taste[user],
                )
                for c in real
                if c not in chosen
            }
            now = found[user, place].item()
            assert values[now] == pytest.approx(max(values.values()), abs=1e-9)
            chosen.append(now)
        assert (items[user, found[user, len(real) :]] == 0).all()
        assert len(set(found[user].tolist())) == K


@pytest.mark.parametrize("how", RERANKERS)
def test_lambda_0_is_the_list_as_it_was(world, how):
    scores, items, categories, popularity, taste = world
    found = rerank(how, 0.0, scores, items, K, categories, popularity, taste)
    full = scores[:, K - 1].isfinite()
    assert torch.equal(found[full], torch.arange(K).expand(int(full.sum()), K))


def test_each_raises_what_it_is_for(world):
    scores, items, categories, popularity, taste = world
    lists = {
        how: items.gather(1, rerank(how, 0.8, scores, items, K, categories, popularity, taste))
        for how in RERANKERS
    }
    plain = items[:, :K]
    coverage = diversity.category_coverage
    assert coverage(lists["coverage"], categories).mean() > coverage(plain, categories).mean()
    ild = diversity.intra_list_distance
    assert ild(lists["mmr"], categories).mean() > ild(plain, categories).mean()
    assert popularity[lists["popularity"]].sum() < popularity[plain].sum()


@pytest.mark.parametrize("mode", ["full", "uni20"])
def test_a_run_is_evaluated_on_its_re_ranked_lists(toy, mode):
    metrics = {"metrics": ["NDCG", "CategoryCoverage", "ILD", "ARP"], "eval_args": {"mode": mode}}
    plain = run_toy(toy, "BPR", saved=False, **metrics)["test_result"]

    def result(how, weight):
        options = {"rerank": how, "rerank_lambda": weight, **metrics}
        return run_toy(toy, "BPR", saved=False, **options)["test_result"]

    assert result("mmr", 0) == plain
    assert result("coverage", 0.8)["categorycoverage@5"] > plain["categorycoverage@5"]
    assert result("mmr", 0.8)["ild@5"] > plain["ild@5"]
    assert result("popularity", 0.8)["arp@5"] < plain["arp@5"]
    assert result("calibrated", 0.8) != plain
    assert result("coverage", None) == result("coverage", 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rerank": "dpp"}, "rerank=dpp: must be one of coverage, mmr, calibrated, popularity"),
        ({"rerank": "mmr", "rerank_lambda": 1.5}, "rerank_lambda=1.5: must be between 0 and 1"),
        ({"rerank": "mmr", "item_category_field": None}, "rerank=mmr: needs categories"),
    ],
)
def test_bad_options_are_refused(toy, options, message):
    with pytest.raises(OptionError, match=message):
        Config(config_dict=toy_options(toy, "BPR", **options))
