"""Explanations of RVRec as one page of HTML that needs no network."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em;
  color: #222; }
h2 { border-bottom: 1px solid #ccc; margin-top: 2em; }
details { border: 1px solid #ddd; border-radius: 6px; margin: .6em 0; padding: .5em .8em; }
summary { cursor: pointer; }
summary b { font-weight: 600; }
.why { display: block; color: #444; margin-left: 1.1em; }
table { border-collapse: collapse; margin: .6em 0; width: 100%; }
td, th { border-top: 1px solid #eee; padding: .25em .5em; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.best td { background: #fff6dd; }
.bar { background: #e69f00; display: inline-block; height: .7em; }
.bar.minus { background: #56b4e9; }
.small { color: #666; font-size: 13px; }
"""
_HOW = """A score is what the user's own vector gives (base) and what each stretch of consecutive
items of the history adds. Removal is what the score loses when a stretch leaves and the others
share its weight. Sigma is the spread of an embedding; it is not a calibrated uncertainty."""


def page(label: str, dataset: str, lines: Sequence[dict[str, Any]]) -> str:
    """Write explanations as a page.

    Args:
        label: The run, as ``RVRec-BPR``.
        dataset: Name of the dataset.
        lines: See :func:`~recbole_enhance.explanation.coalitions.explanations`.
    """
    name = escape(f"{label} on {dataset}")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{name}: explanations</title><style>{_STYLE}</style></head><body>",
        f"<h1>Why these items? {name}</h1>",
        f"<p>{_HOW}</p>",
    ]
    for user, entries in groupby(lines, key=lambda line: line["user"]):
        parts.append(f"<h2>User {escape(user)}</h2>")
        parts += [_entry(line) for line in entries]
    return "\n".join([*parts, "</body></html>", ""])


def _entry(line: dict[str, Any]) -> str:
    said, meta = line["explanation"], line["meta"]
    share = f" ({said['share']:.0%})" if said["coalition"] is not None else ""
    spread = line["uncertainty"]
    sigma = ""
    if spread:
        sigma = (
            f" sigma of the user {spread['sigma_user']:.3f}, of the item "
            f"{spread['sigma_item']:.3f}, W2 {spread['w2_user_item']:.3f};"
        )
    open_ = " open" if line["rank"] == 1 else ""
    return (
        f"<details{open_}><summary><b>{line['rank']}. {escape(line['title'])}</b>"
        f'<span class="why">{escape(said["text"])}{share}</span></summary>'
        f"{_table(line['coalitions'], said['coalition'], line['base']['user_mean'])}"
        f'<p class="small">score {line["score"]:.4f} = base and values {line["check"]["sum"]:.4f}, '
        f"gap {line['check']['gap']:.1e};{sigma} last {meta['hist_used']} of {meta['hist_total']} "
        f"items, weight of the history {meta['alpha']:.4f}</p></details>"
    )


def _table(coalitions: list[dict[str, Any]], best: Any, base: float) -> str:
    largest = max([abs(c["value_additive"]) for c in coalitions] + [1e-12])
    rows = [
        '<tr><th>consecutive items</th><th>adds</th><th class="n">value</th>'
        '<th class="n">removal</th><th class="n">joined with p</th></tr>',
        f'<tr><td>(the user\'s own vector)</td><td></td><td class="n">{base:+.4f}</td>'
        '<td class="n"></td><td class="n"></td></tr>',
    ]
    for c in coalitions:
        value = c["value_additive"]
        width = round(100 * abs(value) / largest)
        titles = "<br>".join(escape(title) for title in c["titles"])
        p = ", ".join(f"{p:.2f}" for p in c["gate_p"])
        rows.append(
            f"<tr{' class=best' if c['id'] == best else ''}><td>{titles}</td>"
            f'<td><span class="bar{" minus" if value < 0 else ""}" style="width:{width}px"></span>'
            f'</td><td class="n">{value:+.4f}</td><td class="n">{c["value_removal"]:+.4f}</td>'
            f'<td class="n">{p}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"
