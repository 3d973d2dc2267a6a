"""Values of the samples of a batch, by a Harsanyi network over the backbone's vectors of them.

Equation numbers are those of docs/papers/dvr.md.
"""

from typing import Any

import torch
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_enhance.enhancer.dvr.policy import standardize
from recbole_enhance.model.embeddings import user_and_item_tables
from recbole_enhance.shapley.harsanyi import ContentHarsanyiNet, HarsanyiOutput, SlotHarsanyiNet
from recbole_enhance.storage.random_state import seeded

_HIDDEN = 64  # width of the sample encoder


class SampleFeatures:
    r"""What the backbone knows of the samples of a batch, without gradient: :math:`e_m` (5.4).

    :math:`[p_u; q_i; q_j]` of triplets, :math:`[p_u; q_i; label]` of labelled pairs, and the loss.

    Args:
        config: The run's settings.
        model: The backbone.

    Attributes:
        width: Numbers per sample.

    Raises:
        OptionError: If the backbone has no tables of users or of items.
    """

    def __init__(self, config: Any, model: Any) -> None:
        self.config = config
        self.users, self.items = user_and_item_tables(model, "DVR")
        self.pairwise = config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE
        width = sum(t.embedding_dim for t in self.users)
        width += sum(t.embedding_dim for t in self.items) * (2 if self.pairwise else 1)
        self.width = width + (not self.pairwise) + 1  # a pointwise sample has a label; all a loss

    def __call__(self, batch: Any, losses: Tensor) -> Tensor:
        """Features of a batch whose samples have these losses. Shape: ``(batch, width)``."""
        user, item = batch[self.config["USER_ID_FIELD"]], batch[self.config["ITEM_ID_FIELD"]]
        parts = [table.weight.detach()[user] for table in self.users]
        parts += [table.weight.detach()[item] for table in self.items]
        if self.pairwise:
            negative = batch[self.config["NEG_PREFIX"] + self.config["ITEM_ID_FIELD"]]
            parts += [table.weight.detach()[negative] for table in self.items]
        else:
            parts.append(batch[self.config["LABEL_FIELD"]].unsqueeze(1))
        parts.append(standardize(losses).unsqueeze(1))  # on one scale from first epoch to last
        return torch.cat(parts, dim=1).float()


class SampleEncoder(nn.Module):
    """Encodes the features of a sample as the vector of a player (Eq. 5.4).

    Args:
        n_inputs: Length of :math:`e_m`.
        n_hidden: Width of the hidden layer.
        n_outputs: k, numbers per player; 1 in the paper's text.
    """

    def __init__(self, n_inputs: int, n_hidden: int, n_outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_inputs, n_hidden)  # W_1, b_1
        self.output = nn.Linear(n_hidden, n_outputs)  # W_2, b_2

    def forward(self, e: Tensor) -> Tensor:
        """Encode samples ``(batch, n_inputs)`` to ``(batch, n_outputs)``, in (-1, 1)."""
        return torch.tanh(self.output(torch.relu(self.hidden(e))))  # Eq. (5.4)


class HarsanyiEstimator:
    """Predicts the outcome of a batch, and shares it among the samples.

    Args:
        config: The run's settings.
        model: The backbone.
        generator: Source of the network's first parameters.

    Attributes:
        parameters: Of encoder and network.
        performance_scale: Running mean square of the batch's performance.
    """

    def __init__(self, config: Any, model: Any, generator: torch.Generator) -> None:
        self.features = SampleFeatures(config, model)
        dim, device = config["dvr_sample_dim"], config["device"]
        with seeded(config["seed"]):
            encoder = SampleEncoder(self.features.width, _HIDDEN, dim)
        self.encoder = encoder.to(device)
        self.network = _network(config, dim, generator).to(device)
        self.parameters = [*self.encoder.parameters(), *self.network.parameters()]
        self.performance_scale = 0.0

    def __call__(self, batch: Any, losses: Tensor) -> HarsanyiOutput:
        """Value the samples of a batch.

        Args:
            batch: RecBole's.
            losses: Of its samples, without gradient. Shape: ``(batch,)``.

        Returns:
            The outcome and its parts, in units of :meth:`scale`, with their graph.
        """
        return self.network(self.encoder(self.features(batch, losses)))

    def fit(self, out: HarsanyiOutput, losses: Tensor, optimizer: torch.optim.Optimizer) -> float:
        """Take a step towards the outcome (5.7).

        Args:
            out: What was predicted of the batch.
            losses: Of its samples. Shape: ``(batch,)``.
            optimizer: Of :attr:`parameters`.

        Returns:
            The squared error before the step.
        """
        performance = -losses.mean()  # Figure 2's negative loss; a useful sample has a high value
        old, new = self.performance_scale, performance.item() ** 2
        self.performance_scale = 0.99 * old + 0.01 * new if old else new
        error = (out.prediction - performance / self.scale()).square()  # Eq. (5.7)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        return error.item()

    def scale(self) -> float:
        """Running root mean square of the performance: outcomes are O(1) to the network."""
        return self.performance_scale**0.5 or 1.0

    def state(self) -> dict[str, Any]:
        """What a continued run needs; the optimiser is the trainer's."""
        return {
            "encoder": self.encoder.state_dict(),
            "valuator": self.network.state_dict(),
            "performance_scale": self.performance_scale,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.encoder.load_state_dict(state["encoder"])
        self.network.load_state_dict(state["valuator"])
        self.performance_scale = state["performance_scale"]


def _network(config: Any, dim: int, generator: torch.Generator) -> nn.Module:
    shape = (
        config["dvr_units"],
        config["dvr_blocks"],
        config["dvr_act_ratio"],
        config["dvr_gamma"],
    )
    if config["dvr_network"] == "content":
        return ContentHarsanyiNet(dim, *shape, generator)
    negatives = config["train_neg_sample_args"]["sample_num"]  # or the word "none"
    smallest = 1 + negatives if isinstance(negatives, int) else 1
    slots = max(config["train_batch_size"], smallest)  # RecBole's largest batch
    return SlotHarsanyiNet(slots, dim, *shape, generator)
