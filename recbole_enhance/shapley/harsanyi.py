r"""Networks that predict the outcome of a team and give every player's exact Shapley value at once.

A unit of such a network fires only if all players of its coalition are present, so its weighted
output is the Harsanyi dividend of that coalition, and sharing it equally gives Shapley values.

Reference:
    Lu Chen et al. "HarsanyiNet: Computing Accurate Shapley Values in a Single Forward Propagation."
    in ICML 2023, as used by DVR (arXiv 2502.08685, Eqs. 5.5, 5.6, 5.8).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_enhance.shapley.games import shapley_from_dividends

_LOG_OF_ABSENT = -1e4  # exp of it is exactly 0 in float64, and 0 * it is not nan as 0 * -inf is


class HarsanyiOutput(NamedTuple):
    r"""What one forward pass knows about a team.

    Attributes:
        prediction: :math:`\hat y`, the predicted outcome. Shape: ``()``.
        values: Shapley value of each player; they sum to ``prediction``. Shape: ``(players,)``.
        dividends: :math:`v z` of the units of all blocks. Shape: ``(units,)``.
        members: The units' coalitions. Boolean, shape: ``(units, players)``.
    """

    prediction: Tensor
    values: Tensor
    dividends: Tensor
    members: Tensor


def straight_through(logits: Tensor) -> Tensor:
    """Step function with the gradient of a sigmoid.

    Args:
        logits: Any shape.

    Returns:
        Exactly 1 where the logit is above 0, exactly 0 elsewhere; same shape.

    Example:
        >>> straight_through(torch.tensor([-1., 0., 2.])).tolist()
        [0.0, 0.0, 1.0]
    """
    soft = torch.sigmoid(logits)
    return (logits > 0).to(logits.dtype) + (soft - soft.detach())


def and_trigger(children: Tensor, inputs: Tensor, gamma: float) -> Tensor:
    r"""AND of the children's presence, relaxed to :math:`\prod_c \tanh(\gamma |z_c|)` (Eq. 5.5).

    The product is one matrix-vector product of logarithms. Children come without a gradient here:
    the step from "child" to "no child" is not what the slope of the logarithm says.

    Args:
        children: 1 where the input is a child of the unit. Shape: ``(units, inputs)``.
        inputs: Outputs of the previous block, 0 for an absent one. Shape: ``(inputs,)``.
        gamma: Sharpness; the larger, the closer to the indicator of "not 0".

    Returns:
        In [0, 1]; exactly 0 if any child is 0, exactly 1 without children. Shape: ``(units,)``.

    Example:
        >>> and_trigger(torch.tensor([[1., 1.], [1., 0.]]), torch.tensor([2., 0.]), 1000.).tolist()
        [0.0, 1.0]
    """
    absent = inputs == 0
    presence = torch.tanh(gamma * inputs.masked_fill(absent, 1.0).abs())  # no slope at log 0
    smallest = torch.finfo(inputs.dtype).tiny
    log_presence = torch.log(presence.clamp(min=smallest)).masked_fill(absent, _LOG_OF_ABSENT)
    return torch.exp(children.detach() @ log_presence)


class _UnitBlock(nn.Module):
    """A block whose children are units of the block below, or slots (Eq. 5.5)."""

    def __init__(
        self,
        n_inputs: int,
        n_units: int,
        act_ratio: float,
        gamma: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        n_children = max(1.0, act_ratio * n_inputs)  # a unit without children is never active
        self.A = nn.Parameter(torch.randn(n_units, n_inputs, generator=generator) / n_children)
        start = torch.rand(n_units, n_inputs, generator=generator)
        self.tau = nn.Parameter(n_children / n_inputs - start)  # on for a share `act_ratio`

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        children = straight_through(self.tau)  # Sigma^(l): (units, inputs)
        pre = (self.A * children) @ z  # Eq. (5.5), first line
        return torch.relu(pre * and_trigger(children, z, self.gamma)), children.detach() > 0


class _HarsanyiNet(nn.Module):
    """Blocks above the first, output layer and values: what both networks share."""

    def __init__(
        self,
        n_units: int,
        n_blocks: int,
        act_ratio: float,
        gamma: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if n_units < 1 or n_blocks < 1:
            raise ValueError(f"n_units={n_units}, n_blocks={n_blocks}: at least 1 of each")
        self.blocks = nn.ModuleList(
            _UnitBlock(n_units, n_units, act_ratio, gamma, generator) for _ in range(n_blocks - 1)
        )
        with torch.no_grad():
            for block in self.blocks:
                # Units speak in numbers >= 0: a negative weight would start dead.
                block.get_parameter("A").abs_()
        self.v = nn.Parameter(torch.randn(n_blocks, n_units, generator=generator) / n_units)

    def _value(self, z: Tensor, members: Tensor) -> HarsanyiOutput:
        """Stack the upper blocks on block 1, then read outcome and values off all units.

        Args:
            z: Outputs of block 1. Shape: ``(units,)``.
            members: Their coalitions, with a straight-through gradient or without one.
                Shape: ``(units, players)``.
        """
        outputs: list[Tensor] = [z]
        coalitions: list[Tensor] = [members]
        for block in self.blocks:
            z, children = block(z)
            union = (children.to(members.dtype) @ coalitions[-1].detach()) > 0  # Eq. (5.8), union
            outputs.append(z)
            coalitions.append(union.to(members.dtype))
        dividends = (self.v * torch.stack(outputs)).flatten()  # v^T z, Eq. (5.6)
        stacked = torch.cat(coalitions)
        values = shapley_from_dividends(dividends, stacked)  # Eq. (5.8)
        return HarsanyiOutput(dividends.sum(), values, dividends, stacked.detach() > 0)


class SlotHarsanyiNet(_HarsanyiNet):
    """The paper's network: a unit's children are coordinates of slots of the batch.

    Players are samples, not coordinates: a coalition is the set of samples any of whose coordinates
    is a child, so values add up exactly. A team smaller than ``n_players`` is padded with absent
    players. The weights belong to slots; shuffling the batch changes the values.

    Args:
        n_players: Slots, the largest batch.
        player_dim: Numbers per player.
        n_units: Units per block.
        n_blocks: Blocks, L in the paper.
        act_ratio: Share of children that are on at the start.
        gamma: Sharpness of the trigger.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        n_players: int,
        player_dim: int,
        n_units: int,
        n_blocks: int,
        act_ratio: float,
        gamma: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(n_units, n_blocks, act_ratio, gamma, generator)
        self.n_players = n_players
        self.first = _UnitBlock(n_players * player_dim, n_units, act_ratio, gamma, generator)

    def forward(self, h: Tensor, present: Tensor | None = None) -> HarsanyiOutput:
        """Value a team.

        Args:
            h: Players' vectors. Shape: ``(players, player_dim)``, at most ``n_players`` rows.
            present: False takes a player out of the team. Shape: ``(players,)``; all by default.

        Raises:
            ValueError: If the team has more players than slots.
        """
        n, dim = h.shape
        if n > self.n_players:
            raise ValueError(f"{n} players for {self.n_players} slots")
        if present is not None:
            h = h * present.unsqueeze(1)
        slots = torch.nn.functional.pad(h, (0, 0, 0, self.n_players - n))
        z, children = self.first(slots.flatten())  # z^(0) = [h_1 .. h_n]
        members = children.view(len(z), self.n_players, dim).any(2)
        output = self._value(z, members.to(h.dtype))
        # Padding holds no vote: a coalition with an empty slot is silent, its dividend is 0.
        return output._replace(values=output.values[:n], members=output.members[:, :n])


class ContentHarsanyiNet(_HarsanyiNet):
    """Slot-free network: a unit's coalition is the set of players whose content opens its gate.

    Differs from the paper: gates and weights read a player's vector, not its slot, so teams of any
    size share them, and permuting the team permutes the values. Coalitions are fixed by the full
    team; a unit counts only if all its members are present. Efficiency and the Shapley axioms hold
    as exactly as for slots.

    Args:
        player_dim: Numbers per player.
        n_units: Units per block.
        n_blocks: Blocks, L in the paper.
        act_ratio: Share of children in upper blocks that are on at the start.
        gamma: Sharpness of the upper blocks' trigger.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        player_dim: int,
        n_units: int,
        n_blocks: int,
        act_ratio: float,
        gamma: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(n_units, n_blocks, act_ratio, gamma, generator)
        scale = player_dim**-0.5
        self.gate = nn.Parameter(torch.randn(n_units, player_dim, generator=generator) * scale)
        self.threshold = nn.Parameter(torch.randn(n_units, generator=generator) * scale)
        self.A = nn.Parameter(torch.randn(n_units, player_dim, generator=generator) * scale)

    def forward(self, h: Tensor, present: Tensor | None = None) -> HarsanyiOutput:
        """Value a team.

        Args:
            h: Vectors of the full team. Shape: ``(players, player_dim)``.
            present: False takes a player out of the team. Shape: ``(players,)``; all by default.
        """
        members = straight_through(self.gate @ h.T - self.threshold.unsqueeze(1))  # (units, n)
        size = members.detach().sum(1).clamp(min=1)
        # Eq. (5.5) as a mean, so that any n fits, of parts >= 0, so that no unit is born dead.
        pre = (members * torch.relu(self.A @ h.T)).sum(1) / size
        if present is not None:
            pre = pre * (members.detach() @ (~present).to(h.dtype) == 0)  # AND, exact
        return self._value(pre, members)
