"""Whoever comes from RecBole uses its words and files."""

from pathlib import Path

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.options.read import split_words
from recbole_enhance.tuning import tune
from recbole_enhance.tuning.settings import make_config

MODEL = """
from recbole.model.general_recommender import BPR


class NewModel(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.width = config["new_width"] * 2
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_hyper_file_has_priority_over_files_of_options(caplog):
    Path("test.yaml").write_text("learning_rate: 0.5\nepochs: 1\n")
    Path("bpr.hyper").write_text("learning_rate choice [0.01,0.005]\n")
    options = {"model": "BPR", "dataset": "ml-100k", "config_files": "test.yaml"}

    with caplog.at_level("INFO"):
        space = tune._space(make_config(options), options, "bpr.hyper")

    assert space["learning_rate"].values == (0.01, 0.005)
    assert "learning_rate is searched, so its value in test.yaml is not used" in caplog.text
    trial = make_config(options, {"learning_rate": 0.005})
    assert (trial["learning_rate"], trial["epochs"]) == (0.005, 1)


def test_over_the_command_line_the_hyper_file_has_none():
    Path("bpr.hyper").write_text("learning_rate choice [0.01,0.005]\n")
    Path("test.yaml").write_text("learning_rate: 0.5\n")
    options = {"model": "BPR", "dataset": "ml-100k", "config_files": "test.yaml"}
    options["learning_rate"] = "0.1"
    with pytest.raises(ValueError, match="learning_rate: is also given as an option of the run"):
        tune._space(make_config(options), options, "bpr.hyper")


def test_params_file_is_the_word_for_space(capsys):
    Path("bpr.hyper").write_text("learnng_rate choice [0.01]\n")
    words = ["tune", "--model=BPR", "--dataset=ml-100k", "--params_file=bpr.hyper"]
    assert main(words) == 2
    assert "search space bpr.hyper: learnng_rate: unknown option" in capsys.readouterr().err
    assert main([*words, "--space=x.yaml"]) == 2
    assert "params_file=bpr.hyper: give it or --space=x.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--config_file_list=a.yaml", "--config-file-list=a.yaml"])
def test_config_file_list_is_config_files(word):
    assert split_words([word]) == ([], {"config_files": "a.yaml"})


def test_a_model_beside_the_yaml_is_named(folder, capsys):
    (folder / "mine").mkdir()
    (folder / "mine" / "newmodel.py").write_text(MODEL)
    (folder / "mine" / "test.yaml").write_text("model: NewModel\ndataset: ml-100k\n")
    assert main(["--config_file_list=mine/test.yaml"]) == 2
    told = capsys.readouterr().err
    assert "model=NewModel: unknown model" in told
    assert f"; newmodel.py has it: say newmodel:NewModel in {folder / 'mine'}" in told

    (folder / "newmodel.py").write_text(MODEL)
    assert main(["--config_file_list=mine/test.yaml"]) == 2
    assert "newmodel.py has it: say newmodel:NewModel (" in capsys.readouterr().err
    assert main(["--model=NoModel", "--dataset=ml-100k"]) == 2
    assert "has it" not in capsys.readouterr().err


def test_options_without_a_value_are_named(folder, caplog):
    (folder / "newmodel2.py").write_text(MODEL)
    options = {"epochs": 1, "quiet": True, "metrics": ["NDCG"], "train_batch_size": 100000}
    with pytest.raises(
        ValueError,
        match=r"embedding_size, new_width have no value \(set --embedding_size=VALUE --new_width=",
    ):
        run_recbole_enhance("newmodel2:NewModel", "ml-100k", config_dict=options, saved=False)
    caplog.clear()
    options |= {"new_width": 3, "embedding_size": 8}
    done = run_recbole_enhance("newmodel2:NewModel", "ml-100k", config_dict=options, saved=False)
    assert done["test_result"]
    assert "no value" not in caplog.text
