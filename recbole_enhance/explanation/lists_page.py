"""Recommended lists as one page of HTML that needs no network."""

from pathlib import Path
from typing import Any

import pandas as pd

from recbole_enhance.experiment.quick_start import finished_run
from recbole_enhance.explanation.html import rendered
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.files import read_settings
from recbole_enhance.storage.outputs import output_file
from recbole_enhance.storage.run_folder import CONFIG, RunFolder

MOST_LISTS = 200  # more are for a file, not for eyes
_OF_USERS = "What the run's model recommends, best first."
_NEAR = "The items that are nearest by the model's own vectors: cosines, best first."


def write_lists_page(run_dir: str | Path, table: pd.DataFrame, path: str | Path) -> None:
    """Write lists as a page.

    Args:
        run_dir: Folder of the run that made them.
        table: From :func:`~recbole_enhance.recommendation.recommend.recommend` or
            :func:`~recbole_enhance.recommendation.similar.similar_items`.
        path: The page, which ends in ``.html``.

    Raises:
        OptionError: If there are more than ``MOST_LISTS``, or the page cannot be written.
    """
    path = output_file("html", path, (".html",))
    whose = table.columns[0]
    count = table[whose].nunique()
    if count > MOST_LISTS:
        allowed = f"at most {MOST_LISTS} lists are shown; write {count:,} to --out=FILE"
        raise OptionError("html", path, allowed)
    settings = read_settings(finished_run(run_dir).path / CONFIG)
    parts = [settings.get(key) for key in ("model", "backbone")]
    label = "-".join(str(part) for part in parts if part is not None)
    text = lists_page(label, str(settings["dataset"]), table)
    RunFolder(path.parent, fresh=False).write_text(path.name, text)


def lists_page(label: str, dataset: str, table: pd.DataFrame) -> str:
    """Show lists, one below the other, or side by side where there is room.

    Args:
        label: The run, as ``RVRec-BPR``.
        dataset: Name of the dataset.
        table: See :func:`write_lists_page`.
    """
    near = "similarity" in table
    what = "Items near others" if near else "Recommendations"
    return rendered(
        "lists.html.j2",
        title=f"{what}: {label} on {dataset}",
        about=_NEAR if near else _OF_USERS,
        near=near,
        sections=[_section(str(name), part, near) for name, part in _by_first(table)],
    )


def _by_first(table: pd.DataFrame) -> Any:
    return table.groupby(table.columns[0], sort=False, observed=True)


def _section(name: str, part: pd.DataFrame, near: bool) -> dict[str, Any]:
    item, score = part.columns[1], "similarity" if near else "score"
    rows = [
        {
            "rank": row["rank"],
            "item": row[item],
            "title": row.get("title", row[item]),
            "score": row[score],
        }
        for row in part.to_dict("records")
    ]
    how = str(part["how"].iloc[0]) if "how" in part else ""
    return {"name": name, "how": how, "rows": rows}
