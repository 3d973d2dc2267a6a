import pytest

from recbole_enhance.experiment.config import Config
from recbole_enhance.options import gone
from recbole_enhance.options.errors import UnknownOptionError
from recbole_enhance.storage.run_folder import CONFIG, changed_options, digest, recorded_options
from recbole_enhance.testing.worlds import run_toy, toy_options


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


def test_the_former_share_of_the_tail_is_read_from_folders_and_names_its_successor(toy):
    options = toy_options(toy, "BPR")
    assert "item_tail_share" not in Config(config_dict={**options, "item_tail_share": 0.8}).options
    told = r"^item_tail_share: this option was removed \(command line\); item_head_share is"
    with pytest.raises(UnknownOptionError, match=told):
        Config(config_dict=options, command_line={"item_tail_share": "0.5"})
