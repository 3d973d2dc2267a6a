"""Files of a test result: each user's values, and the lists themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.evaluator.collector import DataStruct

from recbole_enhance.data.candidates import PARTS, candidate_table
from recbole_enhance.data.loaders import CandidateLoader
from recbole_enhance.evaluation.evaluator import EnhancedEvaluator
from recbole_enhance.metric import ranking
from recbole_enhance.metric.fairness import GroupRow, group_table
from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.files import read_gzip
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.storage.tables import as_written

PER_USER, RECOMMENDATIONS, GROUPS = "per_user.csv.gz", "recs.csv.gz", "groups.csv"
CANDIDATES = "candidates.csv.gz"


def write_evaluation(
    folder: RunFolder, config: Any, dataset: Any, evaluator: EnhancedEvaluator
) -> None:
    """Write what the last evaluation ranked.

    Args:
        folder: The run's folder.
        config: The run's settings; ``save_recs`` asks for the lists.
        dataset: The evaluated part, whose tokens are written.
        evaluator: After ``evaluate``; value metrics alone leave nothing to write.
    """
    data = evaluator.data
    if data is None or "rec.items" not in data:
        return
    users, values = mean_by_user(data["rec.users"].numpy(), evaluator.per_user)
    tokens = dataset.id2token(dataset.uid_field, users)
    folder.write_csv_gz(PER_USER, [dataset.uid_field, *values], [tokens, *values.values()])
    if config["group_fields"]:
        folder.write_csv(GROUPS, GroupRow._fields, group_rows(data, users, values))
    if config["save_recs"]:
        lists = recommendations(data, dataset)
        folder.write_csv_gz(RECOMMENDATIONS, list(lists), list(lists.values()))


def write_candidates(folder: RunFolder, valid_data: Any, test_data: Any) -> None:
    """Write what held-out items are ranked among, to be read as ``eval_candidates_file``.

    Args:
        folder: The run's folder.
        valid_data: Loader of the validation part.
        test_data: Loader of the test part; one of the two has candidates.
    """
    drawn = {
        part: loader
        for part, loader in zip(PARTS, (valid_data, test_data))
        if isinstance(loader, CandidateLoader)
    }
    lists = {part: (loader.rows, loader.candidates) for part, loader in drawn.items()}
    folder.write_csv_gz(CANDIDATES, *candidate_table(lists, next(iter(drawn.values()))._dataset))


def read_per_user(path: Path) -> pd.DataFrame:
    """Read each user's metrics, by the user's token, which stays text; NaN for no value.

    Args:
        path: ``per_user.csv.gz`` of a run.

    Raises:
        ValueError: If the file is no such table.
    """
    content = read_gzip(path)
    try:
        header = pd.read_csv(content, nrows=0).columns
        content.seek(0)
        table = pd.read_csv(
            content,
            index_col=0,
            dtype={name: str if n == 0 else np.float64 for n, name in enumerate(header)},
            keep_default_na=False,
            na_values={name: [""] for name in header[1:]},
        )
    except (ValueError, LookupError) as error:
        raise RunFolderError(path, f"not a table of users ({one_line(error)})") from error
    table.index = table.index.map(as_written)
    table = table.rename_axis(as_written(table.index.name)).rename(columns=as_written)
    if table.index.has_duplicates:
        raise RunFolderError(path, "it contains a user twice")
    return table


def group_rows(
    data: DataStruct, users: np.ndarray, values: Mapping[str, np.ndarray]
) -> list[GroupRow]:
    """Means of every metric that users have a value of, by group.

    Args:
        data: What was evaluated.
        users: User ids. Shape: ``(users,)``.
        values: ``recall@10`` and so on -> values of those users.
    """
    columns = {name: torch.from_numpy(column) for name, column in values.items()}
    return [
        row
        for field, (labels, codes) in data["data.user_group"].items()
        for row in group_table(columns, field, codes[torch.from_numpy(users)], labels)
    ]


def mean_by_user(
    users: np.ndarray, columns: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Average the rows of each user: a sequential model has one for each held-out interaction.

    Args:
        users: User of each row. Shape: ``(rows,)``.
        columns: Values of each row, NaN for none. Shape: ``(rows,)`` each.

    Returns:
        Different users, and the columns for them, NaN where no row of the user has a value.

    Example:
        >>> ids, means = mean_by_user(np.array([2, 1, 2]), {"hit@1": np.array([0.0, 1.0, 1.0])})
        >>> ids.tolist(), means["hit@1"].tolist()
        ([1, 2], [1.0, 0.5])
    """
    different, place = np.unique(users, return_inverse=True)
    means = {}
    for name, values in columns.items():
        known = ~np.isnan(values)
        total = np.bincount(place[known], values[known], len(different))
        count = np.bincount(place[known], minlength=len(different))
        means[name] = np.divide(total, count, np.full(len(different), np.nan), where=count > 0)
    return different, means


def recommendations(data: DataStruct, dataset: Any) -> dict[str, np.ndarray]:
    """The lists as columns, one row per recommended item, padding left out.

    Args:
        data: What was evaluated.
        dataset: Its tokens are used.

    Returns:
        Number of the list, user, rank from 1, item, score, and 1 where the item was held out.
    """
    items, scores = data["rec.items"], data["rec.item_score"]
    pairs = data["rec.positive_u"], data["rec.positive_i"]
    found = ranking.hits(items, *pairs, dataset.item_num).int()
    row, rank = np.nonzero(items.numpy())
    return {
        "list": row,
        dataset.uid_field: dataset.id2token(dataset.uid_field, data["rec.users"].numpy()[row]),
        "rank": rank + 1,
        dataset.iid_field: dataset.id2token(dataset.iid_field, items.numpy()[row, rank]),
        "score": scores.numpy()[row, rank],
        "hit": found.numpy()[row, rank],
    }
