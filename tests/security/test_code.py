"""Nothing that a file says is run, imported or connected to."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from recbole_enhance.cli.program import main
from recbole_enhance.leaderboard.rows import names_own_code

OWN = "from recbole.model.general_recommender.bpr import BPR\nopen('it ran', 'w')\n\n\nclass Mine(BPR):\n    pass\n"  # noqa: E501


@pytest.fixture(autouse=True)
def module():
    Path("mine_of_nobody.py").write_text(OWN)
    yield
    assert not Path("it ran").exists()
    assert "mine_of_nobody" not in sys.modules


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"cluster": "tcp://127.0.0.1:1"}, "--cluster=tcp://127.0.0.1:1"),
        (
            {"tune": {"trials": 1, "storage": "sqlite:///made.db"}},
            "--tune.storage=sqlite:///made.db",
        ),
        ({"models": ["mine_of_nobody:Mine"]}, "--models=mine_of_nobody:Mine"),
        ({"models": ["DVR:mine_of_nobody:Mine"]}, "--models=DVR:mine_of_nobody:Mine"),
        ({"options": {"cluster": "tcp://127.0.0.1:1"}}, "--cluster=ADDRESS"),
        ({"options": {"storage": "sqlite:///made.db"}}, "--tune.storage=ADDRESS"),
    ],
)
def test_a_spec_names_no_address_and_no_code(toy, refused, changes, flag):
    content = {"out": "b", "models": ["BPR"], "datasets": ["toy"], **changes}
    content["options"] = {"data_path": str(toy), "epochs": 1, **content.get("options", {})}
    Path("spec.yaml").write_text(yaml.safe_dump(content))
    before = list(sys.path)
    assert flag in refused("leaderboard", "run", "spec.yaml")
    assert sys.path == before
    assert sorted(os.listdir()) == ["mine_of_nobody.py", "spec.yaml"]


@pytest.mark.parametrize(
    ("verb", "option", "says"),
    [
        (("tune",), {"storage": "sqlite:///made.db"}, "write --storage=sqlite:///made.db"),
        (("tune",), {"out": "elsewhere"}, "write --out=elsewhere"),
        (("leaderboard", "run"), {"cluster": "tcp://127.0.0.1:1"}, "--cluster=ADDRESS"),
        (("run",), {"model": "mine_of_nobody:Mine"}, "mine_of_nobody:Mine"),
        (("run",), {"model": "DVR", "backbone": "mine_of_nobody:Mine"}, "mine_of_nobody:Mine"),
        (("tune",), {"model": "mine_of_nobody:Mine"}, "mine_of_nobody:Mine"),
    ],
)
def test_options_in_a_file_name_no_address_and_no_code(toy, refused, verb, option, says):
    Path("o.yaml").write_text(yaml.safe_dump({"epochs": 1, "data_path": str(toy), **option}))
    model = "--models=BPR" if "leaderboard" in verb else "--model=BPR"
    words = [] if "model" in option else [model]
    out = ["--out=b"] if "leaderboard" in verb else []
    assert says in refused(*verb, *words, *out, "--dataset=toy", "--config_files=o.yaml")
    assert sorted(os.listdir()) == ["mine_of_nobody.py", "o.yaml"]


def test_a_run_folder_imports_no_code(finished, refused):
    path = finished / "config.yaml"
    for change in ("model: mine_of_nobody:Mine", "backbone: mine_of_nobody:Mine"):
        key = change.partition(":")[0]
        options = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**options, key: "mine_of_nobody:Mine"}))
        assert "mine_of_nobody" in refused("reproduce", finished)
        assert "board/run" in refused("explain", finished)
        path.write_text(yaml.safe_dump(options))


def test_rows_of_methods_over_models_name_no_code_of_the_users():
    for text in ("BPR", "DVR:BPR", "dvr:LightGCN", "TIL"):
        assert not names_own_code(text)
    for text in ("mine:Model", "DVR:mine:Model", "my.methods:Method:BPR"):
        assert names_own_code(text)


@pytest.mark.parametrize(
    ("models", "there"), [("BPR,DVR:BPR", False), ("BPR,mine_of_nobody:Mine", True)]
)
def test_the_working_folder_is_a_place_of_modules_for_own_classes_only(
    monkeypatch, refused, models, there
):
    here = os.getcwd()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", here)])
    refused("leaderboard", "run", f"--models={models}", "--dataset=none", "--out=b")
    assert (here in sys.path) == there
    Path("it ran").unlink(missing_ok=True)
    sys.modules.pop("mine_of_nobody", None)


def test_yaml_builds_plain_values_only(refused):
    Path("o.yaml").write_text("epochs: !!python/object/apply:os.system ['touch made']\n")
    line = refused("run", "--model=BPR", "--dataset=toy", "--config_files=o.yaml")
    assert "o.yaml" in line
    assert not Path("made").exists()


def test_code_that_the_command_line_names_is_imported(toy, monkeypatch):
    """The control of the tests above: the module would have run."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    words = ["--dataset=toy", f"--data_path={toy}", "--epochs=1", "--run_dir=r", "--quiet"]
    words.append("--embedding_size=8")
    assert main(["--model=mine_of_nobody:Mine", *words]) == 0
    assert Path("it ran").exists()
    Path("it ran").unlink()
    del sys.modules["mine_of_nobody"]
