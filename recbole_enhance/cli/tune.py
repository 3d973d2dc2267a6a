"""The verb ``tune``: search options by validation."""

from typing import Any

from recbole_enhance.cli.command import QUIET, RUN_OPTIONS, Option, Verb, console
from recbole_enhance.cli.kinds import Kind, Value


def tune(options: dict[str, str], quiet: bool, **arguments: Any) -> None:
    """Search, print the trials and draw them."""
    with console(quiet):
        from recbole_enhance.tuning.tune import tune as search

        search(options, quiet=quiet, page=True, **arguments)


TUNE = Verb(
    "tune",
    callback=tune,
    takes_run_options=True,
    params=[
        *RUN_OPTIONS,
        Option(
            "trials", Value("N"), "number of trials in total; a second call continues", default=20
        ),
        Option(
            "space", Kind("FILE"), "file with the search space; by default that of this package"
        ),
        Option("out", Kind("FOLDER"), "folder for the results; by default tuning/DATASET/LABEL"),
        Option("jobs", Value("N"), "processes on this machine", default=1),
        Option("pruner", Kind("median|none"), "rule that stops trials early", default="median"),
        Option("storage", Kind("ADDRESS"), "database, for a study that many machines share"),
        Option("study", Kind("NAME"), "name of the study in the database"),
        QUIET,
    ],
    help="Search for the best options by validation only. See docs/tuning.md.",
    example="""\
recbole-enhance tune --model=DVR --backbone=BPR --dataset=ml-100k --trials=20 --out=tuned
recbole-enhance --config_files=tuned/best.yaml""",
)
