"""The verb ``values``: what the training interactions of a run were worth."""

from pathlib import Path
from typing import Any

from recbole_enhance.cli.command import OWN_CLASS, OWN_FILES, QUIET, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Count, Kind, OneOf, Value, YesNo
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.log_lines import show

_BY = ("interaction", "user", "item", "category")


def values(
    folder: str,
    quiet: bool,
    model: str | None,
    backbone: str | None,
    by: str | None,
    top: int | None,
    titles: str | None,
    out: str | None,
    html: str | None,
    write_clean: str | None,
    drop: float | None,
    soft: bool,
    zero: bool,
) -> None:
    """Rank what a run valued, print both ends, and write all of it if asked."""
    for option, value in {"soft": soft or None, "zero": zero or None, "drop": drop}.items():
        if write_clean is None and value is not None:
            raise OptionError(option, value, "can only be used with --write_clean=FOLDER")
    of_ranks = {"by": by, "top": top, "titles": titles, "out": out, "html": html}
    for option, said in of_ranks.items():
        if write_clean is not None and said is not None:
            raise OptionError(
                option, said, "cannot be used with --write_clean, which ranks nothing"
            )
    with console(quiet):
        if write_clean is not None:
            from recbole_enhance.explanation import cleaned

            done = cleaned.write_clean(folder, write_clean, drop, soft, backbone or model, zero)
            if not quiet:
                print(_told(done, soft or zero))
            return
        from recbole_enhance.explanation.values import TABLES, rank_values, write_table
        from recbole_enhance.storage.outputs import output_file

        for option, path, endings in (("out", out, TABLES), ("html", html, (".html",))):
            if path is not None:
                output_file(option, path, endings)
        table = rank_values(folder, by or _BY[0], titles or "auto", backbone or model)
        if out is not None:
            write_table(table, Path(out))
        if html is not None:
            from recbole_enhance.explanation.values_page import write_values_page

            write_values_page(folder, html, titles or "auto", top or 10, backbone or model)
        if quiet:
            return
        n = min(top or 10, len(table))
        for said, part in (("most", table.head(n)), ("least", table.tail(n).iloc[::-1])):
            print(f"{said} valuable:")
            show(part.to_string(index=False, float_format="{:.4g}".format))


def _told(done: Any, weighted: bool) -> str:
    """What was written, and how to train on it."""
    how, known = "all of them, with weights", ""
    if not weighted:
        how = f"dropped are {done.dropped}"
        known = "; dropped items are ranked for their users (with --zero they are not)"
    return (
        f"{done.folder}: training has {done.kept}; {how}\n"
        f"validation and test are those of the run{known}\n"
        f"train on it: recbole-enhance --model=BPR --config_files={done.options}"
    )


VALUES = Verb(
    "values",
    callback=values,
    params=[
        Place("folder", "RUN_DIR", "the folder of a finished run of DVR"),
        Option("by", OneOf(_BY), "what to rank, by the sum of its values [interaction]"),
        Option("top", Count(), "number of the most and of the least valuable to print [10]"),
        Option(
            "titles",
            Kind("COLUMN"),
            "column of titles in the .item file [title, movie_title, name]",
        ),
        Option("out", Kind("FILE"), "write all values, as .csv or .parquet"),
        Option(
            "html",
            Kind("FILE"),
            "write a page of the most and the least valuable interactions, users and items",
        ),
        Option(
            "write_clean",
            Kind("FOLDER"),
            "write the dataset without the least valuable interactions",
        ),
        Option(
            "drop",
            Value(),
            "share of training interactions to drop [0.1], or to weigh less with --soft [0.3]",
        ),
        Option("soft", YesNo(), "drop nothing, but write a column of weights", default=False),
        Option(
            "zero",
            YesNo(),
            "drop nothing, but give weight 0: no part of the loss, and their items are not ranked",
            default=False,
        ),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Rank the values of a run of DVR. Ranks training interactions, or users, items or "
    "categories by the sums of their values; or writes the data without the least valuable "
    "interactions.",
    example="""\
recbole-enhance values runs/dvr --by=item --top=20
recbole-enhance values runs/dvr --out=values.csv --html=values.html
recbole-enhance values runs/dvr --write_clean=clean --drop=0.1""",
)
