"""Tokens and titles of items, for people."""

import csv
from pathlib import Path
from typing import Any

from torch import Tensor

TITLES = ("title", "movie_title", "name")


def names_of(run: Any, title: str, items: Tensor) -> tuple[dict[int, str], dict[int, str]]:
    """Tokens and titles of items; the token stands for a title that is not there.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        title: Column of the ``.item`` file; ``auto`` takes the first of :data:`TITLES`.
        items: Ids; 0 has an empty name. Shape: any.

    Raises:
        ValueError: If the file has no such column.
    """
    dataset, config = run.test_data._dataset, run.config
    ids = [i for i in items.unique().tolist() if i > 0]
    tokens = {i: str(t) for i, t in zip(ids, dataset.id2token(dataset.iid_field, ids))}
    path = Path(config["data_path"], f"{config['dataset']}.item")
    titles = _read_titles(path, dataset.iid_field, title, config["field_separator"])
    return {0: "", **tokens}, {0: "", **{i: titles.get(t, t) for i, t in tokens.items()}}


def _read_titles(path: Path, key: str, column: str, separator: str) -> dict[str, str]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
        header = [name.partition(":")[0] for name in next(reader)]
        if column != "auto" and column not in header:
            raise ValueError(f"title={column}: {path.name} has the columns {', '.join(header)}")
        wanted = [name for name in (TITLES if column == "auto" else (column,)) if name in header]
        if not wanted:
            return {}
        place, value = header.index(key), header.index(wanted[0])
        return {row[place]: row[value] for row in reader if len(row) == len(header)}
