"""Lists of another tool in the form of a model's lists, and what is odd about them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import recbole.evaluator.register as recbole_metrics
import torch
from torch import Tensor

from recbole_enhance.options.errors import DataError, OptionError
from recbole_enhance.storage.tables import as_written

# What only a model has: scores of items that are in no list.
_OF_A_MODEL = {
    "rec.score",
    "rec.meanrank",
    "rec.positive_score",
    "data.label",
    "data.item_embedding",
}


class Lists(NamedTuple):
    """Lists by row of an evaluation.

    Attributes:
        items: Ids, best first, 0 where a list is shorter. Shape: ``(rows, k)``.
        scores: -inf where a list is shorter; minus the place where the lists have no scores.
            Shape: ``(rows, k)``.
        counts: What was found, see :func:`lay_out`.
    """

    items: Tensor
    scores: Tensor
    counts: dict[str, int]


def metrics_of_lists(names: list[str]) -> tuple[list[str], list[str]]:
    """Split metrics into those that lists suffice for, and those that need a model.

    Args:
        names: As in option ``metrics``.

    Example:
        >>> metrics_of_lists(["Recall", "GAUC", "NDCG"])
        (['Recall', 'NDCG'], ['GAUC'])
    """
    needs = {name: recbole_metrics.metric_information[name.lower()] for name in names}
    known = [name for name in names if _OF_A_MODEL.isdisjoint(needs[name])]
    return known, [name for name in names if name not in known]


def lay_out(table: pd.DataFrame, path: str | Path, dataset: Any, loader: Any, k: int) -> Lists:
    """Give each row of an evaluation its list.

    Args:
        table: From :func:`~recbole_enhance.data.outside_lists.read_lists`. ``rank`` orders a list;
            without it the score does, equal scores in the order of the file; without both the file.
            ``list`` tells a user's several lists apart, where the evaluation has several rows of
            one user; without it all of them have the same list.
        path: Where it is from, for messages.
        dataset: Whose tokens are in the table.
        loader: The test data, with ``held_out``.
        k: Length of the lists.

    Returns:
        The lists, and counts: ``lists``, ``missing`` (rows without a list), ``short`` (lists of
        less than k items), ``not_tested`` (users of the file without held-out items) and
        ``never_ranked`` (entries that are in no list of a model here).

    Raises:
        DataError: In one line, with the file and the line: an unknown user or item, or an item or a
            rank twice in one list.
    """
    line = table["line"].to_numpy()
    ids = {}
    for key, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        tokens = pd.Index(dataset.field2id_token[field])
        ids[key] = tokens.get_indexer(table[key])
        unknown = ids[key] <= 0  # 0 is padding
        if unknown.any():  # our own lists mark what a spreadsheet would run
            ids[key][unknown] = tokens.get_indexer(table[key][unknown].map(as_written))
            unknown = ids[key] <= 0
        if unknown.any():
            row = int(unknown.argmax())
            problem = f"no such {key} in {dataset.dataset_name}"
            raise DataError(path, problem, int(line[row]), key, table[key].iloc[row])
    users, _, _ = loader.held_out()
    rows = users.numpy()
    by_list = "list" in table and len(np.unique(rows)) < len(rows)
    group = table["list"].to_numpy() if by_list else ids["user"]
    if by_list:
        _refuse_other_rows(table, ids["user"], group, rows, path)
    frame = pd.DataFrame({"group": group, "item": ids["item"], "user": ids["user"], "line": line})
    _refuse_twice(frame, "item", table["item"], path, "is in the list twice")
    frame["order"] = _order(table)
    if "rank" in table:
        _refuse_twice(frame, "order", table["rank"], path, "is the rank of two items")
    frame["score"] = table.get("score", np.nan)
    frame = frame.sort_values(["group", "order"], kind="stable")
    place = frame.groupby("group", sort=False).cumcount().to_numpy()
    frame, place = frame[place < k], place[place < k]
    # Lists in the order of the groups, then one for each row of the evaluation.
    groups, number = np.unique(frame["group"].to_numpy(), return_inverse=True)
    items = np.zeros((len(groups) + 1, k), dtype=np.int64)
    scores = np.full((len(groups) + 1, k), -np.inf)
    items[number, place] = frame["item"]
    scores[number, place] = frame["score"] if "score" in table else -place
    wanted = np.arange(len(rows)) if by_list else rows
    at = np.searchsorted(groups, wanted).clip(max=len(groups) - 1)
    at = np.where(groups[at] == wanted, at, len(groups))  # the last one is empty
    length = (items[at] > 0).sum(axis=1)
    own = torch.from_numpy(frame["user"].to_numpy(np.int64))
    odd = loader.never_ranked(own, torch.from_numpy(frame["item"].to_numpy(np.int64))).numpy()
    tested = np.isin(frame["user"], rows)
    counts = {
        "lists": int((length > 0).sum()),
        "missing": int((length == 0).sum()),
        "short": int(((length > 0) & (length < k)).sum()),
        "not_tested": len(np.setdiff1d(ids["user"], rows)),
        "never_ranked": int((odd & tested).sum()),
    }
    return Lists(torch.from_numpy(items[at]), torch.from_numpy(scores[at]).float(), counts)


def told(counts: dict[str, int], k: int, why_not_ranked: str) -> list[str]:
    """What is odd about the lists, in words.

    Args:
        counts: Of :func:`lay_out`.
        k: Length of the lists.
        why_not_ranked: What the items of ``never_ranked`` are.
    """
    n = counts["lists"] + counts["missing"]
    lines = {
        "missing": f"of {n} lists are missing: they count as empty",
        "short": f"of {n} lists are shorter than {k}: missing places count as no hits",
        "not_tested": "users have no held-out item: their lists are not evaluated",
        "never_ranked": f"recommended items are {why_not_ranked}; lists of runs here have none",
    }
    return [f"{counts[key]} {text}" for key, text in lines.items() if counts[key]]


def _order(table: pd.DataFrame) -> np.ndarray:
    """What a list is sorted by, rising."""
    if "rank" in table:
        return table["rank"].to_numpy()
    return -table["score"].to_numpy() if "score" in table else np.arange(len(table))


def _refuse_twice(
    frame: pd.DataFrame, column: str, shown: pd.Series, path: str | Path, problem: str
) -> None:
    twice = frame.duplicated(["group", column]).to_numpy()
    if twice.any():
        row = int(twice.argmax())
        value = f"{shown.iloc[row]:g}" if shown.dtype == float else shown.iloc[row]
        name = "rank" if column == "order" else column
        raise DataError(path, problem, int(frame["line"].iloc[row]), name, value)


def _refuse_other_rows(
    table: pd.DataFrame, users: np.ndarray, number: np.ndarray, rows: np.ndarray, path: str | Path
) -> None:
    """The number of a list is that of a held-out interaction of its user."""
    inside = (number >= 0) & (number < len(rows))
    wrong = ~inside | (rows[np.where(inside, number, 0)] != users)
    if wrong.any():
        row = int(wrong.argmax())
        problem = f"is not the number of a list of user {table['user'].iloc[row]}"
        raise DataError(path, problem, int(table["line"].iloc[row]), "list", int(number[row]))


def refuse_no_lists(loader: Any, config: Any) -> None:
    """Refuse an evaluation that ranks nothing.

    Raises:
        OptionError: If the test data are labelled pairs.
    """
    if not hasattr(loader, "held_out"):
        mode = config["eval_args"]["mode"]["test"]
        raise OptionError("eval_args.mode", mode, "lists can be evaluated with full, uniN and popN")
