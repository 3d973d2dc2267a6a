"""The verb ``attack``: tables, files and the plot of :mod:`~.robustness`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.explanation.pairs import PAIRS
from recbole_enhance.explanation.plot import quality_against_budget
from recbole_enhance.explanation.robustness import (
    DEFAULT_TARGETS,
    TARGETS,
    TRUTHS,
    make_protocol,
    plan,
    run_attacks,
)
from recbole_enhance.explanation.words import numbers, one_of, split_words, table
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
_PROTOCOL = ("pairs", "truth", "topk", "features", "negatives")
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


def main(words: Sequence[str]) -> int:
    """Attack one or more runs.

    Args:
        words: Run folders and options, see ``recbole-enhance --help``.

    Raises:
        ValueError: If a folder or an option says no; before any data are read where possible.
    """
    folders, options = split_words(words, _DEFAULTS)
    for target in options["targets"]:
        one_of("targets", target, TARGETS)
    one_of("pairs", options["pairs"], ("auto", *PAIRS))
    one_of("truth", options["truth"], TRUTHS)
    for key in ("budgets", "param_budgets"):
        options[key] = numbers(key, options[key])
    if set(options["targets"]) <= {"random"}:
        raise ValueError("targets=random: a control needs features or params beside it")
    reports = [attack_run(folder, options) for folder in folders]
    for report in reports:
        if not options["quiet"]:
            print(_text(report))
    plot = quality_against_budget(reports)
    RunFolder.open(folders[0]).write_text(PLOT, plot)
    if not options["quiet"]:
        print(f"plot: {folders[0] / PLOT}")
    return 0


def attack_run(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Attack one run, and write ``attack.json`` and ``attack.csv`` into its folder.

    Args:
        folder: The run's folder.
        options: Of the verb.

    Returns:
        What ``attack.json`` holds.
    """
    run = load_run(folder)
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
        "protocol": {key: options[key] for key in _PROTOCOL},
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
