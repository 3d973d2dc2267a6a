"""Spaces from YAML, from RecBole's hyper files, and the ones that ship."""

import contextlib
import math
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.options.paths import resource_dir
from recbole_enhance.testing.worlds import feature_toy_options
from recbole_enhance.tuning import space as spaces
from recbole_enhance.tuning import tune
from recbole_enhance.tuning.settings import make_config

NAMED = sorted(path.stem for path in (resource_dir("properties") / "tune").glob("*.yaml"))
FEATURES = ("CER", "EFM", "RER")
SCALARS = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), st.text(st.characters(codec="ascii"))
)
CHOICES = st.lists(
    st.one_of(SCALARS, st.lists(st.integers(1, 512), min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


def draw(parameter, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return parameter.suggest(trial), trial.params[parameter.name]


@given(values=CHOICES, seed=st.integers(0, 99))
def test_any_choices_are_drawn_as_they_were_given(values, seed):
    unique = [v for n, v in enumerate(values) if v not in values[:n]]
    parameter = spaces.parse({"x": {"choice": unique}}, "here")["x"]
    value, stored = draw(parameter, seed)
    assert value in unique
    assert type(value) in {type(v) for v in unique if v == value}
    assert parameter.decode(stored) == value
    assert parameter.corners == tuple(unique)


@given(
    kind=st.sampled_from(["uniform", "loguniform", "int"]),
    ends=st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True).map(sorted),
    seed=st.integers(0, 99),
)
def test_a_range_is_drawn_within_its_ends(kind, ends, seed):
    parameter = spaces.parse({"x": {kind: ends}}, "here")["x"]
    value, stored = draw(parameter, seed)
    assert ends[0] <= value <= ends[1]
    assert isinstance(value, int if kind == "int" else float)
    assert parameter.decode(stored) == value


@given(
    low=st.integers(-50, 50),
    width=st.integers(1, 50),
    step=st.integers(1, 10),
    seed=st.integers(0, 99),
)
def test_quniform_draws_multiples_of_its_step_as_hyperopt_does(low, width, step, seed):
    said = {"x": {"quniform": [low, low + width, step]}}
    if round(low / step) == round((low + width) / step):
        with pytest.raises(ValueError, match="empty range"):
            spaces.parse(said, "here")
        return
    parameter = spaces.parse(said, "here")["x"]
    value, _ = draw(parameter, seed)
    assert value % step == 0
    assert isinstance(value, int)
    assert round(low / step) * step <= value <= round((low + width) / step) * step
    possible = {round(x / step) * step for x in range(low, low + width + 1)}
    assert parameter.size == len({x for x in possible if x % step == 0})


def test_a_hyper_file_means_what_it_means_in_recbole():
    text = (
        "learning_rate loguniform -8,0\n"
        "embedding_size choice [64,96 , 128]\n"
        "\n"
        "# a comment\n"
        "dropout_prob uniform 0.1, 0.5\n"
        "mlp_hidden_size choice ['[64,64,64]','[128,128]', None]\n"
        "n_layers quniform 1,4,1\n"
    )
    space = spaces.parse_hyper(text, "here")
    assert space["learning_rate"].values == (math.exp(-8), 1.0)  # hyperopt's ends are logarithms
    assert space["embedding_size"].values == (64, 96, 128)
    assert space["dropout_prob"].values == (0.1, 0.5)
    assert space["mlp_hidden_size"].values == ([64, 64, 64], [128, 128], None)
    assert space["n_layers"].values == (1, 4, 1)


@pytest.mark.parametrize("name", ["a.hyper", "a.test", "a.yaml", "a"])
def test_a_hyper_file_is_known_by_its_first_line(name):
    Path(name).write_text("# mine\n\nlearning_rate choice [0.004,0.003]\nk quniform 1,3,1\n")
    assert spaces.plain(spaces.read(name)) == {
        "learning_rate": {"choice": [0.004, 0.003]},
        "k": {"quniform": [1, 3, 1]},
    }


def test_a_yaml_file_and_a_mapping_say_the_same():
    said = {"learning_rate": {"loguniform": [1e-4, 1e-2]}, "k": {"choice": [1, 2]}}
    Path("a.yaml").write_text("learning_rate: {loguniform: [1e-4, 1e-2]}\nk: [1, 2]\n")
    assert spaces.read("a.yaml") == spaces.read(Path("a.yaml")) == spaces.read(said)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("k: [1", "expected"),
        ("- k", "a mapping"),
        ("k: [1]\nk: [2]", "k is given twice"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_file_that_is_no_space(content, message):
    Path("a.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"search space a\.yaml") as error:
        spaces.read("a.yaml")
    assert message in str(error.value)


def test_the_docs_name_what_is_searched():
    page = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")
    for name in set(NAMED) - {"default"}:
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        listed = {word.strip(" ,|") for word in row.split()[2:]}
        method = name in ("DVR", "RER", "IaCN")
        space = spaces.packaged("" if method else name, name if method else None, trained=False)
        assert set(space) == {word for word in listed if word and word not in ("the", "backbone's")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x choice __import__('os').system('touch pwned')", "a list of choices is expected"),
        ("x choice [__import__('os').system('touch pwned')]", "a list of choices is expected"),
        ("x choice [" * 500, "a list of choices is expected"),
        ("x choice []", "an empty list"),
        ("x choice [1, 1.0]", "is given twice"),
        ("x uniform 1", "[low, high]"),
        ("x uniform 2,1", "empty range"),
        ("x uniform a,b", "finite numbers"),
        ("x loguniform 0,1e9", "too large"),
        ("x quniform 0,1", "[low, high, step]"),
        ("x quniform 0,1,0", "step above 0"),
        ("x normal 0,1", "choice|uniform"),
        ("x choice", "choice|uniform"),
        ("x uniform 0,1\nx uniform 0,1", "line 2: x is given twice"),
    ],
)
def test_a_bad_line_is_named_and_not_run(line, message):
    with pytest.raises(ValueError, match="here, line") as error:
        spaces.parse_hyper(line, "here")
    assert message in str(error.value)
    assert not Path("pwned").exists()


@given(st.text())
def test_any_text_is_a_space_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        spaces.parse_hyper(text, "here")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (3, "one of choice, uniform"),
        ({"choise": [1]}, "did you mean choice?"),
        ({"uniform": [0, 1], "int": [0, 1]}, "one of choice, uniform"),
        ({"uniform": 3}, "a list is expected"),
        ({"uniform": [0, float("inf")]}, "finite numbers"),
        ({"uniform": [0, True]}, "finite numbers"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"int": [1, 2.5]}, "whole numbers"),
        ({"int": [2, 2]}, "empty range"),
        ({"choice": [1, True]}, "is given twice"),
        ({"choice": [float("nan")]}, "plain finite values"),
        ([], "an empty list"),
    ],
)
def test_a_bad_entry_is_named(said, message):
    with pytest.raises(ValueError, match="here: x: ") as error:
        spaces.parse({"x": said}, "here")
    assert message in str(error.value)


def test_size_counts_what_can_be_counted():
    space = spaces.parse(
        {"a": [1, 2, 3], "b": {"int": [0, 4]}, "c": {"quniform": [0, 1, 0.25]}}, "here"
    )
    assert spaces.size(space) == 3 * 5 * 5
    assert spaces.size({}) == 1
    assert spaces.size(spaces.parse({"a": {"uniform": [0, 1]}}, "here")) == math.inf


@pytest.mark.parametrize("name", sorted({*NAMED, "MultiDAE", "SLIMElastic"} - {"default"}))
def test_each_space_that_ships_is_allowed(name, reviews):
    options = {"model": name, "dataset": "ml-100k"}
    if name in FEATURES:
        options = feature_toy_options(reviews, name)
    config = make_config(options)
    space = tune._space(config, options, None)
    trained = {"Pop": False, "SLIMElastic": False}.get(name, True)
    assert bool(space) == trained
    assert set(NAMED) >= {name} or set(space) <= {"learning_rate"}


def test_a_method_searches_its_own_options_beside_the_backbones():
    options = {"model": "DVR", "backbone": "LightGCN", "dataset": "ml-100k"}
    space = tune._space(make_config(options), options, None)
    assert {"n_layers", "learning_rate", "dvr_strength"} <= set(space)
    assert "embedding_size" not in space  # BPR's


def test_what_is_given_is_not_searched(caplog):
    options = {"model": "LightGCN", "dataset": "ml-100k", "n_layers": "3"}
    Path("a.yaml").write_text("reg_weight: 0.01\n")
    options["config_files"] = "a.yaml"
    space = tune._space(make_config(options), options, None)
    assert set(space) == {"learning_rate"}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learnng_rate": [0.1]}, "did you mean learning_rate?"),
        ({"learning_rate": [0.1, "high"]}, "learning_rate=high: a number is expected"),
        ({"learning_rate": {"uniform": [-1, 1]}}, "learning_rate=-1.0: must be above 0"),
        ({"n_layers": [1]}, "n_layers: unknown option"),
        ({"dvr_gamma": [1.0]}, "an option of DVR"),
        ({"topk": [[5], [10]]}, "data and evaluation are the same in all trials"),
        ({"eval_args.mode": ["full", "uni10"]}, "data and evaluation are the same"),
        ({"seed": {"int": [1, 9]}}, "data and evaluation are the same"),
        ({"backbone": ["BPR", "NeuMF"]}, "data and evaluation are the same"),
        ({"epochs": [5]}, "is also given as an option of the run"),
    ],
)
def test_a_space_of_what_cannot_be_searched(space, message):
    options = {"model": "BPR", "dataset": "ml-100k", "epochs": "3"}
    with pytest.raises(ValueError, match="space: ") as error:
        tune._space(make_config(options), options, space)
    assert message in str(error.value)
