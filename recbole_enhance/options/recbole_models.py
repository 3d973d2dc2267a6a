"""Options of RecBole's models: classes that are made of the table properties/recbole.yaml."""

import functools
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import recbole
from pydantic import Field, create_model

from recbole_enhance.options.model_class import options_read_by
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml
from recbole_enhance.options.schema import Options, Rule

TABLE = "recbole.yaml"
_PROPERTIES = Path(recbole.__file__).parent / "properties" / "model"
_ENTRY = re.compile(
    r"(?P<list>list of )?(?P<type>int|float|str|bool)(?: (?P<range>[\[(].*[\])]|\{.*\}))?"
)
_TYPES = {"int": int, "float": float, "str": str, "bool": bool}
_WORDS = {"int": "whole numbers", "float": "numbers"}
_SENTENCE = re.compile(r"#\s*(?:\([^)]*\))?\s*(.*?)\s*$")


class Entry(NamedTuple):
    """One line of the table.

    Attributes:
        type: Of the value, or of each one of a list.
        listed: Whether it is a list.
        range: An interval or words, as in the table; empty if all of the type is allowed.
        choices: The words.
        bounds: ``ge``, ``gt``, ``le`` and ``lt`` of the interval, those that it has.
    """

    type: str
    listed: bool
    range: str
    choices: tuple[Any, ...]
    bounds: dict[str, Any]


def parse_entry(text: str) -> Entry:
    """Read what an option may be.

    Raises:
        ValueError: If the text is of another form.

    Example:
        >>> parse_entry("list of float (0, inf)")[:4]
        ('float', True, '(0, inf)', ())
        >>> parse_entry("str {ED, ND}").choices
        ('ED', 'ND')
    """
    found = _ENTRY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: a type and an interval or words are expected")
    kind, range_ = found["type"], found["range"] or ""
    inner = [part.strip().strip("'") for part in range_[1:-1].split(",")]
    choices: tuple[Any, ...] = ()
    bounds: dict[str, Any] = {}
    if range_.startswith("{"):
        choices = tuple(_TYPES[kind](word) for word in inner)
    elif range_:
        low, high = (None if end.endswith("inf") else float(end) for end in inner)
        bounds = {
            "ge" if range_[0] == "[" else "gt": low,
            "le" if range_[-1] == "]" else "lt": high,
        }
        bounds = {
            key: int(end) if end.is_integer() else end
            for key, end in bounds.items()
            if end is not None
        }
    return Entry(kind, bool(found["list"]), range_, choices, bounds)


def annotation(entry: Entry) -> Any:
    """The type of a field of a class of options."""
    if entry.choices:
        return Literal[entry.choices]
    kind: Any = _TYPES[entry.type]
    if entry.bounds:
        kind = Annotated[kind, Field(**entry.bounds)]
    if not entry.listed or not entry.range:
        return list[kind] if entry.listed else kind
    must = f"must be a list of {_WORDS[entry.type]} in {entry.range}"
    return Annotated[list[kind], Rule(must, kind=must, range=entry.range)]


@functools.cache
def entries() -> dict[str, Entry]:
    """The table: option, or ``Model.option``, and what it may be."""
    table = load_yaml(resource_dir("properties") / TABLE)
    return {key: parse_entry(text) for key, text in table.items()}


@functools.cache
def schema_of(model_class: type) -> type[Options] | None:
    """The class of options of a model of RecBole's, or of what is derived from one; or None."""
    names = (cls.__name__ for cls in model_class.__mro__ if cls.__module__.startswith("recbole."))
    path = next((p for p in (_PROPERTIES / f"{name}.yaml" for name in names) if p.is_file()), None)
    if path is None:
        return None
    fields: dict[str, Any] = {}
    sentences = _sentences(path)
    for key in sorted({*load_yaml(path), *options_read_by(model_class)}):
        entry = entries().get(f"{path.stem}.{key}") or entries().get(key)
        if entry is not None:
            about = Field(description=sentences.get(key) or f"Of {path.stem}.")
            fields[key] = (annotation(entry), about)
    return create_model(f"{path.stem}Options", __base__=Options, **fields)


def _sentences(path: Path) -> dict[str, str]:
    """What RecBole's file says of each option, without type and range."""
    found = {}
    for line in path.read_text("utf-8").splitlines():
        key, _, rest = line.partition(":")
        comment = _SENTENCE.search(rest)
        if key.strip() == key and comment and comment[1]:
            found[key] = re.sub(r"\s*Range in .*", "", comment[1])
    return found
