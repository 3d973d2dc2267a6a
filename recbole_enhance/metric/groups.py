"""RecBole classes of fairness. The maths is in ``fairness`` (users) and ``exposure`` (items)."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from recbole_enhance.metric import base, exposure, fairness, ranking
from recbole_enhance.metric.base import POSITIVES, ListMetric
from recbole_enhance.options.errors import OptionError

_POPULARITY_GROUPS = 2  # head and tail
_SCORES = (
    "rec.users",
    "rec.positive_u",
    "rec.positive_i",
    "rec.positive_score",
    "data.num_items",
    "data.user_group",
)


class _OverFields(ListMetric):
    """The worst over the attributes of option ``group_fields``: the largest value."""

    requires = frozenset({"groups"})
    smaller = True

    def value(self, data: Any, k: int) -> float:
        """Largest value over the fields that have two groups; NaN if none has."""
        compare = self.comparison(data, k)
        values = [
            float(compare(codes[data["rec.users"]], len(labels)))
            for labels, codes in data["data.user_group"].values()
        ]
        return max((value for value in values if not math.isnan(value)), default=math.nan)

    def comparison(self, data: Any, k: int) -> Callable[[Tensor, int], Tensor]:
        """Give the function of (group of each row, number of groups) that compares the groups."""
        raise NotImplementedError


class GroupGap(_OverFields):
    """:func:`~recbole_enhance.metric.fairness.group_gap` of option ``group_metric``."""

    metric_need = (*POSITIVES, "rec.users", "data.user_group")
    function = staticmethod(fairness.group_gap)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.accuracy = ranking.ACCURACY[config["group_metric"].lower()]

    def comparison(self, data: Any, k: int) -> Callable[[Tensor, int], Tensor]:
        """Compare the groups' means of the accuracy metric."""
        n = ranking.count_positives(
            data["rec.positive_u"],
            data["rec.positive_i"],
            len(data["rec.items"]),
            data["data.num_items"],
        )
        values = self.accuracy(base.relevant(data, k), n)
        return lambda codes, n_groups: self.function(values, codes, n_groups)


class GroupMAD(GroupGap):
    """:func:`~recbole_enhance.metric.fairness.group_mad` of option ``group_metric``."""

    function = staticmethod(fairness.group_mad)


class NonParityUnfairness(_OverFields):
    """:func:`~recbole_enhance.metric.fairness.non_parity`; the same at every k."""

    metric_need = _SCORES

    def comparison(self, data: Any, k: int) -> Callable[[Tensor, int], Tensor]:
        """Compare the groups' mean scores."""
        rows, scores = data["rec.positive_u"], data["rec.positive_score"]
        return lambda codes, n_groups: fairness.non_parity(scores, codes[rows], n_groups)


class ValueUnfairness(_OverFields):
    """:func:`~recbole_enhance.metric.fairness.unfairness`; the same at every k."""

    metric_need = _SCORES
    kind = "value"

    def comparison(self, data: Any, k: int) -> Callable[[Tensor, int], Tensor]:
        """Compare the groups' errors of each item."""
        rows, items = data["rec.positive_u"], data["rec.positive_i"]
        scores, n_items = data["rec.positive_score"], data["data.num_items"]
        return lambda codes, n_groups: fairness.unfairness(
            self.kind, scores, items, codes[rows], n_groups, n_items
        )


class AbsoluteUnfairness(ValueUnfairness):
    """:func:`~recbole_enhance.metric.fairness.unfairness`; the same at every k."""

    kind = "absolute"


class UnderUnfairness(ValueUnfairness):
    """:func:`~recbole_enhance.metric.fairness.unfairness`; the same at every k."""

    kind = "under"


class OverUnfairness(ValueUnfairness):
    """:func:`~recbole_enhance.metric.fairness.unfairness`; the same at every k."""

    kind = "over"


class DifferentialFairness(_OverFields):
    """:func:`~recbole_enhance.metric.fairness.differential_fairness`; the same at every k."""

    metric_need = _SCORES

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.link = config["score_link"]

    def comparison(self, data: Any, k: int) -> Callable[[Tensor, int], Tensor]:
        """Compare the groups' probabilities of each item."""
        rows, items = data["rec.positive_u"], data["rec.positive_i"]
        scores, n_items = data["rec.positive_score"].double(), data["data.num_items"]
        if self.link == "sigmoid":
            scores = scores.sigmoid()
        elif bool(((scores < 0) | (scores > 1)).any()):
            raise OptionError(
                "score_link",
                "identity",
                "the model's scores are not in [0, 1], so they are no probabilities; sigmoid makes "
                "them so",
            )
        return lambda codes, n_groups: fairness.differential_fairness(
            scores, items, codes[rows], n_groups, n_items
        )


class TailExposure(ListMetric):
    """Tail's part of :func:`~recbole_enhance.metric.exposure.exposure_by_group`."""

    metric_need = ("rec.items", "data.item_group")

    def value(self, data: Any, k: int) -> float:
        """Share of the exposure that goes to the tail."""
        group = data["data.item_group"]
        return float(exposure.exposure_by_group(base.top(data, k), group, _POPULARITY_GROUPS)[1])


class ExposureRatio(ListMetric):
    """:func:`~recbole_enhance.metric.exposure.exposure_ratio` of head and tail."""

    metric_need = ("rec.items", "data.item_group")

    def value(self, data: Any, k: int) -> float:
        """Exposure per item, the smaller over the larger."""
        group = data["data.item_group"]
        return float(exposure.exposure_ratio(base.top(data, k), group, _POPULARITY_GROUPS))


class PopREO(ListMetric):
    """:func:`~recbole_enhance.metric.exposure.popularity_reo` of head and tail."""

    metric_need = (*POSITIVES, "data.item_group")
    smaller = True

    def value(self, data: Any, k: int) -> float:
        """Variation of the groups' recall."""
        return float(
            exposure.popularity_reo(
                base.top(data, k),
                base.relevant(data, k),
                data["rec.positive_i"],
                data["data.item_group"],
                _POPULARITY_GROUPS,
            )
        )


class PopRSP(ListMetric):
    """:func:`~recbole_enhance.metric.exposure.popularity_rsp` of head and tail."""

    metric_need = ("rec.items", "rec.users", "data.train_matrix", "data.item_group")
    smaller = True

    def value(self, data: Any, k: int) -> float:
        """Variation of the groups' chance to be recommended."""
        _, past = base.history(data)
        group = data["data.item_group"]
        return float(exposure.popularity_rsp(base.top(data, k), past, group, _POPULARITY_GROUPS))
