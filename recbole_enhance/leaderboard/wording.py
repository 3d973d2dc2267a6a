"""Numbers and marks as a reader sees them, the same on every page."""

import math

from recbole_enhance.leaderboard.analysis import Comparison, Row
from recbole_enhance.leaderboard.measures import Measure

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
MARKS: dict[str, str] = {
    "better": "▲",
    "worse": "▼",
    "better maybe": "△",
    "worse maybe": "▽",
    "": "",
}
LEGEND = (
    "▲ better, ▼ worse than the backbone: p < 0.05 after Holm's correction over the table, and the "
    "95 % interval over seeds does not hold 0. △ ▽: the test over users finds it, but the interval "
    "over seeds holds 0, or there is one seed. Metrics of all lists together have no value per "
    "user; they are tested over seeds."
)


def number(value: float, like: float | None = None, decimals: int = 4) -> str:
    """Some decimals below 100, fewer above; a dash for none.

    Args:
        value: The number.
        like: Takes as many decimals as this one.
        decimals: Of numbers below 100.

    Example:
        >>> number(0.12345), number(199.63), number(168128.0), number(float("nan"))
        ('0.1235', '199.63', '168,128', '–')
    """
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value if like is None or not math.isfinite(like) else like)
    return f"{value:,.{0 if size >= 10_000 else 2 if size >= 100 else decimals}f}"


def signed(value: float, like: float | None = None, decimals: int = 4) -> str:
    """The same with a sign, a true minus.

    Args:
        value: The number.
        like: Takes as many decimals as this one.
        decimals: Of numbers below 100.

    Example:
        >>> signed(0.5), signed(-0.25), signed(0.0)
        ('+0.5000', '−0.2500', '0.0000')
    """
    if not math.isfinite(value):
        return number(value)
    text = number(abs(value), like, decimals)
    return ("+" if value > 0 else MINUS) + text if text.strip("0.") else text


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


def cost(key: str, value: float) -> str:
    """A cost in its usual unit.

    Example:
        >>> cost("parameters", 168128.0), cost("train_seconds_per_epoch", 0.0451)
        ('168,128', '0.0451')
    """
    if math.isnan(value):
        return DASH
    if key == "parameters":
        return f"{value:,.0f}"
    if key == "epochs_run":
        return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
