import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_enhance.data.groups import check_group_fields, user_groups
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.testing.worlds import toy_options, write_toy

OPTIONS = {"field_separator": "\t", "USER_ID_FIELD": "user_id", "encoding": "utf-8"}
HEADER = "user_id:token\tgender:token\theight:float\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "world.user").write_text(
        HEADER + "b\tM\t1\na\tF\t2\nc\t\t3\nstranger\tX\t4\nb\tF\t9\n"
    )
    return tmp_path / "world"


def groups(folder, fields, lengths=(0, 5, 1, 1, 7)):
    tokens = np.array(["[PAD]", "a", "b", "c", "d"])
    dataset = SimpleNamespace(
        uid_field="user_id", user_num=5, id2token=lambda field, ids: tokens[ids]
    )
    config = {
        **OPTIONS,
        "group_fields": fields,
        "activity_groups": 2,
        "data_path": str(folder),
        "dataset": "world",
    }
    return user_groups(config, dataset, torch.tensor(lengths))


def test_a_column_of_users_makes_groups(folder):
    ((labels, codes),) = groups(folder, ["gender"]).values()
    assert labels == ["F", "M"]  # of users in the data; the first row of a user counts
    assert codes.tolist() == [-1, 0, 1, -1, -1]  # padding, F, M, not said, not in the file


def test_activity_needs_no_column(folder):
    assert groups(folder, ["activity"])["activity"][1].tolist() == [-1, 1, 0, 0, 1]
    assert list(groups(folder, ["gender", "activity"])) == ["gender", "activity"]
    assert groups(folder, None) == {}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("gendre", r"group_fields=gendre: does not exist; token columns .*world.user are gender"),
        ("height", "group_fields=height: is :float; token columns"),
        ("user_id", "group_fields=user_id: is :token; token columns of .* are gender"),
    ],
)
def test_what_is_no_group_is_refused(folder, field, message):
    with pytest.raises(ValueError, match=message):
        check_group_fields(folder, "world", {**OPTIONS, "group_fields": ["activity", field]})


def test_no_file_of_users_is_refused_before_data_are_read(tmp_path):
    toy = write_toy(tmp_path)
    (toy / "toy" / "toy.user").unlink()
    with pytest.raises(ValueError, match=r"group_fields=gender: there is no file .*toy.user"):
        Config(config_dict=toy_options(toy, "BPR", group_fields=["gender"]))
    Config(config_dict=toy_options(toy, "BPR", group_fields=["activity"]))


@pytest.mark.parametrize(
    ("metric", "option", "message"),
    [
        ("GroupGap", {}, "metrics=GroupGap: needs groups: set group_fields"),
        ("ild", {"item_category_field": None}, "metrics=ild: needs categories: set item_category_"),
        ("ILD", {"item_category_field": "item_id"}, "'item_id': is the item's id"),
        ("EmbeddingILD", {"model": "EASE"}, "EASE has no table item_embedding"),
    ],
)
def test_a_metric_without_what_it_needs_is_refused(toy, metric, option, message):
    model = option.pop("model", "BPR")
    options = toy_options(toy, model, metrics=["NDCG", metric], **option)
    with pytest.raises(ValueError, match=message):
        run_recbole_enhance(config_dict=options)
    assert not Path("runs").exists()


def test_fairness_on_ml_100k_leaves_its_table():
    options = {
        "model": "BPR",
        "dataset": "ml-100k",
        "epochs": 1,
        "show_progress": False,
        "metrics": ["NDCG", "GroupGap"],
        "group_fields": ["gender", "age"],
        "topk": [10],
        "valid_metric": "NDCG@10",
    }
    result = run_recbole_enhance(config_dict=options)
    with open(Path(result["run_dir"], "groups.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    gender = {row["group"]: row for row in rows if row["field"] == "gender"}
    assert [int(gender[label]["users"]) for label in ("F", "M")] == [273, 670]
    means = [float(gender[label]["mean"]) for label in ("F", "M")]
    assert np.average(means, weights=[273, 670]) == pytest.approx(
        result["test_result"]["ndcg@10"], abs=6e-5
    )
    gaps = [float(row["mean"]) for row in rows if row["group"].startswith("gap")]
    assert result["test_result"]["groupgap@10"] == pytest.approx(max(gaps), abs=6e-5)
    assert gaps[0] == pytest.approx(abs(means[0] - means[1]))
