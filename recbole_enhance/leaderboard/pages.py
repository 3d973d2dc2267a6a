"""One page with everything in it: what the template shows of each table. It escapes names."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_enhance.explanation.html import rendered
from recbole_enhance.leaderboard import texts, wording
from recbole_enhance.leaderboard.against import Comparison, Row
from recbole_enhance.leaderboard.analysis import Analysis
from recbole_enhance.leaderboard.collect import Collected
from recbole_enhance.leaderboard.headline import headline, short
from recbole_enhance.leaderboard.legend import COMPARISON, GLOSSARY, MODELS
from recbole_enhance.leaderboard.measures import COST, FAMILIES, Measure
from recbole_enhance.leaderboard.plots import Plot
from recbole_enhance.leaderboard.protocol import value_text
from recbole_enhance.leaderboard.wording import DASH


def html_page(
    analyses: Sequence[Analysis],
    drawn: Sequence[Sequence[Plot]],
    collected: Collected,
    plotly_src: str = "",
    grouped: bool = False,
) -> str:
    """``index.html``, which needs no network.

    Args:
        analyses: The tables.
        drawn: The plots of each.
        collected: For what is not in a table.
        plotly_src: Where plotly.js lies, seen from the page; empty puts it into the page.
        grouped: Whether ``groups.csv`` lies beside the page.
    """
    tables = [_table(n, *both) for n, both in enumerate(zip(analyses, drawn), start=1)]
    cuts = sorted({m.k for a in analyses for m in a.measures if m.k})
    present = {m.family for a in analyses for m in a.measures}
    models = dict.fromkeys(sorted(row.family for a in analyses for row in a.rows))
    if any(table["without"] for table in tables):
        models["failed"] = None
    repeated = [cell for a in analyses for cell in a.repeated]
    return rendered(
        "board.html.j2",
        package="recbole_enhance.leaderboard",
        plotly_src=plotly_src,
        has_plots=True,
        grouped=grouped,
        tables=tables,
        summary=_summary(analyses, collected),
        models=[(family, MODELS.get(family, family)) for family in models],
        heading=_heading(analyses, collected),
        cuts=cuts,
        cut=next((a.main.k for a in analyses if a.main.k), 0),
        families=[
            *((key, name) for key, name in FAMILIES.items() if key in present),
            ("cost", "Cost"),
        ],
        legend=wording.LEGEND,
        limited=f"{wording.LIMIT} {wording.LIMITED}.",
        glossary=GLOSSARY,
        comparison_heads=[
            {"title": title, "first": first, "text": text, "tip": tip, "left": n < 3}
            for n, (title, first, text, tip) in enumerate(COMPARISON)
        ],
        left=[*collected.failed, *collected.unfinished, *repeated],
    )


def _heading(analyses: Sequence[Analysis], collected: Collected) -> str:
    """The board's name, or its datasets."""
    datasets = ", ".join(dict.fromkeys(a.table.title for a in analyses))
    return str(collected.board.get("name") or datasets or "Leaderboard")


def _summary(analyses: Sequence[Analysis], collected: Collected) -> str:
    rows = sum(len(a.rows) for a in analyses)
    parts = [
        _count(len(analyses), "table"),
        _count(rows, "row"),
        _count(len(collected.runs), "finished run"),
    ]
    if collected.failed:
        parts.append(f"{len(collected.failed)} failed")
    if collected.unfinished:
        parts.append(f"{len(collected.unfinished)} not finished")
    return " · ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(number: int, a: Analysis, drawn: Sequence[Plot]) -> dict[str, Any]:
    costs, verdicts = texts.costs(a), texts.verdicts(a)
    seeds = sorted({seed for row in a.rows for seed in row.seeds})
    runs = [(row, run) for row in a.rows for run in row.runs]
    identifier = f"table-{number}"
    return {
        "id": identifier,
        "title": a.table.title,
        "digest": a.table.digest,
        "summary": f"{_count(len(a.rows), 'row')}, {_count(len(runs), 'run')}, seeds "
        f"{', '.join(map(str, seeds))}. Validation selected by "
        f"{a.table.protocol.get('valid_metric')}; rows are in order of {a.main.title} "
        "unless the board gives another.",
        "families": [
            {"key": key, "title": title, "columns": sum(m.family == key for m in a.measures)}
            for key, title in FAMILIES.items()
            if any(m.family == key for m in a.measures)
        ],
        "measures": [_column(m, a.measures, n) for n, m in enumerate(a.measures)],
        "costs": [{"title": texts.COST_TITLES[key], "tip": COST[key]} for key in costs],
        "rows": [_row(a, n, row, costs, verdicts) for n, row in enumerate(a.rows)],
        "without": texts.without_runs(a),
        "headline": headline(a),
        "verdicts": [_comparison(c) for c in a.comparisons],
        "against": _matrix(a, verdicts),
        "verdict_line": _verdict_line(a),
        "not_compared": [{"title": title, "reason": why} for title, why in a.not_compared.items()],
        "plots": [{**p._asdict(), "id": f"{identifier}-plot-{n}"} for n, p in enumerate(drawn)],
        "protocol": [(k, value_text(v)) for k, v in a.table.protocol.items() if v is not None],
        "unset": ", ".join(k for k, v in a.table.protocol.items() if v is None),
        "protocol_line": "Runs are in the same table only if all of this is the same. "
        "The hash is the first 12 digits of its SHA-256.",
        "training": [_training(a, row) for row in a.rows],
        "versions": _versions(a),
        "runs": [_run(row, run) for row, run in runs],
    }


def _cost(row: Row, key: str) -> dict[str, str]:
    value, tip = row.cost[key], ""
    if math.isnan(value):
        tip = "not measured"
    elif key == "epochs_run" and row.at_limit:
        runs = _count(len(row.runs), "run")
        tip = f"{row.at_limit} of {runs} used all epochs and did not stop early."
    return {"value": _value(value), "text": wording.cost(key, value, row), "tip": tip}


def _column(m: Measure, measures: Sequence[Measure], place: int) -> dict[str, Any]:
    side = {
        1: "Larger is better.",
        -1: "Smaller is better.",
        0: "Neither larger nor smaller is better.",
    }
    starts = place == 0 or measures[place - 1].family != m.family
    return {
        **m._asdict(),
        "heading": m.heading,
        "parts": re.split(r"(?<=[a-z])(?=[A-Z@])", m.heading),
        "tip": f"{m.about} {side[m.direction]}",
        "starts": starts,
        "first": "descending" if m.direction >= 0 else "ascending",
    }


def _row(
    a: Analysis, place: int, row: Row, costs: Sequence[str], verdicts: Mapping[Any, Comparison]
) -> dict[str, Any]:
    cells = [
        _cell(a, place, row, n, m, verdicts.get((row.title, m.key)))
        for n, m in enumerate(a.measures)
    ]
    over = row.backbone if row.enhancer and not row.label.endswith(row.backbone) else ""
    return {
        "title": row.title,
        "label": row.label,
        "name": row.name,
        "family": row.family,
        "over": over,
        "text": f"{row.title} {row.family}".lower(),
        "n": len(row.runs),
        "seeds": f"Seeds {', '.join(map(str, row.seeds))}",
        "cells": cells,
        "costs": [_cost(row, key) for key in costs],
    }


def _matrix(a: Analysis, verdicts: Mapping[Any, Comparison]) -> dict[str, Any]:
    """Methods by metrics: the change against the backbone, in percent."""
    measures = [m for m in a.measures if any(c.measure == m for c in a.comparisons)]
    rows = {c.row.title: c for c in a.comparisons}
    return {
        "measures": [_column(m, measures, n) for n, m in enumerate(measures)],
        "rows": [
            {
                "title": title,
                "short": short(c.row),
                "base": c.base.title,
                "model": c.row.family,
                "text": f"{title} {c.row.family}".lower(),
                "cells": [_change(verdicts.get((title, m.key)), m) for m in measures],
            }
            for title, c in rows.items()
        ],
    }


def _change(found: Comparison | None, m: Measure) -> dict[str, Any]:
    if found is None:
        return {"family": m.family, "k": m.k, "value": "", "text": DASH, "side": "", "tip": ""}
    return {
        "family": m.family,
        "k": m.k,
        "value": _value(found.percent),
        "text": f"{wording.MARKS[found.verdict]} {wording.percent(found.percent)}".strip(),
        "side": found.verdict.split(" ")[0],
        "tip": _tip(found),
    }


def _cell(a: Analysis, place: int, row: Row, number: int, m: Measure, found: Any) -> dict[str, Any]:
    best, second = a.best[m.key]
    level = "best" if place in best else "second" if place in second else ""
    starts = number == 0 or a.measures[number - 1].family != m.family
    mean, deviation = row.mean(m.key), row.deviation(m.key)
    reason = row.reasons.get(m.key, "")
    return {
        "family": m.family,
        "k": m.k,
        "value": _value(mean),
        "place": level,
        "classes": " ".join(filter(None, (level, "first" if starts else ""))),
        "mean": wording.number(mean, decimals=row.decimals),
        "spread": "" if math.isnan(deviation) else wording.number(deviation, mean, row.decimals),
        "delta": wording.percent(found.percent) if found else "",
        "mark": wording.MARKS[found.verdict] if found else "",
        "side": found.verdict.split(" ")[0] if found else "",
        "tip": "\n".join(filter(None, (reason, _tip(found) if found else ""))),
    }


def _tip(c: Comparison) -> str:
    lines = [
        f"{c.row.title} against {c.base.title}, {c.measure.title}: {wording.difference(c)} "
        f"({wording.percent(c.percent)})",
        f"95 % over {_count(c.seeds.n, 'seed')}: {wording.interval(c)}",
    ]
    if c.users is None:
        p = wording.p_value(c.corrected["seeds_holm"])
        return "\n".join([*lines, f"No values per user. Over seeds: p = {p} (Holm)"])
    t, w = (wording.p_value(c.corrected[f"{kind}_holm"]) for kind in ("t", "wilcoxon"))
    lines += [
        f"Over {c.users.users:,} users: p = {t} (t, Holm), {w} (Wilcoxon, Holm)",
        f"d_z {wording.signed(c.users.d_z)}, wins {c.users.win}, ties {c.users.tie}, losses "
        f"{c.users.loss}",
    ]
    if c.users.dropped:
        lines.append(f"{c.users.dropped} users have a value in only one of the two")
    return "\n".join(lines)


def _comparison(c: Comparison) -> dict[str, Any]:
    side = c.verdict.split(" ")[0]
    one_seed = "one seed: no interval" if c.seeds.n < 2 else ""
    no_users = (
        "computed from all lists together, so there is no value per user" if c.users is None else ""
    )
    p, users = c.corrected, c.users
    nan = math.nan
    cells = [
        (c.value, wording.number(c.value, decimals=c.row.decimals), ""),
        (c.base_value, wording.number(c.base_value, decimals=c.row.decimals), ""),
        (c.seeds.mean, f"{wording.difference(c)} {wording.MARKS[c.verdict]}".strip(), ""),
        (
            c.percent,
            wording.percent(c.percent),
            "the backbone's value is 0" if math.isnan(c.percent) else "",
        ),
        (c.seeds.low, wording.interval(c), one_seed),
        *(
            (p[key], wording.p_value(p[key]), no_users)
            for key in ("t_holm", "wilcoxon_holm", "t_bh")
        ),
        (p["seeds_holm"], wording.p_value(p["seeds_holm"]), one_seed),
        *(
            (value, wording.signed(value), no_users)
            for value in ((users.d_z, users.rank_biserial) if users else (nan, nan))
        ),
        (
            users.win - users.loss if users else nan,
            f"{users.win} / {users.tie} / {users.loss}" if users else DASH,
            no_users,
        ),
    ]
    return {
        "row": c.row.title,
        "model": c.row.family,
        "base": c.base.title,
        "metric": c.measure.heading,
        "family": c.measure.family,
        "k": c.measure.k,
        "text": f"{c.row.title} {c.row.family}".lower(),
        "cells": [
            {"value": _value(value), "text": text, "tip": tip, "side": side if n in (2, 3) else ""}
            for n, (value, text, tip) in enumerate(cells)
        ],
    }


def _verdict_line(a: Analysis) -> str:
    if not a.comparisons:
        return "There is nothing to compare."
    found = [c.verdict for c in a.comparisons]
    count = {name: found.count(name) for name in wording.MARKS}
    return (
        f"{_count(len(found), 'comparison')}: {count['better']} better and {count['worse']} worse "
        f"over users and seeds, {count['better maybe']} better and {count['worse maybe']} worse "
        f"over users only, {count['']} without a clear difference. All are listed, good and bad."
    )


def _made_elsewhere(row: Row) -> str:
    if not row.external:
        return ""
    files = dict.fromkeys(str(run.report.get("lists")) for run in row.runs)
    found = f"not trained here: lists of {', '.join(files)}"
    given = dict.fromkeys(
        f"{run.report['contributor']} on {run.report.get('submitted')}"
        for run in row.runs
        if run.report.get("contributor")
    )
    return f"{found}, submitted by {' and '.join(given)}" if given else found


def _training(a: Analysis, row: Row) -> dict[str, str]:
    base = next((c.base for c in a.comparisons if c.row is row), None)
    differs: dict[str, Any] = {}
    if base is not None:
        same = base.training
        differs = {k: v for k, v in row.training.items() if k not in same or same[k] != v}
    shown = {
        "title": row.title,
        "tuning": _made_elsewhere(row) or "no tuning on record: options as given",
        "space": "",
        "best": "",
        "differs": _options(differs),
    }
    if row.tuning is not None:
        shown.update(_tuning(row.tuning))
    return shown


def _tuning(tuning: Mapping[str, Any]) -> dict[str, str]:
    """Trials by state, what was searched, and what was chosen."""
    elsewhere = ("space", "best", "chosen", "trials", "model", "backbone", "dataset")
    parts = [_options({k: v for k, v in tuning.items() if k not in elsewhere})]
    trials, best = tuning.get("trials"), tuning.get("best")
    if isinstance(trials, Mapping):
        counts = ", ".join(f"{state} {count}" for state, count in trials.items())
        parts.append(f"trials: {counts}")
    elif trials is not None:
        parts.append(f"trials: {value_text(trials)}")
    chosen: Any = tuning.get("chosen")
    if isinstance(best, Mapping):
        chosen = best.get("options", chosen)
        if isinstance(best.get("value"), (int, float)):
            parts.append(f"best: trial {best.get('number')}, value {wording.number(best['value'])}")
    return {
        "tuning": ", ".join(filter(None, parts)),
        "space": _options(tuning.get("space")),
        "best": _options(chosen),
    }


def _options(options: Any) -> str:
    if not isinstance(options, Mapping):
        return "" if options is None else json.dumps(options, default=str)
    return ", ".join(f"{key}={value_text(value)}" for key, value in sorted(options.items()))


def _run(row: Row, run: Any) -> dict[str, Any]:
    report, machine = run.report, run.environment
    epoch, score = report.get("best_epoch"), report.get("best_valid_score")
    commit = str(machine.get("git_commit") or DASH)
    dirty = " with changes" if commit.endswith("+") else ""
    has_score = isinstance(score, (int, float)) and math.isfinite(score)
    none = "the run was not validated: the last epoch counts"
    none = _made_elsewhere(row) or none
    return {
        "title": row.title,
        "seed": run.seed,
        "epoch": DASH if epoch is None else epoch,
        "epoch_why": none if epoch is None else "",
        "score": wording.number(float(score)) if has_score else DASH,
        "score_why": "" if has_score else none,
        "commit": commit[:10].rstrip("+") + dirty,
        "machine": ", ".join(
            filter(
                None,
                (
                    f"{machine['cpu_threads']} CPU threads" if machine.get("cpu_threads") else "",
                    str(machine.get("gpu") or ""),
                ),
            )
        )
        or DASH,
        "command": DASH if row.external else f"recbole-enhance reproduce {run.place}",
    }


def _versions(a: Analysis) -> str:
    seen: dict[str, list[str]] = {}
    for row in a.rows:
        for run in row.runs:
            versions = run.environment.get("versions")
            versions = dict(versions) if isinstance(versions, Mapping) else {}
            python = run.environment.get("python")
            for name, version in {"python": python, **versions}.items():
                if version is not None and str(version) not in seen.setdefault(name, []):
                    seen[name].append(str(version))
    parts = [f"{name} {' and '.join(found)}" for name, found in seen.items() if found]
    return ", ".join(parts) or "The runs do not say which versions they used."


def _value(value: float) -> str:
    """For sorting; empty is no value."""
    if math.isnan(value):
        return ""
    return str(math.copysign(1e300, value)) if math.isinf(value) else repr(float(value))
