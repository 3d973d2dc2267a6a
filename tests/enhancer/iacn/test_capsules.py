import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.enhancer.iacn.capsules import (
    attend_to_items,
    capsules_of,
    label_aware,
    label_aware_score,
    route,
    sampled_cross_entropy,
    squash,
)

shapes = st.tuples(
    st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4)
)


def world(shape, seed):
    """Items, mask, logits; at least one item in each history."""
    batch, L, K, d, _ = shape
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(batch, L, d, generator=g, dtype=torch.float64)
    n = torch.randint(1, L + 1, (batch, 1), generator=g)
    logits = torch.randn(batch, L, K, generator=g, dtype=torch.float64)
    return a, torch.arange(L) < n, logits


def same(a):
    """The map that leaves everything as it is."""
    return torch.eye(a.shape[-1], dtype=a.dtype).unsqueeze(0)


def slow_route(u, mask, logits, iterations, adaptive):
    """One user, one item, one capsule at a time."""
    batch, L, K = logits.shape
    d = u.shape[-1]
    out = torch.zeros(batch, K, d, dtype=u.dtype)
    for k in range(batch):
        items = [i for i in range(L) if mask[k, i]]
        K_u = max(1, min(K, int(math.log2(len(items)))))
        K_u = K_u if adaptive else K
        b = {(i, j): logits[k, i, j].item() for i in items for j in range(K_u)}
        for step in range(iterations):
            v = []
            for j in range(K_u):
                z = torch.zeros(d, dtype=u.dtype)
                for i in items:
                    total = sum(math.exp(b[i, c]) for c in range(K_u))
                    z += math.exp(b[i, j]) / total * u[k, i, j if u.shape[2] > 1 else 0]
                square = float(z @ z)
                v.append(square / (1 + square) * z / math.sqrt(square + 1e-9))
            if step < iterations - 1:
                for i in items:
                    for j in range(K_u):
                        b[i, j] += float(v[j] @ u[k, i, j if u.shape[2] > 1 else 0])
        for j in range(K_u):
            out[k, j] = v[j]
    return out


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 10_000), st.booleans(), st.booleans())
def test_routing_is_what_a_loop_over_items_and_capsules_gives(shape, seed, adaptive, per_capsule):
    a, mask, logits = world(shape, seed)
    maps = torch.randn(shape[2] if per_capsule else 1, shape[3], shape[3], dtype=a.dtype)
    routed = route(a, maps, mask, logits, shape[4], adaptive)
    u = torch.einsum("bld,ked->blke", a, maps)
    slow = slow_route(u, mask, logits, shape[4], adaptive)
    torch.testing.assert_close(routed.capsules, slow, rtol=1e-9, atol=1e-9)
    assert not routed.weights[~mask].any()
    torch.testing.assert_close(routed.weights.sum(-1), mask.double())


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5))
def test_squash_keeps_the_direction_and_a_length_below_1(values):
    z = torch.tensor([values], dtype=torch.float64)
    v = squash(z)
    assert 0 <= v.norm() < 1
    assert torch.allclose(v * z.norm(), z * v.norm(), atol=1e-9)


def test_an_empty_history_has_a_finite_gradient():
    a = torch.randn(1, 3, 2, requires_grad=True)
    routed = route(a, same(a), torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1, 3, 2), 3)
    assert not routed.capsules.any()
    routed.capsules.sum().backward()
    assert not a.grad.any()


def test_padding_does_not_count_whatever_stands_there():
    a, mask, logits = world((3, 5, 3, 4, 3), 1)
    mask[:, 3:] = False
    clean = route(a, same(a), mask, logits, 3).capsules
    dirty, odd = a.clone(), logits.clone()
    dirty[:, 3:], odd[:, 3:] = 1e3, 7.0
    assert torch.equal(route(dirty, same(a), mask, odd, 3).capsules, clean)
    longer = [torch.cat([x, x[:, :4]], dim=1) for x in (a, logits)]
    more = torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(route(longer[0], same(a), more, longer[1], 3).capsules, clean)


def test_permuting_the_history_leaves_the_capsules_and_permuting_columns_permutes_them():
    a, mask, logits = world((4, 6, 3, 5, 3), 2)
    full = torch.ones_like(mask)
    v = route(a, same(a), full, logits, 3, adaptive=False).capsules
    order, columns = torch.randperm(6), torch.tensor([2, 0, 1])
    again = route(a[:, order], same(a), full, logits[:, order], 3, adaptive=False).capsules
    torch.testing.assert_close(again, v)
    moved = route(a, same(a), full, logits[:, :, columns], 3, adaptive=False).capsules
    torch.testing.assert_close(moved, v[:, columns])


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_one_capsule_is_the_squashed_sum(iterations):
    a, mask, logits = world((3, 5, 1, 4, 1), 3)
    total = (a * mask.unsqueeze(-1)).sum(1)
    routed = route(a, same(a), mask, logits, iterations)
    torch.testing.assert_close(routed.capsules.squeeze(1), squash(total))
    _, alpha = label_aware(routed.capsules, routed.used, torch.randn(3, 4, dtype=torch.float64))
    assert torch.equal(alpha, torch.ones(3, 1, dtype=torch.float64))


def test_zeros_with_a_shared_map_make_all_capsules_equal():
    a, mask, _ = world((3, 5, 3, 4, 3), 4)
    v = route(
        a, same(a), mask, torch.zeros(3, 5, 3, dtype=torch.float64), 3, adaptive=False
    ).capsules
    assert torch.equal(v[:, 0], v[:, 1])
    assert torch.equal(v[:, 0], v[:, 2])


def test_the_number_of_capsules_is_the_floor_of_the_logarithm():
    n = torch.tensor([1, 2, 3, 4, 7, 8, 15, 16, 17, 50])
    used = capsules_of(n, 4)
    assert torch.equal(used, torch.arange(4) < used.sum(1, keepdim=True))  # the first ones
    assert used.sum(1).tolist() == [1, 1, 1, 2, 2, 3, 3, 4, 4, 4]


def test_the_gradient_is_that_of_the_last_sum_with_frozen_weights():
    a, mask, logits = world((3, 5, 3, 4, 3), 5)
    a.requires_grad_()
    routed = route(a, same(a), mask, logits, 3)
    (g,) = torch.autograd.grad(routed.capsules.square().sum(), a)
    frozen = squash(routed.weights.detach().transpose(1, 2) @ a)
    (by_hand,) = torch.autograd.grad(frozen.square().sum(), a)
    torch.testing.assert_close(g, by_hand)
    assert not g[~mask].any()
    (through,) = torch.autograd.grad(
        route(a, same(a), mask, logits, 3, stop_gradient=False).capsules.square().sum(), a
    )
    assert not torch.allclose(through, g)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_label_aware_attention_against_its_formula(seed, power):
    g = torch.Generator().manual_seed(seed)
    v = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    q = torch.randn(2, 4, generator=g, dtype=torch.float64)
    used = torch.tensor([[True, True, False], [True, True, True]])
    user, alpha = label_aware(v, used, q, power)
    for k in range(2):
        s = [float(v[k, j] @ q[k]) / 2 for j in range(3) if used[k, j]]
        e = [math.exp(math.copysign(abs(x) ** power, x)) for x in s]
        for j, x in enumerate(e):
            assert alpha[k, j].item() == pytest.approx(x / sum(e))
    assert alpha[0, 2] == 0
    torch.testing.assert_close(user, (alpha.unsqueeze(-1) * v).sum(1))
    several = torch.stack([q, 2 * q], dim=1)
    scores = label_aware_score(v, used, several, power)
    for place in range(2):
        user, _ = label_aware(v, used, several[:, place], power)
        torch.testing.assert_close(scores[:, place], (user * several[:, place]).sum(1))


def test_power_0_is_the_mean_and_hard_the_best_capsule():
    v, q = torch.randn(2, 3, 4), torch.randn(2, 4)
    used = torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(label_aware(v, used, q, 0)[0], v.mean(1))
    best = (v @ q.unsqueeze(-1)).squeeze(-1).argmax(1)
    assert torch.equal(label_aware(v, used, q, hard=True)[0], v[torch.arange(2), best])


def test_attention_reads_items_only_and_sums_to_1():
    a, mask, _ = world((3, 5, 1, 4, 1), 6)
    routed = attend_to_items(a, same(a)[0], mask, torch.randn(2, 4, dtype=torch.float64))
    torch.testing.assert_close(routed.weights.sum(1), torch.ones(3, 2, dtype=torch.float64))
    assert not routed.weights[~mask].any()


def test_sampled_cross_entropy_is_cross_entropy_over_the_positive_and_the_others():
    user, positive, others = torch.randn(3, 4), torch.randn(3, 4), torch.randn(5, 4)
    hits = torch.zeros(3, 5, dtype=torch.bool)
    hits[1, 2] = True
    loss = sampled_cross_entropy(user, positive, others, hits)
    rows = []
    for k in range(3):
        kept = others[~hits[k]]
        scores = torch.cat([positive[k : k + 1], kept]) @ user[k]
        rows.append(-torch.log_softmax(scores, dim=0)[0])
    torch.testing.assert_close(loss, torch.stack(rows).mean())
