"""Scores that are NaN or infinite are never measured, let alone the best (case C03)."""

from pathlib import Path

import pytest
import torch

from recbole_enhance.evaluation.collector import EnhancedCollector
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, validate
from recbole_enhance.options.errors import NotFiniteError
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.storage.run_folder import METRICS
from recbole_enhance.storage.tensor_files import load_tensors
from recbole_enhance.testing.worlds import run_toy, toy_options

UNI = {"eval_args": {"mode": "uni10"}}
LABELLED = {
    "model": "DeepFM",
    "metrics": ["AUC"],
    "valid_metric": "AUC",
    "eval_args": {"mode": "labeled"},
    "threshold": {"rating": 4},
}


def spoil(monkeypatch, value, evaluation=1):
    """Give one score a value, from one evaluation on."""
    start, collect = EnhancedCollector.start, EnhancedCollector.eval_batch_collect
    begun = []

    def counted(self, labelled=None):
        begun.append(self)
        start(self, labelled)

    def spoilt(self, scores, interaction, rows, items):
        scores = scores.clone()
        if len(begun) - 2 >= evaluation:  # the first is the collector's making
            scores[(-1,) if scores.dim() == 1 else (rows[-1], items[-1])] = value
        collect(self, scores, interaction, rows, items)

    monkeypatch.setattr(EnhancedCollector, "start", counted)
    monkeypatch.setattr(EnhancedCollector, "eval_batch_collect", spoilt)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fast": False},
        UNI,
        {"fast": False, **UNI},
        {"metrics": ["NDCG", "AUC"]},
        {"rerank": "coverage", "rerank_lambda": 1.0},
        {"rerank": "popularity", **UNI},
        LABELLED,
        {**LABELLED, "fast": False},
    ],
    ids=str,
)
def test_they_are_refused_in_every_evaluation(toy, monkeypatch, value, options):
    spoil(monkeypatch, value)
    with pytest.raises(NotFiniteError) as refused:
        run_toy(toy, **{"model": "BPR", **options}, run_dir="run")
    text = str(refused.value)
    assert text.startswith("scores are NaN or infinite in epoch 1: learning_rate=0.001 may be too")
    assert text.endswith("last good parameters: run/model.pt holds epoch 0")
    assert not Path("run", METRICS).exists()
    label = options.get("model", "BPR")
    assert load_tensors("run/model.pt", label, "cpu")["epoch"] == 0


@pytest.mark.parametrize("after", [0, 3])
def test_without_a_good_epoch_nothing_is_left(toy, monkeypatch, after):
    spoil(monkeypatch, torch.nan, after)  # 3: the test, after the validations
    with pytest.raises(NotFiniteError, match="last good parameters: none before"):
        run_toy(toy, "BPR", run_dir="run", learning_rate=1e-9, stopping_step=99)
    assert not Path("run").exists()


def test_a_loaded_run_is_refused_too(toy):
    run_dir = run_toy(toy, "BPR")["run_dir"]
    run = load_run(run_dir)
    run.trainer.evaluate(run.test_data)
    with torch.no_grad():
        run.trainer.model.user_embedding.weight[3:] = torch.nan
    with pytest.raises(NotFiniteError, match="scores are NaN or infinite in epoch"):
        run.trainer.evaluate(run.test_data, load_best_model=False)
    with torch.no_grad():  # and goes on once it is mended
        run.trainer.model.user_embedding.weight[3:] = 0
    run.trainer.evaluate(run.test_data, load_best_model=False)


def test_a_search_is_told(toy, monkeypatch):
    spoil(monkeypatch, torch.nan)
    config = Config(config_dict=toy_options(toy, "BPR", show_progress=False))
    with pytest.raises(NotFiniteError, match="last good parameters: memory holds epoch 0"):
        validate(config)


def test_the_options_that_may_have_done_it_are_named(toy):
    with pytest.raises(NotFiniteError, match=r"learning_rate=0.001 or weight_decay=1e\+300 may be"):
        run_toy(toy, "BPR", weight_decay=1e300)


@pytest.mark.parametrize("fast", [True, False])
def test_a_step_too_long_is_no_best_epoch(toy, fast):
    with pytest.raises(NotFiniteError, match=r"infinite in epoch 0: learning_rate=1e\+39 may"):
        run_toy(toy, "BPR", epochs=1, learning_rate=1e39, train_batch_size=10000, fast=fast)


def test_masked_items_may_be_minus_infinity(toy):
    """A user who has all items but a few has a list that ends."""
    result = run_toy(
        toy, "BPR", user_inter_num_interval="[1,inf)", topk=[48], valid_metric="NDCG@48"
    )
    assert result["test_result"]["ndcg@48"] > 0


def test_lists_outside_an_evaluation_are_refused_at_once_and_leave_it_nothing(toy):
    """recommend, explain and similar items rank by the collector, too."""
    run = load_run(run_toy(toy, "BPR", epochs=1)["run_dir"])
    collector = run.trainer.eval_collector
    scores = torch.rand(3, run.test_data._dataset.item_num)
    collector.lists(scores, None, 4)
    scores[1, 2] = torch.nan
    with pytest.raises(NotFiniteError):
        collector.lists(scores, None, 4)
    assert dict(run.trainer.evaluate(run.test_data))  # it has not seen these
    run.trainer.model.item_embedding.weight.data[5] = torch.nan
    with pytest.raises(NotFiniteError):
        recommend(run)
