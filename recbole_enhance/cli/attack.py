"""The verb ``attack``: what perturbed features or parameters do to runs."""

from pathlib import Path
from typing import Any

from recbole_enhance.cli.command import OWN_CLASS, OWN_FILES, QUIET, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Count, List, NotNegative, OneOf
from recbole_enhance.explanation.words import DEFAULT_TARGETS, PAIRS, TARGETS, TRUTHS


def attack(
    folders: tuple[str, ...],
    quiet: bool,
    model: str | None,
    backbone: str | None,
    **options: Any,
) -> None:
    """Attack the runs, and print a table of each."""
    with console(quiet):
        from recbole_enhance.explanation import attack as attacks

        reports = attacks.attack(
            folders, **options, model_class=backbone or model, method=model, quiet=quiet
        )
    if not quiet:
        for report in reports:
            print(attacks.text(report))
        print(f"plot: {Path(folders[0]) / attacks.PLOT}")


ATTACK = Verb(
    "attack",
    callback=attack,
    params=[
        Place("folders", "RUN_DIR ...", "folders of finished runs", many=True),
        Option(
            "targets",
            List(",".join(TARGETS), OneOf(TARGETS)),
            "what is moved: item features, parameters, parameters along the run's own loss; "
            "random: each of them by lot as well",
            default=DEFAULT_TARGETS,
        ),
        Option("budgets", List("NUMBERS", NotNegative()), "of features; else the paper's", ()),
        Option(
            "param_budgets",
            List("NUMBERS", NotNegative()),
            "of parameters; else what suits the model",
            (),
        ),
        Option(
            "pairs",
            OneOf(("auto", *PAIRS)),
            "which recommendations are explained: test items in the list, or all test items; auto "
            "is hits for CER and test for EFM",
            default="auto",
        ),
        Option(
            "truth",
            OneOf(TRUTHS),
            "features that the test review praises, or all that it mentions",
            default="positive",
        ),
        Option("topk", Count(), "length of the list", default=5),
        Option("features", Count(), "features per explanation", default=5),
        Option("negatives", Count(), "sampled candidates per user", default=100),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Attack item features or parameters of runs. What that does to lists and explanations "
    "is a table, attack.json, attack.csv and one plot of all runs.",
    example="""\
recbole-enhance attack runs/vanilla runs/defended
recbole-enhance attack runs/vanilla --targets=params,random --param_budgets=0.005,0.01""",
)
