"""Runs on a table in memory: nothing stays but the run's folder, which can be read again."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import recbole_enhance as rbe
from recbole_enhance.data.importing import import_data
from recbole_enhance.experiment.reproduce import reproduce
from recbole_enhance.options.errors import InputError

OPTIONS = {"epochs": 1, "quiet": True, "rm_dup_inter": "first"}
COLUMNS = {"user": "customer", "item": "sku", "time": "ts"}


@pytest.fixture
def log():
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "customer": rng.integers(1, 31, 900),
            "sku": rng.integers(1, 41, 900),
            "ts": rng.integers(1_600_000_000, 1_700_000_000, 900),
        }
    )


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Nothing is left in the folder of temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield
    assert list((tmp_path / "tmp").glob("recbole-enhance-*")) == []


def run(log, **options):
    return rbe.run("BPR", data=log, config_dict=OPTIONS, **{**COLUMNS, **options})


def test_a_run_on_a_frame_is_that_on_its_import(log, tmp_path):
    result = run(log)
    name = Path(result["run_dir"]).parents[1].name
    made = import_data(log, name=name, out=tmp_path / "d", **COLUMNS)
    options = {**OPTIONS, "data_path": str(made.path.parent)}
    again = rbe.run("BPR", name, config_dict=options)
    assert again["test_result"] == result["test_result"]
    assert again["run_dir"] == f"{result['run_dir']}-2"  # of the same settings


def test_its_folder_can_be_read_and_moved(log):
    result = run(log, dataset="shop")
    folder = Path(result["run_dir"])
    assert sorted(Path.cwd().iterdir()) == [Path.cwd() / "runs"]
    (data,) = (folder / "dataset").iterdir()
    assert data.name.startswith("shop-")
    shutil.move(folder, "elsewhere")
    loaded = rbe.load_run("elsewhere")
    evaluated = loaded.trainer.evaluate(loaded.test_data, load_best_model=False)
    assert dict(evaluated) == pytest.approx(result["test_result"])
    assert reproduce("elsewhere", quiet=True)["within"]


def test_the_name_follows_the_content(log):
    names = [Path(run(frame)["run_dir"]).parents[1].name for frame in (log, pl.from_pandas(log))]
    assert names[0] == names[1]
    assert Path(run(log.iloc[1:])["run_dir"]).parents[1].name != names[0]


def test_tables_of_items_give_categories(log):
    items = pd.DataFrame({"sku": range(1, 41), "kind": ["a", "b"] * 20})
    options = {**OPTIONS, "metrics": ["NDCG", "CategoryCoverage"], "valid_metric": "NDCG@10"}
    result = rbe.run(
        "BPR", data=log, items=items, category="kind", config_dict=options, saved=False, **COLUMNS
    )
    assert result["run_dir"] is None
    assert 0 < result["test_result"]["categorycoverage@10"] <= 1
    assert list(Path.cwd().iterdir()) == []


def test_what_cannot_be_run_leaves_nothing(log):
    for problem, options in (
        ("data: item=COLUMN is missing", {"item": None}),
        ("user=custmer: data has the columns", {"user": "custmer"}),
        ("name=x: data in memory takes dataset=NAME alone", {"name": "x"}),
        ("must be the name of a folder", {"dataset": "a/b"}),
    ):
        with pytest.raises(InputError, match=problem):
            run(log, **options)
    with pytest.raises(InputError, match="epochs"):
        rbe.run("BPR", data=log, config_dict={"epochs": "many"}, **COLUMNS)
    with pytest.raises(InputError, match="user is no argument of a run without data=FRAME"):
        rbe.run("BPR", "ml-100k", user="customer")
    assert list(Path.cwd().iterdir()) == []


def test_ending_while_it_is_kept_leaves_nothing(log, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "move", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(log)
    assert list(Path.cwd().iterdir()) == []
