"""The verb ``evaluate``: judge lists that were made elsewhere."""

from collections.abc import Mapping
from typing import Any

from recbole_enhance.cli.command import QUIET, RUN_OPTIONS, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Kind
from recbole_enhance.options.read import split_files


def evaluate(
    lists: str,
    options: dict[str, str],
    like: str | None,
    name: str | None,
    user: str | None,
    item: str | None,
    score: str | None,
    rank: str | None,
    quiet: bool,
) -> None:
    """Judge lists, and print their metrics."""
    named = {"user": user, "item": item, "score": score, "rank": rank}
    columns = {key: column for key, column in named.items() if column is not None}
    with console(quiet):
        from recbole_enhance.experiment.judge import evaluate_lists
        from recbole_enhance.experiment.quick_start import named_again

        files, command_line = split_files(options)
        code: Mapping[str, Any] = {}
        if like is not None:
            own = {k: v for k, v in options.items() if k in ("model", "backbone") and ":" in v}
            code = named_again(like, own) if own else {}
            command_line = {k: v for k, v in command_line.items() if k not in own}
        result = evaluate_lists(
            lists,
            like,
            name,
            columns,
            config_file_list=files,
            command_line=command_line,
            **code,
        )
    if quiet:
        return
    for metric, value in result["test_result"].items():
        print(f"{metric:<24}{'-' if value != value else format(value, '.4f'):>10}")
    print(f"run folder: {result['run_dir']}")


EVALUATE = Verb(
    "evaluate",
    callback=evaluate,
    takes_run_options=True,
    params=[
        Place("lists", "LISTS", "a file of lists: one row for each recommended item"),
        Option(
            "like",
            Kind("RUN_DIR"),
            "a finished run whose data, split, users and metrics are used; on a board the lists "
            "are compared with it",
            in_files=False,
        ),
        Option("name", Kind("NAME"), "what a board calls the lists [the file's name]"),
        *(
            Option(key, Kind("COLUMN"), f"column of the {key}s, if it has another name [{names}]")
            for key, names in (
                ("user", "user_id, user"),
                ("item", "item_id, item"),
                ("score", "score, prediction"),
                ("rank", "rank"),
            )
        ),
        *RUN_OPTIONS,
        Option("run_dir", Kind("FOLDER"), "folder for the result", of_run=True, typed=False),
        QUIET,
    ],
    help="Evaluate lists of recommendations that any tool has made. They get the metrics of a run "
    "under the same protocol, in a folder that is a row of a board. The file is CSV, TSV or "
    "Parquet, gzipped or not, with a header or with the columns user, item and score. Without "
    "--like, options of a run give the protocol.",
    example="""\
recbole-enhance evaluate als.csv --like=runs/bpr --run_dir=runs/als
recbole-enhance evaluate als.tsv.gz --dataset=ml-100k --metrics=NDCG,ILD --topk=10""",
)
