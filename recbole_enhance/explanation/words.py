"""What the verbs ``attack`` and ``explain`` share: their words, and tables for the terminal."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from recbole_enhance.options.errors import OptionError, UnknownOptionError
from recbole_enhance.options.read import nearest
from recbole_enhance.options.schema import Count, NotNegative, Options, Rule, validated

logger = logging.getLogger("recbole_enhance")
_FEW = 0.5  # of the pairs
Target = Literal["features", "params", "own", "random"]  # of attacks
TARGETS: tuple[Target, ...] = get_args(Target)
DEFAULT_TARGETS: tuple[Target, ...] = ("features", "params", "random")
PAIRS = ("hits", "test")  # recommendations to explain
Truth = Literal["positive", "all"]  # features of a review
TRUTHS: tuple[Truth, ...] = get_args(Truth)


class ExplainOptions(Options):
    """What is explained of a model with features, and how that is judged."""

    pairs: Literal["auto", "hits", "test"] = Field(
        "auto", description="Test items in the list, or all; auto is hits for CER, test for EFM."
    )
    truth: Truth = Field(
        "positive", description="Features that the test review praises, or all that it mentions."
    )
    topk: Count = Field(5, description="Length of the list.")
    features: Count = Field(5, description="Features per explanation.")
    negatives: Count = Field(100, description="Sampled candidates per user.")


Budgets = Annotated[list[NotNegative], Rule(allowed="a list of numbers of at least 0 is expected")]


class AttackOptions(ExplainOptions):
    """What is moved, by how much, and how lists and explanations are judged."""

    targets: Annotated[
        list[Target],
        Rule(allowed=f"a list of {', '.join(TARGETS)} is expected"),
    ] = Field(
        list(DEFAULT_TARGETS),
        description="What is perturbed; random adds random perturbations.",
    )
    budgets: Budgets = Field(
        [], description="Sizes of the perturbation of features; empty for the paper's."
    )
    param_budgets: Budgets = Field(
        [], description="Sizes for parameters; empty for what suits the model."
    )


def filled(schema: type[Options], options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Check options, and fill in the defaults of those that are not given.

    Args:
        schema: Their class.
        options: Those that are given.
        prefix: Of their names in a message.

    Raises:
        OptionError: If a value is not allowed.
        UnknownOptionError: If there is no such option.
    """
    for key in options:
        if key not in schema.model_fields:
            hint = nearest(str(key), schema.model_fields)
            raise UnknownOptionError(f"{prefix}{key}", f"unknown option{hint}")
    defaults = {
        key: field.get_default(call_default_factory=True)
        for key, field in schema.model_fields.items()
    }
    return {**defaults, **validated(schema, options, prefix)}


def attack_options(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """As :func:`filled` of :class:`AttackOptions`, where random perturbations are no attack alone.

    Raises:
        InputError: As there, and if nothing but the control is asked for.
    """
    known = filled(AttackOptions, options, prefix)
    if set(known["targets"]) <= {"random"}:
        allowed = "random needs features or params in addition"
        raise OptionError(f"{prefix}targets", ",".join(known["targets"]), allowed)
    return known


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align a table: text to the left, numbers to the right with four places.

    Example:
        >>> print(table(["name", "f1"], [["clean", 0.5], ["params", None]]))
        name        f1
        clean   0.5000
        params       -
    """
    cells = [[_cell(value) for value in row] for row in rows]
    width = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    text = [not cells or isinstance(rows[0][i], str) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        parts = [c.ljust(w) if t else c.rjust(w) for c, w, t in zip(row, width, text)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def tell_few(label: str, pairs: int, coverage: float) -> None:
    """Say that most of the pairs have no explanation, so that means over them say little.

    Args:
        label: Of the run.
        pairs: Number of pairs.
        coverage: Share of them that have an explanation.

    Example:
        >>> tell_few("CER", 100, 0.5)
    """
    if pairs and coverage < _FEW:
        logger.warning(
            "%s: %d of %d pairs have an explanation; those without one count 0, so the means say "
            "little: train longer, or with other options",
            label,
            round(coverage * pairs),
            pairs,
        )
