"""The verb ``attack``: tables, files and the plot of :mod:`~.robustness`."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.explanation.features import PROTOCOL
from recbole_enhance.explanation.pairs import PAIRS
from recbole_enhance.explanation.plot import quality_against_budget
from recbole_enhance.explanation.plotly_script import share_plotly
from recbole_enhance.explanation.robustness import (
    DEFAULT_TARGETS,
    TARGETS,
    TRUTHS,
    make_protocol,
    plan,
    run_attacks,
)
from recbole_enhance.explanation.words import (
    checked_options,
    numbers,
    one_of,
    split_words,
    table,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.run_folder import RunFolder

JSON, CSV, PLOT = "attack.json", "attack.csv", "attack.html"
_DEFAULTS: dict[str, Any] = {
    "targets": DEFAULT_TARGETS,
    "budgets": (),
    "param_budgets": (),
    "pairs": "auto",
    "truth": "positive",
    "topk": 5,
    "features": 5,
    "negatives": 100,
    "quiet": False,
}
ATTACKS = ("targets", "budgets", "param_budgets")
_SHOWN = (
    "ndcg",
    "list_jaccard",
    "f1",
    "f1_drop",
    "jaccard",
    "jaccard_others",
    "coverage",
    "pn",
    "ps",
)


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of options that were given, and refuse what is none of them.

    Args:
        options: Of the verb, as text or as YAML has them.

    Raises:
        InputError: Naming the option, the value and what is allowed.
    """
    known = checked_options(options, _DEFAULTS)
    for target in known["targets"]:
        one_of("targets", target, TARGETS)
    one_of("pairs", known["pairs"], ("auto", *PAIRS))
    one_of("truth", known["truth"], TRUTHS)
    for key in ("budgets", "param_budgets"):
        known[key] = numbers(key, known[key])
    if set(known["targets"]) <= {"random"}:
        raise OptionError("targets", "random", "a control needs features or params beside it")
    return known


def main(words: Sequence[str]) -> int:
    """Attack one or more runs.

    Args:
        words: Run folders and options, see ``recbole-enhance --help``.

    Raises:
        ValueError: If a folder or an option says no; before any data are read where possible.
    """
    folders, options = split_words(words, _DEFAULTS)
    options = checked(options)
    reports = [attack_run(folder, options) for folder in folders]
    for report in reports:
        if not options["quiet"]:
            print(_text(report))
    plot = quality_against_budget(reports, share_plotly(folders[0]))
    RunFolder.open(folders[0]).write_text(PLOT, plot)
    if not options["quiet"]:
        print(f"plot: {folders[0] / PLOT}")
    return 0


def attack_run(
    folder: Path, options: Mapping[str, Any], model_class: str | None = None
) -> dict[str, Any]:
    """Attack one run, and write ``attack.json`` and ``attack.csv`` into its folder.

    Args:
        folder: The run's folder.
        options: From :func:`checked`.
        model_class: As for :func:`~recbole_enhance.experiment.quick_start.load_run`.

    Returns:
        What ``attack.json`` holds.
    """
    run = load_run(folder, model_class)
    pairs = None if options["pairs"] == "auto" else options["pairs"]
    attacks = plan(run, options["targets"], options["budgets"], options["param_budgets"])
    protocol = make_protocol(
        run, options["topk"], options["features"], pairs, options["truth"], options["negatives"]
    )
    n_pairs = 0 if protocol.pairs is None else len(protocol.pairs.user)
    with tqdm(
        total=n_pairs * (1 + len(attacks)) or None,
        desc=f"attack {folder.name}",
        unit="pair",
        disable=True if options["quiet"] else None,
        dynamic_ncols=True,
    ) as bar:
        rows = run_attacks(run, attacks, protocol, bar.update)
    report = {
        "run": folder.name,
        "label": run.config["label"],
        "dataset": run.config["dataset"],
        "seed": run.config["seed"],
        "users": len(protocol.candidates.user),
        "pairs": n_pairs,
        "protocol": {key: options[key] for key in PROTOCOL},
        "attacks": {key: list(options[key]) for key in ATTACKS},
        "rows": rows,
    }
    files = RunFolder.open(folder)
    files.write_json(JSON, report)
    files.write_text(CSV, _csv(rows))
    return report


def _csv(rows: list[dict[str, Any]]) -> str:
    header = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _text(report: dict[str, Any]) -> str:
    """The report as a table for the terminal."""
    shown = [key for key in _SHOWN if any(key in row for row in report["rows"])]
    rows = [
        [row["target"], f"{row['budget']:g}", *(row.get(key) for key in shown)]
        for row in report["rows"]
    ]
    title = f"\n{report['label']} on {report['dataset']}, seed {report['seed']}: "
    title += f"{report['users']} users"
    if report["pairs"]:
        title += f", {report['pairs']} pairs explained; a missing explanation counts 0"
    return f"{title}\n{table(['attack', 'budget', *shown], rows)}"
