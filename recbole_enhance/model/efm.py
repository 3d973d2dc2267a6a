r"""EFM: explicit factor models.

Reference:
    Yongfeng Zhang et al. "Explicit Factor Models for Explainable Recommendation based on
    Phrase-level Sentiment Analysis." in SIGIR 2014.
Reference code:
    https://github.com/PreferredAI/cornac (models/efm; the ranking rule and the defaults)

Ratings, X and Y share non-negative factors. An item is explained by the features that the user
cares for and that it does well on.
"""

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from recbole_enhance.model.feature_aware import (
    Explanation,
    FeatureAwareRecommender,
    FeatureOptions,
    ranked,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.recbole import Above0, LearningRate, Mapped, NotBelow0
from recbole_enhance.options.schema import Count, NotNegative, Share, Width


def masked_mean_square(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of each row's squared errors where the mask is True; 0 where it is True nowhere.

    Args:
        error: Shape: ``(rows, n)``.
        mask: Shape: ``(rows, n)``.

    Returns:
        Shape: ``(rows,)``.

    Example:
        >>> error, mask = torch.tensor([[1.0, 3.0]]), torch.tensor([[True, False]])
        >>> masked_mean_square(error, mask).tolist()
        [1.0]
    """
    return (error.square() * mask).sum(-1) / mask.sum(-1).clamp(min=1)


class EFMOptions(FeatureOptions):
    """Options of EFM; defaults are in its YAML."""

    efm_explicit: Width = Field(description="r, number of factors that explain features too.")
    efm_latent: Width = Field(description="r', number of factors of the ratings only.")
    efm_cared: Count = Field(
        description="k, number of features that a user is assumed to care for."
    )
    efm_alpha: Share = Field(description="Weight of the features in the ranking score.")
    efm_lambda_x: NotNegative = Field(description="Weight of the fit of X.")
    efm_lambda_y: NotNegative = Field(description="Weight of the fit of Y.")
    efm_lambda_u: NotNegative = Field(description="L2 on the explicit factors of users and items.")
    efm_lambda_h: NotNegative = Field(description="L2 on the latent factors.")
    efm_lambda_v: NotNegative = Field(description="L2 on the factors of features.")
    train_neg_sample_args: Mapped = Field(description="No negatives: EFM fits observed ratings.")
    learning_rate: LearningRate = Field(description="Learning rate.")
    train_batch_size: Above0 = Field(description="Batch size.")
    epochs: NotBelow0 = Field(description="Number of epochs.")
    eval_step: NotBelow0 = Field(
        description="0 is no validation, so the model is that of the last epoch; early epochs "
        "have the best lists and bad explanations."
    )
    normalize_all: bool = Field(
        description="Whether ratings are scaled to [0, 1], as RecBole does on ml-100k; here they "
        "keep their meaning."
    )


class EFM(FeatureAwareRecommender):
    r"""Non-negative factors with :math:`\hat A = U_1 U_2^T + H_1 H_2^T`, X̂ = U₁Vᵀ, Ŷ = U₂Vᵀ.

    Differs from the paper: gradient descent on softplus of free parameters, not multiplicative
    updates; so batches, any optimiser, and adversarial training work.
    """

    options = EFMOptions

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.RATING = config["RATING_FIELD"]
        r, h = config["efm_explicit"], config["efm_latent"]
        self.cared = min(config["efm_cared"], self.n_features)
        self.alpha = config["efm_alpha"]
        self.lambda_x, self.lambda_y = config["efm_lambda_x"], config["efm_lambda_y"]
        self.lambda_u, self.lambda_h = config["efm_lambda_u"], config["efm_lambda_h"]
        self.lambda_v = config["efm_lambda_v"]
        if self.RATING not in dataset.inter_feat.columns:
            raise OptionError(
                "model", "EFM", f"needs ratings: {self.RATING} is not in load_col.inter"
            )

        self.user_explicit = nn.Embedding(self.n_users, r)  # U_1
        self.item_explicit = nn.Embedding(self.n_items, r)  # U_2
        self.feature_explicit = nn.Embedding(self.n_features, r)  # V
        self.user_latent = nn.Embedding(self.n_users, h)  # H_1
        self.item_latent = nn.Embedding(self.n_items, h)  # H_2
        largest = (self.feature_scale / (r + h)) ** 0.5
        for table in self.parameters():
            start = torch.empty_like(table).uniform_(1e-3 * largest, largest)
            table.data.copy_(torch.log(torch.expm1(start)))  # softplus of it is the start

    @classmethod
    def check_options(cls, config: Any) -> None:
        """Refuse options that cannot work, before any data are read."""
        columns = config["load_col"] and config["load_col"]["inter"]
        if columns and columns != "*" and config["RATING_FIELD"] not in columns:
            raise OptionError(
                "model",
                "EFM",
                f"needs ratings: RATING_FIELD={config['RATING_FIELD']} is not in load_col.inter",
            )

    @property
    def _cells_per_pair(self) -> int:
        return self.item_explicit.embedding_dim + self.item_latent.embedding_dim

    def _explicit(self, user: Tensor, item: Tensor) -> "tuple[Tensor, Tensor, Tensor]":
        v = softplus(self.feature_explicit.weight)
        return softplus(self.user_explicit(user)), softplus(self.item_explicit(item)), v

    def loss_of(self, interaction: Any) -> Callable[[Tensor | None], Tensor]:
        r"""Mean over the batch of the errors in rating, X and Y.

        .. math:: (\hat A - a)^2 + \lambda_x \overline{(\hat X - X)^2}
            + \lambda_y \overline{(\hat Y - Y)^2} + \text{L2}

        Means run over the features that the user, or the item, has; always those of the clean Y,
        so that a perturbation changes targets and not what counts as mentioned.
        """
        user, item = interaction[self.USER_ID], interaction[self.ITEM_ID]
        u1, u2, v = self._explicit(user, item)
        h1, h2 = softplus(self.user_latent(user)), softplus(self.item_latent(item))
        x, y = self.user_feature_matrix[user], self.item_features(item)
        quality, observed = u2 @ v.T, y > 0
        rating = ((u1 * u2).sum(-1) + (h1 * h2).sum(-1) - interaction[self.RATING]).square()
        losses = (
            rating
            + self.lambda_x * masked_mean_square(u1 @ v.T - x, x > 0)
            + self.lambda_u * (u1.square().sum(-1) + u2.square().sum(-1))
            + self.lambda_h * (h1.square().sum(-1) + h2.square().sum(-1))
        )
        rest = losses.mean() + self.lambda_v * v.square().sum(-1).mean()

        def loss(item_features: Tensor | None) -> Tensor:
            target = y if item_features is None else item_features
            return rest + self.lambda_y * masked_mean_square(quality - target, observed).mean()

        return loss

    def score_pairs(
        self,
        user: Tensor,
        item: Tensor,
        item_features: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        r"""The paper's ranking score.

        .. math:: R_{ui} = \alpha \frac{\sum_{f \in C_u} \hat X_{uf} \hat Y_{if}}{k N}
            + (1 - \alpha) \hat A_{ui}, \quad C_u = \text{the k largest of } \hat X_u

        ``item_features`` plays no part: EFM reads Y in training only. ``keep`` takes features out
        of the sum.
        """
        u1, u2, v = self._explicit(user, item)
        h1, h2 = softplus(self.user_latent(user)), softplus(self.item_latent(item))
        x = u1 @ v.T
        cared = x * self._cared(x)
        cared = cared if keep is None else cared * keep
        # The sum over features of X̂Ŷ is U_2 (V^T X̂): no table of pairs and features.
        direction = cared @ v
        if item.dim() == 2:
            direction, u1, h1 = direction.unsqueeze(1), u1.unsqueeze(1), h1.unsqueeze(1)
        explicit = (u2 * direction).sum(-1) / (self.cared * self.feature_scale)
        rating = (u1 * u2).sum(-1) + (h1 * h2).sum(-1)
        return self.alpha * explicit + (1 - self.alpha) * rating

    def _cared(self, x: Tensor) -> Tensor:
        """Membership in C_u. Shape: ``(users, F)``, 0 or 1."""
        return torch.zeros_like(x).scatter_(1, x.topk(self.cared, dim=1).indices, 1.0)

    @torch.no_grad()
    def explain(
        self,
        user: Tensor,
        item: Tensor,
        margin: Tensor,
        item_features: Tensor | None = None,
        seed: int = 0,
        progress: Any = None,
    ) -> Explanation:
        """Features that the user cares for, by how well the item does on them."""
        u1, u2, v = self._explicit(user, item)
        mask = self._cared(u1 @ v.T) > 0
        quality = u2 @ v.T
        if progress is not None:
            progress(len(user))
        return Explanation(ranked(quality, mask), quality, mask, mask.any(1))
