import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from recbole.config import Config as RecBoleConfig

from recbole_enhance.compat import mends
from recbole_enhance.enhancer import ENHANCERS, load_enhancer
from recbole_enhance.experiment.config import Config
from recbole_enhance.metric import ranking, registry
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.options import general, recbole, schema
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml
from recbole_enhance.options.schema import (
    Count,
    Options,
    Rule,
    describe,
    is_number,
    validated,
    word,
)
from recbole_enhance.testing.worlds import toy_options

PROPERTIES = resource_dir("properties")
METHODS = {name: (load_enhancer(name).options, f"enhancer/{name}.yaml") for name in ENHANCERS}
CLASSES = {
    **METHODS,
    **{name: (load_model(name).options, f"model/{name}.yaml") for name in MODELS},
    "every run": (general.GeneralOptions, "overall.yaml"),
}
OURS = [(name, key) for name, (options, _) in CLASSES.items() for key in options.model_fields]
RECBOLES = [
    (options, key)
    for options in (recbole.RecBoleOptions, recbole.RecBoleModelOptions, *recbole.NESTED.values())
    for key in options.model_fields
]


def defaults(name):
    return load_yaml(PROPERTIES / CLASSES[name][1])


def bounds(options, key):
    """The bounds of a field, as pydantic has them."""
    _, metadata, _ = schema._parts(
        options.model_fields[key].annotation, options.model_fields[key].metadata
    )
    return {type(entry): entry for entry in metadata if isinstance(entry, (Gt, Ge, Lt, Le))}


def just_outside(options, key):
    """Values that are barely not allowed."""
    found, step = bounds(options, key), 1 if describe(options, key).kind == "int" else 1e-9
    values = [entry.gt for kind, entry in found.items() if kind is Gt]
    values += [entry.ge - step for kind, entry in found.items() if kind is Ge]
    values += [entry.lt for kind, entry in found.items() if kind is Lt]
    values += [entry.le + step for kind, entry in found.items() if kind is Le]
    return values


# ---- what is said -------------------------------------------------------------------------------


class Some(Options):
    some_share: Annotated[float, Field(gt=0, le=1)]
    some_part: Annotated[float, Field(ge=0, le=1)]
    some_rate: Annotated[float, Field(ge=0, lt=1)]
    some_size: Count
    some_start: schema.Number0
    some_size_or_none: Count | None
    some_mode: Literal["soft", "hard"]
    some_flag: bool
    some_name: schema.Text
    some_names: list[str]
    some_map: dict[str, Any] | None
    some_word: Annotated[Any, word("first", "none")]
    some_tenth: Annotated[int, Field(ge=10), Rule("ten or more", kind="a ten", whole="no tenth")]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("some_share", 0, "must be above 0 and at most 1"),
        ("some_share", "x", "a number is expected"),
        ("some_share", True, "a number is expected"),
        ("some_share", None, "a number is expected"),
        ("some_share", math.nan, "a finite number is expected"),
        ("some_share", math.inf, "a finite number is expected"),
        ("some_part", 1.5, "must be between 0 and 1"),
        ("some_rate", 1, "must be at least 0 and below 1"),
        ("some_size", 0, "must be a whole number above 0 and at most 1000000"),
        ("some_size", 1.5, "must be a whole number above 0 and at most 1000000"),
        ("some_size", True, "a number is expected"),
        ("some_size", [1], "a number is expected"),
        ("some_start", -1, "must be a whole number between 0 and 1000000"),
        ("some_size_or_none", 0, "must be a whole number above 0 and at most 1000000, or ~"),
        ("some_size_or_none", "x", "must be a whole number above 0 and at most 1000000, or ~"),
        ("some_mode", "warm", "must be one of soft, hard"),
        ("some_mode", 3, "must be one of soft, hard"),
        ("some_flag", 1, "true or false is expected"),
        ("some_flag", "yes", "true or false is expected"),
        ("some_name", 3, "text is expected"),
        ("some_name", "a\0", "must not hold a zero byte"),
        ("some_names", "a", "a list is expected"),
        ("some_map", 3, "a mapping is expected"),
        ("some_word", "last", "one of first, none"),
        ("some_tenth", 9, "ten or more"),
        ("some_tenth", "x", "a ten"),
        ("some_tenth", 10.5, "no tenth"),
    ],
)
def test_what_is_said(key, value, allowed):
    with pytest.raises(OptionError) as refused:
        validated(Some, {key: value}, "a.")
    assert (refused.value.option, refused.value.allowed) == (f"a.{key}", allowed)
    assert refused.value.value is value
    assert "\n" not in str(refused.value)


def test_a_whole_number_is_a_number_and_others_are_passed_over():
    typed = validated(Some, {"some_share": 1, "some_map": None, "some_word": "FIRST", "other": 3})
    assert typed == {"some_share": 1.0, "some_map": None, "some_word": "FIRST"}
    assert type(typed["some_share"]) is float


@given(st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.none()))
def test_no_value_changes_its_kind(value):
    for key in ("some_share", "some_size", "some_flag", "some_name"):
        kind = describe(Some, key).kind
        try:
            typed = validated(Some, {key: value})[key]
        except OptionError:
            continue
        assert typed == value
        if kind in ("int", "float"):
            assert is_number(value)
            assert math.isfinite(value)
            assert kind == "float" or isinstance(value, int)
        else:
            assert type(value).__name__ == kind


# ---- every option -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_an_option_has_a_sentence_here_and_a_default_in_its_yaml(name):
    fields = CLASSES[name][0].model_fields
    known = {*recbole.RecBoleOptions.model_fields, *recbole.RecBoleModelOptions.model_fields}
    assert set(fields) <= set(defaults(name)) <= {*fields, *known}
    for key, field in fields.items():
        assert field.description
        assert field.description.endswith((".", ")"))
        assert field.is_required(), key


@pytest.mark.parametrize(("name", "key"), OURS)
def test_the_default_is_accepted_and_what_is_just_outside_is_not(name, key):
    registry.register()
    options = CLASSES[name][0]
    default = defaults(name)[key]
    assert validated(options, {key: default}).keys() == {key}
    outside = just_outside(options, key)
    described = describe(options, key)
    assert bool(outside) == (bool(described.range) and described.kind in ("int", "float"))
    for value in outside:
        with pytest.raises(OptionError) as refused:
            validated(options, {key: value})
        assert (refused.value.option, refused.value.value) == (key, value)
        assert refused.value.allowed == described.allowed
    if described.kind == "bool":
        outside = [0, 1, "true", None]
    elif described.choices:
        outside = ["", f"{default}".upper() + "x", 0]
        outside += [] if default is None else [None]
    for value in outside:
        with pytest.raises(OptionError):
            validated(options, {key: value})


@pytest.mark.parametrize(
    ("options", "key"), RECBOLES, ids=[f"{options.__name__}-{key}" for options, key in RECBOLES]
)
def test_recboles_options_are_checked_by_the_same_table(options, key):
    assert options.model_fields[key].description
    for value in just_outside(options, key):
        with pytest.raises(OptionError) as refused:
            validated(options, {key: value})
        assert refused.value.allowed == describe(options, key).allowed


def test_recboles_own_defaults_are_accepted():
    mends.apply()  # RecBole does not start without
    plain = RecBoleConfig("BPR", "ml-100k").final_config_dict
    values = {key: plain[key] for key in recbole.RecBoleOptions.model_fields if key in plain}
    paths = ("dataset_save_path", "dataloaders_save_path")
    typed = validated(recbole.RecBoleOptions, {**values, **dict.fromkeys(paths)})
    assert len(typed) > 60


@pytest.mark.parametrize("key", ["dropout_prob", "attn_dropout_prob", "hidden_dropout_prob"])
@pytest.mark.parametrize("value", [-1e-9, 1 + 1e-9, 1.5])
def test_dropout_is_a_share(key, value):
    with pytest.raises(OptionError, match=f"^{key}=.*: must be between 0 and 1$"):
        validated(recbole.RecBoleModelOptions, {key: value})
    assert validated(recbole.RecBoleModelOptions, {key: 1}) == {key: 1.0}


def test_words_that_stand_twice_agree():
    known = ", ".join(ranking.ACCURACY)
    assert describe(general.GeneralOptions, "group_metric").range == f"[{known}]"


# ---- where it was said --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [("dvr_units", 0), ("epochs", -1), ("item_head_share", 1), ("eval_args.order", "XX")],
)
def test_a_refusal_tells_where_the_value_was_said(toy, tmp_path, key, value):
    (tmp_path / "mine.yaml").write_text(f"{key}: {value}\n")
    options = toy_options(toy, "DVR", valid_metric="NDCG@5")
    options = {name: said for name, said in options.items() if name != key}
    origins = {
        "config_dict": {"config_dict": {**options, key: value}},
        "command line": {"config_dict": options, "command_line": {key: str(value)}},
        str(tmp_path / "mine.yaml"): {
            "config_dict": options,
            "config_file_list": [tmp_path / "mine.yaml"],
        },
    }
    for origin, given_ in origins.items():
        with pytest.raises(OptionError, match=r"\)$") as refused:
            Config(**given_)
        assert refused.value.option == key
        assert refused.value.origin == origin
        assert str(refused.value).endswith(f" ({origin})")


def test_a_default_that_does_not_fit_is_said_by_its_file(toy):
    with pytest.raises(OptionError) as refused:  # EFM has eval_step 0, and DVR needs validation
        Config(config_dict=toy_options(toy, "DVR"), command_line={"eval_step": "0"})
    assert refused.value.origin == "command line"
    with pytest.raises(OptionError, match=r"^transgnn_heads=4: .*\(model/TransGNN.yaml\)$"):
        Config(config_dict=toy_options(toy, "TransGNN", embedding_size=6))


# What the tables of ranges said before there were classes of options.
REFUSED_BEFORE = load_yaml(Path(__file__).with_name("refused.yaml"))


@pytest.mark.parametrize("name", REFUSED_BEFORE)
def test_what_was_refused_still_is(name):
    for key, (allowed, values) in REFUSED_BEFORE[name].items():
        for value in values:
            with pytest.raises(OptionError) as refused:
                validated(CLASSES[name][0], {key: value})
            assert (refused.value.option, refused.value.allowed) == (key, allowed), value
