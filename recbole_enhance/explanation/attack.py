"""Attack finished runs: tables, files and the plot of :mod:`~.robustness`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.experiment.quick_start import finished_run, load_run
from recbole_enhance.explanation.html import share_plotly
from recbole_enhance.explanation.plot import quality_against_budget
from recbole_enhance.explanation.robustness import make_protocol, plan, run_attacks
from recbole_enhance.explanation.words import (
    DEFAULT_TARGETS,
    ExplainOptions,
    attack_options,
    table,
    tell_few,
)
from recbole_enhance.storage.run_folder import RunFolder

JSON, CSV, PLOT = "attack.json", "attack.csv", "attack.html"
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


def attack(
    run_dirs: Sequence[str | Path],
    targets: Sequence[str] = DEFAULT_TARGETS,
    budgets: Sequence[float] = (),
    param_budgets: Sequence[float] = (),
    pairs: str = "auto",
    truth: str = "positive",
    topk: int = 5,
    features: int = 5,
    negatives: int = 100,
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Attack runs, and leave ``attack.json`` and ``attack.csv`` in each, the plot in the first.

    Args:
        run_dirs: Folders of finished runs.
        targets: Of :data:`~.words.TARGETS`: what is moved.
        budgets: Of features; empty for the paper's.
        param_budgets: Of parameters; empty for what suits the model.
        pairs: ``hits``, ``test`` or ``auto``, see :func:`~.robustness.make_protocol`.
        truth: Of :data:`~.words.TRUTHS`.
        topk: Length of the list.
        features: Features per explanation.
        negatives: Sampled candidates per user.
        model_class: Class of the runs that are of a class of your own, or its ``module:Class``.
        method: Method of the runs that are of a method of your own, or its ``module:Name``.
        quiet: Show no progress.

    Returns:
        What ``attack.json`` holds, of each run.

    Raises:
        InputError: If a folder or an option says no; before any data are read where possible.
    """
    options = {
        "targets": list(targets),
        "budgets": list(budgets),
        "param_budgets": list(param_budgets),
        "pairs": pairs,
        "truth": truth,
        "topk": topk,
        "features": features,
        "negatives": negatives,
    }
    attack_options(options)
    folders = [finished_run(folder) for folder in run_dirs]
    needed = [_needed(folder, model_class, method) for folder in folders]
    if not any(needed):  # told why not, if something is named
        needed = [{"model_class": model_class} for _ in folders]
    reports = [
        attack_run(folder.path, options, **classes, quiet=quiet)
        for folder, classes in zip(folders, needed)
    ]
    plotly = share_plotly(folders[0].path)
    folders[0].write_text(PLOT, quality_against_budget(reports, plotly))
    return reports


def _needed(
    folder: RunFolder, model_class: str | type | None, method: str | Enhancer | None
) -> dict[str, Any]:
    """The given class and method, where the run needs them, as arguments for loading it."""
    model, *backbone = folder.named().values()
    needed: dict[str, Any] = {}
    if ":" in (backbone or [model])[0]:
        needed["model_class"] = model_class
    if backbone and ":" in model:
        needed["method"] = method
    return needed


def attack_run(
    run_dir: str | Path,
    options: Mapping[str, Any],
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Attack one run, and leave ``attack.json`` and ``attack.csv`` in its folder.

    Args:
        run_dir: Its folder.
        options: Of :class:`~.words.AttackOptions`.
        model_class: As of :func:`attack`.
        method: As of :func:`attack`.
        quiet: Show no progress.

    Returns:
        What ``attack.json`` holds.

    Raises:
        InputError: If the folder or an option says no.
        UnsuitableModelError: If the model cannot be judged so.
    """
    known = attack_options(options)
    protocol = {key: known[key] for key in ExplainOptions.model_fields}
    asked = {key: known[key] for key in known if key not in protocol}
    folder = RunFolder.open(run_dir)
    run = load_run(folder.path, model_class, method)
    attacks = plan(run, **asked)
    judged = make_protocol(run, **protocol)
    n_pairs = 0 if judged.pairs is None else len(judged.pairs.user)
    with tqdm(
        total=n_pairs * (1 + len(attacks)) or None,
        desc=f"attack {folder.path.name}",
        unit="pair",
        disable=True if quiet else None,
        dynamic_ncols=True,
    ) as bar:
        rows = run_attacks(run, attacks, judged, bar.update)
    tell_few(run.config["label"], n_pairs, rows[0].get("coverage", 1.0))
    report = {
        "run": folder.path.name,
        "label": run.config["label"],
        "dataset": run.config["dataset"],
        "seed": run.config["seed"],
        "users": len(judged.candidates.user),
        "pairs": n_pairs,
        "protocol": protocol,
        "attacks": asked,
        "rows": rows,
    }
    folder.write_json(JSON, report)
    header = list(dict.fromkeys(key for row in rows for key in row))
    folder.write_csv(CSV, header, ([row.get(key, "") for key in header] for row in rows))
    return report


def text(report: dict[str, Any]) -> str:
    """A report as a table for the terminal.

    Args:
        report: Of :func:`attack`.
    """
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
