"""What the training interactions were worth over a run."""

from typing import Any

import torch
from torch import Tensor

from recbole_enhance.storage.run_folder import RunFolder

# A value's running mean forgets: the network that gave the early ones is long gone.
_SLOWEST_FORGETTING = 0.1


class ValueRecord:
    """Each training interaction's value and probability of selection, means over its visits.

    Args:
        n: Number of interactions.

    Attributes:
        values: Shape: ``(n,)``.
        probabilities: Shape: ``(n,)``.
        seen: Visits. Shape: ``(n,)``.
    """

    def __init__(self, n: int) -> None:
        self.values, self.probabilities = torch.zeros(n), torch.zeros(n)
        self.seen = torch.zeros(n, dtype=torch.long)

    def add(self, rows: Tensor, values: Tensor, probabilities: Tensor) -> None:
        """Count a batch in.

        Args:
            rows: Interaction of each sample, more than once with several negatives. Shape:
                ``(batch,)``.
            values: Shape: ``(batch,)``.
            probabilities: Shape: ``(batch,)``.
        """
        rows, place, times = rows.unique(return_inverse=True, return_counts=True)
        self.seen[rows] += times
        rate = (times / self.seen[rows]).clamp(min=_SLOWEST_FORGETTING)
        for mean, new in ((self.values, values), (self.probabilities, probabilities)):
            now = torch.zeros(len(rows)).index_add_(0, place, new) / times
            mean[rows] += rate * (now - mean[rows])

    def write(self, folder: RunFolder, dataset: Any) -> None:
        """Write ``values.csv.gz``: one row per training interaction, in the user's own tokens.

        Args:
            folder: The run's folder.
            dataset: The training part.
        """
        fields = (dataset.uid_field, dataset.iid_field)
        tokens = [dataset.id2token(field, dataset.inter_feat[field].numpy()) for field in fields]
        numbers = [
            [f"{x:.6g}" for x in column.tolist()] for column in (self.values, self.probabilities)
        ]
        header = [*fields, "value", "selection_probability", "times_seen"]
        folder.write_csv_gz("values.csv.gz", header, [*tokens, *numbers, self.seen.tolist()])

    def state(self) -> dict[str, Tensor]:
        """What a continued run needs."""
        return {"values": self.values, "probabilities": self.probabilities, "seen": self.seen}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.values, self.probabilities = state["values"].cpu(), state["probabilities"].cpu()
        self.seen = state["seen"].cpu()
