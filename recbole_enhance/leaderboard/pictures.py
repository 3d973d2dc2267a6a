"""What the plots share: colours, labels that stay clear of one another, files, and axes."""

import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_enhance.storage.run_folder import RunFolder

_STYLE: Any = {
    "svg.hashsalt": "recbole_enhance",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "savefig.bbox": "tight",
    "savefig.dpi": 150,
}


# Of a label in a picture of 640 by 440 points, as shares of the points' span.
_LETTER, _LINE, _GAP = 0.0145, 0.048, 0.018
LABEL_MARGIN = 0.12  # around the points, as a share of their span: labels may reach into it


def label_places(
    points: np.ndarray,
    lengths: Sequence[int],
    first: Sequence[bool] | np.ndarray | None = None,
    errors: np.ndarray | float = 0.0,
) -> list[tuple[int, int] | None]:
    """Choose a corner of each point where its label covers no other label and no point.

    Args:
        points: Shape: ``(n, 2)``.
        lengths: Characters of each label.
        first: Points whose labels are placed before all others; after them, and among them, the
            points that are farthest from their nearest neighbour. None: no point comes first.
        errors: Half lengths of the points' bars, which widen the picture. Shape: ``(n, 2)``.

    Returns:
        For each, 1 or -1: right or left, above or below. None where every corner is taken.

    Example:
        >>> label_places(np.array([[0.0, 0.0], [0.01, 0.0], [1.0, 1.0]]), [9, 9, 3])
        [(1, 1), (1, -1), (1, 1)]
        >>> label_places(np.zeros((6, 2)), [9] * 6)[4:]
        [None, None]
    """
    low, high = (points - errors).min(axis=0), (points + errors).max(axis=0)
    at = (points - low) / np.where(high > low, high - low, 1)
    taken = [np.concatenate([p - 0.012, p + 0.012]) for p in at]  # left, bottom, right, top
    early = np.zeros(len(at), bool) if first is None else np.asarray(first, bool)
    chosen: list[tuple[int, int] | None] = [None] * len(at)
    for n in np.lexsort((-_clearance(at), ~early)):  # over rows of a table
        for corner in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            size = np.array([[0, 0], [_LETTER * lengths[n], _LINE]])
            ends = at[n] + (_GAP + size) * corner
            box = np.concatenate([ends.min(axis=0), ends.max(axis=0)])
            inside = box[0] > -LABEL_MARGIN and box[2] < 1 + LABEL_MARGIN
            if inside and not _covers(box, np.array(taken)):
                chosen[n] = corner
                taken.append(box)
                break
    return chosen


def _clearance(at: np.ndarray) -> np.ndarray:
    """Distance of each point to its nearest neighbour."""
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest: np.ndarray = apart.min(axis=1)
    return nearest


def _covers(box: np.ndarray, others: np.ndarray) -> bool:
    """Whether a box shares some area with one of the others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return bool((sides > 0).all(axis=1).any())


def files(draw: Callable[..., None], *arguments: Any) -> dict[str, bytes]:
    """Draw into a PNG and an SVG with a stable byte content."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = {}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}):
        figure = Figure()
        FigureCanvasAgg(figure)  # no window, whatever backend the user has chosen
        draw(figure, *arguments)
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            content = io.BytesIO()
            figure.savefig(content, format=suffix, metadata=metadata)
            made[suffix] = content.getvalue()
    return made


def file_name(title: str) -> str:
    """Turn a title into a file name of letters and digits, so that no path leaves the folder."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-.") or "table"


def write_file(path: Path, content: bytes) -> Path:
    """Write a file of a board completely or not at all, in a folder that may not be there yet.

    Raises:
        ValueError: If the folder is a link.
    """
    if path.parent.is_symlink():
        raise ValueError(f"{path.parent}: is a link, and nothing is written outside the folder")
    path.parent.mkdir(exist_ok=True)
    RunFolder(path.parent, fresh=False).write_bytes(path.name, content)
    return path


def layout(x: str, y: str, height: int) -> dict[str, Any]:
    """What plotly draws around the data; colours come from the page."""
    axis = {"automargin": True, "zeroline": False}
    return {
        "height": height,
        "margin": {"l": 56, "r": 24, "t": 24, "b": 48},
        "xaxis": {**axis, "title": {"text": escaped(x)}},
        "yaxis": {**axis, "title": {"text": escaped(y)}},
        "legend": {"orientation": "h", "y": 1.08},
        "hovermode": "closest",
    }


def escaped(text: str) -> str:
    """Plotly reads some HTML in its texts."""
    return html.escape(text, quote=False)


def matplotlib_text(text: str) -> str:
    """Matplotlib reads dollars as the borders of a formula."""
    return text.replace("$", r"\$")
