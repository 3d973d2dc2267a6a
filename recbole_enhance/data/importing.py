"""Make a dataset of a log of interactions, such as a shop has it."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_enhance.data.bad_rows import BadRows
from recbole_enhance.data.cells import (
    Column,
    Times,
    atomic_name,
    free_mark,
    kind_of,
    read_kinds,
)
from recbole_enhance.data.dataset_folder import DatasetFolder, settings_text
from recbole_enhance.data.import_columns import (
    Ids,
    Side,
    Writer,
    cells_of,
    mentions_checks,
    read_graph,
    read_side,
    refuse_clashes,
)
from recbole_enhance.data.tables import Table, arrow, open_table
from recbole_enhance.options.errors import InputError, OptionError

USER, ITEM, RATING, TIME = "user_id", "item_id", "rating", "timestamp"  # RecBole's names
FEATURE, SENTIMENT, TITLE = "feature", "sentiment", "title"
KG, LINK = ("head_id", "relation_id", "tail_id"), (ITEM, "entity_id")
_GROUPS = 50  # a group field has fewer values
_UNIQUE = 0.5  # share of distinct values from which a column holds names, and no feature


class Imported(NamedTuple):
    """What an import has made.

    Attributes:
        path: The dataset's folder; its name is the dataset's.
        interactions: Rows of the interactions.
        users: Users who have one.
        items: Items that have one.
        repeated: Rows whose pair of user and item occurs in an earlier row.
        columns: Suffix of a file -> its columns.
        notes: Further notes, one line each.
    """

    path: Path
    interactions: int
    users: int
    items: int
    repeated: int
    columns: dict[str, list[Column]]
    notes: list[str]

    def lines(self) -> list[str]:
        """The result in lines of text."""
        name, share = self.path.name, self.repeated / self.interactions
        told = [
            f"{self.path}: {self.interactions:,} interactions of {self.users:,} users and "
            f"{self.items:,} items"
        ]
        for suffix, columns in self.columns.items():
            told.append(f"  {name}.{suffix}: {', '.join(map(str, columns))}")
        if self.repeated:
            told.append(
                f"{self.repeated:,} rows ({share:.1%}) repeat a pair of user and item; "
                "--rm_dup_inter=first keeps each pair once"
            )
        return [*told, *self.notes]


def import_data(
    log: Any,
    *,
    user: str,
    item: str,
    name: str,
    time: str | None = None,
    rating: str | None = None,
    features: str | None = None,
    sentiments: str | None = None,
    keep: Sequence[str] = (),
    items: Any = None,
    title: str | None = None,
    category: str | None = None,
    items_key: str | None = None,
    users: Any = None,
    groups: Sequence[str] = (),
    users_key: str | None = None,
    kg: Any = None,
    links: Any = None,
    out: str | Path = "dataset",
    overwrite: bool = False,
    skip_bad: bool = False,
    kinds: Mapping[str, str] | Sequence[str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    encoding: str | None = None,
    quoting: bool = True,
    time_format: str | None = None,
    decimal: str = ".",
) -> Imported:
    """Write a dataset from a log of interactions and, if there are, tables of items and users.

    Each table is a path (CSV, TSV, JSON lines, each also gzipped, or Parquet) or a frame of pandas,
    polars or pyarrow. The dataset is written completely or not at all.

    Args:
        log: Table with one row for each interaction.
        user: The log's column of users.
        item: The log's column of items.
        name: Name of the dataset.
        time: The log's column of times: ISO times, or epochs in s, ms, us or ns.
        rating: The log's column of ratings.
        features: The log's column of features that a review mentions, a list in each cell.
        sentiments: The log's column of sentiments, 1 or -1 for each feature.
        keep: Other columns of the log to keep.
        items: Table with one row for each item; all columns are kept.
        title: The items' column of titles.
        category: The items' column of categories, one or a list in each cell.
        items_key: The items' column of ids; None is ``item``.
        users: Table with one row for each user; all columns are kept.
        groups: The users' columns whose groups the fairness metrics compare.
        users_key: The users' column of ids; None is ``user``.
        kg: Triples of a knowledge graph: head, relation, tail, in this order.
        links: Items and their entities in the graph: item, entity, in this order.
        out: Folder that contains one folder for each dataset.
        overwrite: Whether a dataset of this name is replaced.
        skip_bad: Whether bad rows are skipped and counted; else the first stops the import.
        kinds: Column -> ``token``, ``token_seq``, ``float`` or ``float_seq``, where the guess is
            wrong.
        separator: Separator of cells in text files; None uses the most frequent one in the first
            line.
        header: Names of the log's columns, if it has no header.
        encoding: Encoding of text files; None is UTF-8.
        quoting: Whether cells of text files may be in double quotes.
        time_format: Format of the times, as for ``strptime``, such as ``%d.%m.%Y %H:%M``.
        decimal: Decimal separator of numbers in text, ``.`` or ``,``.

    Returns:
        The path of the dataset, and what it contains.

    Raises:
        InputError: One line, with file, line, column and value if there are such.
    """
    arrow()
    if decimal not in (".", ","):
        raise OptionError("decimal", decimal, "a point or a comma is expected")
    folder = DatasetFolder(Path(out), name, overwrite)
    read = partial(open_table, separator=separator, encoding=encoding, quoting=quoting)
    table = read(log, header=header)
    chosen = _Chosen(
        table, read_kinds(kinds), time, rating, features, sentiments, skip_bad, decimal
    )
    chosen.choose(user, item, keep)
    if items is None and (title or category):
        option = "title" if title else "category"
        raise OptionError(option, title or category, "a column of items needs items=FILE")
    if users is None and groups:
        raise OptionError("groups", groups[0], "a column of users needs users=FILE")
    sides: dict[str, Side] = {}
    if items is not None:
        sides["item"] = read_side(
            read(items),
            ("items_key", items_key) if items_key else ("item", item),
            ITEM,
            chosen.kinds,
            [(o, c) for o, c in (("title", title), ("category", category)) if c],
            (title, TITLE) if title else None,
            category,
            skip_bad,
            decimal,
        )
    if users is not None:
        sides["user"] = read_side(
            read(users),
            ("users_key", users_key) if users_key else ("user", user),
            USER,
            chosen.kinds,
            [("groups", group) for group in groups],
            skip=skip_bad,
            decimal=decimal,
        )
    if kg is not None:
        sides["kg"] = read_graph(read(kg), "kg", KG, skip_bad)
    if links is not None:
        sides["link"] = read_graph(read(links), "links", LINK, skip_bad)
    chosen.refuse_leftover_kinds([side.table for side in sides.values()])
    mark = free_mark([lists for side in sides.values() for lists in side.lists()])
    with folder.writing() as hidden:
        columns = {"inter": chosen.columns}
        with (hidden / f"{name}.inter").open("wb") as file:
            counted = chosen.write(Writer(file, mark, time_format, decimal))
        for suffix, side in sides.items():
            with (hidden / f"{name}.{suffix}").open("wb") as file:
                side.write(Writer(file, mark, decimal=decimal))
            columns[suffix] = side.columns
        notes = [*counted.notes, *(note for side in sides.values() for note in side.notes)]
        for suffix, ids, what in (
            ("item", counted.items, "items"),
            ("user", counted.users, "users"),
        ):
            if suffix in sides:
                missing = ids.missing_in(sides[suffix].ids)
                if missing:
                    notes.append(
                        f"{missing:,} of {len(ids):,} {what} of the log have no row in "
                        f"{sides[suffix].table.name}"
                    )
        made = Imported(
            folder.path,
            counted.rows,
            len(counted.users),
            len(counted.items),
            counted.repeated,
            columns,
            notes,
        )
        comment = [f"Made by `recbole-enhance data import` from {Path(table.name).name}."]
        comment += [
            f"{name}.{suffix}: {', '.join(map(str, those))}" for suffix, those in columns.items()
        ]
        text = settings_text(comment, *_settings(made, sides, mark, category, groups))
        (hidden / f"{name}.yaml").write_text(text, encoding="utf-8")
    return made


def _settings(
    made: Imported,
    sides: Mapping[str, Side],
    mark: str,
    category: str | None,
    groups: Sequence[str],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Options of the dataset, and those of some types of models."""
    own = {FEATURE, SENTIMENT}
    standard = (USER, ITEM, RATING, TIME)
    load = {"inter": [c.name for c in made.columns["inter"] if c.name in standard]}
    options: dict[str, Any] = {"load_col": load}
    features = {suffix: list(columns) for suffix, columns in load.items()}
    features["inter"] += [
        c.name
        for c in made.columns["inter"]
        if c.kind.startswith("token") and c.name not in (*own, *standard)
    ]
    if category:
        name = atomic_name(category)
        load["item"] = [ITEM, name]
        options["item_category_field"] = name
    for suffix, key in (("user", USER), ("item", ITEM)):
        if suffix in sides:
            useful = sides[suffix].features(_UNIQUE)
            if useful:
                features[suffix] = [key, *useful]
    if groups:
        options["group_fields"] = [atomic_name(group) for group in groups]
    if mark != " ":
        options["seq_separator"] = mark
    context = {  # Ratings are not clicks: negatives are sampled.
        "load_col": features,
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
        "eval_args": {
            "split": {"RS": [0.8, 0.1, 0.1]},
            "order": "RO",
            "group_by": "user",
            "mode": "uni100",
        },
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
    }
    return options, {"context": context}


class _Counted(NamedTuple):
    rows: int
    users: Ids
    items: Ids
    repeated: int
    notes: list[str]


class _Chosen:
    """The log and those of its columns that are written."""

    def __init__(
        self,
        table: Table,
        kinds: dict[str, str],
        time: str | None,
        rating: str | None,
        features: str | None,
        sentiments: str | None,
        skip_bad: bool,
        decimal: str,
    ) -> None:
        self.table, self.kinds, self.skip_bad, self.decimal = table, kinds, skip_bad, decimal
        self.named = {"time": time, "rating": rating}
        self.mentions = {"features": features, "sentiments": sentiments}
        self.columns: list[Column] = []

    def choose(self, user: str, item: str, keep: Sequence[str]) -> None:
        """Find the columns, and guess the kinds of those that are only kept.

        Raises:
            InputError: If one is not there, or named twice.
        """
        require, mentions = self.table.require, self.mentions
        columns = [
            Column(require("user", user), USER, "token"),
            Column(require("item", item), ITEM, "token"),
        ]
        for option, name in (("rating", RATING), ("time", TIME)):
            source = self.named[option]
            if source is not None:
                columns.append(Column(require(option, source), name, "float"))
        for one, other in itertools.combinations(columns, 2):
            if one.source == other.source:
                raise InputError(
                    f"{self.table.name}: column {one.source!r} cannot be both {one.name} and "
                    f"{other.name}"
                )
        if (mentions["features"] is None) != (mentions["sentiments"] is None):
            raise InputError("features and sentiments: both columns are needed, or none")
        kept = [require("keep", name) for name in dict.fromkeys(keep)]
        listed = [require(option, name) for option, name in mentions.items() if name]
        guessed = self._first([*listed, *kept])
        for option, name, kind in (
            ("features", FEATURE, "token_seq"),
            ("sentiments", SENTIMENT, "float_seq"),
        ):
            source = mentions[option]
            if source is not None:
                columns.append(Column(source, name, *kind_of(guessed[source], kind, True)))
        for source in kept:
            kind, cut = kind_of(guessed[source], self.kinds.get(source), decimal=self.decimal)
            columns.append(Column(source, atomic_name(source), kind, cut))
        self.columns = columns
        refuse_clashes(self.table.name, columns)

    def _first(self, columns: Sequence[str]) -> dict[str, Any]:
        """Cells of the first piece, by which kinds are guessed."""
        import pyarrow as pa

        wanted = list(dict.fromkeys(columns))
        piece = next(self.table.pieces(wanted), None) if wanted else None
        return {name: cells_of(pa.table({}) if piece is None else piece, name) for name in wanted}

    def refuse_leftover_kinds(self, others: Sequence[Table]) -> None:
        """Refuse a kind of a column that no table has.

        Raises:
            OptionError: Naming it.
        """
        tables = (self.table, *others)
        known = {column for table in tables for column in table.columns}
        for name, kind in self.kinds.items():
            if name not in known:
                named = ", ".join(table.name for table in tables)
                raise OptionError("kinds", f"{name}:{kind}", f"no such column in {named}")

    def write(self, writer: Writer) -> _Counted:
        """Read the log piece by piece, check it, and write it.

        Raises:
            DataError: At the first bad row, unless those are left out.
        """
        bad = BadRows(self.table, self.skip_bad)
        users, items = Ids(), Ids()
        writer.header(self.columns)
        times = Times(writer.form_of_times)
        for piece in self.table.pieces(list(dict.fromkeys(c.source for c in self.columns))):
            cells, checks = writer.convert(piece, self.columns, (USER, ITEM, RATING, TIME), times)
            checks += mentions_checks(piece, self.columns, (FEATURE, SENTIMENT))
            good = bad.judge(checks, len(piece))
            if good is not None:
                cells = [column.filter(good) for column in cells]
            users.add(cells[0])
            items.add(cells[1])
            writer.rows(cells)
        left_out = bad.finish()
        keys = users.codes().astype(np.int64)
        rows = len(keys)
        keys *= len(items)
        keys += items.codes()
        keys.sort()
        repeated = rows - np.count_nonzero(keys[1:] != keys[:-1]) - 1
        said = [f"{self.named['time']}: {times.said}"] if self.named["time"] else []
        return _Counted(rows, users, items, repeated, [*said, *writer.notes(), *left_out])
