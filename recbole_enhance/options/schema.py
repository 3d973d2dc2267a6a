"""What an option may be: type, range and sentence, said once and checked by pydantic.

An option is a field of a class of :class:`Options`. Its default is not here but in its YAML. The
text of a refusal is ours, and is made of type and range.

Example:
    >>> class Mine(Options):
    ...     mine_share: Annotated[float, Field(gt=0, le=1)] = Field(description="Share of items.")
    ...     mine_mode: Literal["soft", "hard"] = Field(description="How they are drawn.")
    >>> validated(Mine, {"mine_share": 1})
    {'mine_share': 1.0}
    >>> validated(Mine, {"mine_mode": "warm"})
    Traceback (most recent call last):
    recbole_enhance.options.errors.OptionError: mine_mode=warm: must be one of soft, hard
"""

import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.limits import MOST, MOST_WIDE

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class Options(BaseModel):
    """Options that belong together, one field each.

    Text is no number, True is no whole number, a whole number is fine where a number is, NaN and
    infinity are refused, and None is allowed only where the type says so.
    """

    model_config = _STRICT


@dataclass(frozen=True, eq=False)
class Rule:
    """What type and bounds of a field do not say; stands in its ``Annotated``.

    Attributes:
        allowed: Said where a value is refused.
        kind: Said where it is not even of the right type.
        whole: Said where it is a number, but no whole one.
        type: The type in a table, as ``list of str``.
        range: The range in a table.
        check: Returns the value with its type, or raises :func:`refusal`; comes before pydantic.
        shape: JSON Schema of the value in a file.
    """

    allowed: str | None = None
    kind: str | None = None
    whole: str | None = None
    type: str | None = None
    range: str | None = None
    check: Callable[[Any], Any] | None = None
    shape: Mapping[str, Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        inner = handler(source)
        if self.check is None:
            return inner
        return core_schema.no_info_before_validator_function(self.check, inner)

    def __get_pydantic_json_schema__(self, inner: Any, handler: Any) -> Any:
        return handler(inner) if self.shape is None else dict(self.shape)


def refusal(allowed: str) -> PydanticCustomError:
    """What a validator of a field raises: why a value is not allowed, in words."""
    return PydanticCustomError("option", "{allowed}", {"allowed": allowed})


class Described(NamedTuple):
    """An option's type and range, read off its field.

    Attributes:
        kind: ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict``, or ``any``.
        type: As a table says it.
        range: As a table says it, empty if everything of the type is allowed.
        choices: The words of which it is one.
        allowed: What must be, in words.
        mismatch: The same where a value is of another type.
        fraction: The same where a number is no whole one.
    """

    kind: str
    type: str
    range: str
    choices: tuple[str, ...]
    allowed: str
    mismatch: str
    fraction: str


class _Parts(NamedTuple):
    base: Any
    metadata: tuple[Any, ...]
    optional: bool


def _parts(annotation: Any, metadata: Sequence[Any] = ()) -> _Parts:
    """The type below ``Annotated`` and ``| None``, and what is annotated."""
    flat: list[Any] = []
    for entry in metadata:
        flat += entry.metadata if isinstance(entry, FieldInfo) else [entry]
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *outer = get_args(annotation)
        return _parts(inner, [*outer, *flat])
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            base, found, _ = _parts(members[0], flat)
            return _Parts(base, found, True)
    return _Parts(annotation, tuple(flat), False)


_MISMATCH = {
    "bool": "true or false is expected",
    "int": "a number is expected",
    "float": "a number is expected",
    "str": "text is expected",
    "list": "a list is expected",
    "dict": "a mapping is expected",
}


@functools.cache
def describe(schema: type[Options], key: str) -> Described:
    """Put the type and the range of an option into words."""
    field = schema.model_fields[key]
    base, metadata, optional = _parts(field.annotation, field.metadata)
    words = Rule()
    for entry in metadata:
        if isinstance(entry, Rule):
            words = replace(words, **{k: v for k, v in vars(entry).items() if v is not None})
    choices = get_args(base) if get_origin(base) is Literal else ()
    plain = get_origin(base) or base
    kind = "str" if choices else plain.__name__ if isinstance(plain, type) else "any"
    kind = kind if kind in _MISMATCH else "any"
    listed = ", ".join(map(str, choices))
    range_, must = _bound_words(metadata, kind)
    if choices:
        range_, must = f"[{listed}]", f"must be one of {listed}"
    mismatch = _MISMATCH.get(kind, "")
    must = words.allowed or (f"{must}, or ~" if must and optional else must) or mismatch
    type_ = words.type or (_list_words(base) if kind == "list" else kind)
    return Described(
        kind=kind,
        type=f"{type_} or None" if optional and not type_.endswith("None") else type_,
        range=range_ if words.range is None else words.range,
        choices=choices,
        allowed=must,
        mismatch=words.kind or (must if optional or choices else mismatch or must),
        fraction=words.whole or must,
    )


def _list_words(base: Any) -> str:
    inner = [_parts(argument).base for argument in get_args(base)]
    return f"list of {inner[0].__name__}" if inner and inner[0] is not Any else "list"


def _bound_words(metadata: Sequence[Any], kind: str) -> tuple[str, str]:
    """The range as an interval, and as a sentence."""
    found = {type(entry): entry for entry in metadata}
    gt, ge, lt, le = (getattr(found.get(t), t.__name__.lower(), None) for t in (Gt, Ge, Lt, Le))
    low = f"above {gt}" if gt is not None else f"at least {ge}" if ge is not None else ""
    high = f"below {lt}" if lt is not None else f"at most {le}" if le is not None else ""
    if not low and not high:
        return "", ""
    if ge is not None and le is not None:
        said = f"between {ge} and {le}"
    else:
        said = " and ".join(filter(None, (low, high)))
    if kind == "int":
        said = f"a whole number{',' if ge is not None and le is None else ''} {said}"
        ge, gt = (gt + 1, None) if gt is not None else (ge, gt)
    left = f"({gt}" if gt is not None else f"[{ge}" if ge is not None else "(-inf"
    right = f"{lt})" if lt is not None else f"{le}]" if le is not None else "inf)"
    return f"{left}, {right}", f"must be {said}"


def is_list(schema: type[Options], key: str) -> bool:
    """Whether an option is a list, so that text such as ``a,b`` is one."""
    return describe(schema, key).type.startswith("list")


@functools.cache
def _adapter(schema: type[Options], key: str) -> TypeAdapter[Any]:
    field = schema.model_fields[key]
    return TypeAdapter(Annotated[field.annotation, field], config=_STRICT)  # type: ignore[arg-type]


def validated(schema: type[Options], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Check the options of a class, and give them their types.

    Args:
        schema: The class.
        values: Options; those that are no field of the class are passed over.
        prefix: Of their names in a message, as ``eval_args.``.

    Returns:
        The options that are fields of the class.

    Raises:
        OptionError: Naming the first option that has a value which it cannot have.
    """
    typed = {}
    for key, value in values.items():
        if key in schema.model_fields:
            described = describe(schema, key)
            if described.kind != "bool":
                _refuse_not_finite(prefix + key, value)
            try:
                typed[key] = _adapter(schema, key).validate_python(value)
            except ValidationError as error:
                allowed = _allowed(error, described, value)
                raise OptionError(prefix + key, value, allowed) from None
    return typed


def _allowed(error: ValidationError, described: Described, value: Any) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "option":
        return str(first["ctx"]["allowed"])
    kind = described.kind
    if kind == "int" and isinstance(value, float):
        return described.fraction
    number = kind in ("int", "float") and is_number(value)
    text = kind == "str" and isinstance(value, str)
    same = number or text or type(value).__name__ == kind
    return described.allowed if same else described.mismatch


def _refuse_not_finite(key: str, value: Any) -> None:
    if (is_number(value) and not is_finite(value)) or _too_long(value):
        raise OptionError(key, value, "a finite number is expected")


def _too_long(value: Any) -> bool:
    """Whether a whole number is in it that no float holds; RecBole computes with all of them."""
    if isinstance(value, (list, dict)):
        return any(map(_too_long, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not is_finite(value + 0)


def is_number(value: Any) -> bool:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a number, and neither infinite, nor NaN, nor too long for a float.

    Example:
        >>> is_finite(3), is_finite(float("nan")), is_finite(10**400)
        (True, False, False)
    """
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:
        return False


def like_default(key: str, value: Any, default: Any) -> None:
    """Check an option that no class describes: its default says what type it has.

    Raises:
        OptionError: Naming the option, the value and the type.
    """
    if isinstance(default, bool) and not isinstance(value, bool):
        raise OptionError(key, value, _MISMATCH["bool"])
    if is_number(default) and not is_number(value):
        raise OptionError(key, value, _MISMATCH["float"])
    _refuse_not_finite(key, value)


def option_json_schema(schema: type[Options], key: str) -> dict[str, Any]:
    """JSON Schema of one option."""
    about = {"description": schema.model_fields[key].description or ""}
    return {**_adapter(schema, key).json_schema(), **about}


# ---- types that several classes use -------------------------------------------------------------

Count = Annotated[int, Field(gt=0, le=MOST)]
Few = Annotated[int, Field(gt=0, le=1000)]  # of what is repeated within a step: layers, iterations
Width = Annotated[int, Field(gt=0, le=MOST_WIDE)]
Number0 = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


def _no_zero_byte(text: str) -> str:
    if "\0" in text:
        raise refusal("must not hold a zero byte")
    return text


Text = Annotated[str, AfterValidator(_no_zero_byte)]
# The name of a model or its class, or of a variant: what it names is looked for elsewhere.
Name = Annotated[Any, Rule(type="str or None", shape={"type": ["string", "null"]})]


def word(*names: str) -> Rule:
    """Rule of an option that takes one of some words, whatever the case."""
    listed = ", ".join(names)

    def check(value: Any) -> Any:
        if str(value).lower() not in names:
            raise refusal(f"one of {listed}")
        return value

    either = "|".join("".join(f"[{c.lower()}{c.upper()}]" for c in name) for name in names)
    shape: dict[str, Any] = {"anyOf": [{"enum": list(names)}, {"pattern": f"^({either})$"}]}
    if "none" in names:
        shape["anyOf"][0]["enum"].append(None)
    return Rule(type="str", range=f"[{listed}]", check=check, shape=shape)
