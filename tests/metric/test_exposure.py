import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.metric.exposure import (
    exposure_by_group,
    exposure_ratio,
    popularity_reo,
    popularity_rsp,
)


@st.composite
def cases(draw):
    """Lists with padding, groups of items (some with none), training and held-out pairs."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 15))
    k, n_groups = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    items = torch.randint(0, n_items, (n_users, k), generator=generator)
    group = torch.randint(-1, n_groups, (n_items,), generator=generator)
    group[0] = -1
    kind = torch.randint(0, 3, (n_users, n_items), generator=generator)
    kind[:, 0] = 0
    return items, group, n_groups, kind == 1, kind == 2


def variation(part, whole):
    shares = [p / w for p, w in zip(part, whole) if w]
    if len(shares) < 2 or sum(shares) == 0:
        return math.nan
    return statistics.pstdev(shares) / statistics.mean(shares)


@settings(deadline=None)
@given(cases())
def test_exposure_against_a_loop(case):
    items, group, n_groups, _, _ = case
    mass = [0.0] * n_groups
    for listed in items.tolist():
        for rank, item in enumerate(listed, start=1):
            if item and group[item] >= 0:
                mass[group[item]] += 1 / math.log2(rank + 1)
    shares = exposure_by_group(items, group, n_groups)
    ratio = exposure_ratio(items, group, n_groups)
    assert shares.dtype == ratio.dtype == torch.float64
    if sum(mass) == 0:
        assert shares.isnan().all()
        assert ratio.isnan()
        return
    assert shares.tolist() == pytest.approx([m / sum(mass) for m in mass], abs=1e-12)
    assert shares.sum().item() == pytest.approx(1)
    sizes = [int((group == g).sum()) for g in range(n_groups)]
    means = [m / n for m, n in zip(mass, sizes) if n]
    if len(means) < 2:
        assert ratio.isnan()
        return
    assert ratio.item() == pytest.approx(min(means) / max(means), abs=1e-12)
    assert 0 <= ratio <= 1


@settings(deadline=None)
@given(cases())
def test_parity_and_opportunity_against_a_loop(case):
    items, group, n_groups, past, held_out = case
    shown, candidates = [0] * n_groups, [0] * n_groups
    hit, liked = [0] * n_groups, [0] * n_groups
    for user, listed in enumerate(items.tolist()):
        for item in range(1, len(group)):
            g = int(group[item])
            if g < 0:
                continue
            candidates[g] += not past[user, item]
            liked[g] += bool(held_out[user, item])
            shown[g] += listed.count(item)
            hit[g] += listed.count(item) * bool(held_out[user, item])
    rsp = popularity_rsp(items, past.nonzero()[:, 1], group, n_groups)
    relevant = held_out.gather(1, items)
    reo = popularity_reo(items, relevant, held_out.nonzero()[:, 1], group, n_groups)
    assert rsp.dtype == reo.dtype == torch.float64
    assert rsp.item() == pytest.approx(variation(shown, candidates), abs=1e-12, nan_ok=True)
    assert reo.item() == pytest.approx(variation(hit, liked), abs=1e-12, nan_ok=True)
    for value in (rsp, reo):
        assert value.isnan() or 0 <= value <= math.sqrt(n_groups - 1) + 1e-12


def test_equal_chances_are_fair_and_one_group_only_is_not():
    group = torch.tensor([-1, 0, 0, 1, 1])
    none = torch.zeros(0, dtype=torch.long)
    even, uneven = torch.tensor([[1], [3]]), torch.tensor([[1], [2]])
    assert popularity_rsp(even, none, group, 2).item() == 0
    assert popularity_rsp(uneven, none, group, 2).item() == 1
    assert exposure_ratio(even, group, 2).item() == 1
    assert exposure_ratio(uneven, group, 2).item() == 0
    hits, held_out = torch.ones(2, 1).bool(), torch.tensor([1, 2, 3, 4])
    assert popularity_reo(even, hits, held_out, group, 2).item() == 0
    assert popularity_reo(uneven, hits, held_out, group, 2).item() == 1


def test_no_hit_and_no_list_have_no_value():
    group, empty = torch.tensor([-1, 0, 1]), torch.zeros(2, 3, dtype=torch.long)
    none = torch.zeros(0, dtype=torch.long)
    no_hit = torch.zeros(2, 3).bool()
    assert popularity_reo(empty + 1, no_hit, torch.tensor([1, 2]), group, 2).isnan()
    assert popularity_rsp(empty, none, group, 2).isnan()
    assert exposure_by_group(empty, group, 2).isnan().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(1, 40, (50, 10), generator=generator)
    relevant = torch.rand(50, 10, generator=generator) < 0.3
    group, pairs = torch.arange(40) % 3 - 1, torch.randint(1, 40, (99,), generator=generator)
    for metric, args in (
        (exposure_by_group, (group, 2)),
        (exposure_ratio, (group, 2)),
        (popularity_rsp, (pairs, group, 2)),
        (popularity_reo, (relevant, pairs, group, 2)),
    ):
        there = [x.cuda() if isinstance(x, torch.Tensor) else x for x in args]
        cuda = metric(items.cuda(), *there)
        torch.testing.assert_close(cuda.cpu(), metric(items, *args), rtol=1e-12, atol=1e-14)
