"""Build a leaderboard's pages from the run folders below a folder."""

import importlib.util
import logging
import os
import re
from pathlib import Path

from recbole_enhance.compat.needs import line_for
from recbole_enhance.explanation.html import SCRIPT, share_plotly
from recbole_enhance.leaderboard import (
    EMBED,
    PLOTLY,
    PLOTS,
    SHARED,
    analysis,
    collect,
    groups,
    latex,
    pages,
    plots,
    protocol,
    same_data,
    texts,
)
from recbole_enhance.leaderboard.pictures import file_name, write_file
from recbole_enhance.options.errors import OptionError, RunFolderError

logger = logging.getLogger("recbole_enhance")
_PACKAGES = ("jinja2", "statsmodels", "matplotlib")
_OURS = re.compile(r".+-(tradeoff|groups-\d+|gains-\d+|ranks)\.(png|svg)")


def build_board(folder: str | Path, quiet: bool = False, plotly: str | None = None) -> list[Path]:
    """Read the run folders below a folder, and write the pages of the board into that folder.

    The same runs give the same pages, byte for byte. A file is written completely or not at all,
    and earlier pages stay until all new ones are made.

    Args:
        folder: Folder of a board, or any folder with run folders below it.
        quiet: Log nothing.
        plotly: ``embed`` puts plotly.js into ``index.html``; ``shared`` puts it into the folder
            above, for all boards there. None takes the value in ``board.yaml``, or ``embed``.

    Returns:
        Paths of the files: ``index.html``, ``board.md``, ``board.csv``, ``board.tex``,
        ``board.json``, ``significance.csv``, ``groups.csv`` if the runs have groups of users,
        and the files in ``plots/``.

    Raises:
        ValueError: If there is no run, a folder is not a valid run folder, two runs of a dataset
            have different protocols, the data have changed since a run, the folder cannot be
            written, or a package of the extra ``leaderboard`` is missing. The message is one line.
    """
    _refuse_missing_packages()
    folder = Path(folder)
    collected = collect.collect(folder)
    plotly = collected.board.get("plotly") or EMBED if plotly is None else plotly
    if plotly not in PLOTLY:
        raise OptionError("plotly", plotly, f"one of {', '.join(PLOTLY)}")
    same_data.refuse_other_data((run.folder, run.options) for run in collected.runs)
    tables = protocol.tables(collected.runs)
    analyses = [analysis.analyse(table, collected) for table in tables]
    grouped = [groups.read_groups(a) for a in analyses]
    drawn = [plots.plots(a, g, file_name(a.table.title)) for a, g in zip(analyses, grouped)]
    contents: dict[str, bytes] = {
        f"{PLOTS}/{plot.name}.{suffix}": content
        for of_table in drawn
        for plot in of_table
        for suffix, content in plot.files.items()
    }
    try:
        plotly_src = _share_plotly(folder) if plotly == SHARED else ""
    except OSError as error:
        raise RunFolderError(
            f"{error.filename or folder.parent}", f"cannot be written ({error.strerror})"
        ) from error
    gained = texts.groups_csv(analyses, grouped)
    words = {
        "board.md": texts.markdown(analyses, collected),
        "board.csv": texts.board_csv(analyses),
        "board.tex": latex.latex(analyses),
        "board.json": texts.board_json(analyses, collected),
        "significance.csv": texts.significance_csv(analyses),
        "index.html": pages.html_page(analyses, drawn, collected, plotly_src, grouped=bool(gained)),
    }
    if gained:
        words["groups.csv"] = gained
    contents.update({name: text.encode("utf-8") for name, text in words.items()})
    try:
        written = [write_file(folder / name, content) for name, content in contents.items()]
        _remove_stale(folder / PLOTS, {path.name for path in written})
    except OSError as error:
        raise RunFolderError(
            f"{error.filename or folder}", f"cannot be written ({error.strerror})"
        ) from error
    if not quiet:
        logger.info("pages of %d runs: %s", len(collected.runs), folder / "index.html")
    return written


def _refuse_missing_packages() -> None:
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"leaderboard build: {name} is missing: {line_for('leaderboard')}")


def _remove_stale(folder: Path, kept: set[str]) -> None:
    """Remove the plots of tables that no longer exist."""
    for path in folder.glob("*.*") if folder.is_dir() else ():
        if _OURS.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _share_plotly(folder: Path) -> str:
    """Make sure that plotly.js is in the folder above the board; returns its address."""
    share_plotly(Path(os.path.abspath(folder)).parent)  # without ".."
    return f"../{SCRIPT}"
