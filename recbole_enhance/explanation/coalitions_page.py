"""Explanations of RVRec as one page of HTML that needs no network."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from recbole_enhance.explanation.html import rendered


def page(label: str, dataset: str, lines: Sequence[dict[str, Any]]) -> str:
    """Write explanations as a page.

    Args:
        label: The run, as ``RVRec-BPR``.
        dataset: Name of the dataset.
        lines: See :func:`~recbole_enhance.explanation.coalitions.explanations`.
    """
    shown = [
        {**line, "largest": max([abs(c["value_additive"]) for c in line["coalitions"]] + [1e-12])}
        for line in lines
    ]
    users = groupby(shown, key=lambda line: line["user"])
    return rendered(
        "coalitions.html.j2",
        title=f"Why these items? {label} on {dataset}",
        users=[(user, list(entries)) for user, entries in users],
    )
