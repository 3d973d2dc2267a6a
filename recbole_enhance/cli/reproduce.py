"""The verb ``reproduce``: run a finished run again, and compare."""

from typing import Any

from recbole_enhance.cli.command import OWN_CLASS, OWN_FILES, QUIET, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Kind, Value


def reproduce(
    folder: str,
    run_dir: str | None,
    tolerance: Any,
    threads: Any,
    quiet: bool,
    **options: str | None,
) -> int:
    """Run again, print what differs, and return 1 where it is beyond the tolerance."""
    with console(quiet):
        from recbole_enhance.experiment.reproduce import reproduce as run_again
        from recbole_enhance.experiment.reproduce import table

        given = {key: text for key, text in options.items() if text is not None}
        report = run_again(folder, run_dir, tolerance, threads, given, quiet)
    if not quiet:
        print(table(report))
    return 0 if report["within"] else 1


REPRODUCE = Verb(
    "reproduce",
    callback=reproduce,
    params=[
        Place("folder", "RUN_DIR", "the folder of a finished run"),
        Option(
            "tolerance",
            Value(),
            "largest difference; else 0 where versions, threads and GPU are the run's, or 0.01",
        ),
        Option("run_dir", Kind("FOLDER"), "of the new run; else RUN_DIR/reproduced"),
        Option("threads", Value("N"), "of the new run; else the run's"),
        Option("data_path", Kind("FOLDER"), "where the data have moved"),
        Option("use_gpu", Kind("yes|no"), "whether the new run may use a GPU"),
        Option("gpu_id", Kind("N"), "which one"),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Run a finished run again and compare. The exit status is 0 if all numbers are within the "
    "tolerance, and 1 if not.",
    example="recbole-enhance reproduce runs/ml-100k/BPR/2020-1a2b3c4d --tolerance=0",
)
