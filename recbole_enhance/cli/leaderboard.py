"""The verb ``leaderboard``: run a board, or build its pages."""

from pathlib import Path

from recbole_enhance.cli.command import (
    QUIET,
    RUN_OPTIONS,
    Option,
    Place,
    Verb,
    Verbs,
    console,
)
from recbole_enhance.cli.kinds import Kind, List, OneOf
from recbole_enhance.leaderboard import PLOTLY
from recbole_enhance.options.errors import InputError, RunFolderError


def run(spec: str | None, options: dict[str, str], quiet: bool) -> int:
    """Run what is not there yet and build the pages; 1 if some cells failed."""
    if spec is None and not options:
        raise InputError("leaderboard run: SPEC.yaml or --models=... is missing")
    with console(quiet):
        from recbole_enhance.leaderboard.run import run_board
        from recbole_enhance.leaderboard.spec import read_board

        return run_board(read_board(spec, options), quiet)


def build(folder: str, quiet: bool, plotly: str | None) -> None:
    """Build the pages, and print their names."""
    if not Path(folder).is_dir():
        raise RunFolderError(f"leaderboard build {folder}", "no such folder")
    with console(quiet):
        from recbole_enhance.leaderboard.board import build_board

        written = build_board(Path(folder), quiet, plotly)
    if not quiet:
        print("\n".join(map(str, written)))


def _key(name: str, metavar: str, sentence: str) -> Option:
    """A key of the board, which :func:`~recbole_enhance.leaderboard.spec.read_board` judges."""
    return Option(name, Kind(metavar), sentence, of_run=True, typed=False)


LEADERBOARD = Verbs(
    "leaderboard",
    help="Compare models and methods over datasets and seeds.",
    commands=[
        Verb(
            "run",
            callback=run,
            takes_run_options=True,
            params=[
                Place("spec", "SPEC.yaml", "a board's file, see docs/leaderboard.md", False),
                Option(
                    "models",
                    List("LIST"),
                    "BPR,DVR:LightGCN: models, METHOD:BACKBONE; also MODULE:NAME of your own",
                    of_run=True,
                    typed=False,
                ),
                _key("datasets", "LIST", "names of datasets; --dataset is the same"),
                _key("seeds", "N|LIST", "how many there shall be from 2020 on, or which [1]"),
                _key("out", "FOLDER", "of the board; each cell is a run folder below it"),
                _key("name", "TITLE", "of the board; else the folder's name"),
                _key("jobs", "N", "cells at the same time on this machine [1]"),
                _key("threads", "N", "of each cell; else the cores are shared out"),
                _key("cluster", "ADDRESS", "tcp://HOST:PORT of a Dask scheduler"),
                _key("tune", "MAPPING", "arguments of tuning, one by one: --tune.trials=20"),
                _key("explain", "MAPPING", "explain each run: --explain.topk=5, or --explain"),
                _key("attack", "MAPPING", "attack each run: --attack.targets=params, or --attack"),
                _key("history_columns", "LIST", "columns of history.csv, as NAME or NAME@EPOCH"),
                _key("plotly", "|".join(PLOTLY), "plotly.js in the page, or once above it"),
                *(option for option in RUN_OPTIONS if option.name in ("data_path", "config_files")),
                QUIET,
            ],
            help="Run models x datasets x seeds, and build the pages. What is there is kept; the "
            "exit status is 1 if some cells failed.",
            example="""\
recbole-enhance leaderboard run --models=BPR,DVR:BPR --dataset=ml-100k --seeds=3 --out=boards/first
recbole-enhance leaderboard run board.yaml --epochs=50 --jobs=2""",
        ),
        Verb(
            "build",
            callback=build,
            params=[
                Place("folder", "DIR", "the folder of a board"),
                Option(
                    "plotly",
                    OneOf(PLOTLY),
                    "plotly.js in the page, or once in the folder above [as the board was asked, "
                    "else embed]",
                ),
                QUIET,
            ],
            help="Build the pages of a board.",
            example="recbole-enhance leaderboard build boards/first",
        ),
    ],
)
