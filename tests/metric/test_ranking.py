import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.evaluator import metrics as recbole_metrics

from recbole_enhance.metric import ranking


@pytest.fixture(scope="module", autouse=True)
def _numpy_aliases():
    """RecBole's metrics say np.float, which its Config restores; no test here builds a Config."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float", np.float64, raising=False)
        yield


@st.composite
def batches(draw):
    """Lists and positives as RecBole's loaders give them; each user has at least one positive."""
    n_users, n_items, k = (
        draw(st.integers(1, 8)),
        draw(st.integers(3, 30)),
        draw(st.integers(1, 12)),
    )
    k = min(k, n_items - 1)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.rand(n_users, n_items, generator=generator)
    scores[:, 0] = -1
    items = scores.topk(k, dim=1).indices
    positive = torch.rand(n_users, n_items, generator=generator) < draw(st.floats(0, 1))
    positive[:, 0] = False
    positive[torch.arange(n_users), draw(st.integers(1, n_items - 1))] = True
    return items, positive, n_items


def pairs(positive, generator_seed=0):
    """Index pairs in an order that no function may rely on."""
    u, i = positive.nonzero(as_tuple=True)
    order = torch.randperm(len(u), generator=torch.Generator().manual_seed(generator_seed))
    return u[order], i[order]


@settings(deadline=None)
@given(batches())
def test_hits_and_counts_are_those_of_the_dense_matrix(batch):
    items, positive, n_items = batch
    u, i = pairs(positive)
    assert torch.equal(ranking.hits(items, u, i, n_items), positive.gather(1, items))
    n = ranking.count_positives(u, i, len(items), n_items)
    assert torch.equal(n, positive.sum(1))
    twice = ranking.count_positives(u.repeat(2), i.repeat(2), len(items), n_items)
    assert torch.equal(twice, n)


def test_hits_without_positives():
    none = torch.zeros(0, dtype=torch.long)
    assert not ranking.hits(torch.tensor([[1, 2]]), none, none, 3).any()
    assert ranking.count_positives(none, none, 2, 3).tolist() == [0, 0]


def recbole(name, topk=(1,)):
    return getattr(recbole_metrics, name)({"topk": list(topk), "metric_decimal_place": 4})


@settings(deadline=None)
@given(batches())
def test_every_metric_is_recboles_at_every_k(batch):
    items, positive, n_items = batch
    hits = ranking.hits(items, *pairs(positive), n_items)
    n = positive.sum(1)
    theirs = {
        "recall": recbole("Recall").metric_info(hits.numpy(), n.numpy()),
        "ndcg": recbole("NDCG").metric_info(hits.numpy(), n.numpy()),
        "hit": recbole("Hit").metric_info(hits.numpy()),
        "precision": recbole("Precision").metric_info(hits.numpy()),
        "mrr": recbole("MRR").metric_info(hits.numpy()),
        "map": recbole("MAP").metric_info(hits.numpy(), n.numpy()),
    }
    for k in range(
        1, items.shape[1] + 1
    ):  # RecBole reads column k of one matrix; ours is cut first
        cut = hits[:, :k]
        ours = {
            "recall": ranking.recall(cut, n),
            "ndcg": ranking.ndcg(cut, n),
            "hit": ranking.hit(cut),
            "precision": ranking.precision(cut),
            "mrr": ranking.mrr(cut),
            "map": ranking.average_precision(cut, n),
        }
        for name, values in ours.items():
            assert values.dtype == torch.float64
            # numpy's logarithm and torch's may differ by an ulp, and so may the order of a sum
            rtol = 1e-13 if name in ("ndcg", "map") else 0
            np.testing.assert_allclose(
                values, theirs[name][:, k - 1], rtol=rtol, err_msg=f"{name}@{k}"
            )


@settings(deadline=None)
@given(batches())
def test_average_precision_by_the_held_out_is_what_others_give(batch):
    """ranx, irspack, RecTools and trec_eval divide by all held-out items, also beyond k."""
    items, positive, n_items = batch
    hits = ranking.hits(items, *pairs(positive), n_items)
    n, k = positive.sum(1), items.shape[1]
    ours = ranking.average_precision(hits, n)
    for user, row in enumerate(hits.tolist()):
        total = sum(sum(row[: r + 1]) / (r + 1) for r in range(k) if row[r])
        if n[user] > 0:
            theirs = total / n[user].item()
            assert ours[user].item() * min(n[user].item(), k) / n[user].item() == pytest.approx(
                theirs
            )
        if n[user] >= k and all(row):
            assert ours[user] == 1  # a list that cannot be better


@settings(deadline=None)
@given(batches())
def test_rounded_means_are_what_recbole_prints(batch):
    items, positive, n_items = batch
    hits = ranking.hits(items, *pairs(positive), n_items)
    n, k = positive.sum(1), items.shape[1]
    metric = recbole("NDCG", [k])
    printed = metric.topk_result("ndcg", metric.metric_info(hits.numpy(), n.numpy()))
    assert printed[f"ndcg@{k}"] == pytest.approx(ranking.ndcg(hits, n).mean().item(), abs=5.01e-5)


@settings(deadline=None)
@given(batches())
def test_ndcg_and_mrr_against_a_loop(batch):
    items, positive, n_items = batch
    hits = ranking.hits(items, *pairs(positive), n_items)
    ndcg, mrr = ranking.ndcg(hits, positive.sum(1)), ranking.mrr(hits)
    for user, listed in enumerate(items.tolist()):
        relevant = set(positive[user].nonzero().flatten().tolist())
        gain = ideal = reciprocal = 0.0
        for rank, item in enumerate(listed, start=1):
            if item in relevant:
                gain += 1 / math.log2(rank + 1)
                reciprocal = reciprocal or 1 / rank
            if rank <= len(relevant):
                ideal += 1 / math.log2(rank + 1)
        assert ndcg[user].item() == pytest.approx(gain / ideal, rel=1e-12)
        assert mrr[user].item() == reciprocal


@settings(deadline=None)
@given(batches())
def test_average_precision_against_a_loop(batch):
    items, positive, n_items = batch
    hits = ranking.hits(items, *pairs(positive), n_items)
    result = ranking.average_precision(hits, positive.sum(1))
    for user, found in enumerate(hits.tolist()):
        precisions = [sum(found[:r]) / r for r in range(1, len(found) + 1) if found[r - 1]]
        ideal = min(int(positive[user].sum()), len(found))
        assert result[user].item() == pytest.approx(sum(precisions) / ideal, rel=1e-12)


def test_accuracy_by_name_is_the_function():
    hits, n = torch.tensor([[True, False, True]]), torch.tensor([3])
    by_name = {name: function(hits, n).item() for name, function in ranking.ACCURACY.items()}
    assert by_name == {
        "recall": ranking.recall(hits, n).item(),
        "ndcg": ranking.ndcg(hits, n).item(),
        "map": ranking.average_precision(hits, n).item(),
        "hit": 1.0,
        "precision": ranking.precision(hits).item(),
        "mrr": 1.0,
    }


def test_a_user_without_positives_is_nan_not_zero():
    hits, n = torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1, dtype=torch.long)
    assert ranking.average_precision(hits, n).isnan().all()
    assert ranking.recall(hits, n).isnan().all()
    assert ranking.ndcg(hits, n).isnan().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    items = torch.rand(50, 40, generator=generator).topk(10, dim=1).indices
    u, i = (torch.rand(50, 40, generator=generator) < 0.3).nonzero(as_tuple=True)
    results = []
    for device in ("cpu", "cuda"):
        positives = (u.to(device), i.to(device))
        hits = ranking.hits(items.to(device), *positives, 40)
        n = ranking.count_positives(*positives, 50, 40)
        results.append([ranking.recall(hits, n), ranking.ndcg(hits, n), ranking.mrr(hits)])
        assert all(values.device.type == device for values in results[-1])
    for cpu, cuda in zip(*results):
        torch.testing.assert_close(cuda.cpu(), cpu, rtol=1e-12, atol=0)
