"""Full ranking of models that score pairs, whose first layer is a sum of a user's and an item's.

RecBole sends each pair of a user and an item through all layers. Here the halves of the first layer
are computed once per user and once per item, and the layers after it run over blocks of pairs that
stay in a cache. Mix-ins before RecBole's classes (:mod:`~.model.faster`).
"""

from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource
from torch import Tensor, nn

_PAIRS = 1024  # of a block: its inputs of 128 numbers and their outputs fit into a core's cache


class _Ranking(nn.Module):
    """Scores of all items, where nothing is dropped out and no gradient is asked for.

    Else RecBole's own way through pairs remains.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What RecBole's class has."""

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items (RecBole's interface). Shape: ``(batch * n_items,)``."""
        if self.training or torch.is_grad_enabled() or not self.splits():
            raise NotImplementedError
        return self.all_scores(interaction).sigmoid_().flatten()

    def splits(self) -> bool:
        """Whether a first layer is a sum of a user's part and an item's."""
        return True

    def all_scores(self, interaction: Any) -> Tensor:
        """Logits. Shape: ``(batch, n_items)``."""
        raise NotImplementedError


class NeuMFRanking(_Ranking):
    """NeuMF: a product of tables, and layers over both tables' rows."""

    def all_scores(self, interaction: Any) -> Tensor:
        """As of the base class."""
        users, last, split = interaction[self.USER_ID], self.predict_layer, 0
        scores = last.bias.expand(len(users), self.n_items).clone()
        if self.mf_train:
            split = self.mf_embedding_size
            own = self.user_mf_embedding(users) * last.weight[:, :split]
            scores.addmm_(own, self.item_mf_embedding.weight.T)
        if self.mlp_train:
            first, *others = _linear(self.mlp_layers)
            width = self.mlp_embedding_size
            own = self.user_mlp_embedding(users) @ first.weight[:, :width].T + first.bias
            items = self.item_mlp_embedding.weight @ first.weight[:, width:].T
            add_layers(scores, own, items, others, last.weight[0, split:])
        return scores


class _Fields(_Ranking):
    """Models over columns of users and items: a linear part and what follows, or one of them."""

    factorises = deep = False

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self._item_columns = dataset.get_item_feature()
        names = (
            *self.token_seq_field_names,
            *self.token_field_names,
            *self.float_seq_field_names,
            *self.float_field_names,
        )
        of_users = FeatureSource.USER, FeatureSource.USER_ID
        of_items = FeatureSource.ITEM, FeatureSource.ITEM_ID
        sources = [dataset.field2source[name] for name in names]
        self._of_users = [n for n, source in enumerate(sources) if source in of_users]
        self._of_items = [n for n, source in enumerate(sources) if source in of_items]
        self._n_fields = len(names)

    def splits(self) -> bool:
        """Whether all columns are of users or items, none of an interaction."""
        return len(self._of_users) + len(self._of_items) == self._n_fields

    def all_scores(self, interaction: Any) -> Tensor:
        """As of the base class."""
        items = self._item_columns.to(self.device)
        # What is linear is read off with the first item for all users, and the first user for all.
        users = {**_first(items, len(interaction)), **interaction.interaction}
        paired = {**_first(interaction, len(items)), **items.interaction}
        own_linear, own = self._embedded(Interaction(users), self._of_users)
        item_linear, other = self._embedded(Interaction(paired), self._of_items)
        scores = own_linear + (item_linear.T - own_linear[0])
        if self.factorises:
            scores += self.fm(own) + self.fm(other).T
            scores.addmm_(own.sum(1), other.sum(1).T)
        if self.deep:
            first, *others = _linear(self.mlp_layers)
            weight = first.weight.view(len(first.weight), self._n_fields, -1)
            halves = [
                part.flatten(1) @ weight[:, columns].flatten(1).T
                for part, columns in ((own, self._of_users), (other, self._of_items))
            ]
            last = self.deep_predict_layer
            scores += last.bias
            add_layers(scores, halves[0] + first.bias, halves[1], others, last.weight[0])
        return scores

    def _embedded(self, rows: Interaction, fields: list[int]) -> tuple[Tensor, Tensor]:
        """The linear part of rows, and vectors of some columns. ``(rows, 1)``, ``(rows, ., d)``."""
        vectors = self.concat_embed_input_fields(rows)
        return self.first_order_linear(rows), vectors[:, fields]


class FMRanking(_Fields):
    """FM: a product of sums of vectors."""

    factorises = True


class WideDeepRanking(_Fields):
    """WideDeep: layers over all vectors."""

    deep = True


class DeepFMRanking(_Fields):
    """DeepFM: both."""

    factorises = deep = True


def add_layers(
    scores: Tensor, users: Tensor, items: Tensor, layers: list[nn.Linear], last: Tensor
) -> None:
    """Add what layers make of every pair, in place.

    Args:
        scores: Shape: ``(users, items)``.
        users: A user's half of the first layer, its bias included. Shape: ``(users, d)``.
        items: An item's half. Shape: ``(items, d)``.
        layers: Those after the first, each after a ReLU.
        last: Weights of one output, after a ReLU. Shape: ``(D,)``.

    Example:
        >>> scores = torch.zeros(1, 2)
        >>> halves = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 2.0], [-3.0, 2.0]])
        >>> add_layers(scores, *halves, [], torch.ones(2))
        >>> scores
        tensor([[4., 1.]])
    """
    weights = [layer.weight.T.contiguous() for layer in layers]
    # relu(u + i) = max(i, -u) + u: one pass over a block, and u goes on as a user's constant.
    below = users.neg()
    if layers:
        constant = torch.addmm(layers[0].bias, users, weights[0])
    else:
        scores += (users @ last).unsqueeze(1)
    width = min(_PAIRS, len(items))
    height = max(1, _PAIRS // width)
    inputs = [users.new_empty(height * width, size) for size in _sizes(users, layers)]
    for part, found in zip(items.split(width), scores.split(width, dim=1)):
        for low, own, rows in _rows(below, constant if layers else below, found, height):
            n = len(low) * len(part)
            block = inputs[0][:n]
            torch.maximum(part, low.unsqueeze(1), out=block.view(len(low), len(part), -1))
            for number, weight in enumerate(weights):
                block = torch.mm(block, weight, out=inputs[number + 1][:n])
                if number == 0:
                    block.view(len(low), len(part), -1).add_(own.unsqueeze(1))
                else:
                    block.add_(layers[number].bias)
                block.relu_()
            rows += (block @ last).view(rows.shape)


def _rows(*tensors: Any) -> Any:
    """Some rows of each at a time; the last argument says how many."""
    *tensors, height = tensors  # type: ignore[assignment]
    return zip(*(tensor.split(height) for tensor in tensors))


def _sizes(users: Tensor, layers: list[nn.Linear]) -> list[int]:
    return [users.shape[1], *(layer.out_features for layer in layers)]


def _linear(mlp: Any) -> list[nn.Linear]:
    """The linear layers of RecBole's, between which there are ReLUs and, in training, dropout."""
    return [layer for layer in mlp.mlp_layers if isinstance(layer, nn.Linear)]


def _first(rows: Interaction, times: int) -> dict[str, Tensor]:
    """The first row of each column, repeated."""
    return {
        name: column[:1].expand(times, *column.shape[1:])
        for name, column in rows.interaction.items()
    }
