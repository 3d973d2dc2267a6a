r"""CER: counterfactual explainable recommendation.

Reference:
    Juntao Tan et al. "Counterfactual Explainable Recommendation." in CIKM 2021.
Reference code:
    https://github.com/chrisjtan/counter

A multi-layer perceptron scores [X_u; Y_i]; the explanation is the smallest weakening of the item's
features that takes it off the user's list.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_enhance.model.counterfactual import Search, random_start, search
from recbole_enhance.model.feature_aware import (
    Explanation,
    FeatureAwareRecommender,
    FeatureOptions,
    ranked,
)
from recbole_enhance.options.recbole import Above0, LearningRate, Mapped, NotBelow0
from recbole_enhance.options.schema import Few, NotNegative, Positive, Rule, Width


class CEROptions(FeatureOptions):
    """Options of CER; defaults are in its YAML."""

    mlp_hidden_size: Annotated[
        list[Width], Field(min_length=1), Rule(*["a list of whole numbers above 0"] * 2)
    ] = Field(description="Hidden layers of the MLP over [X_u; Y_i]; the authors' are [1024, 256].")
    cf_steps: Few = Field(description="Steps of the counterfactual search.")
    cf_learning_rate: Positive = Field(
        description="Step size of that search; 150 steps of 0.05 can go nearly as far as the "
        "authors' 1000 steps of 0.01."
    )
    cf_lambda: Positive = Field(
        description="Weight of the hinge loss that pushes the item below the margin."
    )
    cf_gamma: NotNegative = Field(description="Weight of the L1 norm of the change.")
    cf_alpha: NotNegative = Field(description="How far below the margin the item is to be.")
    cf_threshold: NotNegative = Field(
        description="A feature is part of the explanation if it changes by more than this."
    )
    train_neg_sample_args: Mapped = Field(description="Two negatives for each positive.")
    learning_rate: LearningRate = Field(description="Learning rate.")
    train_batch_size: Above0 = Field(description="Batch size.")
    epochs: NotBelow0 = Field(description="Number of epochs.")
    normalize_all: bool = Field(
        description="Whether ratings are scaled to [0, 1], as RecBole does on ml-100k; here they "
        "keep their meaning."
    )


class CER(FeatureAwareRecommender):
    r"""Scores :math:`s(u, i) = \sigma(\mathrm{MLP}([X_u ; Y_i]))`, without ids or embeddings."""

    options = CEROptions

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.LABEL = config["LABEL_FIELD"]
        sizes = config["mlp_hidden_size"]
        self.threshold = config["cf_threshold"]
        self.chunk = 2048  # pairs searched at once
        self.settings = Search(
            config["cf_steps"],
            config["cf_learning_rate"],
            config["cf_lambda"],
            config["cf_gamma"],
            config["cf_alpha"],
            self.feature_scale,
        )

        # The first layer in two halves, so that the user's is computed once per user.
        self.user_layer = nn.Linear(self.n_features, sizes[0])
        self.item_layer = nn.Linear(self.n_features, sizes[0], bias=False)
        layers = []
        for n_inputs, n_outputs in zip(sizes, [*sizes[1:], 1]):
            layers += [nn.ReLU(), nn.Linear(n_inputs, n_outputs)]
        self.tail = nn.Sequential(*layers)
        # As one layer of 2 F inputs would be drawn.
        bound = (2 * self.n_features) ** -0.5
        for parameter in (*self.user_layer.parameters(), *self.item_layer.parameters()):
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def _cells_per_pair(self) -> int:
        return self.n_features + self.user_layer.out_features

    def logits(self, user: Tensor, item_features: Tensor, keep: Tensor | None = None) -> Tensor:
        """Scores before the sigmoid, of users ``(B,)`` and features ``(B, F)`` or ``(B, C, F)``."""
        half = self.user_layer(self.user_feature_matrix[user])
        if item_features.dim() == 3:
            half = half.unsqueeze(1)
            keep = None if keep is None else keep.unsqueeze(1)
        if keep is not None:
            item_features = item_features * keep
        return self.tail(half + self.item_layer(item_features)).squeeze(-1)

    def loss_of(self, interaction: Any) -> Callable[[Tensor | None], Tensor]:
        """Binary cross-entropy on positives and sampled negatives."""
        half = self.user_layer(self.user_feature_matrix[interaction[self.USER_ID]])

        def loss(item_features: Tensor | None) -> Tensor:
            if item_features is None:
                item_features = self.item_features(interaction[self.ITEM_ID])
            logits = self.tail(half + self.item_layer(item_features)).squeeze(-1)
            return binary_cross_entropy_with_logits(logits, interaction[self.LABEL])

        return loss

    def score_pairs(
        self,
        user: Tensor,
        item: Tensor,
        item_features: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """See :class:`FeatureAwareRecommender`; scores are in (0, 1)."""
        if item_features is None and keep is None and item.dim() == 2:
            every = self.item_layer(self.item_feature_matrix)  # once per item, not per pair
            half = self.user_layer(self.user_feature_matrix[user]).unsqueeze(1)
            return torch.sigmoid(self.tail(half + every[item]).squeeze(-1))
        if item_features is None:
            item_features = self.item_features(item)
        return torch.sigmoid(self.logits(user, item_features, keep))

    def explain(
        self,
        user: Tensor,
        item: Tensor,
        margin: Tensor,
        item_features: Tensor | None = None,
        seed: int = 0,
        progress: Any = None,
    ) -> Explanation:
        """Features whose weakening takes the item off the list, most weakened first."""
        y = self.item_features(item) if item_features is None else item_features
        allowed = self.user_feature_matrix[user] > 0
        start = random_start(len(user), self.n_features, self.feature_scale, seed, y.device)
        parts = []
        for rows in torch.arange(len(user), device=y.device).split(self.chunk):
            half = self.user_layer(self.user_feature_matrix[user[rows]]).detach()

            def score(changed: Tensor, half: Tensor = half) -> Tensor:
                return torch.sigmoid(self.tail(half + self.item_layer(changed)).squeeze(-1))

            parts.append(
                search(score, y[rows], allowed[rows], margin[rows], start[rows], self.settings)
            )
            if progress is not None:
                progress(len(rows))
        delta = torch.cat([p.delta for p in parts]) if parts else start
        found = torch.cat([p.found for p in parts]) if parts else allowed.new_zeros(0)
        mask = delta < -self.threshold
        largest = torch.zeros_like(mask).scatter_(1, delta.argmin(1, keepdim=True), True)
        mask = torch.where(mask.any(1, keepdim=True), mask, largest & (delta < 0))
        mask &= found.unsqueeze(1)
        return Explanation(ranked(-delta, mask), -delta, mask, mask.any(1))
