"""The options of a run as a table, and as JSON Schema for editors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.validation import COMPUTED
from recbole_enhance.options.model_class import options_read_by
from recbole_enhance.options.read import merge
from recbole_enhance.options.recbole import NESTED, RecBoleModelOptions
from recbole_enhance.options.schema import Options, describe, option_json_schema

_TYPES = {bool: "boolean", int: "number", float: "number"}


class OptionRow(NamedTuple):
    """One option.

    Attributes:
        name: Its name, with a dot where it is part of a mapping.
        type: ``int``, ``str or None``, ...
        range: An interval or a list, empty if everything of the type is allowed.
        default: Its value if no other is given.
        sentence: What it is.
        source: The file of its default, as ``enhancer/DVR.yaml``.
    """

    name: str
    type: str
    range: str
    default: Any
    sentence: str
    source: str


def option_rows(model: str | None = None, backbone: str | None = None) -> list[OptionRow]:
    """List the options of a run, none of which needs data.

    Args:
        model: A method or a model; None lists what all have.
        backbone: The model under the method; None takes the method's own.

    Returns:
        The method's, the model's, those of this package, RecBole's.

    Raises:
        OptionError: If there is no such model.

    Example:
        >>> [row for row in option_rows("RCE") if row.name == "rce_alpha"][0][1:4]
        ('float', '[0, inf)', 0.25)
    """
    config, schemas = _defaults(model, backbone)
    values, origins = merge(config._internal_layers)
    described = [key for schema in schemas for key in schema.model_fields]
    others = [] if model is None else sorted({*values, *options_read_by(config.model_class)})
    rows: list[OptionRow] = []
    for key in dict.fromkeys([*described, *others]):
        if key in NESTED:
            inner = values[key] or {}
            for name in NESTED[key].model_fields:
                source = origins.get(f"{key}.{name}") or origins.get(key, "")
                row = _row(NESTED[key], name, inner.get(name), source)
                rows.append(row._replace(name=f"{key}.{name}"))
        elif key not in COMPUTED:
            rows.append(
                _row(_schema_of(key, schemas, values), key, values.get(key), origins.get(key, ""))
            )
    return rows


def json_schema(model: str | None = None, backbone: str | None = None) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a YAML file of options.

    Args:
        model: As for :func:`option_rows`; None allows every other option, as any model may have it.
        backbone: As for :func:`option_rows`.

    Raises:
        OptionError: If there is no such model.
    """
    config, schemas = _defaults(model, backbone)
    values, _ = merge(config._internal_layers)
    known = [key for schema in schemas for key in schema.model_fields]
    if model is not None:
        known += sorted({*values, *options_read_by(config.model_class)})
    properties = {}
    for key in dict.fromkeys(known):
        if key not in COMPUTED:
            shape = _shape(_schema_of(key, schemas, values), key, values.get(key))
            properties[key] = {**shape, **({"default": values[key]} if key in values else {})}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Options of {config.method.name if config.method else model or 'any run'}",
        "type": "object",
        "properties": properties,
        "patternProperties": {r"^\w+\.": {}},  # dotted keys reach into mappings
        "additionalProperties": model is None or config.pair.own_class is not None,
    }


def _defaults(model: str | None, backbone: str | None) -> tuple[Config, Sequence[type[Options]]]:
    """The layers of files below the user's own, and the classes of options."""
    config = Config.of_defaults(model or "BPR", backbone)
    return config, config.schemas() if model is not None else config.schemas()[-2:]


def _schema_of(
    key: str, schemas: Sequence[type[Options]], values: Mapping[str, Any]
) -> type[Options] | None:
    """The class that describes an option; None where its default alone says what it may be."""
    for schema in schemas:
        if key in schema.model_fields:
            return schema
    of_model = key in RecBoleModelOptions.model_fields and not isinstance(values.get(key), list)
    return RecBoleModelOptions if of_model else None


def _row(schema: type[Options] | None, key: str, default: Any, source: str) -> OptionRow:
    if schema is None:
        type_ = "" if default is None else type(default).__name__
        return OptionRow(key, type_, "", default, "", source)
    found = describe(schema, key)
    sentence = schema.model_fields[key].description or ""
    return OptionRow(key, found.type, found.range, default, sentence, source)


def _shape(schema: type[Options] | None, key: str, default: Any) -> dict[str, Any]:
    if schema is not None:
        shape = option_json_schema(schema, key)
        if key in NESTED:
            fields = NESTED[key].model_fields
            inside = {name: option_json_schema(NESTED[key], name) for name in fields}
            shape |= {"properties": inside, "additionalProperties": False}
        return shape
    return {"type": _TYPES[type(default)]} if type(default) in _TYPES else {}
