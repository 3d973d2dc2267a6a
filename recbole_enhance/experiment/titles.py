"""Tokens and titles of items, for people."""

from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_enhance.data.reading import read_atomic, read_header
from recbole_enhance.options.errors import OptionError

TITLES = ("title", "movie_title", "name")


def names_of(
    run: Any, title: str, items: Tensor, option: str = "title"
) -> tuple[dict[int, str], dict[int, str]]:
    """Tokens and titles of items; the token stands for a title that is not there.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        title: Column of the ``.item`` file; ``auto`` takes the first of :data:`TITLES`.
        items: Ids; 0 has an empty name. Shape: any.
        option: What a message calls the column.

    Raises:
        OptionError: If the file has no such column.
    """
    dataset, config = run.test_data._dataset, run.config
    ids = [i for i in items.unique().tolist() if i > 0]
    tokens = {i: str(t) for i, t in zip(ids, dataset.id2token(dataset.iid_field, ids))}
    path = Path(config["data_path"], f"{config['dataset']}.item")
    titles = _read_titles(path, dataset.iid_field, title, config, option)
    return {0: "", **tokens}, {0: "", **{i: titles.get(t, t) for i, t in tokens.items()}}


def shown_titles(run: Any, title: str | None, items: Tensor) -> dict[int, str] | None:
    """Titles of items for a column of their own; None where there is nothing to show.

    Args:
        run: As in :func:`names_of`.
        title: As in :func:`names_of`; ``auto`` shows nothing where no item has a title, None never.
        items: As in :func:`names_of`.

    Raises:
        OptionError: If the file has no such column.
    """
    if title is None:
        return None
    tokens, titles = names_of(run, title, items, "titles")
    return None if title == "auto" and tokens == titles else titles


def _read_titles(path: Path, key: str, column: str, config: Any, option: str) -> dict[str, str]:
    if not path.is_file():
        return {}
    form = {"separator": config["field_separator"], "encoding": config["encoding"]}
    header = read_header(path, **form)
    if column != "auto" and column not in header:
        raise OptionError(option, column, f"{path.name} has the columns {', '.join(header)}")
    wanted = [name for name in (TITLES if column == "auto" else (column,)) if name in header]
    if not wanted:
        return {}
    # The whole cell: a title of words is one title, whatever seq_separator says.
    table = read_atomic(path, (key, wanted[0]), whole=True, **form)
    titles = table.dropna().set_index(key)[wanted[0]]
    return {str(token): str(title) for token, title in titles.items()}
