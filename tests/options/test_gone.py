import contextlib
import json
from pathlib import Path

import pytest

from recbole_enhance.enhancer import ENHANCERS, load_enhancer
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, resume_run
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.options import gone
from recbole_enhance.options.errors import RunFolderError, UnknownOptionError
from recbole_enhance.options.general import GeneralOptions
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.storage import run_folder
from recbole_enhance.storage.run_folder import (
    CONFIG,
    VOLATILE,
    changed_options,
    digest,
    recorded_options,
)
from recbole_enhance.testing.worlds import run_toy, toy_options
from recbole_enhance.training.trainer import EnhancedTrainer


def test_a_file_of_an_earlier_version_is_read_and_names_the_same_run(toy, tmp_path):
    options = toy_options(toy, "DVR")
    now = Config(config_dict=options)
    (tmp_path / "old.yaml").write_text("dvr_loss_feature: true\ndvr_hidden_size: 64\n")
    before = Config(config_file_list=[tmp_path / "old.yaml"], config_dict=options)
    assert before.options == now.options
    assert "dvr_hidden_size" not in now.options
    assert digest(before) == digest(now)
    now.options |= gone.GONE["DVR"]  # as an earlier version had them
    assert digest(before) == digest(now)


def test_another_value_is_refused(toy):
    told = r"^dvr_hidden_size: this option was removed \(command line\); it is 64$"
    with pytest.raises(UnknownOptionError, match=told):
        Config(config_dict=toy_options(toy, "DVR"), command_line={"dvr_hidden_size": "32"})


def test_a_folder_of_an_earlier_version_has_the_same_options(toy, tmp_path):
    options = {"run_dir": str(tmp_path / "run"), "epochs": 1, "til_warmup_epochs": 0}
    run_toy(toy, "TIL", **options)
    recorded = recorded_options(Config(config_dict=toy_options(toy, "TIL", **options)))
    saved = tmp_path / "run" / CONFIG
    assert not list(changed_options(saved.parent, recorded))
    saved.write_text(saved.read_text() + "til_hidden_size: 64\n")
    assert not list(changed_options(saved.parent, recorded))
    saved.write_text(saved.read_text().replace("til_hidden_size: 64", "til_hidden_size: 32"))
    assert list(changed_options(saved.parent, recorded)) == [("til_hidden_size", 32, 64)]


FIRST = Path(__file__).with_name("first_options.json")
LATER = {**gone.LATER["any"], **gone.LATER["RVRec"]}
BY_TIME = {"eval_args": {"order": "TO"}, "rvrec_alpha_start": 3.0}


def made_before(toy, folder, monkeypatch, stops=99):
    """Test result of a run of RVRec as it was before there were the later options, or None."""
    now, train = run_folder.digest, EnhancedTrainer._train_epoch

    def then(config):
        config.not_yet = frozenset(LATER)
        return now(config)

    def stopping(self, train_data, epoch_idx, *rest, **more):
        if epoch_idx == stops:
            raise KeyboardInterrupt
        return train(self, train_data, epoch_idx, *rest, **more)

    result = None
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(run_folder, "digest", then)
        patch.setattr(EnhancedTrainer, "_train_epoch", stopping)
        options = {**LATER, **BY_TIME, "epochs": 4, "run_dir": str(folder)}
        result = run_toy(toy, "RVRec", **options)["test_result"]
    saved = folder / CONFIG
    lines = saved.read_text().splitlines(keepends=True)
    saved.write_text("".join(line for line in lines if line.partition(":")[0] not in LATER))
    return result


def test_a_run_without_the_later_options_is_loaded_as_it_was(toy, tmp_path, monkeypatch):
    result = made_before(toy, tmp_path / "run", monkeypatch)
    run = load_run(tmp_path / "run")
    assert run.config["rvrec_propagated"] is True
    assert run.trainer.model.rvrec.decay == 0  # by default .3 with a split by time
    assert run.trainer.evaluate(run.test_data) == result
    assert len(recommend(tmp_path / "run", users=["u1"], k=3)) == 3
    monkeypatch.setattr(gone, "LATER", {"any": {}})
    with pytest.raises(RunFolderError, match="belongs to a run with other options"):
        load_run(tmp_path / "run")


def test_a_run_without_the_later_options_goes_on_to_the_same_bits(toy, tmp_path, monkeypatch):
    whole = made_before(toy, tmp_path / "whole", monkeypatch)
    assert made_before(toy, tmp_path / "half", monkeypatch, stops=2) is None
    assert resume_run(tmp_path / "half")["test_result"] == whole


def test_the_later_options_of_such_a_run_are_those_that_change_nothing(toy, tmp_path, monkeypatch):
    made_before(toy, tmp_path / "run", monkeypatch)
    options = {**LATER, **BY_TIME, "epochs": 4, "run_dir": str(tmp_path / "run")}
    recorded = recorded_options(Config(config_dict=toy_options(toy, "RVRec", **options)))
    assert not list(changed_options(tmp_path / "run", recorded))
    recorded["rvrec_decay"] = 0.3
    assert list(changed_options(tmp_path / "run", recorded)) == [("rvrec_decay", 0.0, 0.3)]


def test_every_later_option_is_there_with_a_value_that_it_takes(toy):
    for method, later in gone.LATER.items():
        model = "BPR" if method == "any" else method
        options = Config(config_dict=toy_options(toy, model, **later)).options
        assert {name: options[name] for name in later} == later


def test_the_former_share_of_the_tail_is_read_from_folders_and_names_its_successor(toy):
    options = toy_options(toy, "BPR")
    assert "item_tail_share" not in Config(config_dict={**options, "item_tail_share": 0.8}).options
    told = r"^item_tail_share: this option was removed \(command line\); item_head_share is"
    with pytest.raises(UnknownOptionError, match=told):
        Config(config_dict=options, command_line={"item_tail_share": "0.5"})


def ours():
    """Options of this package that run folders record, by method or model."""
    found = {"any": set(GeneralOptions.model_fields) - set(VOLATILE)}
    for name in ENHANCERS:
        found[name] = set(load_enhancer(name).options.model_fields) - {"backbone"}
    for name in MODELS:
        schema = getattr(load_model(name), "options", None)
        found[name] = set(schema.model_fields) if schema else set()
    return found


def test_every_option_is_one_of_the_first_version_or_a_later_one():
    """Else folders of an earlier version could be neither loaded nor continued, without a word."""
    first = json.loads(FIRST.read_text())
    for owner, names in ours().items():
        assert names - gone.LATER.get(owner, {}).keys() <= set(first[owner]), owner
