import json
from pathlib import Path

import jsonschema
import pytest

from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.experiment import option_docs
from recbole_enhance.experiment.option_table import json_schema, option_rows
from recbole_enhance.model import MODELS
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml
from recbole_enhance.storage.run_folder import CONFIG
from recbole_enhance.testing.worlds import run_toy

ROOT = resource_dir("properties").parent


def mistakes(schema, options):
    return sorted(error.json_path for error in schema.iter_errors(options))


def validator(*names):
    return jsonschema.Draft202012Validator(json_schema(*names))


def test_a_table_of_a_method_holds_all_its_options_and_those_of_the_backbone():
    rows = {row.name: row for row in option_rows("DVR", "LightGCN")}
    assert rows["dvr_act_ratio"][1:4] == ("float", "(0, 1]", 0.01)
    assert rows["dvr_act_ratio"].source == "enhancer/DVR.yaml"
    about = "[1, 1000]", 2, "The number of layers in LightGCN.", "recbole: LightGCN.yaml"
    assert rows["n_layers"] == ("n_layers", "int", *about)
    assert rows["reg_weight"].range == "[0, inf)"
    assert rows["eval_args.mode"].default == "full"
    assert rows["quiet"].source == "properties/overall.yaml"
    assert rows["epochs"].default == 300
    assert "device" not in rows  # is computed
    assert len(rows) == len(option_rows("DVR", "LightGCN"))


def test_the_general_table_holds_no_options_of_a_model():
    names = {row.name for row in option_rows()}
    assert {"learner", "fast", "train_neg_sample_args.alpha"} <= names
    assert not names & {"embedding_size", "reg_weight", "k", "dvr_units"}


@pytest.mark.parametrize("name", [*ENHANCERS, *MODELS])
def test_options_of_ours_have_sentences(name):
    folder = "enhancer" if name in ENHANCERS else "model"
    rows = [row for row in option_rows(name) if row.source == f"{folder}/{name}.yaml"]
    written = set(load_yaml(ROOT / "properties" / folder / f"{name}.yaml"))
    assert {row.name.partition(".")[0] for row in rows} == written
    assert all(row.sentence and row.type for row in rows)


def test_an_unknown_model_has_no_table():
    for function in (option_rows, json_schema):
        with pytest.raises(OptionError, match=r"^model=BPPR: unknown model; did you mean BPR"):
            function("BPPR")
        with pytest.raises(OptionError, match=r"^backbone=BPPR: unknown model; did you mean BPR"):
            function("DVR", "BPPR")


@pytest.mark.parametrize("name", [None, *ENHANCERS, *MODELS, "SASRec", "FM", "HGN", "CFKG"])
def test_a_json_schema_is_one(name):
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    defaults = {
        key: shape["default"] for key, shape in schema["properties"].items() if "default" in shape
    }
    assert mistakes(jsonschema.Draft202012Validator(schema), defaults) == []


@pytest.mark.parametrize(
    ("model", "backbone"), [("DVR", "LightGCN"), ("SASRec", None), ("TIL", "BPR")]
)
def test_a_json_schema_takes_the_settings_of_a_run(toy, model, backbone):
    options = {"backbone": backbone} if backbone else {}
    options |= {"til_warmup_epochs": 0} if model == "TIL" else {}
    folder = Path(run_toy(toy, model, epochs=1, **options)["run_dir"])
    saved = load_yaml(folder / CONFIG)
    schema = validator(model, backbone)
    assert mistakes(schema, saved) == []
    assert mistakes(schema, {**saved, "epochs": -1, "learner": "adm"}) == ["$.epochs", "$.learner"]


def test_a_json_schema_finds_mistakes():
    schema = validator("DVR")
    wrong = {
        "dvr_units": 0,
        "dvr_network": "x",
        "quiet": "yes",
        "learning_rate": 0,
        "eval_args": {"ordr": "RO"},
        "train_neg_sample_args": {"alpha": "x"},
        "group_metric": "AUC",
    }
    places = [f"$.{key}" for key in wrong if "args" not in key]
    assert mistakes(schema, wrong) == sorted(
        [*places, "$.eval_args", "$.train_neg_sample_args.alpha"]
    )
    right = {"eval_args.mode": "uni100", "group_metric": "nDCG", "learner": "Adam", "epochs": 3}
    assert mistakes(schema, right) == []
    assert mistakes(schema, {"learnng_rate": 1}) == ["$"]
    assert mistakes(validator(), {"learnng_rate": 1}) == []  # may belong to some model


def test_comments_of_properties_are_up_to_date():
    for path, text in option_docs.commented_files():
        assert path.read_text("utf-8") == text, f"{path}: make docs"


def test_the_page_of_options_is_up_to_date():
    page = (ROOT / "docs" / "options.md").read_text("utf-8")
    assert page == option_docs.options_page(), "make docs"
