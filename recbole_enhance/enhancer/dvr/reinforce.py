"""REINFORCE: the policy's parameters follow the reward of what was drawn (Eqs. 5.11, 5.13).

Equation numbers are those of docs/papers/dvr.md.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_LEAST_MEMORY = 0.9  # of the spread: one difference says little about it


class Baseline:
    """Running mean and spread of the rewards.

    Args:
        momentum: Share of the old mean that stays; of the spread at least 0.9.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.n_rewards = 0
        self.mean, self.square = 0.0, 0.0  # running moments, b and std^2

    def advantage(self, reward: float) -> float | None:
        """(R - b) / std with running b and std; None for the first reward, which has neither."""
        first = self.n_rewards == 0
        change = 0.0 if first else reward - self.mean
        self.n_rewards += 1
        keep = min(self.momentum, 1 - 1 / self.n_rewards)
        self.mean += (1 - keep) * (change if not first else reward)
        spread = max(self.momentum, _LEAST_MEMORY)
        spread = min(spread, 1 - 1 / max(self.n_rewards - 1, 1))
        self.square += (1 - spread) * (change**2 - self.square)
        return None if first or self.square == 0 else change / self.square**0.5


class Reinforce:
    """Adds up the score of the policy over some steps, and moves by the reward of the last.

    Args:
        parameters: What the policy's probabilities depend on.
        optimizer: Of the parameters.
        momentum: See :class:`Baseline`.

    Attributes:
        steps: Batches since the last move.
        rewards: Of the epoch.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
        momentum: float,
    ) -> None:
        self.parameters, self.optimizer = parameters, optimizer
        self.baseline = Baseline(momentum)
        self.score = [torch.zeros_like(p) for p in parameters]  # sum of grad log pi
        self.steps = 0
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Forget what :meth:`statistics` tells."""
        self.rewards: list[float] = []
        self._gradient_sum, self._gradient_squares = torch.zeros(()), 0.0

    def add(self, log_pi: Tensor, retain_graph: bool) -> None:
        """Count a batch's action in.

        Args:
            log_pi: Its log probability, with its graph. Shape: ``()``.
            retain_graph: Whether the graph is wanted again.
        """
        gradients = torch.autograd.grad(
            log_pi, self.parameters, retain_graph=retain_graph, allow_unused=True
        )
        for total, gradient in zip(self.score, gradients):
            if gradient is not None:
                total += gradient
        self.steps += 1

    def move(self, reward: float) -> None:
        """Make what was done in the last steps likelier if its reward is above the others' mean."""
        advantage = self.baseline.advantage(reward)
        self.rewards.append(reward)
        if advantage is not None:
            for parameter, score in zip(self.parameters, self.score):
                parameter.grad = score * (-advantage / self.steps)  # ascent
            flat = torch.cat([s.flatten() for s in self.score]) * (-advantage / self.steps)
            self._gradient_sum = self._gradient_sum.to(flat) + flat
            self._gradient_squares += float(flat.square().sum())
            self.optimizer.step()
        for score in self.score:
            score.zero_()
        self.steps = 0

    def statistics(self) -> dict[str, float]:
        """Spread of the epoch's rewards and the gradient's SNR; of one reward there are none."""
        n = len(self.rewards)
        if n < 2:
            return {}
        # Squared length of the mean gradient over the variance; noise gives 1 / (n - 1).
        mean = float((self._gradient_sum / n).square().sum())
        return {
            "dvr_reward_std": float(torch.tensor(self.rewards).std()),
            "dvr_gradient_snr": mean / max(self._gradient_squares / n - mean, 1e-30),
        }

    def state(self) -> dict[str, Any]:
        """What a continued run needs; the optimiser is the trainer's."""
        return {
            "score": self.score,
            "score_steps": self.steps,
            "reward_mean": self.baseline.mean,
            "reward_square": self.baseline.square,
            "n_rewards": self.baseline.n_rewards,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        for mine, saved in zip(self.score, state["score"]):
            mine.copy_(saved)
        self.steps, self.baseline.n_rewards = state["score_steps"], state["n_rewards"]
        self.baseline.mean, self.baseline.square = state["reward_mean"], state["reward_square"]
