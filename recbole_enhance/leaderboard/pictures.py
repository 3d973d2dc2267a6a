"""What the plots share: colours, labels that stay clear of one another, files, and axes."""

import html
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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


def label_places(points: np.ndarray, lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Choose the corner of each point where its label covers the least of others and of points.

    Args:
        points: Shape: ``(n, 2)``.
        lengths: Characters of each label.

    Returns:
        For each, 1 or -1: right or left, above or below.

    Example:
        >>> label_places(np.array([[0.0, 0.0], [0.01, 0.0], [1.0, 1.0]]), [9, 9, 3])[:2]
        [(1, 1), (1, -1)]
    """
    span = np.ptp(points, axis=0)
    at = (points - points.min(axis=0)) / np.where(span > 0, span, 1)
    taken = [np.concatenate([p - 0.012, p + 0.012]) for p in at]  # left, bottom, right, top
    chosen = []
    for p, length in zip(at, lengths):  # over rows of a table
        corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        boxes = []
        for right, up in corners:
            side = np.array([right, up])
            ends = p + np.array([[0.015, 0.012], [0.015 + 0.016 * length, 0.06]]) * side
            boxes.append(np.concatenate([ends.min(axis=0), ends.max(axis=0)]))
        covered = [_overlap(box, np.array(taken)) for box in boxes]
        best = int(np.argmin(covered))
        chosen.append(corners[best])
        taken.append(boxes[best])
    return chosen


def _overlap(box: np.ndarray, others: np.ndarray) -> float:
    """Area that a box shares with others; what leaves the picture counts too."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    outside = max(0.0, box[2] - 1.1) + max(0.0, -0.1 - box[0])
    return float(sides.clip(min=0).prod(axis=1).sum() + 0.01 * outside)


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
