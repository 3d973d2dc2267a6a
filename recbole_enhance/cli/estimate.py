"""The verb ``estimate``: memory and seconds of a run, before it is run."""

from recbole_enhance.cli.command import QUIET, RUN_OPTIONS, Option, Verb, console
from recbole_enhance.cli.kinds import Count, Kind
from recbole_enhance.options.read import split_files


def estimate(options: dict[str, str], steps: int, json: str | None, quiet: bool) -> None:
    """Print what a run will take."""
    with console(quiet):
        from recbole_enhance.experiment.estimate import estimate as estimated
        from recbole_enhance.storage.outputs import output_file
        from recbole_enhance.storage.run_folder import RunFolder

        path = None if json is None else output_file("json", json)
        files, command_line = split_files(options)
        found = estimated(config_file_list=files, command_line=command_line, steps=steps)
        if path is not None:
            RunFolder(path.parent, fresh=False).write_json(path.name, found.as_json())
    if not quiet:
        print("\n".join(found.lines()))


ESTIMATE = Verb(
    "estimate",
    callback=estimate,
    takes_run_options=True,
    params=[
        *RUN_OPTIONS,
        Option("steps", Count(), "steps of training, and batches of evaluation, to time", 20),
        Option("json", Kind("FILE"), "also write the estimate as JSON"),
        QUIET,
    ],
    help="Estimate the memory and the time of a run before it. The data are read, the "
    "model is built, and a few training steps and evaluation batches are timed. Nothing is "
    "written. A model without epochs (EASE, ItemKNN) is trained completely.",
    example="""\
recbole-enhance estimate --model=LightGCN --dataset=ml-100k
recbole-enhance estimate --model=DVR --backbone=BPR --dataset=ml-100k --steps=50""",
)
