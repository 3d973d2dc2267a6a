"""What a study leaves behind, and what the terminal shows of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from recbole_enhance.storage.run_folder import RunFolder, logger
from recbole_enhance.tuning.space import Space
from recbole_enhance.tuning.study import REASON, REPEATED, SharedStudy, is_lost

BEST, TRIALS, TUNING, PAGE = "best.yaml", "trials.csv", "tuning.json", "tuning.html"
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
_LOST = "its process ended too early; its options were run again"


def options_of(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """The searched options of a trial, as the run got them."""
    return {k: p.decode(trial.params[k]) for k, p in space.items() if k in trial.params}


def best_trial(trials: Sequence[FrozenTrial], maximize: bool) -> FrozenTrial | None:
    """The complete trial with the best value, the earliest of several; None if there is none."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if maximize else 1.0
    return min(
        complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None
    )


def write(out: Path, study: SharedStudy, space: Space, facts: Mapping[str, Any]) -> None:
    """Write ``trials.csv``, ``tuning.json`` and, where a trial is complete, ``best.yaml``.

    Args:
        out: The folder.
        study: The study.
        space: What was searched.
        facts: What else to tell: ``names`` (model, backbone, dataset) go into ``best.yaml`` too.
    """
    folder = RunFolder(out, fresh=False)
    trials = _begun(study)
    header = ["number", "state", "value", *space, "seconds", "reason"]
    folder.write_csv(TRIALS, header, [_row(trial, space) for trial in trials])
    best = best_trial(trials, facts["direction"] == "maximize")
    states = [_state(trial) for trial in trials]
    folder.write_json(
        TUNING,
        {
            **facts["names"],
            **{key: value for key, value in facts.items() if key != "names"},
            "trials": {
                "asked": study.budget,
                **{name: states.count(name) for name in (*_STATES.values(), "lost")},
            },
            "best": best
            and {"number": best.number, "value": best.value, "options": options_of(best, space)},
        },
    )
    if best is not None:
        options = {**facts["names"], **options_of(best, space)}
        head = (
            f"# The best of {len(study.live())} trials by {facts['metric']} on validation: "
            f"{best.value:.6g}, trial {best.number}.\n"
        )
        folder.write_text(BEST, head + yaml.safe_dump(options, sort_keys=False))


def _state(trial: FrozenTrial) -> str:
    return "lost" if is_lost(trial) else _STATES[trial.state]


def _row(trial: FrozenTrial, space: Space) -> list[Any]:
    seconds = trial.duration.total_seconds() if trial.duration else ""
    reason = _LOST if is_lost(trial) else trial.user_attrs.get(REASON, "")
    options = options_of(trial, space)
    value = "" if trial.value is None else trial.value
    return [
        trial.number,
        _state(trial),
        value,
        *(options.get(k, "") for k in space),
        seconds,
        reason,
    ]


def table(study: SharedStudy, space: Space, facts: Mapping[str, Any], top: int = 5) -> str:
    """The best trials as text."""
    maximize = facts["direction"] == "maximize"
    complete = [t for t in study.trials() if t.state == TrialState.COMPLETE]
    complete.sort(key=lambda t: ((t.value or 0.0) * (-1 if maximize else 1), t.number))
    rows = [["trial", facts["metric"], *space]]
    for trial in complete[:top]:
        cells = [
            f"{v:.6g}" if isinstance(v, float) else str(v)
            for v in options_of(trial, space).values()
        ]
        rows.append([str(trial.number), f"{trial.value:.4f}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    states = [_state(trial) for trial in _begun(study)]
    counts = [f"{states.count(name)} {name}" for name in dict.fromkeys(states)]
    return "\n".join([*lines, f"{len(states)} trials: {', '.join(counts)}"])


def _begun(study: SharedStudy) -> list[FrozenTrial]:
    """Trials that were trained or are: neither in the queue nor replaced by one of its own."""
    left_out = TrialState.WAITING
    return [t for t in study.trials() if t.state != left_out and REPEATED not in t.user_attrs]


def write_page(out: Path, study: SharedStudy, metric: str) -> None:
    """Draw the scores over the trials, and what they depend on, as ``tuning.html``."""
    complete = [t for t in study.trials() if t.state == TrialState.COMPLETE]
    varied = {k for t in complete for k in t.params if t.params[k] != complete[0].params[k]}
    charts = optuna.visualization
    figures = [charts.plot_optimization_history(study.study, target_name=metric)]
    if varied and len({trial.value for trial in complete}) > 1:
        try:
            figures.append(charts.plot_param_importances(study.study, target_name=metric))
            figures.append(charts.plot_slice(study.study, target_name=metric))
        except (ValueError, RuntimeError, ImportError) as error:  # too few trials for a model
            logger.info("%s has no plot of importances: %s", PAGE, error)
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0)
        for number, figure in enumerate(figures)
    ]
    page = "<!DOCTYPE html><html><head><meta charset='utf-8'><title>Tuning</title></head><body>"
    RunFolder(out, fresh=False).write_text(PAGE, page + "\n".join(parts) + "</body></html>\n")
