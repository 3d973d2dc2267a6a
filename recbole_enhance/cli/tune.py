"""The verb ``tune``: search options by validation."""

from typing import Any

from recbole_enhance.cli.command import QUIET, RUN_OPTIONS, Option, Verb, console
from recbole_enhance.cli.kinds import Kind, Value
from recbole_enhance.options.errors import OptionError


def tune(
    options: dict[str, str],
    quiet: bool,
    space: str | None,
    params_file: str | None,
    **arguments: Any,
) -> None:
    """Search, print the trials and draw them."""
    if space is not None and params_file is not None:
        raise OptionError("params_file", params_file, f"give it or --space={space}, not both")
    arguments["space"] = params_file if space is None else space
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
        Option("params_file", Kind("FILE"), "RecBole's word for --space, for its hyper files"),
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
