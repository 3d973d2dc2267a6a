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
        Option("trials", Value("N"), "how many, in total; a second call goes on", default=20),
        Option("space", Kind("FILE"), "what is searched; else what ships with us"),
        Option("out", Kind("FOLDER"), "of what is left behind; else tuning/DATASET/LABEL"),
        Option("jobs", Value("N"), "processes on this machine", default=1),
        Option("pruner", Kind("median|none"), "what stops a trial early", default="median"),
        Option("storage", Kind("ADDRESS"), "database of a study that many machines share"),
        Option("study", Kind("NAME"), "its name there"),
        QUIET,
    ],
    help="Search options by validation only. See docs/tuning.md.",
    example="""\
recbole-enhance tune --model=DVR --backbone=BPR --dataset=ml-100k --trials=20 --out=tuned
recbole-enhance --config_files=tuned/best.yaml""",
)
