"""The verb ``config``: the options of a run."""

import json
from typing import Any

from recbole_enhance.cli.command import RUN_OPTIONS, Option, Verb, Verbs
from recbole_enhance.cli.kinds import Model, YesNo
from recbole_enhance.explanation.words import table
from recbole_enhance.options.read import flatten, split_files

_COLUMNS = ("name", "type", "range", "default", "sentence")


def show(options: dict[str, str], origin: bool) -> None:
    """Print every option of a run."""
    from recbole_enhance.experiment.config import Config

    files, command_line = split_files(options)
    config = Config(config_file_list=files, command_line=command_line)
    for key, value, where in flatten(config.options, config.origins):
        print(f"{key} = {value}" + (f"  # {where}" if origin else ""))


def options(model: str | None, backbone: str | None, **formats: bool) -> None:
    """Print the options that there are."""
    from recbole_enhance.experiment.option_table import option_rows

    rows = [row._asdict() for row in option_rows(model, backbone)]
    if formats["json"]:
        print(json.dumps(rows, indent=2, default=str))
        return
    cells = [[_cell(row[column]) for column in _COLUMNS] for row in rows]
    print(table(_COLUMNS, cells))


def _cell(value: Any) -> str:
    return "~" if value is None else str(value)


def schema(model: str | None, backbone: str | None) -> None:
    """Print JSON Schema."""
    from recbole_enhance.experiment.option_table import json_schema

    print(json.dumps(json_schema(model, backbone), indent=2, default=str))


_OF = (
    Option("model", Model(), "a method or a model: also the options that it adds"),
    Option("backbone", Model(), "the model under the method"),
)
CONFIG = Verbs(
    "config",
    help="Show options. Their values in a run, their meaning, or their schema.",
    commands=[
        Verb(
            "show",
            callback=show,
            takes_run_options=True,
            params=[
                *RUN_OPTIONS,
                Option("origin", YesNo(), "also the file that a value comes from", default=False),
            ],
            help="Print a run's options with their values. Nothing is run.",
            example="recbole-enhance config show --model=DVR --dataset=ml-100k --origin",
        ),
        Verb(
            "options",
            callback=options,
            params=[*_OF, Option("json", YesNo(), "as JSON", default=False)],
            help="Print all options. Each with name, type, range, default and a sentence.",
            example="recbole-enhance config options --model=DVR",
        ),
        Verb(
            "schema",
            callback=schema,
            params=[*_OF],
            help="Print JSON Schema, for editors. Of a file of options.",
            example="recbole-enhance config schema --model=DVR > dvr.schema.json",
        ),
    ],
)
