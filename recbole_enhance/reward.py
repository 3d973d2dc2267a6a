"""Any evaluation metric on a sample of users, as a number to be maximised."""

from types import SimpleNamespace
from typing import Any, Callable, Dict, Sequence, Tuple

import numpy as np
import recbole.evaluator.register as recbole_metrics
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector
from recbole.utils import InputType
from torch import Tensor

from recbole_enhance.data.categories import category_matrix
from recbole_enhance.metric import concentration, diversity, ranking

Scores = Callable[[Tuple[Any, Any, Tensor, Tensor]], Tuple[Any, Tensor, Tensor, Tensor]]
# From here on RecBole's own metrics serve, by their names.
OURS = ("recall", "ndcg", "cc", "ild", "gini")
NEED_CATEGORIES = ("cc", "ild")


def parse_reward(text: str) -> Tuple[str, int]:
    """Split a reward's name.

    Args:
        text: ``loss`` or ``metric@k``.

    Returns:
        Lower-case name and k; k is 0 for the loss.

    Raises:
        ValueError: If the metric is unknown, or k is no whole number above 0.

    Example:
        >>> parse_reward("NDCG@20")
        ('ndcg', 20)
    """
    name, _, k = str(text).lower().partition("@")
    if name == "loss" and not k:
        return "loss", 0
    ranked = [
        n
        for n, kind in recbole_metrics.metric_types.items()
        if kind.name == "RANKING" and n != "gauc"
    ]
    allowed = sorted({*OURS, *ranked})
    if name not in allowed or not k.isdigit() or int(k) < 1:
        raise ValueError(
            f"dvr_reward={text}: loss, or NAME@K with NAME one of {', '.join(allowed)}"
        )
    return name, int(k)


class Reward:
    """Measures a model on users' held-out interactions.

    Args:
        text: The reward's name, see :func:`parse_reward`.
        config: The run's settings.
        known: Splits whose items are not ranked again: training for validation, both for test.
        held_out: The split whose items are the positives.
        score: RecBole's ``Trainer._full_sort_batch_eval``.

    Raises:
        ValueError: If nothing is held out, or categories are needed and not loaded.
    """

    def __init__(
        self, text: str, config: Any, known: Sequence[Any], held_out: Any, score: Scores
    ) -> None:
        self.name, self.k = parse_reward(text)
        if held_out is None or len(held_out) == 0:
            raise ValueError(
                f"dvr_reward={text}: needs validation interactions, eval_args.split leaves none"
            )
        self.config, self.score = config, score
        self.training, self.dataset = known[0], held_out
        self.uid, self.iid = held_out.uid_field, held_out.iid_field
        self.n_items = held_out.item_num
        self.positives = _Lists([held_out])
        self.history = _Lists(known)
        self.users = torch.from_numpy(np.flatnonzero(self.positives.counts))
        self.categories = torch.zeros(0, 0, dtype=torch.bool)
        if self.name in NEED_CATEGORIES:
            self.categories = category_matrix(held_out, config["item_category_field"])

    @torch.no_grad()
    def __call__(self, model: Any, n_users: int, generator: torch.Generator) -> float:
        """Measure the model.

        Args:
            model: The recommender; it is in training mode again afterwards.
            n_users: How many users are drawn; all if there are fewer.
            generator: Source of randomness.

        Returns:
            The mean over the users, signed so that larger is better.
        """
        drawn = torch.randperm(len(self.users), generator=generator)[:n_users]
        users = self.users[drawn]
        model.eval()
        try:
            value = (
                self._loss(model, users, generator) if self.name == "loss" else self._metric(users)
            )
        finally:
            model.train()
        smaller = self.name in ("loss", "gini") or self.name in recbole_metrics.smaller_metrics
        return -value if smaller else value

    def _loss(self, model: Any, users: Tensor, generator: torch.Generator) -> float:
        """Training loss on the users' validation items, with fresh uniform negatives."""
        rows, items = self.positives.of(users)
        users = users[rows]
        negatives = self._negatives(users, generator)
        if self.config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE:
            batch = {
                self.uid: users,
                self.iid: items,
                f"{self.config['NEG_PREFIX']}{self.iid}": negatives,
            }
        else:
            label = torch.cat([torch.ones(len(users)), torch.zeros(len(users))])
            batch = {self.uid: users.repeat(2), self.iid: torch.cat([items, negatives]),
                     self.config["LABEL_FIELD"]: label}  # fmt: skip
        losses = model.calculate_loss(Interaction(batch).to(self.config["device"]))
        return float(sum(losses) if isinstance(losses, tuple) else losses)

    def _negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform items that the users have in no split that is known here."""
        negatives = torch.empty_like(users)
        open_rows = torch.arange(len(users))
        while len(open_rows):
            drawn = torch.randint(1, self.n_items, (len(open_rows),), generator=generator)
            negatives[open_rows] = drawn
            used = self.history.holds(users[open_rows], drawn) | self.positives.holds(
                users[open_rows], drawn
            )
            open_rows = open_rows[used]
        return negatives

    def _metric(self, users: Tensor) -> float:
        """Rank all items but the training ones, in batches that fit the memory."""
        ours = self.name in OURS
        collector = None if ours else self._collector()
        device, lists, sums, total = self.config["device"], [], 0.0, 0
        step = max(1, int(self.config["eval_memory_mb"] * 2**20 / (16 * self.n_items)))
        for chunk in users.split(step):
            interaction = self.dataset.join(Interaction({self.uid: chunk}))
            batch = (interaction, self._known_only(chunk), *self.positives.of(chunk))
            interaction, scores, rows, positives = self.score(batch)
            rows, positives = rows.to(device), positives.to(device)
            if collector is not None:
                collector.eval_batch_collect(scores, interaction, rows, positives)
                continue
            items = scores.topk(min(self.k, self.n_items - 1), dim=1).indices
            lists.append(items)
            if self.name != "gini":
                sums += float(self._per_user(items, rows, positives).sum())
            total += len(chunk)
        if collector is not None:
            metric = recbole_metrics.metrics_dict[self.name](collector.config)
            return float(
                metric.calculate_metric(collector.get_data_struct())[f"{self.name}@{self.k}"]
            )
        if self.name == "gini":
            return float(concentration.gini_index(torch.cat(lists), self.n_items))
        return sums / total

    def _known_only(self, users: Tensor) -> Tuple[Tensor, Tensor]:
        """Items not to be ranked: the known ones but those held out too, as in RecBole."""
        rows, items = self.history.of(users)
        keep = ~self.positives.holds(users[rows], items)
        return rows[keep], items[keep]

    def _per_user(self, items: Tensor, rows: Tensor, positives: Tensor) -> Tensor:
        if self.name == "cc":
            return diversity.category_coverage(items.cpu(), self.categories)
        if self.name == "ild":
            return diversity.intra_list_distance(items.cpu(), self.categories)
        found = ranking.hits(items, rows, positives, self.n_items)
        counts = ranking.count_positives(rows, positives, len(items), self.n_items)
        return {"recall": ranking.recall, "ndcg": ranking.ndcg}[self.name](found, counts)

    def _collector(self) -> Collector:
        """RecBole's collector, for one metric at one k and without rounding."""
        settings = _Settings(self.config.final_config_dict)
        settings.update(metrics=[self.name], topk=[self.k], metric_decimal_place=12)
        collector = Collector(settings)
        collector.data_collect(SimpleNamespace(dataset=self.training))
        return collector


class _Settings(Dict[str, Any]):
    """A plain dictionary with Config's habit: an option that is not there is None."""

    def __missing__(self, key: str) -> None:
        return None


class _Lists:
    """Items of each user in compressed rows."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        matrix = sum(dataset.inter_matrix(form="csr") for dataset in datasets)
        matrix.sum_duplicates()
        self.counts = np.diff(matrix.indptr)
        self._start = torch.from_numpy(matrix.indptr[:-1].astype(np.int64))
        self._items = torch.from_numpy(matrix.indices.astype(np.int64))
        self._n_items = matrix.shape[1]
        users = torch.repeat_interleave(
            torch.arange(matrix.shape[0]), torch.from_numpy(self.counts)
        )
        self._keys = (users * self._n_items + self._items).sort().values

    def of(self, users: Tensor) -> Tuple[Tensor, Tensor]:
        """Items of some users, as (row in ``users``, item)."""
        counts = torch.from_numpy(self.counts)[users].long()
        rows = torch.repeat_interleave(torch.arange(len(users)), counts)
        offset = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
        return rows, self._items[self._start[users][rows] + offset]

    def holds(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has the item beside it."""
        keys = users * self._n_items + items
        place = torch.searchsorted(self._keys, keys).clamp(max=max(len(self._keys) - 1, 0))
        return (
            self._keys[place] == keys
            if len(self._keys)
            else torch.zeros_like(keys, dtype=torch.bool)
        )
