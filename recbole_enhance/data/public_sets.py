"""Public data sets by name: addresses, publishers, and how they are converted."""

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_enhance.data.dataset_folder import DatasetFolder
from recbole_enhance.data.fetching import fetch, unpack
from recbole_enhance.data.importing import Imported, import_data
from recbole_enhance.data.tables import Table, open_table
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import load_yaml, nearest

_REGISTRY = Path(__file__).with_name("public.yaml")
_GENRES = (  # of MovieLens 100K, in the order of its columns
    "unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy,"
    "Film-Noir,Horror,Musical,Mystery,Romance,Sci-Fi,Thriller,War,Western"
)
_MOST_NAMED = 10


class PublicSet(NamedTuple):
    """A data set that others have published.

    Attributes:
        about: What it holds.
        address: Where its file is; None if one has to get it by hand.
        licence: What its authors allow.
        citation: What to cite.
        tables: ``log``, ``items``, ``users`` -> how each is read.
        columns: Arguments of :func:`~recbole_enhance.data.importing.import_data`.
        hash: Of the file, as ``md5:...``; None if none is known.
        by_hand: The page where one gets it by hand.
        kinds: As in ``import_data``.
        skip_bad: As in ``import_data``.
        more_items: Address, table and columns of items in a file of their own.
    """

    about: str
    licence: str
    citation: str
    tables: dict[str, dict[str, Any]]
    columns: dict[str, str]
    address: str | None = None
    hash: str | None = None
    by_hand: str | None = None
    kinds: tuple[str, ...] = ()
    skip_bad: bool = False
    more_items: dict[str, Any] | None = None


@lru_cache(maxsize=4)
def public_sets(registry: Path = _REGISTRY) -> dict[str, PublicSet]:
    """Name -> set, in the order of the registry."""
    content = load_yaml(registry)
    licences, citations = content["licences"], content["citations"]
    entries = dict(content["sets"])
    for pattern, family in (content.get("families") or {}).items():
        family = dict(family)
        hashes = family.pop("hashes", {})
        for category in family.pop("categories"):
            entry = {**family, "hash": hashes.get(category)}
            for key in ("about", "address"):
                entry[key] = entry[key].replace("{category}", category)
            if "more_items" in entry:
                more = entry["more_items"]
                entry["more_items"] = {
                    **more,
                    "address": more["address"].replace("{category}", category),
                }
            entries[pattern.replace("{}", category.lower().replace("_", "-"))] = entry
    return {
        name: PublicSet(
            **{
                **entry,
                "licence": licences.get(entry["licence"], entry["licence"]),
                "citation": citations[entry["citation"]],
            }
        )
        for name, entry in entries.items()
    }


def listed(registry: Path = _REGISTRY) -> list[str]:
    """A line for each set."""
    sets = public_sets(registry)
    width = max(map(len, sets))
    return [f"{name:<{width}}  {entry.about}" for name, entry in sets.items()]


def get_data(
    name: str,
    out: str | Path = "dataset",
    *,
    cache: str | Path | None = None,
    archive: str | Path | None = None,
    with_items: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    registry: Path = _REGISTRY,
) -> Imported:
    """Download a public dataset and convert it.

    Args:
        name: As in ``data get --list``.
        out: Folder that holds one folder for each dataset.
        cache: Folder for downloaded files; None is the user's cache.
        archive: A downloaded file or folder, used instead of downloading.
        with_items: Whether the table of items is also downloaded if it is a large file of its own.
        overwrite: Whether a dataset of this name is replaced.
        quiet: Whether there is no progress bar.
        registry: The file that lists the sets.

    Raises:
        InputError: In one line, and nothing is written.
    """
    sets = public_sets(registry)
    if name not in sets:
        alike = [other for other in sets if name in other][:_MOST_NAMED]
        hint = f"; did you mean {', '.join(alike)}?" if alike else nearest(name, sets)
        raise OptionError("name", name, f"no such public set; `data get --list` names them{hint}")
    found = sets[name]
    DatasetFolder(
        Path(out), name, overwrite
    )  # refuses one that is there before anything is fetched
    if with_items and found.more_items is None:
        raise OptionError("with_items", True, f"{name} has no more items to fetch")
    if archive is None and found.address is None:
        raise OptionError(
            "name", name, f"get it by hand from {found.by_hand}, then say --archive=FILE_OR_FOLDER"
        )
    kept, notes = Path(cache) if cache else None, []
    tables, columns = dict(found.tables), dict(found.columns)
    if archive is None:
        assert found.address is not None
        packed, digest = fetch(found.address, found.hash, kept, quiet)
        checked = f"{found.hash} as it should be" if found.hash else "not checked, none is known"
        notes.append(f"{found.address}: sha256:{digest} ({checked})")
    else:
        packed = Path(archive)
        if not packed.exists():
            raise OptionError("archive", packed, "there is no such file")
    with tempfile.TemporaryDirectory(prefix="recbole-enhance-") as work:
        folder = Path(work)
        places = {t.get("member", ""): folder / f"{key}.{t['form']}" for key, t in tables.items()}
        unpack(packed, places)
        if with_items and found.more_items is not None:
            address = found.more_items["address"]
            more, digest = fetch(address, None, kept, quiet)
            notes.append(f"{address}: sha256:{digest} (not checked, none is known)")
            tables["items"] = found.more_items["table"]
            columns |= found.more_items["columns"]
            unpack(more, {"": folder / f"items.{tables['items']['form']}"})
        read = {key: _read(folder / f"{key}.{t['form']}", t) for key, t in tables.items()}
        arguments: dict[str, Any] = {**read, **columns}
        made = import_data(
            arguments.pop("log"),
            **arguments,
            name=name,
            out=out,
            overwrite=overwrite,
            kinds=list(found.kinds),
            skip_bad=found.skip_bad or with_items,
        )
    notes += [f"licence: {found.licence}", f"cite: {found.citation}"]
    return made._replace(notes=[*made.notes, *notes])


def _read(path: Path, form: dict[str, Any]) -> Any:
    between = form.get("between")
    if between:
        _replace(path, between.encode(), b"\t")
    converter = form.get("converter")
    if converter:
        return _CONVERTERS[converter](path, form)
    return _some(
        open_table(
            path,
            separator=form.get("separator"),
            header=form.get("header"),
            encoding=form.get("encoding"),
            quoting=form.get("quoting", form["form"] == "csv"),
        ),
        form.get("columns"),
    )


def _some(table: Table, columns: Sequence[str] | None) -> Table:
    """The table with only some of its columns."""
    if columns is not None:
        table.columns = [name for name in columns if name in table.columns]
    return table


def _replace(path: Path, old: bytes, new: bytes) -> None:
    """Replace the separator of cells, line by line."""
    written = path.with_suffix(".new")
    with path.open("rb") as file, written.open("wb") as out:
        while lines := file.readlines(1 << 22):
            out.write(b"".join(lines).replace(old, new))
    written.replace(path)


def _ml_100k_items(path: Path, form: dict[str, Any]) -> Any:
    """Films of MovieLens 100K: a column of 0 and 1 for each genre becomes a list of genres."""
    import pandas as pd

    genres = _GENRES.split(",")
    names = ["item", "title", "release", "video", "address", *genres]
    table = pd.read_csv(
        path,
        sep=form["separator"],
        header=None,
        names=names,
        encoding=form["encoding"],
        dtype=str,
        keep_default_na=False,
    )
    listed = (table[genres] == "1").dot(pd.Index(genres) + "|")
    table["class"] = listed.str.rstrip("|")
    table["release_year"] = table["release"].str[-4:]
    return table[["item", "title", "release_year", "class"]]


_CONVERTERS = {"ml_100k_items": _ml_100k_items}
