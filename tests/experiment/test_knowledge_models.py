"""The knowledge-aware models end to end: fit, checkpoint, resume, load, a missing graph."""

import pytest

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, resume_run, run_recbole_enhance
from recbole_enhance.options.errors import DataError
from recbole_enhance.testing.worlds import write_knowledge_toy
from recbole_enhance.training.trainer import EnhancedTrainer

MODELS = ("CKE", "CFKG", "KTUP", "MKR", "KGCN", "KGNNLS", "RippleNet")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_knowledge_toy(tmp_path_factory.mktemp("data"))


def options(graph, model, **more):
    return {
        "model": model,
        "dataset": "kg",
        "data_path": str(graph),
        "quiet": True,
        "epochs": 2,
        "embedding_size": 8,
        "kg_embedding_size": 8,
        "metrics": ["NDCG"],
        "topk": [5],
        "valid_metric": "NDCG@5",
        **more,
    }


def fitting(graph, model, **more):
    """Without the options that the model has not."""
    told = options(graph, model, **more)
    if model not in ("CKE", "MKR"):
        del told["kg_embedding_size"]
    return told


@pytest.mark.parametrize("model", MODELS)
def test_a_knowledge_aware_model_runs_stops_and_goes_on(graph, model, monkeypatch):
    whole = run_recbole_enhance(config_dict=fitting(graph, model, run_dir="whole"))
    run = load_run("whole")
    assert dict(run.trainer.evaluate(run.test_data)) == whole["test_result"]
    train_epoch = EnhancedTrainer._train_epoch

    def stop(self, data, epoch, *args, **kwargs):
        if epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(self, data, epoch, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(EnhancedTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recbole_enhance(config_dict=fitting(graph, model, run_dir="stopped"))
    again = resume_run("stopped")
    assert again["test_result"] == whole["test_result"]
    assert again["best_valid_result"] == whole["best_valid_result"]


def test_the_graph_is_loaded_unasked(graph):
    config = Config(config_dict=fitting(graph, "CKE"))
    assert config["load_col"] == config.options["load_col"]
    assert config["load_col"]["kg"] == ["head_id", "relation_id", "tail_id"]
    own = {"inter": ["user_id", "item_id"], "link": "*"}
    config = Config(config_dict=fitting(graph, "CKE", load_col=own))
    assert config["load_col"] == {**own, "kg": ["head_id", "relation_id", "tail_id"]}


def test_a_graph_that_is_missing_is_named(toy):
    with pytest.raises(DataError, match=r"toy\.kg: CKE needs this file, with columns head_id, rel"):
        Config(config_dict={"model": "CKE", "dataset": "toy", "data_path": str(toy)})
