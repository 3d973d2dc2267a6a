"""Numbers and marks as a reader sees them, the same on every page."""

import math

from recbole_enhance.explanation.html import DASH, MINUS, number, signed
from recbole_enhance.leaderboard.against import Comparison, Row
from recbole_enhance.leaderboard.measures import Measure

__all__ = ["DASH", "MINUS", "number", "signed"]
MARKS: dict[str, str] = {
    "better": "▲",
    "worse": "▼",
    "better maybe": "△",
    "worse maybe": "▽",
    "": "",
}
LIMIT = "●"
LIMITED = "beside epochs: at least one run used all epochs and did not stop early"
LEGEND = (
    "▲ better, ▼ worse than the backbone: p < 0.05 after Holm's correction over the table, and the "
    "95 % interval over seeds does not contain 0. △ ▽: the same by the test over users, but the "
    "interval over seeds contains 0, or there is only one seed. Metrics of all lists together have "
    "no value per user; they are tested over seeds."
)


def percent(value: float) -> str:
    """A signed percentage.

    Example:
        >>> percent(-12.345), percent(float("nan"))
        ('−12.3 %', '–')
    """
    if not math.isfinite(value):
        return number(value)
    text = f"{abs(value):.1f} %"
    return text if text == "0.0 %" else ("+" if value > 0 else MINUS) + text


def p_value(value: float) -> str:
    """A p-value; what is too small to print is bounded.

    Example:
        >>> p_value(0.03456), p_value(1e-9), p_value(1.0), p_value(float("nan"))
        ('0.035', '<0.001', '1.000', '–')
    """
    if math.isnan(value):
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def spread(row: Row, m: Measure) -> str:
    """Mean, and the standard deviation where there are two seeds."""
    deviation = row.deviation(m.key)
    mean = row.mean(m.key)
    text = number(mean, decimals=row.decimals)
    if math.isnan(deviation):
        return text
    return f"{text} ± {number(deviation, mean, row.decimals)}"


def interval(comparison: Comparison) -> str:
    """The 95 % interval over seeds."""
    low, high = comparison.seeds.low, comparison.seeds.high
    if math.isnan(low):
        return DASH
    ends = (signed(end, comparison.value, comparison.row.decimals) for end in (low, high))
    return f"[{', '.join(ends)}]"


def difference(comparison: Comparison) -> str:
    """Method minus backbone."""
    return signed(comparison.seeds.mean, comparison.value, comparison.row.decimals)


def cost(key: str, value: float, row: Row | None = None) -> str:
    """A cost in its usual unit; epochs with a mark if the row did not stop early.

    Example:
        >>> cost("parameters", 168128.0), cost("train_seconds_per_epoch", 0.0451)
        ('168,128', '0.0451')
    """
    if math.isnan(value):
        return DASH
    if key == "parameters":
        return f"{value:,.0f}"
    if key == "epochs_run":
        text = f"{value:.0f}" if value == round(value) else f"{value:.1f}"
        return f"{text} {LIMIT}" if row is not None and row.at_limit else text
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
