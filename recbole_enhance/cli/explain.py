"""The verb ``explain``: why a run recommends what it does."""

from typing import Any

from recbole_enhance.cli.command import OWN_CLASS, OWN_FILES, QUIET, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Count, Kind, List, OneOf
from recbole_enhance.explanation.words import PAIRS, TRUTHS


def explain(
    folder: str, quiet: bool, model: str | None, backbone: str | None, **options: Any
) -> None:
    """Explain a run, with the options that were given."""
    with console(quiet):
        from recbole_enhance.explanation.explain import explain as explain_run

        given = {key: value for key, value in options.items() if value is not None}
        explain_run(folder, model_class=backbone or model, quiet=quiet, **given)


EXPLAIN = Verb(
    "explain",
    callback=explain,
    params=[
        Place("folder", "RUN_DIR", "the folder of a finished run"),
        Option(
            "pairs",
            OneOf(("auto", *PAIRS)),
            "CER, EFM: explain test items in the list, or all test items [auto: hits for CER, "
            "test for EFM]",
        ),
        Option(
            "truth",
            OneOf(TRUTHS),
            "CER, EFM: features that the test review praises, or all that it mentions [positive]",
        ),
        Option("features", Count(), "CER, EFM: features per explanation [5]"),
        Option("negatives", Count(), "CER, EFM: sampled candidates per user [100]"),
        Option("show", Count(), "CER, EFM: sentences that are printed [5]"),
        Option("topk", Count(), "CER, EFM, IaCN: length of the list [5; IaCN: 3]"),
        Option("users", List("LIST"), "IaCN, RVRec: their tokens [the first ones]"),
        Option("rows", Count(), "IaCN, RVRec: how many test rows or users, if none are named [5]"),
        Option("k", Count(), "RVRec: length of the lists [5]"),
        Option(
            "title", Kind("COLUMN"), "IaCN, RVRec: of the .item file [title, movie_title, name]"
        ),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Explain a run. CER, EFM and methods over them: the features that explain each "
    "recommendation, and how well. IaCN: which capsule asks for what, and where the items of a "
    "history go. RVRec: which stretch of the history carries each recommendation.",
    example="""\
recbole-enhance explain runs/defended --pairs=test --features=3
recbole-enhance explain runs/iacn --users=1,7 --topk=3""",
)
