r"""ProtoMF: prototype-based matrix factorisation.

Reference:
    Alessandro B. Melchiorre et al. "ProtoMF: Prototype-based Matrix Factorization for Effective and
    Explainable Recommendations." in RecSys 2022.
Reference code:
    https://github.com/karapostK/ProtoMF

A user is described by similarities to prototypes of users, an item by those to prototypes of items.
docs/models.md lists what differs from the paper.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from recbole.model.loss import BPRLoss
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize, softplus

from recbole_enhance.data.negatives import NegativeSampler
from recbole_enhance.model.tables import Added, TableRecommender, Tables, triplet
from recbole_enhance.options.recbole import LearningRate
from recbole_enhance.options.recbole import NotNegative as WeightDecay
from recbole_enhance.options.schema import Count, NotNegative, Options, Width

_POPULARITY_EXPONENT = 0.75  # the authors'


def shifted_cosine(x: Tensor, prototypes: Tensor) -> Tensor:
    r"""Similarity of each row to each prototype.

    .. math:: \mathrm{sim}(x, p) = 1 + \frac{x^T p}{\|x\| \, \|p\|}
        \qquad \text{(Melchiorre et al. 2022)}

    Args:
        x: Shape: ``(n, d)``.
        prototypes: Shape: ``(L, d)``.

    Returns:
        In [0, 2]; 1 for a row of zeros. Shape: ``(n, L)``.

    Example:
        >>> shifted_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([[2., 1.]])
    """
    return 1 + normalize(x, eps=1e-8) @ normalize(prototypes, eps=1e-8).T


def prototype_regularizer(similarity: Tensor) -> Tensor:
    r"""Wants each prototype near some row: :math:`R_{P \to X} = -\frac1L \sum_l \max_b s_{bl}`.

    Args:
        similarity: Of a batch's rows to the prototypes, each once or more. Shape: ``(rows, L)``.

    Returns:
        In [-2, 0]. Shape: ``()``.

    Example:
        >>> prototype_regularizer(torch.tensor([[2.0, 0.5], [1.0, 1.0]]))
        tensor(-1.5000)
    """
    return -similarity.amax(0).mean()


def batch_regularizer(similarity: Tensor, times: Tensor) -> Tensor:
    r"""Wants each row near some prototype: :math:`R_{X \to P} = -\frac1B \sum_b \max_l s_{bl}`.

    Args:
        similarity: Of a batch's different rows to the prototypes. Shape: ``(rows, L)``.
        times: How often each is in the batch. Shape: ``(rows,)``.

    Returns:
        In [-2, 0]. Shape: ``()``.

    Example:
        >>> batch_regularizer(torch.tensor([[2.0, 0.5], [1.0, 1.0]]), torch.tensor([3, 1]))
        tensor(-1.7500)
    """
    return -(similarity.amax(1) * times).sum() / times.sum()


def weighted_bce(positive: Tensor, negatives: Tensor) -> Tensor:
    """Binary cross-entropy in which a positive weighs as much as its n negatives together.

    Args:
        positive: Scores. Shape: ``(batch,)``.
        negatives: Scores. Shape: ``(n, batch)``.

    Returns:
        Mean over all ``batch * (1 + n)`` scores. Shape: ``()``.
    """
    n = len(negatives)
    return (n * softplus(-positive) + softplus(negatives).sum(0)).mean() / (1 + n)


def sampled_softmax(positive: Tensor, negatives: Tensor) -> Tensor:
    r"""Mean of :math:`-x_{ui} + \log \sum_j e^{x_{uj}}`, j over the positive and its negatives.

    Args:
        positive: Scores. Shape: ``(batch,)``.
        negatives: Scores. Shape: ``(n, batch)``.

    Returns:
        Shape: ``()``.
    """
    return (torch.cat([positive.unsqueeze(0), negatives]).logsumexp(0) - positive).mean()


class ProtoMFOptions(Options):
    """Options of ProtoMF; defaults are in its YAML."""

    embedding_size: Width = Field(description="d, length of the base rows of users and items.")
    protomf_variant: Literal["ui", "u", "i"] = Field(
        description="'ui' (prototypes of users and of items), 'u' or 'i' (of one side only; the "
        "rows of the other side are free)."
    )
    protomf_user_prototypes: Count = Field(
        description="L_u, prototypes of users; the authors tune 10 to 100."
    )
    protomf_item_prototypes: Count = Field(
        description="L_t, prototypes of items; the authors tune 10 to 100."
    )
    protomf_loss: Literal["bpr", "bce", "sampled_softmax"] = Field(
        description="Recommendation loss; the authors tune it. Only bpr has one loss per sample, "
        "which DVR needs."
    )
    protomf_negatives: Count = Field(
        description="Negatives per positive under bce and sampled_softmax: the batch's own, and "
        "the others drawn by the model."
    )
    protomf_negative_distribution: Literal["uniform", "popularity"] = Field(
        description="How the model draws negatives; popularity is raised to the power 0.75."
    )
    protomf_user_proto_weight: NotNegative = Field(
        description="lambda_1: pulls each prototype towards a user of the batch; the authors tune "
        "0.001 to 10."
    )
    protomf_user_batch_weight: NotNegative = Field(
        description="lambda_2: pulls each user of the batch towards a prototype."
    )
    protomf_item_proto_weight: NotNegative = Field(
        description="lambda_3: pulls each prototype towards an item of the batch."
    )
    protomf_item_batch_weight: NotNegative = Field(
        description="lambda_4: pulls each item of the batch towards a prototype."
    )
    learning_rate: LearningRate = Field(
        description="Learning rate; the authors tune 0.0001 to 0.1."
    )
    weight_decay: WeightDecay = Field(
        description="L2 of the optimiser; without it, rows keep their initial length of about 8 "
        "and change direction slowly; the authors tune 0.0001 to 0.01."
    )


class ProtoMF(TableRecommender):
    r"""UI-ProtoMF, and its halves U-ProtoMF and I-ProtoMF.

    .. math:: x_{ui} = u^{*T} W_t t + (W_u u)^T t^*
        = [u^* ; W_u u]^T [W_t t ; t^*]

    with :math:`u^*`, :math:`t^*` the similarities to the prototypes; the tables of u and t are
    shared by both terms. U-ProtoMF is :math:`u^{*T} t` with t free, I-ProtoMF its mirror image.
    """

    options = ProtoMFOptions

    sampler: NegativeSampler | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        d = config["embedding_size"]
        self.variant, self.criterion = config["protomf_variant"], config["protomf_loss"]
        n_user, n_item = config["protomf_user_prototypes"], config["protomf_item_prototypes"]
        self.user_weights = (
            config["protomf_user_proto_weight"],
            config["protomf_user_batch_weight"],
        )  # lambda_1, lambda_2
        self.item_weights = (
            config["protomf_item_proto_weight"],
            config["protomf_item_batch_weight"],
        )  # lambda_3, lambda_4
        self.n_user = n_user if self.variant != "i" else 0  # L_u
        self.n_item = n_item if self.variant != "u" else 0  # L_t

        self.user_embedding = nn.Embedding(self.n_users, n_item if self.variant == "i" else d)
        self.item_embedding = nn.Embedding(self.n_items, n_user if self.variant == "u" else d)
        if self.n_user:
            self.user_prototypes = nn.Parameter(torch.randn(n_user, d))
        if self.n_item:
            self.item_prototypes = nn.Parameter(torch.randn(n_item, d))
        if self.variant == "ui":
            self.user_projection = nn.Linear(d, n_item, bias=False)  # W_u
            self.item_projection = nn.Linear(d, n_user, bias=False)  # W_t
            nn.init.kaiming_uniform_(self.user_projection.weight, nonlinearity="relu")
            nn.init.kaiming_uniform_(self.item_projection.weight, nonlinearity="relu")
        # Named so that methods which weigh samples find it; the other losses have none to weigh.
        self.loss = BPRLoss() if self.criterion == "bpr" else None

        self.n_drawn = 0 if self.criterion == "bpr" else config["protomf_negatives"] - 1
        self.sampler = None
        if self.n_drawn:
            how = config["protomf_negative_distribution"]
            self.sampler = NegativeSampler(dataset, how, _POPULARITY_EXPONENT)
            # The state, not the generator: this is copied, saved and loaded with the model.
            state = torch.Generator().manual_seed(config["seed"]).get_state()
            self.register_buffer("negatives_state", state)

    def enhancer_tables(self) -> Tables:
        """The base tables u and t, before prototypes."""
        return self.user_embedding.weight, self.item_embedding.weight

    def enhancer_head(self, U: Tensor, I: Tensor) -> Tables:
        """Rows [u* ; W_u u] and [W_t t ; t*]. Shape: ``(n_users, D)`` and ``(n_items, D)``."""
        if self.variant == "u":
            return shifted_cosine(U, self.user_prototypes), I
        if self.variant == "i":
            return U, shifted_cosine(I, self.item_prototypes)
        users = shifted_cosine(U, self.user_prototypes), self.user_projection(U)
        items = self.item_projection(I), shifted_cosine(I, self.item_prototypes)
        return torch.cat(users, dim=1), torch.cat(items, dim=1)

    def enhancer_loss(
        self,
        U_score: Tensor,
        I_score: Tensor,
        interaction: Any,
        U: Tensor | None = None,
        I: Tensor | None = None,
        added: Added = None,
    ) -> Tensor:
        r"""Loss of recommendation and the four regularisers.

        .. math:: L = L_{rec} + \lambda_1 R_{P^u \to U} + \lambda_2 R_{U \to P^u}
            + \lambda_3 R_{P^t \to T} + \lambda_4 R_{T \to P^t}

        Similarities are part of the given rows, so the regularisers are those of the given tables.
        """
        user, positive, negative = triplet(self, interaction)
        negatives = self._negatives(user, positive, negative)  # (n, batch)
        # Not by indexing, whose gradient adds up row by row.
        u, t = embedding(user, U_score), embedding(positive, I_score)
        t_neg = embedding(negatives.T, I_score)  # (batch, n, D)
        x_pos, x_neg = (u * t).sum(-1), (t_neg @ u.unsqueeze(-1)).squeeze(-1).T
        if added is not None:
            more = added(torch.cat([positive.unsqueeze(0), negatives]))
            x_pos, x_neg = x_pos + more[0], x_neg + more[1:]
        if self.loss is not None:
            loss = self.loss(x_pos, x_neg[0])
        elif self.criterion == "bce":
            loss = weighted_bce(x_pos, x_neg)
        else:
            loss = sampled_softmax(x_pos, x_neg)
        if self.n_user:
            loss = loss + _regularizers(U_score[:, : self.n_user], user, self.user_weights)
        if self.n_item:
            items = torch.cat([positive, negatives.flatten()])  # all items of the step
            loss = loss + _regularizers(I_score[:, -self.n_item :], items, self.item_weights)
        return loss

    def _negatives(self, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The batch's negatives and those drawn beside them. Shape: ``(n, batch)``."""
        if self.sampler is None:
            return negative.unsqueeze(0)
        state: Any = self.negatives_state
        generator = torch.Generator()
        generator.set_state(state.cpu())
        drawn = self.sampler.draw(user.cpu(), positive.cpu(), self.n_drawn, generator)
        state.copy_(generator.get_state())
        return torch.cat([negative.unsqueeze(0), drawn.to(negative.device)])


def _regularizers(table: Tensor, rows: Tensor, weights: Any) -> Tensor:
    """Both regularisers of the batch that holds the given rows of the table of similarities."""
    of_prototypes, of_batch = weights
    rows, times = rows.unique(return_counts=True)
    similarity = embedding(rows, table)
    return of_prototypes * prototype_regularizer(similarity) + of_batch * batch_regularizer(
        similarity, times
    )
