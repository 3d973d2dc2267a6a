import math

import pytest
import torch

from recbole_enhance.enhancer.dvr.reinforce import Baseline, Reinforce

REWARDS = [0.3, 0.5, 0.4, 0.9, 0.2, 0.8, 0.7, 0.1, 0.6, 0.65, 0.35, 0.55, 0.45, 0.75]


def advantages_by_hand(rewards, momentum):
    """Moments as sums: all rewards count alike until there are enough for the momentum."""
    found, mean, square = [None], rewards[0], 0.0
    for n, reward in enumerate(rewards[1:], start=1):
        change = reward - mean
        keep = min(momentum, n / (n + 1))
        mean = keep * mean + (1 - keep) * reward
        keep = min(max(momentum, 0.9), (n - 1) / n)
        square = keep * square + (1 - keep) * change**2
        found.append(change / math.sqrt(square))
    return found


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_advantages_are_differences_over_their_spread(momentum):
    baseline = Baseline(momentum)
    found = [baseline.advantage(reward) for reward in REWARDS]
    assert found[0] is None
    assert found[1:] == pytest.approx(advantages_by_hand(REWARDS, momentum)[1:])


def test_the_spread_remembers_more_than_one_difference():
    """Without memory every advantage would be 1 or -1, however small the difference."""
    baseline = Baseline(0.0)
    found = [baseline.advantage(reward) for reward in (0.0, 1.0, 0.0, 1.0, 1.001)]
    assert abs(found[-1]) < 0.01
    for reward in 10 * [1.001]:
        assert baseline.advantage(reward) == 0
    assert baseline.square > 0.19  # ten rewards on, a quarter of it is left


def test_equal_rewards_move_nothing():
    weight = torch.nn.Parameter(torch.ones(2))
    policy = Reinforce([weight], torch.optim.SGD([weight], 1.0), 0.9)
    for _ in range(3):
        policy.add(weight.sum(), retain_graph=False)
        policy.move(0.5)
    assert torch.equal(weight.detach(), torch.ones(2))
    assert policy.statistics()["dvr_reward_std"] == 0


def test_a_move_is_the_mean_score_times_the_advantage():
    weight = torch.nn.Parameter(torch.zeros(2))
    other = torch.nn.Parameter(torch.zeros(1))  # what the action does not depend on
    policy = Reinforce([weight, other], torch.optim.SGD([weight], 1.0), 0.9)
    policy.add(weight @ torch.tensor([1.0, 0.0]), retain_graph=False)
    policy.move(0.2)  # the first reward has no baseline
    assert torch.equal(weight.detach(), torch.zeros(2))
    policy.add(weight @ torch.tensor([4.0, 2.0]), retain_graph=False)
    policy.add(weight @ torch.tensor([0.0, -4.0]), retain_graph=False)
    policy.move(0.4)  # the only difference is its own spread
    torch.testing.assert_close(weight.detach(), torch.tensor([2.0, -1.0]))
    assert (policy.steps, policy.rewards) == (0, [0.2, 0.4])
    policy.begin_epoch()
    assert policy.statistics() == {}
