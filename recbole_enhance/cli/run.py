"""The verb ``run``: train a model or a method over a model."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from recbole_enhance.cli.command import RUN_OPTIONS, Option, Verb, console
from recbole_enhance.cli.kinds import Kind, YesNo
from recbole_enhance.options import launched
from recbole_enhance.options.errors import InputError
from recbole_enhance.options.read import split_files


def run(options: dict[str, str], resume: str | None, quiet: bool) -> int:
    """Train and test, or continue a run that was stopped, and print its table."""
    if not options and resume is None:
        print(click.get_current_context().get_help(), file=sys.stderr)
        return 2
    code = {key: options[key] for key in ("model", "backbone") if ":" in options.get(key, "")}
    if resume is not None:
        others = [key for key in options if key != "quiet" and key not in code]
        if others:
            named = ", ".join(f"--{key}" for key in others)
            raise InputError(f"--resume takes the options of the run itself, not {named}")
    with console(quiet):
        # Here, not above: importing torch and RecBole takes seconds that --help need not wait.
        from recbole_enhance.experiment.quick_start import (
            named_again,
            resume_run,
            run_recbole_enhance,
        )

        if resume is not None:
            result = resume_run(resume, quiet, **named_again(resume, code))
        else:
            files, command_line = split_files(options)
            result = run_recbole_enhance(config_file_list=files, command_line=command_line)
    if not quiet and launched.is_first():
        print(_table(result))
    return 0


def _table(result: Mapping[str, Any]) -> str:
    valid, test = result["best_valid_result"], result["test_result"]
    lines = [f"{'metric':<24}{'valid':>10}{'test':>10}"]
    for name, value in test.items():
        both = (valid.get(name), value)
        cells = ("-" if x is None or x != x else f"{x:.4f}" for x in both)  # files have no NaN
        lines.append(f"{name:<24}" + "".join(f"{cell:>10}" for cell in cells))
    if result["run_dir"]:
        lines.append(f"run folder: {result['run_dir']}")
    return "\n".join(lines)


RUN = Verb(
    "run",
    callback=run,
    takes_run_options=True,
    takes_processes=True,
    params=[
        *RUN_OPTIONS,
        Option("run_dir", Kind("FOLDER"), "folder for the run's files", of_run=True, typed=False),
        Option(
            "resume",
            Kind("RUN_DIR"),
            "continue a run that was stopped; name a model or method of your own again",
        ),
        Option("quiet", YesNo(), "print nothing but errors", default=False, of_run=True),
    ],
    help="Train and test a model, or a method over a model. This is the default verb.",
    example="""\
recbole-enhance --model=DVR --backbone=LightGCN --dataset=ml-100k --epochs=3
recbole-enhance --model=BPR --dataset=ml-100k --metrics=NDCG,ILD --topk=5,20
recbole-enhance --resume=runs/ml-100k/BPR/2020-1a2b3c4d""",
)
