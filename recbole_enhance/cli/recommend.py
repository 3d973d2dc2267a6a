"""The verb ``recommend``: lists for users, known or new, and the items most similar to others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_enhance.cli.command import (
    OWN_CLASS,
    OWN_FILES,
    QUIET,
    Option,
    Place,
    Verb,
    console,
    own_classes,
)
from recbole_enhance.cli.kinds import Count, Kind, List, OneOf, YesNo
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage.log_lines import show

_HISTORY = ("all", "train+valid", "train")
_WHO = ("users", "all", "users_file", "histories", "similar_to")
_OF_USERS = ("exclude", "only_items", "filter_seen", "history", "read_known")
_OF_KNOWN = ("history", "read_known")


def recommend(
    folder: str,
    quiet: bool,
    model: str | None,
    backbone: str | None,
    k: int | None,
    titles: str | None,
    out: str | None,
    html: str | None,
    **options: Any,
) -> None:
    """Write or print what was asked for."""
    said = {name: value for name, value in options.items() if value not in (None, False)}
    said |= {n: False for n in ("filter_seen", "read_known") if options[n] is False}
    _refuse_mixture(said, out)
    if html is not None and out is not None:
        raise OptionError("html", html, "cannot be used with --out; choose the page or the file")
    with console(quiet):
        from recbole_enhance.experiment.quick_start import finished_run
        from recbole_enhance.explanation.lists_page import write_lists_page
        from recbole_enhance.storage.outputs import output_file

        if html is not None:
            output_file("html", html, (".html",))
        finished_run(folder)
        common = {"k": k or 10, "titles": titles or "auto", **own_classes(folder, model, backbone)}
        if "similar_to" in said:
            table = _near(folder, said["similar_to"], common, out)
        else:
            table = _lists(folder, said, common, out, quiet)
        if html is not None:
            write_lists_page(folder, table, html)
        if not quiet:
            show(f"lists: {out}" if table is None else table.to_string(index=False))


def _refuse_mixture(said: Mapping[str, Any], out: str | None) -> None:
    who = [f"--{name}" for name in _WHO if name in said]
    if len(who) != 1:
        known = ", ".join(f"--{name}" for name in _WHO)
        got = " and ".join(who) or "none"
        raise InputError(f"recommend: one of {known} is expected, not {got}")
    if "all" in said and out is None:
        raise OptionError("all", True, "the lists of all users go into a file: --out=FILE")
    useless = _OF_USERS if "similar_to" in said else _OF_KNOWN if "histories" in said else ()
    for name in useless:
        if name in said:
            raise OptionError(name, said[name], f"cannot be used with {who[0]}")


def _lists(
    folder: str, said: Mapping[str, Any], common: Mapping[str, Any], out: str | None, quiet: bool
) -> Any:
    from recbole_enhance.recommendation.recommend import recommend as lists_of

    files: dict[str, Any] = {
        name: Path(said[name]) for name in ("exclude", "only_items") if name in said
    }
    plain = {n: said[n] for n in ("filter_seen", *_OF_KNOWN, "histories") if n in said}
    users = Path(said["users_file"]) if "users_file" in said else said.get("users")
    return lists_of(folder, users, out=out, quiet=quiet, **files, **plain, **common)


def _near(folder: str, items: Any, common: Mapping[str, Any], out: str | None) -> Any:
    from recbole_enhance.recommendation.similar import similar_items
    from recbole_enhance.recommendation.writing import ENDINGS, growing_table
    from recbole_enhance.storage.outputs import output_file

    path = None if out is None else output_file("out", out, ENDINGS)
    table = similar_items(folder, items, **common)
    if path is None:
        return table
    with growing_table(path) as write:
        write(table)
    return None


RECOMMEND = Verb(
    "recommend",
    callback=recommend,
    params=[
        Place("folder", "RUN_DIR", "the folder of a run"),
        Option("users", List("LIST"), "ids of users, as in the data"),
        Option("all", YesNo(), "all users of the data; with --out", default=False),
        Option("users_file", Kind("FILE"), "ids of users, one on each line"),
        Option(
            "histories",
            Kind("FILE"),
            "new users: CSV with user_id, item_id and perhaps timestamp, or .jsonl with a list of "
            "items on each line",
        ),
        Option("similar_to", List("LIST"), "ids of items: list the most similar items"),
        Option("k", Count(), "length of the lists [10]"),
        Option(
            "titles",
            Kind("COLUMN"),
            "column of titles in the .item file [title, movie_title, name]",
        ),
        Option("exclude", Kind("FILE"), "file of items to leave out, one on each line"),
        Option("only_items", Kind("FILE"), "file of items to recommend from, one on each line"),
        Option("filter_seen", YesNo(), "leave out items that the user already has [yes]"),
        Option(
            "history",
            OneOf(_HISTORY),
            "the user's history; train+valid gives the lists of the run's own test [all]",
        ),
        Option(
            "read_known",
            YesNo(),
            "models that compute scores from a history (RVRec, item-based ones, autoencoders) read "
            "that history, not only its training part [as the run did]",
        ),
        Option("out", Kind("FILE"), "write the lists, as .csv, .parquet or .jsonl"),
        Option("html", Kind("FILE"), "also write them as a page, of at most 200 lists"),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Recommend items to users with the model of a finished run. The users are in the data, or "
    "are new and have a file of histories. Or find the items that are most similar to some "
    "items. If a run was stopped, its best epoch so far is used.",
    example="""\
recbole-enhance recommend runs/bpr --users=1,7 --titles=movie_title
recbole-enhance recommend runs/bpr --all --k=100 --out=recs.parquet
recbole-enhance recommend runs/bpr --histories=new.csv
recbole-enhance recommend runs/bpr --similar-to=50""",
)
