"""The pages that are text: Markdown, LaTeX, CSV and JSON."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_enhance.leaderboard import wording
from recbole_enhance.leaderboard.against import Comparison, Row
from recbole_enhance.leaderboard.analysis import Analysis
from recbole_enhance.leaderboard.collect import Collected, Left
from recbole_enhance.leaderboard.groups import Groups
from recbole_enhance.leaderboard.headline import headline
from recbole_enhance.leaderboard.measures import COST, FAMILIES, Measure
from recbole_enhance.leaderboard.protocol import value_text
from recbole_enhance.leaderboard.wording import DASH
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.tables import csv_text

COST_TITLES: dict[str, str] = {
    "train_seconds_per_epoch": "s/epoch",
    "epochs_run": "epochs",
    "fit_seconds": "training s",
    "parameters": "parameters",
    "peak_memory_mb": "memory, MB",
    "peak_gpu_memory_mb": "GPU, MB",
}
SIGNIFICANCE = (
    "dataset",
    "variant",
    "protocol",
    "row",
    "backbone",
    "metric",
    "family",
    "better",
    "value",
    "backbone_value",
    "difference",
    "percent",
    "seeds",
    "ci_low",
    "ci_high",
    "users",
    "dropped",
    "user_difference",
    "t",
    "p_t",
    "p_t_holm",
    "p_t_bh",
    "p_wilcoxon",
    "p_wilcoxon_holm",
    "p_wilcoxon_bh",
    "d_z",
    "rank_biserial",
    "win",
    "tie",
    "loss",
    "p_seeds",
    "p_seeds_holm",
    "p_seeds_bh",
    "verdict",
)

GROUP_COLUMNS = (
    "dataset",
    "variant",
    "protocol",
    "row",
    "backbone",
    "metric",
    "better",
    "field",
    "group",
    "value",
    "backbone_value",
    "percent",
    "ci_low",
    "ci_high",
    "seeds",
)


def costs(analysis: Analysis) -> list[str]:
    """The cost columns that any row has."""
    return [key for key in COST if not all(math.isnan(row.cost[key]) for row in analysis.rows)]


def verdicts(analysis: Analysis) -> dict[Any, Comparison]:
    """Title of a row and metric -> the comparison."""
    return {(c.row.title, c.measure.key): c for c in analysis.comparisons}


def without_runs(analysis: Analysis) -> list[Left]:
    """One failed cell for each row that has no run at all."""
    there = {row.title for row in analysis.rows} | {row.label for row in analysis.rows}
    return list({c.label: c for c in analysis.failed[::-1] if c.label not in there}.values())[::-1]


# ---- Markdown ----------------------------------------------------------------------------------


def markdown(analyses: Sequence[Analysis], collected: Collected) -> str:
    """``board.md``."""
    lines = [
        "# Leaderboard",
        "",
        "Written by `recbole-enhance leaderboard build`; [the "
        "page](index.html) has the plots, the statistics and the commands.",
        "",
    ]
    for analysis in analyses:
        lines += [f"## {md_text(analysis.table.title)}", ""]
        lines += [
            *(f"- {md_text(sentence)}" for sentence in headline(analysis)),
            "",
            _MD_CAPTION,
            "",
        ]
        for family, title in FAMILIES.items():
            columns = [m for m in analysis.measures if m.family == family]
            if columns:
                lines += [f"### {title}", "", *_md_results(analysis, columns), ""]
        lines += ["### Cost", "", *_md_cost(analysis), ""]
        if analysis.comparisons or analysis.not_compared:
            lines += ["### Against the backbone", "", *_md_comparisons(analysis), ""]
        lines += [
            "### Protocol",
            "",
            f"Hash `{analysis.table.digest}`.",
            "",
            *md_table(
                ["option", "value"],
                [[key, f"`{value_text(value)}`"] for key, value in analysis.table.protocol.items()],
            ),
            "",
        ]
    left = [*collected.failed, *collected.unfinished, *(c for a in analyses for c in a.repeated)]
    if left:
        rows = [[c.dataset, c.label, str(c.seed), c.place, c.reason] for c in left]
        header = ["dataset", "row", "seed", "folder", "reason"]
        lines += ["## Cells without a result", "", *md_table(header, rows), ""]
    return "\n".join(lines).rstrip() + "\n"


_MD_CAPTION = (
    "Mean ± standard deviation over seeds. Best **bold**, second best <u>underlined</u>. "
    f"{wording.LEGEND}"
)


def _md_results(analysis: Analysis, columns: Sequence[Measure]) -> list[str]:
    of, rows = verdicts(analysis), []
    for place, row in enumerate(analysis.rows):
        cells = [md_text(row.title), str(len(row.runs))]
        for m in columns:
            text = wording.spread(row, m)
            best, second = analysis.best[m.key]
            text = f"**{text}**" if place in best else f"<u>{text}</u>" if place in second else text
            found = of.get((row.title, m.key))
            cells.append(f"{text} {wording.MARKS[found.verdict]}".strip() if found else text)
        rows.append(cells)
    rows += [[md_text(c.label), "0", *[DASH] * len(columns)] for c in without_runs(analysis)]
    notes = _md_missing(analysis, columns)
    notes += [f"{md_text(c.label)}: failed, {md_text(c.reason)}." for c in without_runs(analysis)]
    header = ["row", "seeds", *(m.heading for m in columns)]
    return (
        md_table(header, rows, escape=False)
        + ([""] if notes else [])
        + [f"- {note}" for note in notes]
    )


def _md_missing(analysis: Analysis, columns: Sequence[Measure]) -> list[str]:
    """Why values are missing, once for all rows and metrics that miss them alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    for row in analysis.rows:
        titles: dict[str, list[str]] = {}
        for m in columns:
            if m.key in row.reasons:
                titles.setdefault(row.reasons[m.key], []).append(m.title)
        for reason, metrics in titles.items():
            alike.setdefault((", ".join(metrics), reason), []).append(md_text(row.title))
    return [
        f"{md_text(metrics)} of {', '.join(rows)}: {md_text(reason)}."
        for (metrics, reason), rows in alike.items()
    ]


def _md_cost(analysis: Analysis) -> list[str]:
    keys = costs(analysis)
    rows = [
        [row.title, *(wording.cost(key, row.cost[key]) for key in keys)] for row in analysis.rows
    ]
    return md_table(["row", *(COST_TITLES[key] for key in keys)], rows)


def _md_comparisons(analysis: Analysis) -> list[str]:
    rows = [
        [
            c.row.title,
            c.base.title,
            c.measure.heading,
            f"{wording.difference(c)} {wording.MARKS[c.verdict]}".strip(),
            wording.percent(c.percent),
            wording.interval(c),
            *_tests(c),
        ]
        for c in analysis.comparisons
    ]
    header = [
        "row",
        "backbone",
        "metric",
        "difference",
        "percent",
        "95 % over seeds",
        "p t (Holm)",
        "p Wilcoxon (Holm)",
        "p seeds (Holm)",
        "d_z",
        "win / tie / loss",
    ]
    lines = md_table(header, rows) if rows else []
    without = analysis.not_compared
    notes = [f"- {md_text(title)}: not compared, {md_text(why)}." for title, why in without.items()]
    return lines + ([""] if lines and notes else []) + notes


def _tests(c: Comparison) -> list[str]:
    p = wording.p_value
    if c.users is None:
        return [DASH, DASH, p(c.corrected["seeds_holm"]), DASH, DASH]
    return [
        p(c.corrected["t_holm"]),
        p(c.corrected["wilcoxon_holm"]),
        p(c.corrected["seeds_holm"]),
        wording.signed(c.users.d_z),
        f"{c.users.win} / {c.users.tie} / {c.users.loss}",
    ]


def md_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], escape: bool = True
) -> list[str]:
    """Lines of a table in Markdown; without ``escape`` the cells are Markdown already."""
    lines = [f"| {' | '.join(map(md_text, header))} |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [md_text(cell) for cell in row] if escape else row
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def md_text(text: str) -> str:
    """Text that a Markdown reader shows as it is."""
    text = one_line(text)
    if text.startswith("`") and text.endswith("`") and "`" not in text[1:-1]:
        return text.replace("|", r"\|")
    return re.sub(r"([\\`*_|\[\]<>~])", r"\\\1", text)


# ---- tables for programs -----------------------------------------------------------------------


def board_csv(analyses: Sequence[Analysis]) -> str:
    """``board.csv``: a line for each row and metric."""
    header = [
        "dataset",
        "variant",
        "protocol",
        "row",
        "label",
        "name",
        "method",
        "backbone",
        "metric",
        "family",
        "better",
        "seeds",
        "mean",
        "std",
        "place",
        "reason",
        *COST,
    ]
    lines = []
    for a in analyses:
        head = [a.table.dataset, a.table.variant, a.table.digest]
        for place, row in enumerate(a.rows):
            for m in a.measures:
                best, second = a.best[m.key]
                lines.append(
                    [
                        *head,
                        row.title,
                        row.label,
                        row.name,
                        row.enhancer,
                        row.backbone,
                        m.key,
                        m.family,
                        _side(m),
                        len(row.runs),
                        row.mean(m.key),
                        row.deviation(m.key),
                        "best" if place in best else "second" if place in second else "",
                        row.reasons.get(m.key, ""),
                        *row.cost.values(),
                    ]
                )
        lines += [
            [
                *head,
                c.label,
                *[None] * 7,
                0,
                None,
                None,
                "",
                f"failed: {c.reason}",
                *[None] * len(COST),
            ]
            for c in without_runs(a)
        ]
    return _csv(header, lines)


def significance_csv(analyses: Sequence[Analysis]) -> str:
    """``significance.csv``: a line for each comparison, nothing rounded."""
    return _csv(SIGNIFICANCE, [list(line.values()) for line in significance(analyses)])


def groups_csv(analyses: Sequence[Analysis], grouped: Sequence[Groups]) -> str:
    """``groups.csv``: the main metric of each method in each group of users; empty for none.

    ``percent`` and its 95 % interval over seeds are of the backbone's value.
    """
    lines = [
        [
            *(a.table.dataset, a.table.variant, a.table.digest, g.row.title, g.base.title),
            *(a.main.key, _side(a.main), g.field, g.group, g.value, g.base_value),
            *(g.percent.mean, g.percent.low, g.percent.high, g.percent.n),
        ]
        for a, of_table in zip(analyses, grouped)
        for g in of_table.gains
    ]
    return _csv(GROUP_COLUMNS, lines) if lines else ""


def significance(analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """The comparisons as mappings of :data:`SIGNIFICANCE`."""
    lines = []
    for a in analyses:
        for c in a.comparisons:
            users: Mapping[str, Any] = c.users._asdict() if c.users else {}
            values: list[Any] = [
                a.table.dataset,
                a.table.variant,
                a.table.digest,
                c.row.title,
                c.base.title,
                c.measure.key,
                c.measure.family,
                _side(c.measure),
                c.value,
                c.base_value,
                c.seeds.mean,
                c.percent,
                c.seeds.n,
                c.seeds.low,
                c.seeds.high,
                *(users.get(key) for key in ("users", "dropped", "mean", "t", "p_t")),
                c.corrected["t_holm"],
                c.corrected["t_bh"],
                users.get("p_wilcoxon"),
                c.corrected["wilcoxon_holm"],
                c.corrected["wilcoxon_bh"],
                *(users.get(key) for key in ("d_z", "rank_biserial", "win", "tie", "loss")),
                c.seeds.p,
                c.corrected["seeds_holm"],
                c.corrected["seeds_bh"],
                c.verdict,
            ]
            lines.append(dict(zip(SIGNIFICANCE, values)))
    return lines


def board_json(analyses: Sequence[Analysis], collected: Collected) -> str:
    """``board.json``: everything, null for what is missing or infinite."""
    lines = significance(analyses)
    content = {
        "tables": [
            {
                "dataset": a.table.dataset,
                "variant": a.table.variant,
                "protocol_sha256": a.table.digest,
                "protocol": a.table.protocol,
                "main_metric": a.main.key,
                "headline": headline(a),
                "metrics": [{**m._asdict(), "direction": _side(m)} for m in a.measures],
                "rows": [_json_row(a, place, row) for place, row in enumerate(a.rows)],
                "against_backbone": [line for line in lines if line["protocol"] == a.table.digest],
                "not_compared": a.not_compared,
                "ranking": _json_ranking(a),
            }
            for a in analyses
        ],
        "failed": [c._asdict() for c in collected.failed],
        "unfinished": [c._asdict() for c in collected.unfinished],
        "repeated": [c._asdict() for a in analyses for c in a.repeated],
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_row(a: Analysis, place: int, row: Row) -> dict[str, Any]:
    return {
        "row": row.title,
        "label": row.label,
        "name": row.name,
        "method": row.enhancer,
        "backbone": row.backbone,
        "model_family": row.family,
        "seeds": row.seeds,
        "folders": [run.place for run in row.runs],
        "results": {
            m.key: {
                "mean": row.mean(m.key),
                "std": row.deviation(m.key),
                "values": row.results[m.key].tolist(),
                "best": place in a.best[m.key][0],
                "second": place in a.best[m.key][1],
                "reason": row.reasons.get(m.key),
            }
            for m in a.measures
        },
        "cost": dict(row.cost),
        "runs_at_epoch_limit": row.at_limit,
        "training": dict(row.training),
        "tuning": row.tuning,
    }


def _json_ranking(a: Analysis) -> dict[str, Any] | None:
    if a.ranking is None:
        return None
    rows, result = a.ranking
    return {
        "metric": a.main.key,
        "users": result.users,
        "critical_difference": result.distance,
        "p_friedman": result.p_friedman,
        "ranks": {row.title: float(rank) for row, rank in zip(rows, result.ranks)},
        "alike": [[rows[n].title for n in group] for group in result.groups],
    }


def _side(m: Measure) -> str:
    return {1: "larger", -1: "smaller", 0: ""}[m.direction]


def _finite(value: Any) -> Any:
    """Replace what JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    return csv_text(header, (["" if v != v else v for v in line] for line in lines))  # NaN
