"""Recommenders that know features of items and explain by them: one small interface."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_enhance.data.mentions import (
    FeatureDataset,
    item_feature_matrix,
    user_feature_matrix,
)
from recbole_enhance.options.schema import Options, Rule, Text


class Explanation(NamedTuple):
    """Why each of P pairs of user and item was recommended.

    Attributes:
        ranking: Columns of the explaining features, best first, then -1. Shape: ``(P, F)``.
        weight: How much each feature counts. Shape: ``(P, F)``.
        mask: True where the feature is part of the explanation. Shape: ``(P, F)``.
        found: False where there is no explanation. Shape: ``(P,)``.
    """

    ranking: Tensor
    weight: Tensor
    mask: Tensor
    found: Tensor


def ranked(weight: Tensor, mask: Tensor) -> Tensor:
    """Columns where ``mask`` is True by falling weight, then -1.

    Args:
        weight: Shape: ``(P, F)``.
        mask: Shape: ``(P, F)``.

    Returns:
        Shape: ``(P, F)``.

    Example:
        >>> ranked(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[True, False, True]])).tolist()
        [[2, 0, -1]]
    """
    order = weight.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.masked_fill(~mask.gather(1, order), -1)


class FeatureOptions(Options):
    """Options of a model that knows features; defaults are in the model's YAML."""

    feature_scale: Annotated[float, Field(gt=1)] = Field(
        description="N; entries of X and Y are 0 or in [1, N]."
    )
    feature_source: Annotated[
        Literal["auto", "interaction", "item_attribute"],
        Rule("one of auto, interaction, item_attribute"),
    ] = Field(
        description="Where features come from: 'interaction' (feature_field and sentiment_field), "
        "'item_attribute' (item_feature_field), or 'auto' (the first of the two that "
        "the data have)."
    )
    feature_field: Text | None = Field(
        description="Interaction column with the features that a review mentions, token_seq."
    )
    sentiment_field: Text | None = Field(
        description="Interaction column with the sentiment of each of these features, 1 or -1, "
        "float_seq."
    )
    item_feature_field: Text | None = Field(
        description="Item column with features, used if there are no reviews; ~ takes "
        "item_category_field."
    )
    feature_min_rating: float = Field(
        description="Under 'item_attribute', a rating of at least this value praises the item's "
        "features, and a lower one criticises them."
    )


class FeatureAwareRecommender(GeneralRecommender):
    """A general recommender over the matrices X (users, features) and Y (items, features).

    Both are built from the training rows alone, so no feature of a test review reaches the model.
    They are data, not parameters: ``model.pt`` does not hold them.
    """

    input_type = InputType.POINTWISE
    dataset_class = FeatureDataset
    user_feature_matrix: Tensor
    item_feature_matrix: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.feature_scale = config["feature_scale"]
        self.n_features = dataset.n_features
        shape = self.n_features, self.feature_scale
        x = user_feature_matrix(dataset.mentions, self.n_users, *shape)
        y = item_feature_matrix(dataset.mentions, self.n_items, *shape)
        self.register_buffer("user_feature_matrix", x, persistent=False)
        self.register_buffer("item_feature_matrix", y, persistent=False)

    def item_features(self, item: Tensor) -> Tensor:
        """Rows of Y for items of any shape. Shape: ``(*item.shape, F)``."""
        return self.item_feature_matrix[item]

    def loss_of(self, interaction: Any) -> Callable[[Tensor | None], Tensor]:
        """Loss of a batch as a function of the features of its items.

        What does not depend on them is computed once, so that a clean and an attacked loss share
        it.

        Args:
            interaction: RecBole's batch.

        Returns:
            From what to take for the items' rows of Y, ``(batch, F)`` or None for the rows
            themselves, to the loss ``()``.
        """
        raise NotImplementedError

    def calculate_loss(self, interaction: Any, item_features: Tensor | None = None) -> Tensor:
        """Loss of a batch; ``item_features`` as in :meth:`loss_of`. Shape: ``()``."""
        return self.loss_of(interaction)(item_features)

    def score_pairs(
        self,
        user: Tensor,
        item: Tensor,
        item_features: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Scores of pairs.

        Args:
            user: Shape: ``(B,)``.
            item: One item per user or C of them. Shape: ``(B,)`` or ``(B, C)``.
            item_features: What to take for Y[item]. Shape: ``(*item.shape, F)``.
            keep: Features that may count for the user; None for all. Shape: ``(B, F)``.

        Returns:
            Shape: as ``item``.
        """
        raise NotImplementedError

    def explain(
        self,
        user: Tensor,
        item: Tensor,
        margin: Tensor,
        item_features: Tensor | None = None,
        seed: int = 0,
        progress: Any = None,
    ) -> Explanation:
        """Explain recommendations.

        Args:
            user: Shape: ``(P,)``.
            item: Shape: ``(P,)``.
            margin: Score of the item that would follow the user's list. Shape: ``(P,)``.
            item_features: What to take for Y[item]. Shape: ``(P, F)``.
            seed: Of the search's start.
            progress: Called with the number of pairs done.
        """
        raise NotImplementedError

    def predict(self, interaction: Any) -> Tensor:
        """Scores of a batch of pairs (RecBole's interface). Shape: ``(batch,)``."""
        return self.score_pairs(interaction[self.USER_ID], interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items (RecBole's interface). Shape: ``(batch * n_items,)``."""
        users = interaction[self.USER_ID]
        chunk = max(1, _CELLS // (self.n_items * self._cells_per_pair))
        items = torch.arange(self.n_items, device=users.device)
        rows = [self.score_pairs(u, items.expand(len(u), -1)) for u in users.split(chunk)]
        return torch.cat(rows).flatten()

    @property
    def _cells_per_pair(self) -> int:
        """Numbers that one pair takes in :meth:`score_pairs`."""
        return self.n_features


_CELLS = 2**25  # 128 MB of floats
