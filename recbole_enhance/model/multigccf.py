r"""Multi-GCCF: multi-graph convolution collaborative filtering.

Reference:
    Jianing Sun et al. "Multi-Graph Convolution Collaborative Filtering." in ICDM 2019.

Users and items convolve over their bipartite graph with weights of their own, sum up their similar
users and items, and keep a dense layer of their own embedding. DVR's paper calls it MGCF.
docs/models.md lists what is ours.
"""

from typing import Any

import torch
from pydantic import Field
from recbole.model.init import xavier_uniform_initialization
from recbole.model.loss import BPRLoss
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding

from recbole_enhance.model.graphs import interactions, mean_graph, similarity_graph
from recbole_enhance.model.tables import (
    Added,
    TableRecommender,
    Tables,
    mean_square,
    refuse_too_many,
    triplet,
)
from recbole_enhance.options.schema import Count, Few, NotNegative, Options, Rate, Width


class Side(nn.Module):
    """The parameters of one side, users or items: Q and W of each layer, M and S.

    Args:
        d: Length of a row.
        n_layers: Layers of the bipartite convolution.
    """

    def __init__(self, d: int, n_layers: int) -> None:
        super().__init__()
        self.neighbour = nn.ModuleList(nn.Linear(d, d, bias=False) for _ in range(n_layers))  # Q
        self.merge = nn.ModuleList(nn.Linear(2 * d, d, bias=False) for _ in range(n_layers))  # W
        self.similar = nn.Linear(d, d, bias=False)  # M
        self.skip = nn.Linear(d, d, bias=False)  # S

    def convolve(self, layer: int, own: Tensor, others: Tensor, graph: Any, drop: float) -> Tensor:
        r"""One layer of the bipartite convolution.

        .. math:: n_u = \tanh\Big(\mathrm{mean}_{i \in N(u)} h_i Q_u\Big), \quad
            h_u' = \tanh([h_u ; n_u] W_u)

        Args:
            layer: Which one.
            own: h of this side. Shape: ``(n, d)``.
            others: h of the other side. Shape: ``(m, d)``.
            graph: Means over this side's neighbours. Shape: ``(n, m)``.
            drop: Dropout of the messages.

        Returns:
            Shape: ``(n, d)``.
        """
        message = torch.tanh(torch.sparse.mm(graph, self.neighbour[layer](others)))
        message = dropout(message, drop, self.training)
        return torch.tanh(self.merge[layer](torch.cat([own, message], dim=1)))

    def fuse(self, convolved: Tensor, ego: Tensor, graph: Any) -> Tensor:
        r"""Add the transformed rows of similar nodes and of the node itself.

        .. math:: e_u^* = h_u + \tanh\Big(\sum_{v \in S(u)} e_v M_u\Big) + \tanh(e_u S_u)

        Args:
            convolved: h of the last layer. Shape: ``(n, d)``.
            ego: Embeddings e. Shape: ``(n, d)``.
            graph: Ones where rows are similar. Shape: ``(n, n)``.

        Returns:
            In [-3, 3]. Shape: ``(n, d)``.
        """
        z = torch.tanh(torch.sparse.mm(graph, self.similar(ego)))
        return convolved + z + torch.tanh(self.skip(ego))


class MultiGCCFOptions(Options):
    """Options of MultiGCCF; defaults are in its YAML."""

    embedding_size: Width = Field(description="Length of a user's or an item's vector.")
    multigccf_layers: Few = Field(
        description="Layers of the convolution over the graph of users and items."
    )
    multigccf_neighbours: Count = Field(
        description="Number of most similar users of a user, and items of an item, by the cosine "
        "of their training interactions."
    )
    multigccf_dropout: Rate = Field(description="Dropout of the messages.")
    multigccf_reg_weight: NotNegative = Field(
        description="lambda, L2 of the weights and of the batch's embeddings."
    )
    multigccf_output_weight: NotNegative = Field(description="beta, L2 of the batch's fused rows.")


class MultiGCCF(TableRecommender):
    """Dot products of fused rows; graphs from training rows only, no neighbours sampled."""

    options = MultiGCCFOptions

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        d, k = config["embedding_size"], config["multigccf_neighbours"]
        self.n_layers, self.drop = config["multigccf_layers"], config["multigccf_dropout"]
        self.reg_weight = config["multigccf_reg_weight"]  # lambda
        self.output_weight = config["multigccf_output_weight"]  # beta
        self.user_embedding = nn.Embedding(self.n_users, d)
        self.item_embedding = nn.Embedding(self.n_items, d)
        self.user_side, self.item_side = Side(d, self.n_layers), Side(d, self.n_layers)
        self.mf_loss = BPRLoss()
        refuse_too_many("multigccf_neighbours", k, self)
        matrix = interactions(dataset)
        self.user_mean = mean_graph(matrix).to(self.device)
        self.item_mean = mean_graph(matrix.T.tocsr()).to(self.device)
        self.user_similar = similarity_graph(matrix, k).to(self.device)
        self.item_similar = similarity_graph(matrix.T.tocsr(), k).to(self.device)
        self.apply(xavier_uniform_initialization)

    def enhancer_tables(self) -> Tables:
        """The fused rows e*."""
        users, items = self.user_embedding.weight, self.item_embedding.weight
        h_u, h_i = users, items
        for layer in range(self.n_layers):  # both from the layer below
            h_u, h_i = (
                self.user_side.convolve(layer, h_u, h_i, self.user_mean, self.drop),
                self.item_side.convolve(layer, h_i, h_u, self.item_mean, self.drop),
            )
        return (
            self.user_side.fuse(h_u, users, self.user_similar),
            self.item_side.fuse(h_i, items, self.item_similar),
        )

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
        r"""BPR with both penalties.

        .. math:: L = L_{BPR} + \lambda \|\Theta\|^2
            + \beta (\|e_u^*\|^2 + \|e_i^*\|^2 + \|e_j^*\|^2)

        Of the embeddings, :math:`\Theta` holds the batch's rows, as a mean over the batch.
        """
        user, positive, negative = triplet(self, interaction)
        rows = embedding(user, U_score), *(embedding(i, I_score) for i in (positive, negative))
        scores = [(rows[0] * row).sum(-1) for row in rows[1:]]
        if added is not None:
            more = added(torch.stack([positive, negative]))
            scores = [score + own for score, own in zip(scores, more)]
        loss = self.mf_loss(*scores)
        if self.reg_weight:
            ego = self.user_embedding(user), *map(self.item_embedding, (positive, negative))
            sides = (*self.user_side.parameters(), *self.item_side.parameters())
            squares = sum(weight.square().sum() for weight in sides) + mean_square(*ego)
            loss = loss + self.reg_weight * squares
        if self.output_weight:
            loss = loss + self.output_weight * mean_square(*rows)
        return loss
