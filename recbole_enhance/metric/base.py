"""What our metrics share: a value per user or per list of lists, and the keys they read.

``data`` is RecBole's ``DataStruct``, filled by the collector; tensors are on the CPU.

====================== ==========================================================================
key                    value
====================== ==========================================================================
rec.items              item ids, best first, 0 where a list is shorter. Shape: (users, max topk)
rec.users              user ids of the rows. Shape: (users,)
rec.positive_u         row of each held-out interaction, no pair twice. Shape: (positives,)
rec.positive_i         item id of each held-out interaction. Shape: (positives,)
rec.positive_score     the model's score of each. Shape: (positives,)
data.train_matrix      scipy csr of ones, training interactions only, no pair twice.
                       Shape: (n_users, n_items)
data.item_category     True where the item has the category. Shape: (n_items, n_categories)
data.item_embedding    the model's embedding of the items. Shape: (n_items, d)
data.item_group        0 head, 1 tail, -1 padding (``concentration.popularity_groups``). (n_items,)
data.user_group        field -> (labels, codes); codes: group of each user or -1, (n_users,)
data.num_items         number of item ids, padding included
data.count_items       Counter of the training interactions of each item
====================== ==========================================================================
"""

from typing import Any

import numpy as np
import torch
from recbole.evaluator.base_metric import AbstractMetric
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_enhance.metric import ranking

POSITIVES = ("rec.items", "rec.positive_u", "rec.positive_i", "data.num_items")


class ListMetric(AbstractMetric):
    """A metric of all lists together.

    Attributes:
        metric_need: Keys of ``data`` that it reads.
        smaller: True if smaller is better.
        requires: What must be configured: ``categories`` (``item_category_field``), ``groups``
            (``group_fields``), ``embedding`` (a model that has item embeddings).
    """

    metric_type = EvaluatorType.RANKING
    metric_need: tuple[str, ...] = ("rec.items",)
    smaller = False
    requires: frozenset[str] = frozenset()

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.topk = config["topk"]

    def value(self, data: Any, k: int) -> float:
        """Compute the metric of the first k places, not rounded.

        Args:
            data: RecBole's ``DataStruct``.
            k: Length of the lists.
        """
        raise NotImplementedError

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """Compute the metric at every k, rounded as RecBole does.

        Args:
            dataobject: RecBole's ``DataStruct``.

        Returns:
            ``{"name@k": value}``.
        """
        name = type(self).__name__.lower()
        return {
            f"{name}@{k}": round(float(self.value(dataobject, k)), self.decimal_place)
            for k in self.topk
        }


class UserMetric(ListMetric):
    """A metric of each user's list, reported as the mean over the users that have a value."""

    def per_user(self, data: Any, k: int) -> Tensor:
        """Compute the metric of each user's first k places.

        Args:
            data: RecBole's ``DataStruct``.
            k: Length of the lists.

        Returns:
            In float64, not rounded, NaN for a user who has no value. Shape: ``(users,)``.
        """
        raise NotImplementedError

    def value(self, data: Any, k: int) -> float:
        """Mean over the users that have a value; NaN if no user has one.

        Args:
            data: RecBole's ``DataStruct``.
            k: Length of the lists.
        """
        return float(self.per_user(data, k).nanmean())


def top(data: Any, k: int) -> Tensor:
    """First k recommended items. Shape: ``(users, k)``."""
    items: Tensor = data["rec.items"]
    return items[:, :k]


def relevant(data: Any, k: int) -> Tensor:
    """Which of the first k items are held out. Shape: ``(users, k)``."""
    return ranking.hits(
        top(data, k), data["rec.positive_u"], data["rec.positive_i"], data["data.num_items"]
    )


def popularity(data: Any) -> Tensor:
    """Training users of each item. Shape: ``(n_items,)``."""
    matrix = data["data.train_matrix"]
    return torch.from_numpy(np.bincount(matrix.indices, minlength=matrix.shape[1]))


def interactions(data: Any) -> Tensor:
    """Training interactions of each item, repeated ones too. Shape: ``(n_items,)``."""
    counter = data["data.count_items"]
    counts = torch.zeros(data["data.num_items"], dtype=torch.long)
    counts[torch.tensor(list(counter), dtype=torch.long)] = torch.tensor(
        list(counter.values()), dtype=torch.long
    )
    return counts


def n_active(data: Any) -> int:
    """Count the users with training interactions."""
    return int(np.count_nonzero(np.diff(data["data.train_matrix"].indptr)))


def history(data: Any) -> tuple[Tensor, Tensor]:
    """Training interactions of the users of the rows: row and item. Shape: ``(interactions,)``."""
    rows = data["data.train_matrix"][data["rec.users"].numpy()]
    lengths = torch.from_numpy(np.diff(rows.indptr).astype(np.int64))
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return row, torch.from_numpy(rows.indices.astype(np.int64))
