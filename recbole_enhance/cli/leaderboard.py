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
from recbole_enhance.storage.files import write_whole
from recbole_enhance.storage.outputs import output_file


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
    place = _place_of("build", folder)
    with console(quiet):
        from recbole_enhance.leaderboard.board import build_board

        written = build_board(place, quiet, plotly)
    if not quiet:
        print("\n".join(map(str, written)))


def compare(folder: str, row: str | None, base: str | None, metrics: list[str] | None) -> None:
    """Print a table of two rows for each dataset that has both."""
    if row is None or base is None:
        missing = "row" if row is None else "base"
        raise InputError(f"leaderboard compare: --{missing}=TITLE is missing")
    place = _place_of("compare", folder)
    from recbole_enhance.leaderboard.two_rows import two_rows

    print(two_rows(place, row, base, metrics))


def curves(folder: str, accuracy: str, quiet: bool) -> None:
    """Draw the curves of a board, and print the names of the pictures."""
    place = _place_of("curves", folder)
    with console(quiet):
        from recbole_enhance.leaderboard.curves import write_curves

        written = write_curves(place, accuracy)
    if not quiet:
        print("\n".join(map(str, written)))


def submit(
    run_dir: str,
    board: str | None,
    contributor: str | None,
    name: str | None,
    against: str | None,
    data_path: str | None,
    quiet: bool,
) -> None:
    """Check the run of an outsider, add it to a board, and say where it is."""
    for option, value in (("board", board), ("contributor", contributor)):
        if value is None:
            raise InputError(f"leaderboard submit: --{option} is missing")
    with console(quiet):
        from recbole_enhance.leaderboard.submission import submit_run

        written = submit_run(run_dir, str(board), str(contributor), name, against, data_path)
    if not quiet:
        print(f"accepted: {written}\nnext: recbole-enhance leaderboard build {board}")


def claims(file: str, out: str | None) -> None:
    """Print the page, or write it."""
    from recbole_enhance.leaderboard.claims import claims_page

    place = Path("claims.md") if out is None else output_file("out", out)
    text = claims_page(Path(file), place.parent)
    if out is None:
        print(text, end="")
        return
    write_whole(place, text.encode("utf-8"))


def _place_of(verb: str, folder: str) -> Path:
    """The folder of a board, which must be there."""
    if not Path(folder).is_dir():
        raise RunFolderError(f"leaderboard {verb} {folder}", "no such folder")
    return Path(folder)


def _key(name: str, metavar: str, sentence: str) -> Option:
    """An option of the board; :func:`~recbole_enhance.leaderboard.spec.read_board` checks it."""
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
                Place("spec", "SPEC.yaml", "the file of a board, see docs/leaderboard.md", False),
                Option(
                    "models",
                    List("LIST"),
                    "models and METHOD:BACKBONE, such as BPR,DVR:BPR; MODULE:NAME for your own",
                    of_run=True,
                    typed=False,
                ),
                _key("datasets", "LIST", "names of datasets; --dataset means the same"),
                _key("seeds", "N|LIST", "number of seeds, from 2020 on, or a list of seeds [1]"),
                _key("out", "FOLDER", "folder of the board; each cell is a run folder below it"),
                _key("name", "TITLE", "title of the board; by default the folder's name"),
                _key("jobs", "N", "number of cells that run at the same time on this machine [1]"),
                _key(
                    "threads",
                    "N",
                    "threads of each cell; by default the cores are divided among the jobs",
                ),
                _key("cluster", "ADDRESS", "Dask scheduler, such as tcp://HOST:PORT"),
                _key("tune", "MAPPING", "tune each row, with these arguments: --tune.trials=20"),
                _key("explain", "MAPPING", "explain each run: --explain.topk=5, or --explain"),
                _key("attack", "MAPPING", "attack each run: --attack.targets=params, or --attack"),
                _key("history_columns", "LIST", "columns of history.csv, NAME or NAME@EPOCH"),
                _key(
                    "plotly",
                    "|".join(PLOTLY),
                    "plotly.js in the page, or one copy in the folder above",
                ),
                *(option for option in RUN_OPTIONS if option.name in ("data_path", "config_files")),
                QUIET,
            ],
            help="Run models x datasets x seeds, and build the pages. Finished cells are kept. The "
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
                    "plotly.js in the page, or one copy in the folder above [the board's setting, "
                    "or embed]",
                ),
                QUIET,
            ],
            help="Build the pages of a board.",
            example="recbole-enhance leaderboard build boards/first",
        ),
        Verb(
            "compare",
            callback=compare,
            params=[
                Place("folder", "DIR", "the folder of a board, with its run folders"),
                Option("row", Kind("TITLE"), "title of a row, as in board.md: DVR-BPR"),
                Option("base", Kind("TITLE"), "title of the row that it is compared with"),
                Option("metrics", List("LIST"), "metrics, such as recall@20,ndcg@20 [all]"),
            ],
            help="Compare any two rows of a board, with the tests that methods have against their "
            "backbone; p-values are corrected over the metrics shown.",
            example="recbole-enhance leaderboard compare boards/first --row=DVR-BPR --base=EASE",
        ),
        Verb(
            "curves",
            callback=curves,
            params=[
                Place("folder", "DIR", "the folder of a board"),
                Option(
                    "accuracy", Kind("METRIC"), "the metric on the other axis", default="ndcg@20"
                ),
                QUIET,
            ],
            help="Draw accuracy against every other metric, with a curve for rows whose names "
            "differ in a number, such as CC-0.05 and CC-0.1. Other rows are points.",
            example="recbole-enhance leaderboard curves boards/strengths --accuracy=ndcg@20",
        ),
        Verb(
            "submit",
            callback=submit,
            params=[
                Place("run_dir", "RUN_DIR", "a finished run with its lists (--save_recs=True)"),
                Option("board", Kind("DIR"), "the folder of a board, with its run folders"),
                Option("contributor", Kind("NAME"), "who made the run; the board shows it"),
                Option("name", Kind("NAME"), "what the board calls the row [as the run does]"),
                Option(
                    "against",
                    Kind("LABEL"),
                    "row of the board that it is compared with [the run's plain backbone]",
                ),
                Option("data_path", Kind("FOLDER"), "where the board's data are now"),
                QUIET,
            ],
            help="Add someone else's run to a board. Its lists are judged again by the "
            "board's own data and protocol, and must give what the run reports. Nothing of it is "
            "executed.",
            example="recbole-enhance leaderboard submit theirs/run --board=boards/first "
            "--contributor='A. Name'",
        ),
        Verb(
            "claims",
            callback=claims,
            params=[
                Place("file", "FILE.yaml", "the claims, see docs/leaderboard_pages.md"),
                Option("out", Kind("FILE"), "Markdown file to write [the terminal]"),
            ],
            help="Compare the claims of papers with boards: what each board found, and a verdict.",
            example="recbole-enhance leaderboard claims docs/claims.yaml",
        ),
    ],
)
