"""Take an outsider's run into a board: its lists are judged again, and must give its report."""

import datetime
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_enhance.evaluation.files import RECOMMENDATIONS
from recbole_enhance.experiment.judge import evaluate_lists
from recbole_enhance.leaderboard import SUBMITTED, collect, protocol
from recbole_enhance.leaderboard.collect import FinishedRun
from recbole_enhance.options.errors import OptionError, RunFolderError
from recbole_enhance.options.read import nearest

_ROUNDED = 10  # digits, where the run does not say how many it keeps
_LONGEST_NAME = 80


def submit_run(
    run_dir: str | Path,
    board: str | Path,
    contributor: str,
    name: str | None = None,
    against: str | None = None,
    data_path: str | None = None,
    date: datetime.date | None = None,
) -> Path:
    """Judge a run's lists by the board's own data and protocol, and add them as a row.

    No code and no option of the run folder is used: its lists are read, the board says the rest.
    What lists alone do not decide (scores, seconds, memory) is not taken over.

    Args:
        run_dir: A finished run, or lists judged by ``evaluate``, with ``recs.csv.gz``.
        board: Folder of a board, with its run folders.
        contributor: Who made the run; the board shows it.
        name: What the board calls the row; by default as the run does.
        against: Label of the board's row that it is compared with; by default the run's plain
            backbone, if the board has it.
        data_path: Where the board's data are now, if not where they were.
        date: Of the submission; by default today in UTC.

    Returns:
        The folder of the new row's run, below the board.

    Raises:
        ValueError: In one line, and nothing is written: no lists, another protocol or other data,
            a seed that the board does not have, or a metric that the lists do not give.
    """
    _refuse_contributor(contributor)
    run = _one_run(Path(run_dir))
    lists = run.folder / RECOMMENDATIONS
    if not collect.has_file(lists):
        problem = f"{RECOMMENDATIONS} is missing; run it again with --save_recs=True"
        raise RunFolderError(run.folder, problem)
    like, base = _like(run, Path(board), against)
    label = name or run.label
    place = Path(board, SUBMITTED, run.report["dataset"], label, str(run.seed))
    if place.exists():
        raise OptionError("name", label, f"{place} exists; remove it, or give another name")
    options = {"run_dir": str(place)}
    if data_path is not None:
        options["data_path"] = data_path
    day = date or datetime.datetime.now(datetime.timezone.utc).date()
    evaluate_lists(
        lists,
        like.folder,
        label,
        config_dict=options,
        check=functools.partial(_refuse_other_values, run),
        marks={"contributor": contributor, "submitted": day.isoformat(), "against": base},
    )
    return place


def _one_run(folder: Path) -> FinishedRun:
    found = collect.collect(folder)
    if len(found.runs) != 1:
        raise RunFolderError(folder, f"one finished run is expected, it has {len(found.runs)}")
    return found.runs[0]


def _like(run: FinishedRun, board: Path, against: str | None) -> tuple[FinishedRun, str | None]:
    """A run of the board whose protocol is used, and the label to compare with."""
    wanted = protocol.protocol_of(run)
    dataset = run.report["dataset"]
    ours = [r for r in collect.collect(board).runs if not (r.external or _own_code(r))]
    ours = [r for r in ours if r.report["dataset"] == dataset]
    if not ours:
        raise RunFolderError(board, f"it has no run of {dataset} whose protocol could be taken")
    alike = [r for r in ours if protocol.protocol_of(r) == wanted]
    if not alike:
        first = protocol.protocol_of(ours[0])
        key = protocol.first_difference(first, wanted)
        theirs, its = protocol.value_text(wanted[key]), protocol.value_text(first[key])
        raise RunFolderError(run.folder, f"another protocol: {key}={theirs}, the board has {its}")
    seeds = sorted({r.seed for r in alike})
    if run.seed not in seeds:
        texts = ", ".join(map(str, seeds))
        raise RunFolderError(run.folder, f"seed={run.seed}: the board has {texts}")
    of_seed = {r.label: r for r in alike if r.seed == run.seed}
    if against is not None and against not in of_seed:
        expected = f"one of {', '.join(of_seed)}{nearest(against, list(of_seed))}"
        raise OptionError("against", against, expected)
    base = against or run.report.get("backbone")
    if base in of_seed and not (against is None and base == run.label):
        return of_seed[base], base
    return next(iter(of_seed.values())), None


def _own_code(run: FinishedRun) -> bool:
    """Whether its settings name a user's own class, without which they cannot be read."""
    return any(":" in str(run.options.get(key) or "") for key in ("model", "backbone"))


def _refuse_other_values(run: FinishedRun, found: Mapping[str, float]) -> None:
    """Refuse a run whose report differs from what its lists give."""
    places = run.options.get("metric_decimal_place")
    unit = 10.0 ** -(_ROUNDED if places is None else places)
    reported: Mapping[str, Any] = run.report["test_result"]
    for metric, value in found.items():
        said = reported.get(metric)
        said = math.nan if said is None else float(said)
        both_none = math.isnan(said) and math.isnan(value)
        # Sums in another order may round to the neighbour.
        if not (both_none or abs(said - value) <= 1.5 * unit):
            raise RunFolderError(
                run.folder, f"reports {metric}={said:g}, but its lists give {value:g}"
            )


def _refuse_contributor(text: str) -> None:
    if not (text.strip() and text.isprintable() and len(text) <= _LONGEST_NAME):
        allowed = f"a name of at most {_LONGEST_NAME} printable characters is expected"
        raise OptionError("contributor", text, allowed)
