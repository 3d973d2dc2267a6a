"""The verb ``data import``: a log of interactions becomes a dataset."""

from typing import Any

from recbole_enhance.cli.command import OWN_FILES, QUIET, Option, Place, Verb
from recbole_enhance.cli.kinds import Kind, List, YesNo
from recbole_enhance.options.errors import InputError
from recbole_enhance.storage.log_lines import show

_NEEDED = ("user", "item", "name")


def import_log(log: str, quiet: bool, **options: Any) -> None:
    """Write the dataset, and say what it holds and how to run on it."""
    for option in _NEEDED:
        if options[option] is None:
            raise InputError(f"data import: --{option} is missing")
    from recbole_enhance.data.importing import import_data

    made = import_data(log, **options)
    if not quiet:
        show("\n".join(made.lines()))
        print(
            f"next: recbole-enhance run --model=BPR --dataset={made.path.name} "
            f"--data_path={made.path.parent}"
        )


IMPORT = Verb(
    "import",
    callback=import_log,
    params=[
        Place("log", "LOG", "a .csv, .tsv, .txt or .jsonl, each also with .gz, or a .parquet"),
        Option("user", Kind("COLUMN"), "the log's column of users"),
        Option("item", Kind("COLUMN"), "the log's column of items"),
        Option("name", Kind("NAME"), "name of the dataset"),
        Option(
            "time", Kind("COLUMN"), "the log's column of times: ISO, or epochs in s, ms, us or ns"
        ),
        Option("rating", Kind("COLUMN"), "the log's column of ratings"),
        Option(
            "features",
            Kind("COLUMN"),
            "the log's column of features that a review mentions, a list in each cell",
        ),
        Option(
            "sentiments", Kind("COLUMN"), "the log's column of sentiments: 1 or -1 for each feature"
        ),
        Option("keep", List("COLUMNS"), "other columns of the log to keep", default=()),
        Option("items", Kind("FILE"), "a table of items; all of its columns are kept"),
        Option("title", Kind("COLUMN"), "the items' column of titles"),
        Option("category", Kind("COLUMN"), "the items' column of categories; a|b for several"),
        Option("items_key", Kind("COLUMN"), "the items' column of ids [the one of --item]"),
        Option("users", Kind("FILE"), "a table of users; all of its columns are kept"),
        Option("groups", List("COLUMNS"), "the users' columns for group_fields", default=()),
        Option("users_key", Kind("COLUMN"), "the users' column of ids [the one of --user]"),
        Option("kg", Kind("FILE"), "triples of a knowledge graph: head, relation, tail"),
        Option(
            "links", Kind("FILE"), "items and their entities in the knowledge graph: item, entity"
        ),
        Option("out", Kind("FOLDER"), "folder that contains the datasets", default="dataset"),
        Option("overwrite", YesNo(), "replace a dataset of this name", default=False),
        Option("skip_bad", YesNo(), "skip bad rows and count them", default=False),
        Option("kinds", List("LIST"), "COLUMN:KIND where the guess is wrong, such as zip:token"),
        Option(
            "separator",
            Kind("SIGN"),
            "separator of cells [the most frequent one in the first line]",
        ),
        Option("header", List("NAMES"), "names of the log's columns, if it has no header"),
        Option("encoding", Kind("NAME"), "encoding of text files [utf-8]"),
        Option("quoting", YesNo(), "whether cells may be in double quotes", default=True),
        Option(
            "time_format",
            Kind("FORMAT"),
            "format of times that are neither ISO nor epochs, such as %d.%m.%Y",
        ),
        Option("decimal", Kind("SIGN"), "decimal separator of numbers, . or ,", default="."),
        OWN_FILES,
        QUIET,
    ],
    help="Make a dataset from a log of interactions. The dataset is written completely or not at "
    "all, with a file of settings that runs read. Kinds of columns are guessed and printed.",
    example="""\
recbole-enhance data import log.csv --user=customer --item=sku --time=ts --name=shop
recbole-enhance data import log.csv --user=customer --item=sku --name=shop --skip-bad
recbole-enhance data import log.parquet --user=u --item=i --name=shop --items=items.csv --title=name
recbole-enhance run --model=BPR --dataset=shop""",
)
