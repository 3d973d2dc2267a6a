"""What a column of a board means: its name, family, direction, and a sentence."""

import importlib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recbole_enhance.leaderboard import statistics
from recbole_enhance.metric import groups, lists
from recbole_enhance.metric.name import Metric
from recbole_enhance.metric.registry import BY_NAME
from recbole_enhance.options.errors import OptionError

ACCURACY, DIVERSITY, FAIRNESS = "accuracy", "diversity", "fairness"
EXPLANATION, ATTACKED, TRAINING = "explanation", "attack", "history"
COST: dict[str, str] = {
    "train_seconds_per_epoch": "Seconds of training per epoch, without evaluation.",
    "epochs_run": "Epochs until early stopping or the end.",
    "fit_seconds": "Seconds of training with validation, all epochs.",
    "parameters": "Trained numbers of the model that recommends; helpers of a method are left out.",
    "peak_memory_mb": "Largest memory of the process, megabytes; outside Linux, earlier runs' too.",
    "peak_gpu_memory_mb": "Largest memory on the GPU, megabytes.",
}
FAMILIES: dict[str, str] = {
    ACCURACY: "Accuracy",
    DIVERSITY: "Diversity and novelty",
    FAIRNESS: "Fairness",
    EXPLANATION: "Explanation",
    ATTACKED: "Under attack",
    TRAINING: "Training",
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
    "ps": "Share of the items that stay in the list with the explanation's features alone.",
    "f_ns": "Harmonic mean of PN and PS.",
}
# Of a row of attack.json, what `recbole-enhance attack` leaves: direction, title and a sentence.
ATTACK_METRICS: dict[str, tuple[int, str, str]] = {
    "ndcg": (1, "NDCG", "NDCG of the lists of sampled candidates."),
    "ndcg_drop": (-1, "drop of NDCG", "Loss of NDCG, relative to the clean model."),
    "list_jaccard": (1, "Jaccard of lists", "How alike the lists are to those without attack."),
    "list_rbo": (1, "overlap of lists", "Rank-biased overlap with the lists without attack."),
    "f1": (1, "F1", "F1 of the explanation's features; a missing explanation counts as 0."),
    "f1_drop": (-1, "drop of F1", "Loss of F1, relative to the clean model."),
    "f1_explained": (1, "F1 of explained", "F1 over the pairs that have an explanation."),
    "jaccard": (1, "Jaccard", "How alike explanations are to those without attack."),
    "rbo": (1, "overlap", "Rank-biased overlap with the explanations without attack."),
    "jaccard_others": (
        0,
        "Jaccard of others",
        "How alike the explanations of different pairs are; high if all explanations are the same.",
    ),
    "coverage": (1, "coverage", "Share of the pairs that have an explanation."),
    "pn": (1, "PN", _EXPLANATIONS["pn"]),
    "ps": (1, "PS", _EXPLANATIONS["ps"]),
}
ATTACK_COLUMNS = ("ndcg", "f1", "f1_drop", "jaccard")  # where a board names none
_EPOCHS: dict[str, tuple[str, str]] = {
    "best": ("best epoch", "in the best epoch (the last one without validation)"),
    "mean": ("mean over epochs", "averaged over the epochs that have it"),
    "first": ("first epoch", "in the first epoch that has it"),
    "last": ("last epoch", "in the last epoch that has it"),
}
_EXPLAIN, _ATTACK, _HISTORY = "explain:", "attack:", "history:"
_BASELINE = "explain:f1 of "
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
        direction: 1 if larger is better, -1 if smaller is, 0 if the value only describes: it has no
            best row, and is not tested.
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
        return {1: "↑", -1: "↓", 0: ""}[self.direction]

    @property
    def heading(self) -> str:
        """Title, and where better is."""
        return f"{self.title} {self.arrow}".rstrip()


def measure_of(key: str) -> Measure:
    """Look a result up.

    Args:
        key: ``recall@10`` of ``metrics.json``, ``explain:f1``, ``attack:f1@features 0.5`` or
            ``history:dvr_cosine@mean``.

    Returns:
        What it means. A metric that neither RecBole nor we know is taken as RecBole takes it:
        accuracy, and larger is better; its sentence says so.

    Example:
        >>> m = measure_of("giniindex@20")
        >>> m.title, m.family, m.direction, m.k
        ('GiniIndex@20', 'diversity', -1, 20)
    """
    from recbole.evaluator.register import metrics_dict

    if key.startswith(_BASELINE):
        name = key[len(_BASELINE) :]
        about = "F1 of an explanation that needs no model, on the same pairs."
        return Measure(key, f"f1 of {name} (no model)", EXPLANATION, 0, 0, about)
    if key.startswith(_ATTACK):
        name, _, attack = key[len(_ATTACK) :].partition("@")
        direction, title, about = ATTACK_METRICS[name]
        return Measure(key, f"{title}, {attack}", ATTACKED, direction, 0, about)
    if key.startswith(_HISTORY):
        name, epoch = split_history_column(key[len(_HISTORY) :])
        title, meaning = _EPOCHS[epoch]
        about = f"{name} of history.csv, {meaning}."
        return Measure(key, f"{name}, {title}", TRAINING, 0, 0, about)
    if key.startswith(_EXPLAIN):
        name = key[len(_EXPLAIN) :]
        return Measure(key, f"{name} (explanation)", EXPLANATION, 1, 0, _EXPLANATIONS[name])
    metric = Metric.parse(key)
    name, k = metric.name, metric.k
    cls = BY_NAME.get(name) or metrics_dict.get(name)
    if cls is None:
        about = "A metric that is not RecBole's nor ours; larger is assumed to be better."
        return Measure(key, key, ACCURACY, 1, k, about)
    title = cls.__name__ + (f"@{k}" if k else "")
    direction = -1 if cls.smaller else 1
    family = _OURS.get(cls.__module__, ACCURACY)
    return Measure(key, title, family, direction, k, _RECBOLES.get(name) or _sentence(cls))


def split_history_column(column: str) -> tuple[str, str]:
    """Name of a column of ``history.csv``, and which epoch's value is meant.

    Raises:
        OptionError: If there is no such choice of epochs.

    Example:
        >>> split_history_column("dvr_cosine@mean"), split_history_column("valid_ndcg@20")
        (('dvr_cosine', 'mean'), ('valid_ndcg@20', 'best'))
    """
    name, _, epoch = column.rpartition("@")
    if not name or epoch.isdecimal():  # valid_ndcg@20
        return column, "best"
    if epoch not in _EPOCHS:
        raise OptionError("history_columns", column, f"NAME@EPOCH has {', '.join(_EPOCHS)}")
    return name, epoch


def explanation_results(explanation: Any, label: str) -> dict[str, float]:
    """``explain:f1`` and so on, of ``explanations.json``.

    Args:
        explanation: The file's content.
        label: The model's row in it; the others are of explanations that need no model.
    """
    quality = explanation.get("quality") if isinstance(explanation, dict) else None
    values: dict[str, Any] = {}
    for name, row in quality.items() if isinstance(quality, dict) else ():
        if not isinstance(row, dict):
            continue
        if name == label:
            values.update({f"{_EXPLAIN}{key}": row.get(key) for key in _EXPLANATIONS})
        else:
            values[f"{_BASELINE}{name}"] = row.get("f1")
    return _numbers(values)


def attack_results(attack: Any, columns: Sequence[str]) -> dict[str, float]:
    """``attack:f1@features 0.5`` and so on, of ``attack.json``.

    Args:
        attack: The file's content.
        columns: Of :data:`ATTACK_METRICS`.
    """
    rows = attack.get("rows") if isinstance(attack, dict) else None
    values: dict[str, Any] = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("budget"), (int, float)):
            budget = f" {row['budget']:g}" if row["budget"] else ""
            where = f"{row.get('target')}{budget}"
            values.update({f"{_ATTACK}{key}@{where}": row.get(key) for key in columns})
    return _numbers(values)


def history_results(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str], best_epoch: Any
) -> dict[str, float]:
    """``history:dvr_cosine@mean`` and so on, of ``history.csv``.

    Args:
        rows: One per epoch, as text.
        columns: As in the board's spec.
        best_epoch: Whose model was tested; None is the last.

    Example:
        >>> history_results([{"x": "1"}, {"x": "2"}, {"x": ""}], ["x@mean", "x@last"], 0)
        {'history:x@mean': 1.5, 'history:x@last': 2.0}
    """
    values: dict[str, float] = {}
    for column in columns:
        name, epoch = split_history_column(column)
        if epoch == "best":
            place = best_epoch if isinstance(best_epoch, int) else -1
            found = [_number(row.get(name)) for row in rows[place:][:1]]
        else:
            found = [_number(row.get(name)) for row in rows]
        known = [value for value in found if not math.isnan(value)]
        if known:
            of_epochs = {"mean": statistics.spread(known).mean, "last": known[-1]}
            values[f"{_HISTORY}{column}"] = of_epochs.get(epoch, known[0])
    return values


def _number(text: str | None) -> float:
    try:
        return float(text or math.nan)
    except ValueError:
        return math.nan


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(v) for key, v in values.items() if isinstance(v, (int, float))}


def trade_off(measures: Sequence[Measure], main: Measure) -> tuple[Measure, ...]:
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
