"""Our metrics in RecBole's tables, and what they ask of the options."""

from collections.abc import Mapping
from typing import Any

import recbole.evaluator.register as recbole_metrics

from recbole_enhance.metric import groups, lists, ranking
from recbole_enhance.metric.base import ListMetric

ACTIVITY = "activity"  # the field of option group_fields that is no column of .user
METRICS: tuple[type[ListMetric], ...] = (
    lists.CategoryCoverage,
    lists.CategoryRecall,
    lists.ILD,
    lists.EmbeddingILD,
    lists.CategoryEntropy,
    lists.Calibration,
    lists.ItemCoverage,
    lists.GiniIndex,
    lists.ShannonEntropy,
    lists.AveragePopularity,
    lists.TailPercentage,
    lists.ARP,
    lists.APLT,
    lists.EPC,
    lists.EFD,
    lists.MIUF,
    lists.Serendipity,
    groups.GroupGap,
    groups.GroupMAD,
    groups.NonParityUnfairness,
    groups.ValueUnfairness,
    groups.AbsoluteUnfairness,
    groups.UnderUnfairness,
    groups.OverUnfairness,
    groups.DifferentialFairness,
    groups.TailExposure,
    groups.ExposureRatio,
    groups.PopREO,
    groups.PopRSP,
)
BY_NAME: dict[str, type[ListMetric]] = {cls.__name__.lower(): cls for cls in METRICS}


def register() -> None:
    """Put our metrics into RecBole's tables, in place, as others hold them by reference.

    It replaces RecBole's ItemCoverage, GiniIndex, ShannonEntropy, AveragePopularity and
    TailPercentage. Calling it again changes nothing.
    """
    for name, cls in BY_NAME.items():
        recbole_metrics.metrics_dict[name] = cls
        recbole_metrics.metric_information[name] = list(cls.metric_need)
        recbole_metrics.metric_types[name] = cls.metric_type
        if name in recbole_metrics.smaller_metrics:
            recbole_metrics.smaller_metrics.remove(name)
        if cls.smaller:
            recbole_metrics.smaller_metrics.append(name)


def requirements_of(metric_name: str) -> frozenset[str]:
    """Say what a metric needs to be configured.

    Args:
        metric_name: A metric, ours or RecBole's, whatever the case.

    Returns:
        Of ``categories`` (option ``item_category_field``), ``groups`` (``group_fields``) and
        ``embedding`` (a model with item embeddings) those that it needs.

    Example:
        >>> sorted(requirements_of("ILD")), sorted(requirements_of("Recall"))
        (['categories'], [])
    """
    cls = BY_NAME.get(metric_name.lower())
    return frozenset() if cls is None else cls.requires


def refuse_bad_options(values: Mapping[str, Any]) -> None:
    """Check the options of our metrics; no data are needed.

    Args:
        values: All options.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    fields = values["group_fields"]
    listed = isinstance(fields, list) and all(isinstance(field, str) for field in fields)
    if fields is not None and not (listed and fields):
        raise ValueError(f"group_fields={fields}: a list of user columns, or {ACTIVITY}, or ~")
    metric = values["group_metric"]
    if str(metric).lower() not in ranking.ACCURACY:
        raise ValueError(f"group_metric={metric}: one of {', '.join(ranking.ACCURACY)}")
    number = values["activity_groups"]
    if type(number) is not int or number < 2:
        raise ValueError(f"activity_groups={number}: a whole number above 1 is expected")
    for option in ("item_tail_share", "calibration_alpha"):
        if not (_is_number(values[option]) and 0 < values[option] < 1):
            raise ValueError(f"{option}={values[option]}: a number between 0 and 1 is expected")
    if values["score_link"] not in groups.LINKS:
        raise ValueError(f"score_link={values['score_link']}: one of {', '.join(groups.LINKS)}")
    ratio = values["tail_ratio"]
    if not (_is_number(ratio) and ratio > 0):
        raise ValueError(f"tail_ratio={ratio}: a number above 0 is expected")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
