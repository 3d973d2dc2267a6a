"""What a value is measured by: the gradient of a utility by the backbone's parameters."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import recbole.evaluator.register as recbole_metrics
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor

from recbole_enhance.data.loaders import FullRankingLoader, join
from recbole_enhance.data.negatives import uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.dvr import swap
from recbole_enhance.enhancer.dvr.reward import Scores, _Settings, read_reward
from recbole_enhance.evaluation.collector import EnhancedCollector
from recbole_enhance.evaluation.ties import best, drawn_order, ranked
from recbole_enhance.metric import base, concentration, groups, ranking
from recbole_enhance.options.errors import OptionError
from recbole_enhance.training.losses import WeightedLoss

_CANDIDATES = 200  # of a user; swaps with items further down would hardly ever be drawn
_MAX_ROWS = 1 << 17  # interactions whose loss is the utility, drawn if there are more

Gradient = dict[str, Tensor]  # by the parameter's name


class RewardPart(NamedTuple):
    """One metric of a reward: its lower-case name, k (0 for the loss) and weight."""

    name: str
    k: int
    weight: float


def parts_of(reward: Any) -> list[RewardPart]:
    """Take option ``dvr_reward`` apart.

    Args:
        reward: A metric, or weights by metric.

    Example:
        >>> parts_of({"ndcg@20": 1.0, "recall@10": 0.3})[1]
        RewardPart(name='recall', k=10, weight=0.3)
    """
    weights = reward if isinstance(reward, Mapping) else {reward: 1.0}
    metrics = [(read_reward(text), weight) for text, weight in weights.items()]
    return [RewardPart(metric.name, metric.k or 0, weight) for metric, weight in metrics]


def refuse_unsteerable(reward: Any) -> None:
    """Check that a reward changes by swaps of two items in one list.

    Raises:
        OptionError: If a metric is not one of single users' lists.
    """
    allowed = ["loss", *steerable_metrics()]
    for part in parts_of(reward):
        if part.name not in allowed:
            raise OptionError(
                "dvr_reward",
                reward,
                f"{part.name} is no metric of one user's list; with dvr_values=inrun one of "
                + ", ".join(allowed),
            )


def steerable_metrics() -> list[str]:
    """Names of the metrics that are means over users, or have a change by one swap of their own."""
    return sorted(
        name
        for name, metric in recbole_metrics.metrics_dict.items()
        if name in ranking.ACCURACY
        or (isinstance(metric, type) and issubclass(metric, (base.UserMetric, groups.GroupGap)))
        or name in ("giniindex", "itemcoverage")
    )


class Utility(Protocol):
    """A number to be maximised on some interactions, which are called its judges."""

    def gradient(self, model: Any, generator: torch.Generator) -> tuple[Gradient, float]:
        """Draw, and differentiate.

        Args:
            model: In evaluation mode.
            generator: Source of randomness.

        Returns:
            The gradient by the parameters that have one, and the utility.
        """


class ListUtility:
    """Metrics of ranked lists on the users of some held-out interactions.

    Args:
        parts: The metrics, with their weights; their units are their own.
        config: The run's settings.
        training: The training part, whose items are not ranked.
        held_out: The judges, whose items are the positives.
        score: RecBole's ``Trainer._full_sort_batch_eval``.
    """

    def __init__(
        self, parts: list[RewardPart], config: Any, training: Any, held_out: Any, score: Scores
    ) -> None:
        self.parts, self.score, self.dataset = parts, score, held_out
        self.n_users, self.n_draws = config["dvr_reward_users"], config["dvr_reward_samples"]
        self.device = config["device"]
        self.ranking = FullRankingLoader(config, held_out, [training])
        self.users = self.ranking.positives.counts.nonzero().squeeze(1)
        self.place = drawn_order(held_out.item_num, config["seed"])
        most = max(part.k for part in parts)
        self.n_candidates = min(max(_CANDIDATES, 4 * most), held_out.item_num - 1)
        if most >= self.n_candidates:
            raise OptionError(
                "dvr_reward",
                config["dvr_reward"],
                f"k must be below the {held_out.item_num - 1} items",
            )
        settings = _Settings(config.final_config_dict)
        settings.update(
            metrics=[part.name for part in parts], topk=[most], metric_decimal_place=12, rerank=None
        )
        self.collector = EnhancedCollector(settings)
        self.collector.data_collect(SimpleNamespace(dataset=training, _dataset=training))
        self.changes = [_change_of(part.name, settings) for part in parts]

    def gradient(self, model: Any, generator: torch.Generator) -> tuple[Gradient, float]:
        """See :class:`Utility`."""
        drawn = torch.randperm(len(self.users), generator=generator)[: self.n_users]
        users = self.users[drawn]
        with torch.no_grad():
            scores, candidates, data = self._rank(model, users)
        utility, pairs = 0.0, []
        for k in dict.fromkeys(part.k for part in self.parts):
            swaps = swap.draw_swaps(scores, k, self.n_draws, generator)
            cpu = swap.Swaps(*(x.cpu() for x in swaps))
            lists = _Lists(candidates.cpu(), k, cpu, data)
            total = torch.zeros(lists.swaps.place.shape, dtype=torch.float64)
            for part, change in zip(self.parts, self.changes):
                if part.k == k:
                    sign = -1 if part.name in recbole_metrics.smaller_metrics else 1
                    value, by_swap = change(lists)
                    total += sign * part.weight * by_swap.nan_to_num()
                    utility += sign * part.weight * value
            pairs.append(swap.score_gradient(candidates, swaps, total.to(candidates.device)))
        items, amount = (torch.cat(x, 1) for x in zip(*pairs))
        rows, place = amount.nonzero(as_tuple=True)  # most swaps change no accuracy at all
        if not len(rows):
            return {}, utility
        columns = {
            self.ranking.uid_field: users[rows.cpu()],
            self.ranking.iid_field: items[rows, place].cpu(),
        }
        batch = join(self.dataset, Interaction(columns)).to(self.device)
        objective = (amount[rows, place] * model.predict(batch)).sum()
        return _by_parameter(objective, model), utility

    def _rank(self, model: Any, users: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Scores and items of each user's candidates, best first, and what metrics read."""
        scores, items, rows, positives, done = [], [], [], [], 0
        for chunk in users.split(self.ranking.step):
            _, all_scores, row, positive = self.score(self.ranking.users(chunk))
            top, index = ranked(all_scores, self.n_candidates, self.place, best)
            scores.append(top)
            items.append(index.masked_fill(top == -torch.inf, 0))
            rows.append(row.cpu() + done)
            positives.append(positive.cpu())
            done += len(chunk)
        self.collector.model_collect(model)
        data = {
            **self.collector.data_struct._data_dict,
            **{key: value[0].detach().cpu() for key, value in self.collector._parts.items()},
            "rec.users": users,
            "rec.positive_u": torch.cat(rows),
            "rec.positive_i": torch.cat(positives),
        }
        self.collector._parts.clear()
        return torch.cat(scores), torch.cat(items), data


class _Lists(NamedTuple):
    """Lists of some users, on the CPU, and the swaps to be judged.

    Attributes:
        candidates: Shape: ``(users, candidates)``.
        k: Length of the lists.
        swaps: Shape: ``(users, draws)``.
        data: As in :mod:`recbole_enhance.metric.base`.
    """

    candidates: Tensor
    k: int
    swaps: swap.Swaps
    data: dict[str, Any]

    @property
    def lists(self) -> Tensor:
        return self.candidates[:, : self.k]

    def of_pairs(self, coming: Tensor, going: Tensor) -> Tensor:
        """Sum of what each item brings as it comes and as it goes. Shape: ``(users, draws)``."""
        a = self.candidates.gather(1, self.swaps.place)
        b = self.candidates.gather(1, self.swaps.outsider)
        return coming[b] + going[a]


# The metric, and its change by each swap. Shape: (), and (users, draws).
Change = Callable[[_Lists], tuple[float, Tensor]]


def _change_of(name: str, settings: Any) -> Change:
    if name == "giniindex":
        return _change_of_gini
    if name == "itemcoverage":
        return _change_of_coverage
    if name in ranking.ACCURACY:
        return lambda lists: _change_of_mean(*_accuracies(ranking.ACCURACY[name], lists))
    metric = recbole_metrics.metrics_dict[name](settings)
    if isinstance(metric, groups.GroupGap):
        return lambda lists: _change_of_groups(metric, lists)
    return lambda lists: _change_of_mean(*_black_box(metric, lists))


def _change_of_gini(lists: _Lists) -> tuple[float, Tensor]:
    n_items = lists.data["data.num_items"]
    slopes = swap.gini_slopes(lists.lists, n_items)
    value = concentration.gini_index(lists.lists, n_items)
    return float(value), lists.of_pairs(slopes, -slopes)


def _change_of_coverage(lists: _Lists) -> tuple[float, Tensor]:
    n_items = lists.data["data.num_items"]
    value = concentration.item_coverage(lists.lists, n_items)
    return float(value), lists.of_pairs(*swap.coverage_changes(lists.lists, n_items))


def _change_of_mean(before: Tensor, after: Tensor) -> tuple[float, Tensor]:
    """Of the mean over the users that have a value."""
    n = (~before.isnan()).sum().clamp(min=1)
    return float(before.nanmean()), (after - before.unsqueeze(1)) / n


def _change_of_groups(metric: Any, lists: _Lists) -> tuple[float, Tensor]:
    """Of the gap on the attribute where it is largest."""
    before, after = _accuracies(metric.accuracy, lists)
    users = lists.data["rec.users"]
    fields = [
        (float(metric.function(before, codes[users], len(labels))), codes[users], len(labels))
        for labels, codes in lists.data["data.user_group"].values()
    ]
    value, codes, n_groups = max(fields, key=lambda field: (field[0] == field[0], field[0]))
    if value != value:  # no attribute has two groups among these users
        return 0.0, torch.zeros_like(after)
    weights = swap.mad_weights if isinstance(metric, groups.GroupMAD) else swap.gap_weights
    weight = weights(before, codes, n_groups)
    return value, weight.unsqueeze(1) * (after - before.unsqueeze(1)).nan_to_num()


def _accuracies(
    accuracy: Callable[[Tensor, Tensor], Tensor], lists: _Lists
) -> tuple[Tensor, Tensor]:
    """Accuracy of the lists ``(users,)`` and after each swap ``(users, draws)``."""
    data, swaps = lists.data, lists.swaps
    positives = data["rec.positive_u"], data["rec.positive_i"]
    hits = torch.zeros(lists.candidates.shape, dtype=torch.bool)
    number, place = (lists.candidates[positives[0]] == positives[1].unsqueeze(1)).nonzero().T
    hits[positives[0][number], place] = True
    n = ranking.count_positives(*positives, len(hits), data["data.num_items"])
    swapped = swap.swapped_lists(hits, lists.k, swaps)  # (users, draws, k)
    after = accuracy(swapped.flatten(0, 1), n.repeat_interleave(swapped.shape[1]))
    return accuracy(hits[:, : lists.k], n), after.view_as(swaps.weight)


def _black_box(metric: base.UserMetric, lists: _Lists) -> tuple[Tensor, Tensor]:
    """A metric of each user's list, and after each swap: ``(users,)`` and ``(users, draws)``."""
    swapped = swap.swapped_lists(lists.candidates, lists.k, lists.swaps)
    before = metric.per_user({**lists.data, "rec.items": lists.lists}, lists.k)
    after = metric.per_user(swap.rows_of_swaps(lists.data, swapped), lists.k)
    return before, after.view_as(lists.swaps.weight)


class LossUtility:
    """Minus the training loss of some interactions, with fresh uniform negatives.

    Args:
        config: The run's settings.
        criterion: The backbone's loss module, made weighable.
        dataset: The judges.
        known: All interactions that must be no negatives.

    Attributes:
        negatives: Negative of each judge in the last gradient. Shape: ``(judges,)``.
        judged: Place of each interaction among the last judges, or -1. Shape: ``(interactions,)``.
    """

    def __init__(
        self, config: Any, criterion: WeightedLoss, dataset: Any, known: Sequence[Any]
    ) -> None:
        self.config, self.criterion, self.dataset = config, criterion, dataset
        self.used = UserLists.of_datasets(known)
        rows = dataset.inter_feat
        self.users, self.items = rows[dataset.uid_field], rows[dataset.iid_field]
        # A user who has all items has no negative.
        self._open = (self.used.counts[self.users] < dataset.item_num - 1).nonzero().squeeze(1)

    def gradient(self, model: Any, generator: torch.Generator) -> tuple[Gradient, float]:
        """See :class:`Utility`."""
        rows = self._open
        if len(rows) > _MAX_ROWS:
            rows = rows[torch.randperm(len(rows), generator=generator)[:_MAX_ROWS]]
        self.judged = torch.full_like(self.users, -1)
        self.judged[rows] = torch.arange(len(rows))
        self.negatives = uniform_outside(self.used, self.users[rows], generator)
        batch = self._batch(rows, self.negatives)
        caught: list[Tensor] = []
        self.criterion.combine = lambda losses, *scores: caught.append(losses.mean())
        try:
            model.calculate_loss(batch)
        finally:
            self.criterion.combine = None
        return _by_parameter(-caught[0], model), -float(caught[0].detach())

    def own_batch(self, rows: Tensor) -> tuple[Interaction, Tensor]:
        """What interactions gave to the last gradient, as judges of themselves.

        Args:
            rows: Interactions. Shape: ``(batch,)``.

        Returns:
            A batch of them with the negatives of then, pairs below each other if there are labels;
            and the share that each loss has in the utility, 0 for one that was no judge. Shape of
            that: ``(batch,)``.
        """
        place = self.judged[rows]
        batch = self._batch(rows, self.negatives[place.clamp(min=0)])
        return batch, (place >= 0) / (len(self.negatives) * (len(batch) / len(rows)))

    def _batch(self, rows: Tensor, negatives: Tensor) -> Interaction:
        """A training batch of judges. Shape of both: ``(batch,)``."""
        uid, iid, config = self.dataset.uid_field, self.dataset.iid_field, self.config
        users, items = self.users[rows], self.items[rows]
        if config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE:
            batch = join(self.dataset, Interaction({uid: users, iid: items}))
            negative = join(self.dataset, Interaction({iid: negatives}))
            negative.add_prefix(config["NEG_PREFIX"])
            batch.update(negative)
        else:
            pairs = Interaction({uid: users.repeat(2), iid: torch.cat([items, negatives])})
            batch = join(self.dataset, pairs)
            label = (torch.arange(2 * len(rows)) < len(rows)).float()
            batch.update(Interaction({config["LABEL_FIELD"]: label}))
        return batch.to(config["device"])


def _by_parameter(objective: Tensor, model: Any) -> Gradient:
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(objective, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, gradients) if g is not None}
