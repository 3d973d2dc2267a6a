"""What training interactions were worth, by interaction, user, item or category."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from recbole_enhance.data.categories import category_matrix
from recbole_enhance.experiment.titles import names_of
from recbole_enhance.options.errors import OptionError, RunFolderError
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.files import read_gzip
from recbole_enhance.storage.outputs import output_file
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.storage.tables import csv_text_of_columns, written_texts

VALUES = "values.csv.gz"
TABLES = (".csv", ".parquet")  # endings of the files that `write_table` writes
GROUPS = ("interaction", "user", "item", "category")


def read_values(run_dir: str | Path) -> pd.DataFrame:
    """Read the values of a run, one row per training interaction.

    Args:
        run_dir: Folder of a finished run of DVR with ``dvr_values=inrun``.

    Returns:
        Columns of users and items (tokens), ``value``, ``standard_error`` (NaN below two visits)
        and ``times_seen``; ``amortised`` where the run has it.

    Raises:
        RunFolderError: If the run has no such values.
    """
    folder = RunFolder.open(run_dir, "values")
    path = folder.path / VALUES
    if not folder.has(VALUES):
        raise RunFolderError(run_dir, f"no {VALUES}: only runs of DVR value interactions")
    try:
        table = pd.read_csv(
            read_gzip(path), dtype={0: str, 1: str}, keep_default_na=False, na_values={3: [""]}
        )
        table = written_texts(table, table.columns[:2])
        table = table.astype(dict.fromkeys(table.columns[2:4], float))
    except (ValueError, LookupError) as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(path, f"not a table of values ({one_line(error)})") from error
    if "standard_error" not in table:
        raise RunFolderError(
            run_dir, "its values are those of dvr_values=harsanyi, which do not add up"
        )
    return table


def rank_values(
    run_dir: str | Path,
    by: str = "interaction",
    title: str = "auto",
    model_class: str | type | None = None,
) -> pd.DataFrame:
    """Rank the interactions that a run valued, the most valuable first.

    Args:
        run_dir: As in :func:`read_values`.
        by: ``interaction``; or ``user``, ``item`` or ``category`` for sums over their
            interactions. An interaction counts for each category of its item.
        title: Column of the ``.item`` file that names items; ``auto`` takes title, movie_title or
            name, and leaves the column out if there is none.
        model_class: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.

    Returns:
        One row each: names, ``value`` (a sum), ``standard_error`` of the sum (interactions are
        assumed to be independent), ``mean_value`` per interaction, and ``interactions``.

    Raises:
        OptionError: If ``by`` is another word, or the run has no categories.
        RunFolderError: If the run has no values.
    """
    if by not in GROUPS:
        raise OptionError("by", by, f"one of {', '.join(GROUPS)}")
    table = read_values(run_dir)
    names = _names(run_dir, title, model_class) if by != "user" else None
    if by == "category" and (names is None or names.categories is None):
        raise OptionError("by", by, "the run has no item_category_field")
    return _ranked(table, by, names)


def rank_all(
    run_dir: str | Path, title: str = "auto", model_class: str | type | None = None
) -> dict[str, pd.DataFrame]:
    """Rank interactions, users, items and, where the run has some, categories.

    Args:
        run_dir: As in :func:`read_values`.
        title: As of :func:`rank_values`.
        model_class: As of :func:`rank_values`.

    Returns:
        Of :data:`GROUPS` -> as of :func:`rank_values`.

    Raises:
        InputError: As of :func:`rank_values`.
    """
    table, names = read_values(run_dir), _names(run_dir, title, model_class)
    groups = [by for by in GROUPS if by != "category" or names.categories is not None]
    return {by: _ranked(table, by, names) for by in groups}


def _ranked(table: pd.DataFrame, by: str, names: "_Names | None") -> pd.DataFrame:
    user, item = table.columns[:2]
    table = table.copy()
    table["variance"] = table.pop("standard_error") ** 2
    table["interactions"] = 1
    if by == "category" and names is not None:
        table = table.assign(category=table[item].map(names.categories)).explode("category")
        table = table.dropna(subset="category")
    if by != "interaction":
        key = {"user": user, "item": item, "category": "category"}[by]
        sums = ["value", "variance", "interactions"]
        # A sum of errors that are not known is not known.
        table = table.groupby(key, sort=False)[sums].sum(min_count=1).reset_index()
    if by in ("interaction", "item") and names is not None and names.titles:
        table.insert(table.columns.get_loc(item) + 1, "title", table[item].map(names.titles))
    table["standard_error"] = table.pop("variance") ** 0.5
    table["mean_value"] = table["value"] / table["interactions"]
    columns = [c for c in table.columns if c not in ("interactions", "times_seen")]
    table = table[[*columns, "interactions"]]
    if by == "interaction":
        table = table.drop(columns=["mean_value", "interactions"])
    return table.sort_values("value", ascending=False, kind="stable", ignore_index=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as its name's ending says.

    Raises:
        OptionError: If it ends in neither ``.csv`` nor ``.parquet``, or cannot be written.
    """
    path = output_file("out", path, TABLES)
    if path.suffix == ".csv":
        shown = table.astype(object).where(table.notna(), "")
        columns = [shown[name] for name in shown]
        path.write_text(csv_text_of_columns(list(table), columns), encoding="utf-8")
    else:
        table.to_parquet(path, index=False)


class _Names(NamedTuple):
    """Titles by an item's token; names of its categories, None without a category field."""

    titles: dict[str, str]
    categories: dict[str, list[str]] | None


def _names(run_dir: str | Path, title: str, model_class: str | type | None) -> _Names:
    from recbole_enhance.experiment.quick_start import load_run  # slow

    run = load_run(run_dir, model_class)
    dataset, field = run.train_data._dataset, run.config["item_category_field"]
    ids = dataset.inter_feat[dataset.iid_field]
    tokens, titles = names_of(run, title, ids, "titles")
    named = {tokens[i]: titles[i] for i in tokens if i and titles[i] != tokens[i]}
    if not field:
        return _Names(named, None)
    labels = dataset.field2id_token[field][1:]
    member = category_matrix(dataset, field).numpy()
    return _Names(named, {tokens[i]: list(labels[member[i]]) for i in tokens if i})
