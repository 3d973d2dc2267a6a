import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_enhance.options.errors import OptionError
from recbole_enhance.shapley.games import all_coalitions, shapley_values
from recbole_enhance.shapley.in_run import odd_weights, step_sizes, values_from_slopes

N = 8  # samples of a batch; 2^8 coalitions


class World:
    """Matrix factorization with BPR in float64: batches, and a smooth utility of held-out pairs."""

    def __init__(self, seed=0, users=12, items=20, d=6):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.p, self.q = (
            (0.3 * normal(users, d)).requires_grad_(),
            (0.3 * normal(items, d)).requires_grad_(),
        )

        def pick(n, high):
            return torch.randint(high, (n,), generator=generator)

        self.batch = pick(N, users), pick(N, items), pick(N, items)
        self.held_out = pick(60, users), pick(60, items), pick(60, items)

    def margins(self, triplets, p=None, q=None):
        u, i, j = triplets
        p, q = self.p if p is None else p, self.q if q is None else q
        return (p[u] * (q[i] - q[j])).sum(1)

    def losses(self):
        return nn.functional.softplus(-self.margins(self.batch))

    def utility(self, p=None, q=None):
        return nn.functional.logsigmoid(self.margins(self.held_out, p, q)).mean()

    def gradients(self):
        """(N, p and q) flattened, of each sample, and of the utility."""
        tables = [self.p, self.q]
        each = [torch.autograd.grad(x, tables, retain_graph=True) for x in self.losses()]
        flat = torch.stack([torch.cat([t.flatten() for t in pair]) for pair in each])
        whole = torch.autograd.grad(self.utility(), tables)
        return flat, torch.cat([t.flatten() for t in whole])

    def after(self, change):
        p, q = change.split([self.p.numel(), self.q.numel()])
        return self.utility(self.p + p.view_as(self.p), self.q + q.view_as(self.q)).detach()


def preconditioner(world):
    return torch.rand(world.p.numel() + world.q.numel(), dtype=torch.float64) + 0.1


def test_values_add_up_to_the_first_order_change_of_the_utility():
    world = World()
    g, du = world.gradients()
    h = preconditioner(world)
    phi = values_from_slopes(g @ (0.1 * h * du))
    step = -0.1 * h * g.mean(0)
    assert abs(phi.sum() - step @ du) < 1e-10
    tiny = 1e-6
    change = (world.after(tiny * step) - world.after(-tiny * step)) / (2 * tiny)
    assert abs(phi.sum() - change) < 1e-8


def test_values_are_shapleys_of_the_linearised_game():
    world = World(1)
    g, du = world.gradients()
    h = preconditioner(world)

    def game(coalitions):
        return -0.1 / N * (coalitions.double() @ g) @ (h * du)

    expected = shapley_values(game, N)
    torch.testing.assert_close(values_from_slopes(g @ (0.1 * h * du)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_values_are_near_those_of_real_steps_of_every_coalition(seed):
    """Steps of SGD, each coalition on its own: what is left out is the curvature."""
    world = World(seed)
    g, du = world.gradients()
    rate = 0.1 * N  # a tenth of a gradient for each sample

    def game(coalitions):
        steps = -rate / N * (coalitions.double() @ g)
        return torch.stack([world.after(step) for step in steps]) - world.after(0 * steps[0])

    exact = shapley_values(game, N)
    phi = values_from_slopes(g @ (rate * du))
    assert torch.corrcoef(torch.stack([phi, exact]))[0, 1] > 0.99
    assert len(all_coalitions(N)) == 256


def test_a_permuted_batch_has_permuted_values_and_weights():
    slopes = torch.randn(100, dtype=torch.float64)
    order = torch.randperm(100)
    phi = values_from_slopes(slopes)
    torch.testing.assert_close(values_from_slopes(slopes[order]), phi[order])
    torch.testing.assert_close(odd_weights(phi[order], 0.3), odd_weights(phi, 0.3)[order])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50), st.floats(0, 5))
def test_weights_keep_order_sign_and_mean(values, strength):
    values = torch.tensor(values)
    weights = odd_weights(values, strength)
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert (weights[values.argsort()].diff() >= -1e-5).all()
    if strength == 0 or not values.any():
        assert (weights == 1).all()


def test_weights_are_odd_around_1():
    half = torch.rand(50, dtype=torch.float64)
    weights = odd_weights(torch.cat([half, -half]), 0.4)
    torch.testing.assert_close(weights[:50] - 1, 1 - weights[50:])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {}),
        (torch.optim.Adam, {}),
        (torch.optim.AdamW, {"weight_decay": 0.0}),
        (torch.optim.RMSprop, {}),
        (torch.optim.Adagrad, {}),
    ],
)
def test_a_step_is_the_gradient_times_the_step_size(kind, options):
    """With momentum spent (the same gradient for ever), a step is -lr H g."""
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = kind([weight], lr=0.1, **options)
    gradient = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    for _ in range(3):
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimizer.step()
    step = weight.detach() - before
    torch.testing.assert_close(-step_sizes(optimizer)[weight] * gradient, step, atol=1e-9, rtol=0)


def test_a_coordinate_without_a_gradient_has_no_step():
    weight, unused = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight, unused])
    assert step_sizes(optimizer) == {}
    weight.grad = torch.tensor([1.0, 0.0, 2.0])
    optimizer.step()
    sizes = step_sizes(optimizer)
    assert list(sizes) == [weight]
    assert (sizes[weight] > 0).tolist() == [True, False, True]


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(OptionError, match="learner=rprop: one of adam"):
        step_sizes(torch.optim.Rprop([nn.Parameter(torch.zeros(1))]))
