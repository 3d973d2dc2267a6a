import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.options.read import (
    flatten,
    load_yaml,
    merge,
    nest,
    parse_argv,
    parse_value,
    read_option,
)


def test_both_ways_of_writing_an_option():
    argv = ["--epochs=3", "--model", "BPR", "--quiet", "--x=a=b", "--neg", "-1"]
    expected = {"epochs": "3", "model": "BPR", "quiet": "true", "x": "a=b", "neg": "-1"}
    assert parse_argv(argv) == expected


@pytest.mark.parametrize(
    "argv",
    [
        ["epochs=3"],
        ["--epochs=3", "4"],
        ["--epochs=3", "--epochs=4"],
        ["--=3"],
        ["--.=3"],
        ["--eval_args.=3"],
        ["--eval_args..mode=full"],
    ],
)
def test_words_that_are_no_option_are_refused(argv):
    with pytest.raises(ValueError, match=r"not an option|given twice"):
        parse_argv(argv)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("5E2", 500.0),
        ("true", True),
        ("None", None),
        ("~", None),
        ("[64, 32]", [64, 32]),
        ("{'RS':[0.8,0.1,0.1]}", {"RS": [0.8, 0.1, 0.1]}),
        ("[5,inf)", "[5,inf)"),
        ("(0,3)", "(0,3)"),
        ("NDCG@20", "NDCG@20"),
    ],
)
def test_values_are_yaml(text, value):
    parsed = parse_value("key", text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text", ["__import__('os').getcwd()", "!!python/object/apply:os.getcwd []"]
)
def test_nothing_is_evaluated(text):
    if text.startswith("!!"):
        with pytest.raises(ValueError, match="not a YAML value"):
            parse_value("key", text)
    else:
        assert parse_value("key", text) == text


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "&a [*a]", "[" * 5000 + "]" * 5000])
def test_odd_values_are_told(text):
    with pytest.raises(ValueError, match=r"^key=.{1,80}: not a YAML value$"):
        parse_value("key", text)


def test_a_merge_of_yaml_may_overwrite():
    text = "{base: &b {x: 1, y: 2}, more: {<<: *b, y: 3}}"
    assert parse_value("key", text)["more"] == {"x": 1, "y": 3}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_the_command_line(number):
    assert float(parse_value("key", repr(number))) == number


def test_arguments_merge_and_other_dictionaries_are_replaced():
    base = {"eval_args": {"split": {"RS": [8, 1, 1]}, "mode": "full"}, "load_col": {"inter": ["a"]}}
    over = {"eval_args": {"split": {"LS": "v"}}, "load_col": {"item": ["b"]}}
    values, origins = merge([("file", base), ("line", over)])
    assert values["eval_args"] == {"split": {"LS": "v"}, "mode": "full"}
    assert values["load_col"] == {"item": ["b"]}
    assert origins["eval_args.mode"] == "file"
    assert origins["eval_args.split"] == "line"


def test_dotted_keys_reach_any_depth():
    base = {"eval_args": {"order": "RO", "mode": "full"}, "load_col": {"inter": ["a"]}}
    over = nest({"eval_args.mode.test": "uni100", "load_col.item": ["b"]})
    values, origins = merge([("file", base), ("line", over), ("last", {"epochs": 1})])
    assert values["eval_args"] == {"order": "RO", "mode": {"valid": "full", "test": "uni100"}}
    assert values["load_col"] == {"inter": ["a"], "item": ["b"]}
    assert origins["load_col.inter"] == "file"
    assert origins["load_col.item"] == "line"
    assert len(flatten(values, origins)) == 5


def test_a_key_cannot_be_both_value_and_mapping():
    for bad in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        with pytest.raises(ValueError, match=r"^a"):
            nest(bad)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "- 1\n- 2",
        "a: !!python/object/apply:os.getcwd []",
        "a: 1\na: 2",
        "a: {b: 1, b: 2}",
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: 1\n---\na: 2",
        "a:\tb: 1",
        "5: 1",
        "a: " + "[" * 5000 + "]" * 5000,
    ],
)
def test_bad_files_are_named(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        load_yaml(tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match=r"none\.yaml does not exist"):
        load_yaml(tmp_path / "none.yaml")


def test_a_mapping_that_is_replaced_leaves_no_origin_behind():
    layers = [
        ("file", {"eval_args": {"order": "RO", "mode": "full"}}),
        ("line", nest({"load_col.inter": ["a"], "load_col.item": ["b"]})),
    ]
    _, origins = merge([*layers, ("dict", {"load_col": {"user": ["c"]}, "eval_args": 5})])
    assert origins == {"load_col": "dict", "eval_args": "dict"}
    values, origins = merge(
        [*layers, ("dict", {"load_col": None}), ("last", nest({"load_col.x": 1}))]
    )
    assert values["load_col"] == {"x": 1}
    assert {key: origin for key, origin in origins.items() if key.startswith("load_col")} == {
        "load_col.x": "last"
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1:30", "1:30"), ("1:30.5", "1:30.5"), ("010", "010"), ("08", "08"), ("-07", "-07")),
        *(("0", 0), ("-3", -3), ("+4", 4), ("1_000", 1000), ("0x10", 16), ("1.5", 1.5)),
        *(("1e3", 1000.0), ("1E-3", 0.001), ("-.5", -0.5), ("1.", 1.0), (".inf", math.inf)),
        *(("-.inf", -math.inf), ("0.50", 0.5), ("[1, 010]", [1, "010"]), ("1.2e+5", 120000.0)),
    ],
)
def test_numbers_are_those_of_todays_yaml(text, value):
    read = parse_value("key", text)
    assert (read, type(read)) == (value, type(value))


def test_a_column_may_be_named_like_a_number():
    assert read_option("LABEL_FIELD", "1000000000000") == "1000000000000"
