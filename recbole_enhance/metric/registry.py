"""Our metrics in RecBole's tables, and what they ask of the options."""

import recbole.evaluator.register as recbole_metrics

from recbole_enhance.metric import groups, lists
from recbole_enhance.metric.base import ListMetric

METRICS: tuple[type[ListMetric], ...] = (
    lists.CategoryCoverage,
    lists.CategoryRecall,
    lists.SubtopicRecall,
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
