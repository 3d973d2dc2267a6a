"""What all pages share: a frame, its style in light and dark, and the format of numbers."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_enhance import __version__
from recbole_enhance.storage.log_lines import show
from recbole_enhance.storage.run_folder import RunFolder

SCRIPT = "plotly.min.js"
# Okabe, Ito: told apart by colour-blind readers, on white and on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_HERE = "recbole_enhance.explanation"
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def rendered(
    template: str,
    package: str = _HERE,
    has_plots: bool = False,
    plotly_src: str = "",
    **content: Any,
) -> str:
    """Fill a template that extends ``page.html.j2``; names are escaped.

    Args:
        template: Its name.
        package: Whose folder ``templates`` has it.
        has_plots: Whether the page draws with plotly.
        plotly_src: Where plotly.js lies, seen from the page; empty puts it into the page.
        **content: What the template shows.
    """
    plotly_js = ""
    if has_plots and not plotly_src:
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs

        plotly_js = Markup(get_plotlyjs())  # the library itself, no data of ours
    page = _environment(package).get_template(template)
    text: str = page.render(
        version=__version__, plotly_src=plotly_src, plotly_js=plotly_js, **content
    )
    return text


@functools.cache
def _environment(package: str) -> Any:
    import jinja2

    places = dict.fromkeys((package, _HERE))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(place) for place in places]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=number, short=short, signed=signed)
    return environment


def write_explanations(
    folder: RunFolder,
    lines: Sequence[dict[str, Any]],
    page: str,
    files: tuple[str, str],
    told: Callable[[dict[str, Any]], str],
    quiet: bool,
) -> None:
    """Write explanations as lines of JSON and as a page, print them, and say where they are.

    Args:
        folder: Of the run.
        lines: One for each recommendation.
        page: Its HTML.
        files: Names of the two files.
        told: Turns a line into readable text.
        quiet: Print nothing.
    """
    folder.write_jsonl(files[0], lines)
    folder.write_text(files[1], page)
    if not quiet:
        show("\n".join(told(line) for line in lines))
        print(f"\nexplanations: {folder.path / files[0]}\npage: {folder.path / files[1]}")


def share_plotly(folder: Path) -> str:
    """Make sure that plotly.js lies in a folder; returns its name.

    An existing file is kept: it may be a smaller build of plotly.js (``basic`` has the scatter
    and bar plots that our pages draw).
    """
    from plotly.offline import get_plotlyjs

    if not (folder / SCRIPT).is_file():
        RunFolder(folder, fresh=False).write_text(SCRIPT, get_plotlyjs())
    return SCRIPT


def number(value: float | None, like: float | None = None, decimals: int = 4) -> str:
    """Some decimals below 100, fewer above; a dash for none.

    Args:
        value: The number.
        like: Takes as many decimals as this one.
        decimals: Of numbers below 100.

    Example:
        >>> number(0.12345), number(199.63), number(168128.0), number(float("nan"))
        ('0.1235', '199.63', '168,128', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value if like is None or not math.isfinite(like) else like)
    return f"{value:,.{0 if size >= 10_000 else 2 if size >= 100 else decimals}f}"


def signed(value: float | None, like: float | None = None, decimals: int = 4) -> str:
    """The same with a sign, a true minus.

    Args:
        value: The number.
        like: Takes as many decimals as this one.
        decimals: Of numbers below 100.

    Example:
        >>> signed(0.5), signed(-0.25), signed(0.0)
        ('+0.5000', '−0.2500', '0.0000')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    text = number(abs(value), like, decimals)
    return ("+" if value > 0 else MINUS) + text if text.strip("0.") else text


def short(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number in a few significant digits, of any size; a dash for none.

    Args:
        value: The number.
        digits: How many.
        sign: Whether a number above 0 has one.

    Example:
        >>> short(0.00012345), short(-12.0), short(2e-7, sign=True), short(-0.0), short(None)
        ('0.000123', '−12', '+2e−07', '0', '–')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    text = f"{value + 0.0:{'+' if sign and value else ''}.{digits}g}"
    return text.replace("-", MINUS)


def decimals_for(largest: float, digits: int = 4) -> int:
    """How many decimals a column has, in which the largest number shows some digits.

    Example:
        >>> decimals_for(0.0104), decimals_for(0.5), decimals_for(12.0), decimals_for(0.0)
        (5, 4, 2, 4)
    """
    if not largest or not math.isfinite(largest):
        return digits
    return min(12, max(0, digits - 1 - math.floor(math.log10(abs(largest)))))
