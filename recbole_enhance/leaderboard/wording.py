"""Numbers and marks as a reader sees them, the same on every page."""

import math
from typing import Any, Dict

from recbole_enhance.leaderboard.analysis import Comparison, Row
from recbole_enhance.leaderboard.measures import Measure

DASH = "–"
MARKS: Dict[str, str] = {
    "better": "▲", "worse": "▼", "better maybe": "△", "worse maybe": "▽", "": "",
}  # fmt: skip
LEGEND = (
    "▲ better, ▼ worse than the backbone: p < 0.05 after Holm's correction over the table, and the "
    "95 % interval over seeds does not hold 0. △ ▽: the test over users finds it, but the interval "
    "over seeds holds 0, or there is one seed. Metrics of all lists together have no value per "
    "user; they are tested over seeds."
)


def number(value: float) -> str:
    """Four decimals below 100, fewer above; a dash for none.

    Example:
        >>> number(0.12345), number(199.63), number(168128.0), number(float("nan"))
        ('0.1235', '199.63', '168,128', '–')
    """
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 100 else f"{value:.4f}"


def signed(value: float) -> str:
    """The same with a sign, a true minus.

    Example:
        >>> signed(0.5), signed(-0.25), signed(0.0)
        ('+0.5000', '−0.2500', '0.0000')
    """
    if not math.isfinite(value) or value == 0:
        return number(value)
    return ("+" if value > 0 else "−") + number(abs(value))


def percent(value: float) -> str:
    """A signed percentage.

    Example:
        >>> percent(-12.345), percent(float("nan"))
        ('−12.3 %', '–')
    """
    if math.isnan(value):
        return DASH
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{abs(value):.1f} %"


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
    mean = number(row.mean(m.key))
    return mean if math.isnan(deviation) else f"{mean} ± {number(deviation)}"


def interval(comparison: Comparison) -> str:
    """The 95 % interval over seeds."""
    low, high = comparison.seeds.low, comparison.seeds.high
    return DASH if math.isnan(low) else f"[{signed(low)}, {signed(high)}]"


def cost(key: str, value: float) -> str:
    """A cost in its usual unit.

    Example:
        >>> cost("parameters", 168128.0), cost("train_seconds_per_epoch", 0.0451)
        ('168,128', '0.045')
    """
    if math.isnan(value):
        return DASH
    if key == "parameters":
        return f"{value:,.0f}"
    if key == "epochs_run":
        return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def plain(value: Any) -> str:
    """An option's value on one line."""
    import json

    return value if isinstance(value, str) else json.dumps(value, default=str)
