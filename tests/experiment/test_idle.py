"""A method that does nothing in the epochs of a run is refused, or told; a board marks its row."""

import logging

import pytest

from recbole_enhance.enhancer import ENHANCERS, load_enhancer
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.idle import refuse_idle, tell_idle
from recbole_enhance.experiment.quick_start import run_recbole_enhance, validate
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.options.errors import OptionError
from recbole_enhance.testing.made_runs import make_run
from recbole_enhance.testing.worlds import SMALL_DVR, run_toy, toy_options

BEGINNING = {
    "AOBPR": "aobpr_warmup_epochs",
    "DVR": "dvr_warmup_epochs",
    "RER": "rer_start_epoch",
    "TIL": "til_warmup_epochs",
}


def options_of(toy, method, **options):
    own = {"RER": {"rer_target": "params", "backbone": "BPR"}, "DVR": {"dvr_values": "harsanyi"}}
    return toy_options(toy, method, show_progress=False, **own.get(method, {}), **options)


def test_every_option_with_a_start_is_one_of_these():
    named = {
        key
        for name in ENHANCERS
        for key in load_enhancer(name).options.model_fields
        if key.endswith(("warmup_epochs", "start_epoch"))
    }
    assert named == set(BEGINNING.values())
    assert {name for name in ENHANCERS if load_enhancer(name).begins} == set(BEGINNING)


@pytest.mark.parametrize("method", BEGINNING)
@pytest.mark.parametrize("start", [3, 4])
def test_a_start_behind_the_last_epoch_is_refused_before_data_are_read(toy, method, start):
    options = options_of(toy, method, **{BEGINNING[method]: start})
    said = rf"^{BEGINNING[method]}={start}: must be below epochs=3, or {method} does nothing and "
    with pytest.raises(OptionError, match=said):
        run_recbole_enhance(config_dict=options)
    with pytest.raises(OptionError, match=said):
        validate(Config(config_dict=options))


@pytest.mark.parametrize("method", BEGINNING)
def test_a_start_in_the_second_half_is_told(toy, method, caplog):
    with caplog.at_level(logging.WARNING, "recbole_enhance"):
        refuse_idle(Config(config_dict=options_of(toy, method, **{BEGINNING[method]: 1})))
        assert not caplog.messages
        refuse_idle(Config(config_dict=options_of(toy, method, **{BEGINNING[method]: 2})))
    assert caplog.messages == [
        f"{BEGINNING[method]}=2: {method} acts in the last 1 of 3 epochs only"
    ]


def test_a_best_epoch_before_the_start_is_told(toy, caplog):
    config = Config(config_dict=options_of(toy, "TIL", til_warmup_epochs=2))
    with caplog.at_level(logging.WARNING, "recbole_enhance"):
        tell_idle(config, 2)
        assert not caplog.messages
        tell_idle(config, 1)
    assert "the best epoch, 1, comes before TIL acts: its result is that of BPR" in caplog.text


def test_no_epochs_and_no_method_are_no_matter(toy):
    refuse_idle(Config(config_dict=options_of(toy, "TIL", epochs=0)))
    refuse_idle(Config(config_dict=options_of(toy, "BPR")))


def test_an_interval_above_all_steps_is_refused(toy):
    options = {**SMALL_DVR, "dvr_values": "harsanyi", "dvr_update_interval": 18}
    with pytest.raises(OptionError, match="dvr_update_interval=18: must be below the 18 steps"):
        run_toy(toy, "DVR", **options)


def test_a_share_that_never_drops_a_row_is_told(toy, caplog):
    with caplog.at_level(logging.WARNING, "recbole_enhance"):
        run_toy(toy, "TCE", epochs=1, tce_gradual=1000)
    assert "TCE dropped nothing in 1 epochs: its result is that of BPR" in caplog.text


def test_a_board_marks_a_row_that_equals_its_backbone(tmp_path):
    users = {"recall@10": [0.1, 0.2, 0.3], "ild@10": [0.5, 0.25, 0.75]}
    other = {"recall@10": [0.1, 0.2, 0.4], "ild@10": [0.5, 0.25, 0.75]}
    for seed in (2020, 2021):
        make_run(tmp_path, "BPR", seed, users=users)
        make_run(tmp_path, "TIL-BPR", seed, users=users)
        make_run(tmp_path, "RCE-BPR", seed, users=users if seed == 2020 else other)
    build_board(tmp_path, quiet=True)
    said = "it equals BPR bit for bit in every seed, so the method has done nothing"
    (page,) = tmp_path.glob("*.html")
    assert f"TIL-BPR: not compared, {said}." in page.read_text()
    assert page.read_text().count(said) <= 2
    assert any(said in path.read_text() for path in tmp_path.glob("*.md"))
    assert f"RCE-BPR: not compared, {said}" not in page.read_text()
