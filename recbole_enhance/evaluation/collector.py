"""Collects what metrics read, with one top-k per batch and no array of users x items."""

from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct
from torch import Tensor

from recbole_enhance.data.categories import category_matrix
from recbole_enhance.data.groups import user_groups
from recbole_enhance.evaluation.merging import all_sound, merged
from recbole_enhance.evaluation.rerank import CANDIDATES, DEFAULT_WEIGHT, Reranker
from recbole_enhance.evaluation.ties import drawn_order, ranked
from recbole_enhance.metric import ranking
from recbole_enhance.metric.concentration import popularity_groups
from recbole_enhance.model.embeddings import table_called
from recbole_enhance.options.errors import NotFiniteError, OptionError

_MAX_CELLS = 1 << 22  # of the comparisons that rank a batch's positives


_NOT_FINITE = "scores are NaN or infinite"


class EnhancedCollector(Collector):
    """RecBole's collector with the same values for its metrics, and more for ours.

    RecBole sorts twice, and keeps a dense matrix of the positives. Here a batch of scores is
    reduced to its top-k at once, ties at random (:mod:`~.evaluation.ties`); padding fills the
    list of a user with fewer candidates.

    Keys, beside RecBole's own (``rec.topk``, ``rec.meanrank``, ``data.label``, ...):

    * ``rec.items``, ``rec.item_score``: the lists, best first, and their scores.
      Shape: ``(rows, max(topk))``.
    * ``rec.users``: user of each row. Shape: ``(rows,)``.
    * ``rec.positive_u``, ``rec.positive_i``, ``rec.positive_score``: row, item and score of each
      held-out item. Shape: ``(positives,)``.
    * ``data.train_matrix``: scipy CSR of 0 and 1, training only. Shape: ``(n_users, n_items)``.
    * ``data.item_category``, ``data.item_embedding``, ``data.item_group``: one row per item.
    * ``data.user_group``: field of ``group_fields`` -> (labels, group of each user).

    Attributes:
        reranker: What option ``rerank`` asks for, or None.
        rows: With sampled candidates, the row of each pair of the next batch.
        labelled: Batches with labels for value metrics beside a full ranking, or None.
        in_parts: Whether each of several processes collects some of the rows only.
    """

    in_parts = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.reranker: Reranker | None = None  # made of the training data
        self._place: Tensor | None = None
        self.start()

    def start(self, labelled: Any = None) -> None:
        """Forget an evaluation that was interrupted.

        Args:
            labelled: As the attribute.
        """
        self.rows: Tensor | None = None
        self.labelled = labelled
        self._parts: dict[str, list[Tensor]] = {}
        self._sound: list[Tensor] = []
        self._n_rows = self._n_items = 0

    def check_model(self, model: Any) -> None:
        """Refuse a model that lacks what a metric reads of it.

        Raises:
            OptionError: If an item table is needed, and there is none.
        """
        needed = self.register.need("data.item_embedding")
        if needed and table_called(model, "item_embedding") is None:
            raise OptionError(
                "metrics",
                self.config["metrics"],
                f"{type(model).__name__} has no table item_embedding, which EmbeddingILD needs",
            )

    def data_collect(self, train_data: Any) -> None:
        """Collect what does not change: all of it from the training part."""
        dataset = train_data._dataset
        self.data_struct.set("data.num_items", dataset.item_num)
        self.data_struct.set("data.num_users", dataset.user_num)
        if self.register.need("data.count_items"):
            self.data_struct.set("data.count_items", dataset.item_counter)
        if self.register.need("data.count_users"):
            self.data_struct.set("data.count_users", dataset.user_counter)
        matrix = dataset.inter_matrix(form="csr")
        matrix.sum_duplicates()
        matrix.data[:] = 1
        self.data_struct.set("data.train_matrix", matrix)
        if self.config["group_fields"]:
            lengths = torch.from_numpy(np.diff(matrix.indptr)).long()
            groups = user_groups(self.config, dataset, lengths)
            self.data_struct.set("data.user_group", groups)
        if self.register.need("data.item_group"):
            users = torch.from_numpy(matrix.getnnz(axis=0)).long()
            cut = popularity_groups(users, self.config["item_head_share"])
            self.data_struct.set("data.item_group", cut)
        how = self.config["rerank"]
        categories = None
        if self.register.need("data.item_category") or how not in (None, "popularity"):
            categories = category_matrix(dataset, self.config["item_category_field"])
            self.data_struct.set("data.item_category", categories)
        if how is not None:
            given = self.config["rerank_lambda"]
            weight = DEFAULT_WEIGHT if given is None else given
            self.reranker = Reranker(how, weight, matrix, categories)

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Reduce one batch.

        Args:
            scores_tensor: Scores of all items, -inf where one is no candidate, shape
                ``(rows, n_items)``; or of the batch's own pairs, shape ``(pairs,)``.
            interaction: The batch.
            positive_u: Row of each positive. Shape: ``(positives,)``.
            positive_i: Item of each positive. Shape: ``(positives,)``.
        """
        if scores_tensor.dim() == 1:
            self._collect_values(scores_tensor, interaction)
            return
        scores, n_items = scores_tensor, scores_tensor.shape[1]
        self._n_items = n_items
        keys = torch.unique(positive_u.to(scores.device) * n_items + positive_i.to(scores.device))
        positive_u, positive_i = keys // n_items, keys % n_items
        users = self._users(interaction, len(scores))
        values, items, sound = self._ranked(scores, users, max(self.topk))
        self._sound.append(sound)
        self._keep("rec.items", items.masked_fill(values == -torch.inf, 0))
        self._keep("rec.item_score", values)
        self._keep("rec.positive_u", positive_u + self._n_rows)
        self._keep("rec.positive_i", positive_i)
        self._keep("rec.users", users)
        if self.register.need("rec.positive_score"):
            self._keep("rec.positive_score", scores[positive_u, positive_i])
        if self.register.need("rec.meanrank"):
            self._keep("rec.meanrank", _mean_ranks(scores, positive_u, positive_i))
        if self.rows is not None and self.register.need("rec.score"):
            items = interaction[self.config["ITEM_ID_FIELD"]]
            self._collect_values(scores[self.rows, items], interaction)
        self._n_rows += len(scores)

    def lists(self, scores: Tensor, users: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
        """Make lists from scores: ties are broken at random, and re-ranked if the run asks for it.

        Args:
            scores: -inf where an item is no candidate. Shape: ``(rows, n_items)``.
            users: User of each row; None leaves the lists as they are scored. Shape: ``(rows,)``.
            k: Length of the lists.

        Returns:
            Scores and items, in the order of the lists. Shape of both: ``(rows, k)``.

        Raises:
            NotFiniteError: If a score is NaN or infinite, other than the -inf of no candidate.
        """
        values, items, sound = self._ranked(scores, users, k)
        if not sound:
            raise NotFiniteError(_NOT_FINITE)
        return values, items

    def _ranked(
        self, scores: Tensor, users: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The lists, and whether all scores are finite, a tensor that is still on its device."""
        n_items = scores.shape[1]
        if self._place is None or len(self._place) != n_items:
            self._place = drawn_order(n_items, self.config["seed"])
        reranker = None if users is None else self.reranker
        n_best = min(max(CANDIDATES, k), n_items) if reranker else k
        values, items = ranked(scores, n_best, self._place)
        # The first of each row is enough: topk takes NaN for the largest.
        sound = (values[:, 0] < torch.inf).all()
        if reranker is not None and users is not None:
            values, items = reranker.lists(values, items, users, k)
        return values, items, sound

    def take_lists(
        self, items: Tensor, scores: Tensor, users: Tensor, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Take lists as they are, in place of all batches: nothing is ranked, nor re-ranked.

        Args:
            items: Best first, 0 where a list is shorter. Shape: ``(rows, max(topk))``.
            scores: Of the items. Shape: ``(rows, max(topk))``.
            users: User of each row. Shape: ``(rows,)``.
            positive_u: Row of each positive. Shape: ``(positives,)``.
            positive_i: Item of each positive. Shape: ``(positives,)``.
        """
        self._n_items = self.data_struct["data.num_items"]
        keys = torch.unique(positive_u * self._n_items + positive_i)
        self._keep("rec.items", items)
        self._keep("rec.item_score", scores)
        self._keep("rec.positive_u", keys // self._n_items)
        self._keep("rec.positive_i", keys % self._n_items)
        self._keep("rec.users", users)

    def _users(self, interaction: Any, n_rows: int) -> Tensor:
        users = interaction[self.config["USER_ID_FIELD"]]
        if self.rows is None:
            return users
        return users[torch.searchsorted(self.rows, torch.arange(n_rows)).to(users.device)]

    def _collect_values(self, scores: Tensor, interaction: Any) -> None:
        self._sound.append(scores.isfinite().all())
        self._keep("rec.score", scores)
        self._keep("data.label", interaction[self.config["LABEL_FIELD"]])

    def _keep(self, key: str, value: Tensor) -> None:
        self._parts.setdefault(key, []).append(value)

    @torch.no_grad()
    def model_collect(self, model: Any) -> None:
        """Collect what only the model knows: labelled pairs' scores, and its item table."""
        for batch in self.labelled or ():
            batch = batch.to(self.device)
            self._collect_values(model.predict(batch), batch)
        if self.register.need("data.item_embedding"):
            self._parts["data.item_embedding"] = [model.item_embedding.weight]

    def get_data_struct(self) -> DataStruct:
        """Hand over what was collected, on the CPU, and forget what belongs to one evaluation.

        Raises:
            NotFiniteError: If a score is NaN or infinite, other than the -inf of no candidate.
        """
        sound, self._sound = self._sound, []
        finite = not sound or bool(torch.stack(sound).all())  # the one wait for the device
        if not (all_sound(finite) if self.in_parts else finite):
            raise NotFiniteError(_NOT_FINITE)
        collected = DataStruct()
        for key, value in self.data_struct._data_dict.items():
            collected.set(key, value)
        found = {key: torch.cat(parts).cpu() for key, parts in self._parts.items()}
        if self.in_parts:
            self._n_items = self.data_struct["data.num_items"]
            found = merged(found, self._n_rows)
        for key, value in found.items():
            collected.set(key, value)
        if "rec.items" in found and self.register.need("rec.topk"):
            collected.set("rec.topk", self._marked(collected))
        self._parts, self._n_rows = {}, 0
        return collected

    def _marked(self, collected: DataStruct) -> Tensor:
        """RecBole's ``rec.topk``: hits at each rank, and how many there could be."""
        items = collected["rec.items"]
        pairs = collected["rec.positive_u"], collected["rec.positive_i"]
        found = ranking.hits(items, *pairs, self._n_items)
        possible = ranking.count_positives(*pairs, len(items), self._n_items)
        return torch.cat([found, possible.unsqueeze(1)], dim=1).int()


def _mean_ranks(scores: Tensor, positive_u: Tensor, positive_i: Tensor) -> Tensor:
    """RecBole's ``rec.meanrank`` without sorting: ranks of the positives, ties at their mean.

    Args:
        scores: -inf where an item is no candidate. Shape: ``(rows, n_items)``.
        positive_u: Rows, rising. Shape: ``(positives,)``.
        positive_i: Items. Shape: ``(positives,)``.

    Returns:
        Sum of the positives' ranks, number of candidates, number of positives.
        Shape: ``(rows, 3)``.
    """
    of_pair = scores[positive_u, positive_i]
    step = max(1, _MAX_CELLS // scores.shape[1])
    ranks = [
        (row > own).sum(1) + ((row == own).sum(1) + 1) / 2
        for row, own in (
            (scores[rows], own.unsqueeze(1))
            for rows, own in zip(positive_u.split(step), of_pair.split(step))
        )
    ]
    total = scores.new_zeros(len(scores), 3)
    total[:, 0].index_add_(0, positive_u, torch.cat(ranks or [of_pair]).to(scores.dtype))
    total[:, 1] = (scores > -torch.inf).sum(1)
    total[:, 2] = torch.bincount(positive_u, minlength=len(scores))
    return total
