"""What training interactions were worth, as one page of HTML that needs no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_enhance.explanation.html import decimals_for, rendered
from recbole_enhance.explanation.values import rank_all
from recbole_enhance.storage.outputs import output_file
from recbole_enhance.storage.run_folder import METRICS, RunFolder

_TITLES = {
    "interaction": "Interactions",
    "user": "Users",
    "item": "Items",
    "category": "Categories",
}


def write_values_page(
    run_dir: str | Path,
    path: str | Path,
    title: str = "auto",
    top: int = 10,
    model_class: str | type | None = None,
) -> None:
    """Write the page of a run's values.

    Args:
        run_dir: Folder of a finished run of DVR.
        path: The page, which ends in ``.html``.
        title: As of :func:`~.values.rank_values`.
        top: How many of both ends are shown.
        model_class: As of :func:`~.values.rank_values`.

    Raises:
        InputError: If the run has no values, or the page cannot be written.
    """
    path = output_file("html", path, (".html",))
    tables = rank_all(run_dir, title, model_class)
    report = RunFolder.open(run_dir).read_json(METRICS)
    text = values_page(str(report["label"]), str(report["dataset"]), tables, top)
    RunFolder(path.parent, fresh=False).write_text(path.name, text)


def values_page(label: str, dataset: str, tables: Mapping[str, pd.DataFrame], top: int) -> str:
    """Show both ends of each ranking.

    Args:
        label: The run, as ``DVR-BPR``.
        dataset: Name of the dataset.
        tables: See :func:`~.values.rank_all`.
        top: How many of both ends are shown; of a short table, each row once.
    """
    whole = tables["interaction"]
    return rendered(
        "values.html.j2",
        title=f"Values of training interactions: {label} on {dataset}",
        interactions=len(whole),
        above=int((whole["value"] > 0).sum()),
        sections=[_section(by, table, top) for by, table in tables.items()],
    )


def _section(by: str, table: pd.DataFrame, top: int) -> dict[str, Any]:
    n = min(top, (len(table) + 1) // 2)
    ends = [("Most valuable", table.head(n))]
    if len(table) > n:
        ends.append(("Least valuable", table.tail(min(n, len(table) - n)).iloc[::-1]))
    shown = pd.concat([part for _, part in ends])
    largest = float(table["value"].abs().max())
    decimals = {"value": decimals_for(largest), "standard_error": decimals_for(largest)}
    if "mean_value" in shown:
        decimals["mean_value"] = decimals_for(float(shown["mean_value"].abs().max()), 3)
    return {
        "id": by,
        "title": _TITLES[by],
        "count": len(table),
        "sums": by != "interaction",
        "largest": max(largest, 1e-300),
        "decimals": decimals,
        "ends": [{"title": said, "rows": _rows(by, part)} for said, part in ends],
    }


def _rows(by: str, table: pd.DataFrame) -> list[dict[str, Any]]:
    names = table.columns[: {"interaction": 2}.get(by, 1)]
    rows = []
    for row in table.to_dict("records"):  # some tens, for people
        title = row.get("title")
        item = row[names[-1]]
        rows.append(
            {
                "user": row[names[0]] if by in ("interaction", "user") else None,
                "name": None if by == "user" else title if isinstance(title, str) else item,
                "token": None if by == "user" else item,
                **{
                    key: row.get(key)
                    for key in ("value", "standard_error", "mean_value", "interactions")
                },
            }
        )
    return rows
