import re
from pathlib import Path

import pytest
import recbole
import yaml

from recbole_enhance.data.atomic import check_columns
from recbole_enhance.data.reading import read_header
from recbole_enhance.options.paths import resource_dir

REAL_DATA = Path(__file__).parents[1].parent / "shared" / "dataset"
SECTIONS = ("general", "context", "sequential", "knowledge")
FILES = {path.stem: path for path in resource_dir("dataset_configs").glob("*.yaml")}
RECBOLE = Path(recbole.__file__).parent

every_file = pytest.mark.parametrize("name", sorted(FILES))


def load(name):
    """Flat options, sections, variants."""
    config = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    sections = {key: config.pop(key) for key in SECTIONS if key in config}
    return config, sections, config.pop("variants", {})


def known_options():
    """Every option of RecBole that applies to all models, and our one."""
    known = {"item_category_field"}
    for file in ("overall.yaml", "dataset/sample.yaml"):
        text = (RECBOLE / "properties" / file).read_text(encoding="utf-8")
        known |= set(re.findall(r"^(\w+):", text, flags=re.MULTILINE))
    return known


def folder_of(name):
    folder = RECBOLE / "dataset_example" / name if name == "ml-100k" else REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"{name}'s files are not in ../shared/dataset")
    return folder


def combinations(name):
    """The options of each model type, alone and with each variant."""
    flat, sections, variants = load(name)
    for section in SECTIONS:
        base = {**flat, **sections.get(section, {})}
        yield base
        yield from ({**base, **variant} for variant in variants.values())


def test_there_is_a_file_for_each_dataset():
    assert set(FILES) == {
        "ml-100k",
        "amazon-beauty",
        "amazon-cds",
        "amazon-cellphones",
        "lastfm",
        "gowalla",
    }


@every_file
def test_only_known_options_in_known_places(name):
    flat, sections, variants = load(name)
    known = known_options()
    for part in (flat, *sections.values(), *variants.values()):
        assert isinstance(part, dict)
        assert set(part) <= known
    assert "item_category_field" in flat


@every_file
def test_every_line_of_an_option_has_its_type_beside_it(name):
    inside = ("split", "order", "group_by", "mode", "distribution", "sample_num")
    inside += ("inter", "user", "item", "kg", "link", *SECTIONS, "variants")
    _, _, variants = load(name)
    for line in FILES[name].read_text(encoding="utf-8").splitlines():
        key = re.match(r"\s*([\w-]+):", line)
        if key and key[1] not in inside and key[1] not in variants:
            assert re.search(r"# \((str|list|dict|bool)\) [A-Z0-9].*\.$", line), line


@pytest.mark.parametrize("name", sorted(set(FILES) - {"amazon-cellphones"}))
def test_general_models_follow_the_protocol_of_the_dvr_paper(name):
    general = load(name)[1]["general"]
    assert general["eval_args"] == {
        "split": {"RS": [0.8, 0.1, 0.1]},
        "order": "RO",
        "group_by": "user",
        "mode": "full",
    }
    assert general["metrics"] == ["Recall", "NDCG", "Hit", "MRR", "Precision"]
    assert general["topk"] == [10, 20]
    assert general["valid_metric"] == "NDCG@20"


def test_reviews_follow_the_protocol_of_counter():
    general = load("amazon-cellphones")[1]["general"]
    assert general["eval_args"] == {
        "split": {"RS": [0.7, 0.1, 0.2]},
        "order": "RO",
        "group_by": "user",
        "mode": "uni100",
    }
    assert general["valid_metric"] == "NDCG@5"
    folder = folder_of("amazon-cellphones")
    columns = read_header(folder / "amazon-cellphones.inter")
    assert columns["feature"] == "token_seq"
    assert columns["sentiment"] == "float_seq"


@every_file
def test_the_category_field_is_among_the_loaded_columns(name):
    for options in combinations(name):
        field = options["item_category_field"]
        if field is not None and "load_col" in options:  # else RecBole's own columns for ml-100k
            assert field in options["load_col"]["item"]


@every_file
def test_a_filter_by_value_loads_its_column(name):
    flat, sections, variants = load(name)
    for variant in variants.values():
        options = {**flat, **sections["general"], **variant}
        assert set(options.get("val_interval", {})) <= set(options["load_col"]["inter"])


@every_file
def test_the_columns_exist(name):
    folder = folder_of(name)
    for options in combinations(name):
        if "load_col" in options:
            check_columns(folder, name, options["load_col"], ["user_id", "item_id"])
        if "TIME_FIELD" in options:
            assert options["TIME_FIELD"] in read_header(folder / f"{name}.inter")


def test_context_aware_models_on_ml_100k_get_the_category_from_recbole_itself():
    file = RECBOLE / "properties" / "quick_start_config" / "context-aware_ml-100k.yaml"
    theirs = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert load("ml-100k")[0]["item_category_field"] in theirs["load_col"]["item"]
