"""A user's own class: named in config.yaml, imported on his word only."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from recbole.model.general_recommender import BPR, LightGCN

from recbole_enhance.cli import program as cli
from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, resume_run, run_recbole_enhance
from recbole_enhance.storage.run_folder import CONFIG, METRICS, RunFolder
from recbole_enhance.testing.worlds import TOY, run_toy, toy_options

ROOT = Path(__file__).parents[2]
MODULE = """
from pathlib import Path
from recbole.model.general_recommender import BPR
Path("imported").touch()


class MyBPR(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.mine = config["my_option"]


class NoModel:
    pass
"""
NAME = "my_models:MyBPR"


@pytest.fixture(autouse=True)
def my_models(tmp_path, monkeypatch):
    """A folder with the user's module, which leaves a trace when it is imported."""
    (tmp_path / "my_models.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    yield
    sys.modules.pop("my_models", None)


def forget():
    """As a new process: nothing is imported yet."""
    sys.modules.pop("my_models", None)
    Path("imported").unlink(missing_ok=True)


def run_stopped(toy, monkeypatch, model, **options):
    write = RunFolder.write_json

    def stop(self, name, content):
        if name == METRICS:
            raise KeyboardInterrupt
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, model, run_dir="run", my_option=3, **options)


@pytest.mark.parametrize(
    ("options", "option"),
    [({"model": NAME}, "model"), ({"model": "DVR", "backbone": NAME}, "backbone")],
)
def test_a_name_runs_resumes_and_loads(toy, monkeypatch, caplog, options, option):
    whole = run_toy(toy, **options, my_option=3)
    run_stopped(toy, monkeypatch, **options)
    saved = yaml.safe_load(Path("run", CONFIG).read_text())
    assert (saved["model"], saved["backbone"]) == (options["model"], NAME)
    assert f"continue with: recbole-enhance --resume=run --{option}={NAME}" in caplog.text
    forget()
    for read in (resume_run, load_run):
        with pytest.raises(
            ValueError, match=rf"{option}={NAME}: .*config.yaml names your own code"
        ):
            read("run")
        with pytest.raises(ValueError, match=rf"{option}=os:path: run is a run of {NAME}"):
            read("run", model_class="os:path")
    assert not Path("imported").exists()
    assert resume_run("run", model_class=NAME)["test_result"] == whole["test_result"]
    run = load_run("run", model_class=NAME)
    assert run.trainer.model.mine == 3
    assert dict(run.trainer.evaluate(run.test_data)) == whole["test_result"]
    assert load_run("run", model_class=type(run.trainer.model)).config["model"] == "MyBPR"


def test_a_class_is_recorded_by_its_path(toy):
    from my_models import MyBPR

    options = {key: value for key, value in toy_options(toy, "x").items() if key != "model"}
    result = run_recbole_enhance(MyBPR, config_dict={**options, "my_option": 1, "epochs": 1})
    assert yaml.safe_load(Path(result["run_dir"], CONFIG).read_text())["model"] == NAME
    by_name = run_toy(toy, NAME, my_option=1, epochs=1)
    assert by_name["run_dir"] == result["run_dir"] + "-2"  # the same run
    under_dvr = Config(config_dict=toy_options(toy, "DVR", backbone=MyBPR))
    assert under_dvr.options["backbone"] == NAME
    assert under_dvr["label"] == "DVR-MyBPR"


def test_a_class_of_recbole_is_recorded_by_its_name(toy):
    config = Config(config_dict=toy_options(toy, "DVR", backbone=LightGCN))
    assert config.options["backbone"] == "LightGCN"
    assert config.pair.own_class is None
    assert Config(BPR, config_dict={**toy_options(toy, "x"), "model": None}).options == {
        **Config(config_dict=toy_options(toy, "BPR")).options
    }


def test_a_run_of_a_named_model_takes_that_model_only(toy, capsys):
    run_toy(toy, "BPR", epochs=1, run_dir="run")
    assert load_run("run", model_class=BPR).config["model"] == "BPR"
    with pytest.raises(ValueError, match=r"model=\S*:LightGCN: run is a run of BPR"):
        load_run("run", model_class=LightGCN)
    with pytest.raises(ValueError, match=rf"model={NAME}: run is a run of BPR"):
        load_run("run", model_class=NAME)
    assert not Path("imported").exists()
    assert cli.main(["--resume=run", "--model=BPR"]) == 2
    assert "the options of the run itself, not --model" in capsys.readouterr().err


def test_a_class_of_a_script_is_handed_over(toy, monkeypatch):
    from my_models import MyBPR

    monkeypatch.setattr(MyBPR, "__module__", "__main__")
    run_stopped(toy, monkeypatch, MyBPR)
    with pytest.raises(ValueError, match="model_class=MyBPR from Python"):
        resume_run("run")
    with pytest.raises(ValueError, match="a class of a script or notebook cannot be imported"):
        resume_run("run", model_class="__main__:MyBPR")
    result = resume_run("run", model_class=MyBPR)
    forget()
    run = load_run("run", model_class=NAME)  # moved into a module since
    assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.at_all:X", r"model=nowhere.at_all:X: nowhere.at_all cannot be imported \(Module"),
        (
            "my_models:MyBRP",
            r"my_models:MyBRP: my_models has no RecBole model or method MyBRP; did y",
        ),
        ("my_models:NoModel", r"my_models has no RecBole model or method NoModel"),
        ("my_models:", r"my_models has no RecBole model or method"),
        (":MyBPR", r"model=:MyBPR: .*cannot be imported"),
        ("__main__:MyBPR", r"a class of a script or notebook cannot be imported"),
        ("broken:X", r"broken cannot be imported \(SyntaxError"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(toy, path, message):
    Path("broken.py").write_text("def")
    with pytest.raises(ValueError, match=message):
        Config(config_dict=toy_options(toy, path))


def test_a_class_that_is_no_model_is_told(toy):
    with pytest.raises(ValueError, match=r"model=pathlib\S*:Path: not a class of a RecBole model"):
        Config(Path, config_dict={**toy_options(toy, "x"), "model": None})


@pytest.mark.parametrize("name", ["mine.yaml", "config_dict", "command line", "model="])
def test_no_file_imports_anything(toy, name):
    """Not even one that is named as the places whose word counts."""
    for options in ({"model": NAME}, {"model": "DVR", "backbone": NAME}):
        Path(name).write_text(yaml.safe_dump({**toy_options(toy, "BPR"), **options}))
        with pytest.raises(ValueError, match="files never import code"):
            Config(config_file_list=[name])
    assert not Path("imported").exists()


def test_the_command_line_names_and_resumes_a_class_of_the_working_folder(toy, tmp_path):
    Path("toy.yaml").write_text(yaml.safe_dump({**TOY, "data_path": str(toy), "epochs": 1}))

    def call(*words):
        command = [sys.executable, str(ROOT / "run_recbole_enhance.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    first = call(f"--model={NAME}", "--config_files=toy.yaml", "--run_dir=run", "--my_option=1")
    assert first.returncode == 0, first.stderr
    Path("run", "metrics.json").unlink()
    refused = call("--resume=run")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"--model={NAME}" in refused.stderr
    again = call("--resume=run", f"--model={NAME}")
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr


def test_the_settings_of_one_run_serve_another_model(toy, caplog):
    """What belongs to the file's own model is left out; the rest is the protocol."""
    file = {
        model: Path(run_toy(toy, model, epochs=1, seed=7)["run_dir"], CONFIG)
        for model in ("LightGCN", "DVR", "SASRec")
    }

    def config(name, **line):
        return Config(config_file_list=[file[name]], command_line=line)

    put_on = config("LightGCN", model="DVR")
    assert (put_on["label"], put_on["seed"]) == ("DVR-LightGCN", 7)
    assert config("LightGCN", model="DVR", backbone="BPR")["label"] == "DVR-BPR"
    other = config("LightGCN", model="BPR")
    assert (other["model"], other["backbone"], other["seed"]) == ("BPR", "BPR", 7)
    assert "n_layers" not in other.options
    with caplog.at_level("INFO", "recbole_enhance"):
        baseline = config("DVR", model="BPR")
    assert baseline["label"] == "BPR"
    assert not [key for key in baseline.options if key.startswith("dvr_")]
    assert "dvr_act_ratio" in caplog.text
    negatives = {"train_neg_sample_args": "{distribution: uniform, sample_num: 1}"}
    assert config("SASRec", model="BPR", **negatives)["model"] == "BPR"
    assert config("DVR", model="lightgcn")["model"] == "LightGCN"
    Path("mine.yaml").write_text(file["LightGCN"].read_text() + "learnng_rate: 3\n")
    with pytest.raises(ValueError, match=r"learnng_rate: unknown option \(mine.yaml\)"):
        Config(config_file_list=["mine.yaml"], command_line={"model": "BPR"})
    for bad in ({"model": "LightGCN", "backbone": "BPR"}, {"backbone": "BPR"}):
        with pytest.raises(ValueError, match="backbone=BPR: LightGCN is not a method"):
            config("LightGCN", **bad)


def test_methods_hide_no_module_of_the_users(capsys):
    assert not [name for name in ENHANCERS if ":" in name]
    assert cli.main(["run", "--help"]) == 0
    assert "MODULE:NAME" in capsys.readouterr().out
    assert cli.main(["reproduce", "--help"]) == 0
    assert "MODULE:CLASS" in capsys.readouterr().out
