"""The verb ``explain``: why a run recommends what it does."""

from typing import Any

from recbole_enhance.cli.command import (
    OWN_CLASS,
    OWN_FILES,
    QUIET,
    Option,
    Place,
    Verb,
    console,
    own_classes,
)
from recbole_enhance.cli.kinds import Count, Kind, List, OneOf
from recbole_enhance.explanation.words import PAIRS, TRUTHS


def explain(
    folder: str, quiet: bool, model: str | None, backbone: str | None, **options: Any
) -> None:
    """Explain a run, with the options that were given."""
    with console(quiet):
        from recbole_enhance.explanation.explain import explain as explain_run

        given = {key: value for key, value in options.items() if value is not None}
        explain_run(folder, quiet=quiet, **own_classes(folder, model, backbone), **given)


EXPLAIN = Verb(
    "explain",
    callback=explain,
    params=[
        Place("folder", "RUN_DIR", "the folder of a finished run"),
        Option(
            "pairs",
            OneOf(("auto", *PAIRS)),
            "CER, EFM: explain test items that are in the list, or all test items [auto: hits for "
            "CER, test for EFM]",
        ),
        Option(
            "truth",
            OneOf(TRUTHS),
            "CER, EFM: features that the test review praises, or all that it mentions [positive]",
        ),
        Option("features", Count(), "CER, EFM: features per explanation [5]"),
        Option("negatives", Count(), "CER, EFM: sampled candidates per user [100]"),
        Option("show", Count(), "CER, EFM: number of sentences to print [5]"),
        Option("topk", Count(), "CER, EFM, IaCN: length of the list [5; IaCN: 3]"),
        Option(
            "users",
            List("LIST"),
            "not CER, EFM: ids of users, as in the data [the first users]",
        ),
        Option("rows", Count(), "not CER, EFM: number of users, or test rows, without --users [5]"),
        Option("k", Count(), "RVRec and all others: length of the lists [5]"),
        Option("nearest", Count(), "all others: items of the history with each recommendation [5]"),
        Option(
            "title",
            Kind("COLUMN"),
            "column of titles in the .item file [title, movie_title, name]",
        ),
        Option(
            "verb",
            Kind("WORDS"),
            "RVRec: what users did with items, for the sentences, such as bought [interacted with]",
        ),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Explain a run. CER, EFM and methods on them: the features that explain each "
    "recommendation, and the quality of these explanations. IaCN: the capsule of each item of "
    "a history, and the capsule that matches each recommendation. RVRec: the part of the "
    "history that each recommendation is based on. All others: the items of the history that "
    "are most similar by the model's vectors; how much the score falls without each item, if "
    "the model reads a history; and for DVR the interactions that were most valuable in "
    "training.",
    example="""\
recbole-enhance explain runs/defended --pairs=test --features=3
recbole-enhance explain runs/iacn --users=1,7 --topk=3
recbole-enhance explain runs/bpr --users=1,7 --k=10""",
)
