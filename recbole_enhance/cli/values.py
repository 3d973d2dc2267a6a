"""The verb ``values``: what the training interactions of a run were worth."""

from pathlib import Path

from recbole_enhance.cli.command import OWN_CLASS, OWN_FILES, QUIET, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Count, Kind, OneOf

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
) -> None:
    """Rank what a run valued, print both ends, and write all of it if asked."""
    with console(quiet):
        from recbole_enhance.explanation.values import rank_values, write_table

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
            print(part.to_string(index=False, float_format="{:.4g}".format))


VALUES = Verb(
    "values",
    callback=values,
    params=[
        Place("folder", "RUN_DIR", "the folder of a finished run of DVR"),
        Option("by", OneOf(_BY), "whose values are summed [interaction]"),
        Option("top", Count(), "how many of both ends are printed [10]"),
        Option("titles", Kind("COLUMN"), "of the .item file [title, movie_title, name]"),
        Option("out", Kind("FILE"), "write all of them, as .csv or .parquet"),
        Option(
            "html",
            Kind("FILE"),
            "write a page of both ends: of interactions, users, items and categories",
        ),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Rank what a run of DVR valued. Training interactions, or users, items and categories "
    "by the sums of theirs.",
    example="""\
recbole-enhance values runs/dvr --by=item --top=20
recbole-enhance values runs/dvr --out=values.csv --html=values.html""",
)
