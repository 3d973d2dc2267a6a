"""The verb ``frontier``: accuracy against one metric, for all dials of DVR and re-ranking."""

from recbole_enhance.cli.command import QUIET, RUN_OPTIONS, Option, Verb, console
from recbole_enhance.cli.kinds import Kind, YesNo


def frontier(
    options: dict[str, str], quiet: bool, metric: str | None, accuracy: str | None, quick: bool
) -> int:
    """Run the rows that are not there yet, and draw; 1 if some cells failed."""
    with console(quiet):
        from recbole_enhance.leaderboard.frontier import read_frontier
        from recbole_enhance.leaderboard.frontier_page import write_frontier
        from recbole_enhance.leaderboard.run import run_board

        asked = read_frontier(options, metric, accuracy, quick)
        status = run_board(asked.board, quiet)
        written, sentence = write_frontier(asked)
    if not quiet:
        print("\n".join([sentence, *map(str, written)]))
    return status


def _key(name: str, metavar: str, sentence: str) -> Option:
    """An option of the board; :func:`~recbole_enhance.leaderboard.spec.read_board` checks it."""
    return Option(name, Kind(metavar), sentence, of_run=True, typed=False)


FRONTIER = Verb(
    "frontier",
    callback=frontier,
    takes_run_options=True,
    params=[
        Option("metric", Kind("NAME@K"), "the metric to improve, such as cc@20 or gini@20"),
        Option("accuracy", Kind("NAME@K"), "the accuracy metric to keep [ndcg at the same K]"),
        Option(
            "quick",
            YesNo(),
            "one setting of each dial, one seed, 10 epochs",
            default=False,
        ),
        _key("seeds", "N|LIST", "number of seeds, from 2020 on, or a list of seeds [1]"),
        _key("out", "FOLDER", "folder of the board and of the picture [frontiers/...]"),
        _key("jobs", "N", "number of cells that run at the same time on this machine [1]"),
        _key("threads", "N", "threads of each cell"),
        *RUN_OPTIONS,
        QUIET,
    ],
    help="Plot accuracy against a metric for the dials of DVR. The dials are values, direct "
    "ascent, re-ranking, and direct ascent on accuracy before re-ranking. The recommended point "
    "is the best one that keeps the accuracy, chosen on validation. Finished runs are kept, as on "
    "a board.",
    example="""\
recbole-enhance frontier --model=DVR --backbone=BPR --dataset=ml-100k --metric=cc@20 --quick""",
)
