"""What the training interactions were worth over a run."""

from typing import Any

import torch
from torch import Tensor

from recbole_enhance.shapley.amortise import amortised
from recbole_enhance.storage.run_folder import RunFolder

# The running mean forgets early values, as the network that gave them has changed since.
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
            now = torch.zeros(len(rows)).index_add_(0, place, new.float()) / times
            mean[rows] += rate * (now - mean[rows])

    def write(self, folder: RunFolder, dataset: Any) -> None:
        """Write ``values.csv.gz``: one row per training interaction, in the user's own tokens.

        Args:
            folder: The run's folder.
            dataset: The training part.
        """
        columns = {"value": self.values, "selection_probability": self.probabilities}
        _write(folder, dataset, columns, self.seen)

    def state(self) -> dict[str, Tensor]:
        """What a continued run needs."""
        return {"values": self.values, "probabilities": self.probabilities, "seen": self.seen}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.values, self.probabilities = state["values"].cpu(), state["probabilities"].cpu()
        self.seen = state["seen"].cpu()


class ValueSums:
    """Each training interaction's values, summed over the visits of a run.

    Args:
        n: Number of interactions.

    Attributes:
        total: Sum of the values. Shape: ``(n,)``, float64 as are the squares.
        squares: Sum of their squares. Shape: ``(n,)``.
        losses: Sum of the losses. Shape: ``(n,)``, float64.
        visits: How often the interaction was valued. Shape: ``(n,)``.
    """

    def __init__(self, n: int) -> None:
        self.total = torch.zeros(n, dtype=torch.float64)
        self.squares = torch.zeros(n, dtype=torch.float64)
        self.losses = torch.zeros(n, dtype=torch.float64)
        self.visits = torch.zeros(n, dtype=torch.long)

    def add(self, rows: Tensor, values: Tensor, losses: Tensor | None = None) -> None:
        """Count a batch in.

        Args:
            rows: Interaction of each sample, more than once with several negatives. Shape:
                ``(batch,)``.
            values: Shape: ``(batch,)``.
            losses: Shape: ``(batch,)``.
        """
        values = values.double()
        self.total.index_add_(0, rows, values)
        self.squares.index_add_(0, rows, values.square())
        self.visits.index_add_(0, rows, torch.ones_like(rows))
        if losses is not None:
            self.losses.index_add_(0, rows, losses.double())

    def standard_error(self) -> Tensor:
        r"""Of the sum: :math:`\sqrt{n} s` over n visits; NaN below two. Shape: ``(n,)``.

        Example:
            >>> sums = ValueSums(2)
            >>> sums.add(torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, 5.0]))
            >>> sums.total.tolist(), sums.standard_error().tolist()
            ([4.0, 5.0], [2.0, nan])
        """
        n = self.visits.double()
        spread = (self.squares - self.total.square() / n).clamp(min=0)
        return torch.where(n > 1, (n / (n - 1) * spread).sqrt(), torch.nan)

    def amortised(self, dataset: Any) -> Tensor:
        """Ranks of values, as predicted by the mean loss and the activity of the item and the user.

        Args:
            dataset: The training part.

        Returns:
            Shape: ``(n,)``.
        """
        rows = dataset.inter_feat
        users, items = rows[dataset.uid_field], rows[dataset.iid_field]
        features = [
            self.losses / self.visits.clamp(min=1),
            *(torch.bincount(ids)[ids].double() for ids in (items, users)),
        ]
        return amortised(self.total, torch.stack(features, 1))

    def write(self, folder: RunFolder, dataset: Any, amortise: bool = False) -> None:
        """Write ``values.csv.gz``: one row per training interaction, in the training file's order.

        Args:
            folder: The run's folder.
            dataset: The training part.
            amortise: Whether there is a column of :meth:`amortised` values.
        """
        columns = {"value": self.total, "standard_error": self.standard_error()}
        if amortise:
            columns["amortised"] = self.amortised(dataset)
        _write(folder, dataset, columns, self.visits)

    def state(self) -> dict[str, Tensor]:
        """What a continued run needs."""
        return {
            "total": self.total,
            "squares": self.squares,
            "losses": self.losses,
            "visits": self.visits,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.total, self.squares = state["total"].cpu(), state["squares"].cpu()
        self.losses, self.visits = state["losses"].cpu(), state["visits"].cpu()


def _write(folder: RunFolder, dataset: Any, columns: dict[str, Tensor], times_seen: Tensor) -> None:
    """Write ``values.csv.gz``, one row per interaction in the user's tokens; NaN is empty."""
    fields = (dataset.uid_field, dataset.iid_field)
    tokens = [dataset.id2token(field, dataset.inter_feat[field].numpy()) for field in fields]
    numbers = [
        ["" if x != x else f"{x:.6g}" for x in column.tolist()] for column in columns.values()
    ]
    header = [*fields, *columns, "times_seen"]
    folder.write_csv_gz("values.csv.gz", header, [*tokens, *numbers, times_seen.tolist()])
