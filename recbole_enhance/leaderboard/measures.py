"""What a column of a board means: its name, family, direction, and a sentence."""

import importlib
import inspect
import re
from typing import Any, NamedTuple

from recbole_enhance.metric import groups, lists
from recbole_enhance.metric.name import Metric
from recbole_enhance.metric.registry import BY_NAME

ACCURACY, DIVERSITY, FAIRNESS, EXPLANATION = "accuracy", "diversity", "fairness", "explanation"
FAMILIES: dict[str, str] = {
    ACCURACY: "Accuracy",
    DIVERSITY: "Diversity and novelty",
    FAIRNESS: "Fairness",
    EXPLANATION: "Explanation",
}
_OURS = {lists.__name__: DIVERSITY, groups.__name__: FAIRNESS}
_RECBOLES: dict[str, str] = {
    "recall": "Share of the user's held-out items that the list has.",
    "precision": "Share of the list that is held out.",
    "hit": "Whether the list has any held-out item.",
    "ndcg": "Discounted hits of the list over those of a perfect list.",
    "mrr": "One over the rank of the first hit.",
    "map": "Mean over the hits of the precision at their rank.",
    "auc": "Chance that a held-out item is scored above another one.",
    "gauc": "AUC of each user, weighted by the user's interactions.",
    "logloss": "Mean negative log-likelihood of the labels.",
    "mae": "Mean absolute error of the scores.",
    "rmse": "Root of the mean squared error of the scores.",
}
# Of explanations.json, what `recbole-enhance explain` leaves. size has no better side.
_EXPLANATIONS: dict[str, str] = {
    "precision": "Share of the explanation's features that the test review mentions.",
    "recall": "Share of the review's features that the explanation names.",
    "f1": "Harmonic mean of precision and recall of the explanation's features.",
    "feature_ndcg": "NDCG of the explanation's features against the test review.",
    "coverage": "Share of the pairs that have an explanation.",
    "pn": "Share of the items that leave the list without the explanation's features.",
    "ps": "Share of the items that stay in the list by the explanation's features alone.",
    "f_ns": "Harmonic mean of PN and PS.",
}
_EXPLAIN = "explain:"
_DIVERSITY_FIRST = (
    "ild",
    "categorycoverage",
    "categoryentropy",
    "embeddingild",
    "itemcoverage",
    "shannonentropy",
    "aplt",
    "epc",
    "giniindex",
)


class Measure(NamedTuple):
    """A metric at a cut-off.

    Attributes:
        key: As in ``metrics.json``: ``recall@10``.
        title: As its class is called: ``Recall@10``.
        family: One of :data:`FAMILIES`.
        direction: 1 if larger is better, -1 if smaller is.
        k: The cut-off, or 0 where there is none.
        about: A sentence.
    """

    key: str
    title: str
    family: str
    direction: int
    k: int
    about: str

    @property
    def arrow(self) -> str:
        """Where better is."""
        return "↑" if self.direction > 0 else "↓"


def measure(key: str) -> Measure:
    """Look a result up.

    Args:
        key: ``recall@10`` of ``metrics.json``, or ``explain:f1``.

    Returns:
        What it means. A metric that neither RecBole nor we know is taken as RecBole takes it:
        accuracy, and larger is better; its sentence says so.

    Example:
        >>> m = measure("giniindex@20")
        >>> m.title, m.family, m.direction, m.k
        ('GiniIndex@20', 'diversity', -1, 20)
    """
    from recbole.evaluator.register import metrics_dict

    if key.startswith(_EXPLAIN):
        name = key[len(_EXPLAIN) :]
        return Measure(key, f"{name} (explanation)", EXPLANATION, 1, 0, _EXPLANATIONS[name])
    metric = Metric.parse(key)
    name, k = metric.name, metric.k
    cls = BY_NAME.get(name) or metrics_dict.get(name)
    if cls is None:
        about = "A metric that is not RecBole's nor ours; larger is taken as better."
        return Measure(key, key, ACCURACY, 1, k, about)
    title = cls.__name__ + (f"@{k}" if k else "")
    direction = -1 if cls.smaller else 1
    family = _OURS.get(cls.__module__, ACCURACY)
    return Measure(key, title, family, direction, k, _RECBOLES.get(name) or _sentence(cls))


def explanation_results(quality: Any) -> dict[str, float]:
    """``explain:f1`` and so on, of a model's row in ``explanations.json``."""
    if not isinstance(quality, dict):
        return {}
    return {
        f"{_EXPLAIN}{name}": float(quality[name])
        for name in _EXPLANATIONS
        if isinstance(quality.get(name), (int, float))
    }


def trade_off(measures: "list[Measure]", main: Measure) -> tuple[Measure, ...]:
    """The two axes of accuracy against diversity: the main metric, and the first there is.

    Args:
        measures: Of a table.
        main: Its first metric.

    Returns:
        Two measures, or none if nothing measures diversity.
    """
    rank = {name: place for place, name in enumerate(_DIVERSITY_FIRST)}
    found = [m for m in measures if m.family == DIVERSITY]
    found.sort(key=lambda m: (m.k != main.k, rank.get(Metric.parse(m.key).name, len(rank)), m.key))
    return (main, found[0]) if found else ()


def _sentence(cls: Any) -> str:
    """First sentence of the function that the docstring of one of our classes names."""
    named = re.search(r":func:`~(recbole_enhance\.metric\.\w+)\.(\w+)`", cls.__doc__ or "")
    if named is None:
        return ""
    function = getattr(importlib.import_module(named[1]), named[2])
    text = inspect.getdoc(function) or ""
    return re.sub(r"\s+", " ", text.split("\n\n")[0]).replace("``", "")
