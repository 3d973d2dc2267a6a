"""Ranges of the options of RecBole's models: the table properties/recbole.yaml."""

import pytest
from annotated_types import Ge, Gt, Le, Lt

from recbole_enhance.compat import mends
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.names import get_model_class, recbole_models
from recbole_enhance.experiment.option_table import json_schema, option_rows
from recbole_enhance.options import recbole
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import load_yaml
from recbole_enhance.options.recbole_models import (
    _PROPERTIES,
    entries,
    parse_entry,
    schema_of,
)
from recbole_enhance.options.schema import describe, validated
from recbole_enhance.testing.worlds import run_toy, toy_options

mends.apply()
# Paths, and what has no type of its own: RecBole alone reads them.
FREE = {
    "fields",
    "mf_pretrain_path",
    "mlp_pretrain_path",
    "pre_model_path",
    "pretrain_path",
    "reranker_CAN_NUM",
    "warm_up",
}


def classes():
    found = {}
    for name, _ in recbole_models().values():
        try:
            model = get_model_class(name)
        except ValueError:  # a package is missing
            continue
        if (_PROPERTIES / f"{name}.yaml").is_file():
            found[name] = model
    return found


MODELS = classes()


def test_the_families_are_all_there():
    assert {"BPR", "SASRec", "DeepFM", "CKE"} < set(MODELS)
    assert len(MODELS) > 80


@pytest.mark.parametrize("name", MODELS)
def test_every_option_has_a_range_and_recboles_default_is_in_it(name):
    defaults, schema = load_yaml(_PROPERTIES / f"{name}.yaml"), schema_of(MODELS[name])
    assert validated(schema, defaults).keys() <= defaults.keys()
    known = {*schema.model_fields, *FREE}
    known |= {*recbole.RecBoleOptions.model_fields, *recbole.RecBoleModelOptions.model_fields}
    assert {key for key, value in defaults.items() if not isinstance(value, bool)} <= known
    for key, field in schema.model_fields.items():
        assert field.description
        for value in outside(field, describe(schema, key)):
            with pytest.raises(OptionError) as refused:
                validated(schema, {key: value})
            assert refused.value.allowed


def outside(field, described):
    """Values that are barely not allowed, and some of another type."""
    step = 1 if described.kind == "int" else 1e-6
    values = [[], {}, None]
    if described.kind == "list":
        return [3, [None], ["x"] if "str" not in described.type else [3]]
    for entry in field.metadata:
        values += [entry.ge - step] if isinstance(entry, Ge) else []
        values += [entry.gt] if isinstance(entry, Gt) else []
        values += [entry.le + step] if isinstance(entry, Le) else []
        values += [entry.lt] if isinstance(entry, Lt) else []
    return values + (["bogus"] if described.kind != "str" or described.choices else [3])


def test_every_line_of_the_table_is_of_a_model():
    used = set()
    for name, model in MODELS.items():
        for key in schema_of(model).model_fields:
            used.add(f"{name}.{key}" if f"{name}.{key}" in entries() else key)
    lacking = {"KGAT", "KGIN", "MCCLK", "NCL", "LDiffRec", "NNCF"} - MODELS.keys()
    assert set(entries()) == used or lacking


@pytest.mark.parametrize("text", ["integer", "int [1, 2", "int 1..2", "list of list", "str ED, ND"])
def test_a_bad_line_is_told(text):
    with pytest.raises(ValueError, match="a type and an interval or words are expected"):
        parse_entry(text)


@pytest.mark.parametrize(
    ("model", "option", "value", "allowed"),
    [
        ("SGL", "type", "bogus", "must be one of ED, ND, RW"),
        ("SASRec", "hidden_size", 0, "must be a whole number between 1 and 65536"),
        ("LightGCN", "n_layers", -1, "must be a whole number between 1 and 1000"),
        ("LightGCN", "n_layers", 1.5, "must be a whole number between 1 and 1000"),
        ("NGCF", "node_dropout", -1, "must be at least 0 and below 1"),
        ("BPR", "embedding_size", 10**12, "must be a whole number above 0 and at most 65536"),
        ("DeepFM", "mlp_hidden_size", [8, 0], "must be a list of whole numbers in [1, 65536]"),
        ("DeepFM", "mlp_hidden_size", "8,x", "must be a list of whole numbers in [1, 65536]"),
        ("HGN", "reg_weight", [-1, 0], "must be a list of numbers in [0, inf)"),
        ("SimpleX", "margin", 2, "must be between -1 and 1"),
        ("CFKG", "margin", -0.5, "must be at least 0"),
        ("CKE", "kg_embedding_size", 0, "must be a whole number between 1 and 65536"),
        ("SINE", "loss_type", "BCE", "must be one of BPR, CE, NLL"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(toy, model, option, value, allowed):
    options = toy_options(toy, model)
    options.pop("embedding_size", None)
    with pytest.raises(OptionError) as refused:
        Config(config_dict={**options, option: value})
    assert (refused.value.option, refused.value.allowed) == (option, allowed)


def test_a_class_derived_from_recboles_has_its_ranges(toy):
    class Mine(MODELS["LightGCN"]):
        pass

    with pytest.raises(OptionError, match="n_layers=0: must be a whole number between"):
        run_toy(toy, Mine, n_layers=0)


def test_tables_and_editors_are_told():
    (row,) = [row for row in option_rows("SGL") if row.name == "type"]
    assert row[1:5] == ("str", "[ED, ND, RW]", "ED", "The type to generate views.")
    shape = json_schema("LightGCN")["properties"]["n_layers"]
    assert (shape["minimum"], shape["maximum"]) == (1, 1000)
