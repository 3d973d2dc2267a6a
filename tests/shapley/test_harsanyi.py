import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.shapley import harsanyi
from recbole_enhance.shapley.games import all_coalitions, shapley_values
from recbole_enhance.shapley.harsanyi import ContentHarsanyiNet, SlotHarsanyiNet

N_UNITS = 12


def make(kind, n, dim, n_blocks, seed, act_ratio=0.3):
    generator = torch.Generator().manual_seed(seed)
    if kind == "slot":
        net = SlotHarsanyiNet(n, dim, N_UNITS, n_blocks, act_ratio, 1000.0, generator)
    else:
        net = ContentHarsanyiNet(dim, N_UNITS, n_blocks, act_ratio, 1000.0, generator)
    h = torch.randn(n, dim, dtype=torch.float64, generator=generator).tanh()
    return net.double(), h


cases = given(
    st.sampled_from(["slot", "content"]),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 10_000),
)


@settings(max_examples=60, deadline=None)
@cases
def test_values_are_the_shapley_values_of_the_network(kind, n, dim, n_blocks, seed):
    net, h = make(kind, n, dim, n_blocks, seed)
    game = lambda s: torch.stack([net(h, row).prediction.detach() for row in s])  # noqa: E731
    out = net(h)
    torch.testing.assert_close(out.values.detach(), shapley_values(game, n), atol=1e-10, rtol=0)
    assert abs(out.values.sum() - out.prediction) < 1e-10


@settings(max_examples=60, deadline=None)
@cases
def test_a_coalition_is_worth_its_dividends(kind, n, dim, n_blocks, seed):
    net, h = make(kind, n, dim, n_blocks, seed)
    out = net(h)
    coalitions = all_coalitions(n)
    inside = (coalitions.unsqueeze(1) | ~out.members.unsqueeze(0)).all(2)  # [S, unit]
    expected = inside.double() @ out.dividends.detach()
    actual = torch.stack([net(h, row).prediction.detach() for row in coalitions])
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=0)


@settings(max_examples=30, deadline=None)
@cases
def test_a_player_in_no_coalition_is_worth_nothing(kind, n, dim, n_blocks, seed):
    net, h = make(kind, n, dim, n_blocks, seed, act_ratio=0.05)
    out = net(h)
    assert (out.values[~out.members.any(0)] == 0).all()


def test_coalitions_of_upper_blocks_are_unions(generator):
    net, h = make("slot", 8, 2, 2, 1)
    children = net.blocks[0].tau > 0
    members = net(h).members
    for unit in range(N_UNITS):
        union = torch.zeros(8, dtype=torch.bool)
        for child in range(N_UNITS):
            if children[unit, child]:
                union |= members[child]
        assert torch.equal(members[N_UNITS + unit], union)


def test_trigger_equals_the_product_loop(generator):
    children = (torch.rand(20, 30, generator=generator) < 0.3).double()
    inputs = torch.randn(30, dtype=torch.float64, generator=generator) * 1e-3
    inputs[:3] = 0
    expected = torch.stack([torch.tanh(50 * inputs[row > 0].abs()).prod() for row in children])
    torch.testing.assert_close(harsanyi.and_trigger(children, inputs, 50.0), expected)


def test_an_absent_input_has_no_nan_slope():
    inputs = torch.tensor([0.0, 2.0, 0.1], requires_grad=True)
    harsanyi.and_trigger(
        torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), inputs, 5.0
    ).sum().backward()
    assert inputs.grad.isfinite().all()
    assert inputs.grad[2] > 0


def test_permuting_the_team_permutes_content_values(generator):
    net, h = make("content", 30, 4, 2, 5)
    order = torch.randperm(30, generator=generator)
    torch.testing.assert_close(net(h[order]).values, net(h).values[order], atol=1e-12, rtol=0)


def test_padding_holds_no_value():
    net, h = make("slot", 8, 3, 2, 2)
    out = net(h[:5])
    assert out.values.shape == (5,)
    assert abs(out.values.sum() - out.prediction) < 1e-12
    with pytest.raises(ValueError, match="9 players for 8 slots"):
        net(torch.zeros(9, 3, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["slot", "content"])
def test_every_parameter_learns(kind):
    net, h = make(kind, 40, 4, 2, 0)
    out = net(h)
    (out.values[:10].sum() + out.prediction**2).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


def test_bad_sizes_are_refused(generator):
    with pytest.raises(ValueError, match="n_blocks=0"):
        ContentHarsanyiNet(2, 4, 0, 0.1, 1000.0, generator)


@pytest.mark.parametrize("kind", ["slot", "content"])
def test_no_weight_of_an_upper_block_starts_below_zero(kind):
    """Outputs are at least 0: a unit whose children have weights below 0 would say nothing."""
    net, _ = make(kind, 4, 3, 3, 0)
    assert len(net.blocks) == 2
    for block in net.blocks:
        assert (block.A >= 0).all()
        assert (block.A > 0).any(1).all()


def test_a_small_share_of_children_is_still_one_of_each_unit_on_average():
    net, _ = make("content", 4, 3, 5, 0, act_ratio=1e-3)
    children = torch.stack([block.tau > 0 for block in net.blocks]).sum(2).double()
    assert 0.5 < children.mean() < 2
    assert all(block.A.std() < 2 for block in net.blocks)  # weights are shared out among children
