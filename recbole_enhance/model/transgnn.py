r"""TransGNN: graph convolution and transformer layers by turns.

Reference:
    Peiyan Zhang et al. "TransGNN: Harnessing the Collaborative Power of Transformers and Graph
    Neural Networks for Recommender Systems." in SIGIR 2024.
Reference code:
    https://github.com/Peiyance/TransGNN-torch

In the released code attention runs over sequences of length 1: no user's row reads another user's.
``transgnn_variant: released`` is that; ``sampled`` lets each node attend to the nodes most similar
to it, as the paper's text says. docs/models.md lists what differs.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from recbole.model.init import xavier_uniform_initialization
from recbole.model.loss import BPRLoss
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, linear, normalize, relu

from recbole_enhance.model.graphs import interactions, symmetric_graph
from recbole_enhance.model.tables import (
    Added,
    TableRecommender,
    Tables,
    mean_square,
    refuse_too_many,
    triplet,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import Count, Few, NotNegative, Options, Rate, Width

_CELLS = 2**24  # similarities at once: 64 MB
_GAMMA = 1e-6  # inside the logarithm of the authors' loss


def nearest_rows(x: Tensor, k: int, cells: int = _CELLS) -> Tensor:
    """Each row itself, and the k - 1 other rows of largest cosine; row 0 is no neighbour.

    Args:
        x: Row 0 is padding. Shape: ``(n, d)``.
        k: At most n - 1.
        cells: Similarities in memory at once.

    Returns:
        Row numbers, itself first, then by falling similarity. Shape: ``(n, k)``.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.1], [1.0, 0.0], [0.0, 1.0]])
        >>> nearest_rows(x, 2)[1:].tolist()
        [[1, 2], [2, 1], [3, 1]]
    """
    unit = normalize(x)
    parts = []
    for rows in torch.arange(len(x), device=x.device).split(max(1, cells // len(x))):
        similarity = unit[rows] @ unit.T
        similarity[:, 0] = -torch.inf
        similarity[rows - rows[0], rows] = torch.inf
        parts.append(similarity.topk(k, dim=1).indices)
    return torch.cat(parts)


def attend(query: Tensor, key: Tensor, value: Tensor, among: Tensor, drop: float = 0.0) -> Tensor:
    r"""Scaled dot-product attention of each node over some nodes.

    .. math:: \mathrm{out}_n = \sum_j \mathrm{softmax}_j(q_n^T k_{a_{nj}} / \sqrt c) \, v_{a_{nj}}

    Args:
        query: Shape: ``(n, heads, c)``.
        key: Shape: ``(n, heads, c)``.
        value: Shape: ``(n, heads, c)``.
        among: Which nodes each attends to. Shape: ``(n, k)``.
        drop: Share of the weights that are dropped.

    Returns:
        Shape: ``(n, heads, c)``.
    """
    shape = (*among.shape, *query.shape[1:])
    keys = embedding(among, key.flatten(1)).view(shape)  # (n, k, heads, c)
    values = embedding(among, value.flatten(1)).view(shape)
    logits = (query.unsqueeze(1) * keys).sum(-1) / query.shape[-1] ** 0.5
    weights = dropout(logits.softmax(dim=1), drop)
    return (weights.unsqueeze(-1) * values).sum(1)


class EncoderLayer(nn.Module):
    """A transformer's encoder layer, normalised after each sum, over given neighbours of each node.

    Args:
        d: Length of a row.
        heads: Attention heads; divides d.
        drop: Dropout, of the attention's weights too.
    """

    def __init__(self, d: int, heads: int, drop: float) -> None:
        super().__init__()
        self.shape = (heads, d // heads)
        self.input = nn.Linear(d, 3 * d)  # one matrix is what the start is drawn for
        self.output = nn.Linear(d, d)
        self.hidden, self.back = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(drop)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.zeros_(self.input.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, among: Tensor | None = None) -> Tensor:
        """Encode nodes ``(n, d)`` that attend to those of ``among`` ``(n, k)``, or to themselves.

        Shape of the result: ``(n, d)``.
        """
        drop = self.dropout.p if self.training else 0.0
        value = self._project(x, 2)
        if among is None:
            # The softmax over one node is 1, whatever query and key are.
            attended = value * dropout(value.new_ones(*value.shape[:2], 1), drop)
        else:
            attended = attend(self._project(x, 0), self._project(x, 1), value, among, drop)
        x = self.norm1(x + self.dropout(self.output(attended.flatten(1))))
        hidden = self.dropout(relu(self.hidden(x)))
        return self.norm2(x + self.dropout(self.back(hidden)))

    def _project(self, x: Tensor, part: int) -> Tensor:
        """Queries (0), keys (1) or values (2). Shape: ``(n, heads, c)``."""
        weight, bias = self.input.weight.chunk(3)[part], self.input.bias.chunk(3)[part]
        return linear(x, weight, bias).view(-1, *self.shape)


class TransGNNOptions(Options):
    """Options of TransGNN; defaults are in its YAML."""

    embedding_size: Width = Field(
        description="Length of a user's or an item's vector; 32 in the authors' code."
    )
    transgnn_variant: Literal["released", "sampled"] = Field(
        description="'released' (as in the authors' code, where attention sees only one node) or "
        "'sampled' (attention over the most similar nodes of the same kind)."
    )
    transgnn_blocks: Few = Field(description="Convolutions, each followed by an encoder layer.")
    transgnn_heads: Few = Field(description="Attention heads; must divide embedding_size.")
    transgnn_neighbours: Count = Field(
        description="Under 'sampled', number of nodes that a node attends to, itself included; "
        "chosen again before each epoch."
    )
    transgnn_dropout: Rate = Field(
        description="Dropout of the encoder layers; 0.5 in the authors' code."
    )
    transgnn_reg_weight: NotNegative = Field(
        description="Weight of the squared length of the batch's embeddings; the authors have none."
    )


class TransGNN(TableRecommender):
    r"""Blocks :math:`M = \hat A E_{k-1}, \; E_k = M + \mathrm{Enc}(M)`, with one encoder per side.

    The tables are :math:`\sum_k E_k`, k = 0 .. blocks.
    """

    options = TransGNNOptions

    user_among: Tensor
    item_among: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        d, heads = config["embedding_size"], config["transgnn_heads"]
        self.blocks, drop = config["transgnn_blocks"], config["transgnn_dropout"]
        self.reg_weight = config["transgnn_reg_weight"]
        self.sampled = config["transgnn_variant"] == "sampled"
        self.user_embedding = nn.Embedding(self.n_users, d)
        self.item_embedding = nn.Embedding(self.n_items, d)
        self.user_embedding.apply(xavier_uniform_initialization)
        self.item_embedding.apply(xavier_uniform_initialization)
        self.user_encoder = EncoderLayer(d, heads, drop)
        self.item_encoder = EncoderLayer(d, heads, drop)
        self.mf_loss = BPRLoss(_GAMMA)
        self.graph = symmetric_graph(interactions(dataset)).to(self.device)
        if self.sampled:
            k = config["transgnn_neighbours"]
            refuse_too_many("transgnn_neighbours", k, self)
            # In state_dict: a loaded model attends to what the saved one did.
            self.register_buffer("user_among", torch.zeros(self.n_users, k, dtype=torch.long))
            self.register_buffer("item_among", torch.zeros(self.n_items, k, dtype=torch.long))
            self.to(self.device)
            self.begin_epoch()

    @classmethod
    def check_options(cls, config: Any) -> None:
        """Refuse options that cannot work, before any data are read."""
        d, heads = config["embedding_size"], config["transgnn_heads"]
        if d % heads:
            raise OptionError("transgnn_heads", heads, f"must divide embedding_size={d}")

    @torch.no_grad()
    def begin_epoch(self) -> None:
        r"""Look anew for each node's neighbours, by the cosine of :math:`E_0 + \hat A E_0`."""
        if self.sampled:
            ego = self._ego()
            users, items = self._split(ego + torch.sparse.mm(self.graph, ego))
            self.user_among.copy_(nearest_rows(users, self.user_among.shape[1]))
            self.item_among.copy_(nearest_rows(items, self.item_among.shape[1]))

    def _ego(self) -> Tensor:
        return torch.cat([self.user_embedding.weight, self.item_embedding.weight])

    def _split(self, rows: Tensor) -> Tables:
        users, items = rows.split([self.n_users, self.n_items])
        return users, items

    def enhancer_tables(self) -> Tables:
        """The sums over the blocks."""
        among = (self.user_among, self.item_among) if self.sampled else (None, None)
        rows = self._ego()
        total = rows
        for _ in range(self.blocks):
            message = torch.sparse.mm(self.graph, rows)
            users, items = self._split(message)
            encoded = self.user_encoder(users, among[0]), self.item_encoder(items, among[1])
            rows = message + torch.cat(encoded)
            total = total + rows
        return self._split(total)

    def enhancer_history_items(self) -> Tensor:
        """Rows of items before any graph. Shape: ``(n_items, d)``."""
        rows: Tensor = self.item_embedding.weight
        return rows

    def enhancer_loss(
        self,
        U_score: Tensor,
        I_score: Tensor,
        interaction: Any,
        U: Tensor | None = None,
        I: Tensor | None = None,
        added: Added = None,
    ) -> Tensor:
        """BPR on the given tables, and the mean squared length of the batch's rows of E_0."""
        user, positive, negative = triplet(self, interaction)
        u = embedding(user, U_score)
        scores = [(u * embedding(item, I_score)).sum(-1) for item in (positive, negative)]
        if added is not None:
            more = added(torch.stack([positive, negative]))
            scores = [score + own for score, own in zip(scores, more)]
        loss = self.mf_loss(*scores)
        if self.reg_weight:
            ego = self.user_embedding(user), *map(self.item_embedding, (positive, negative))
            loss = loss + self.reg_weight * mean_square(*ego)
        return loss
