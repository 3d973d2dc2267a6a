"""No model or method mixes devices: with a pretended one, and with CUDA where there is one."""

import math

import pytest
import torch
from training.pretended import MixedDevicesError, pretended_device

from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.testing.worlds import (
    SMALL_DVR,
    feature_toy_options,
    run_toy,
    toy_options,
)

SEQUENTIAL = {"hidden_size": 8, "inner_size": 8, "MAX_ITEM_LIST_LENGTH": 10}
USER_QUERY = {"rvrec_query": "user", "rvrec_coalitions": "learned"}
ALL_KINDS = {
    "metrics": [
        *("Recall", "NDCG", "GAUC", "AUC", "GiniIndex", "ItemCoverage", "ILD", "Calibration"),
        *("EPC", "GroupGap", "ValueUnfairness", "PopREO", "EmbeddingILD"),
    ],
    "group_fields": ["gender", "activity"],
}
RUNS = [
    ("BPR", ALL_KINDS),
    ("BPR", {"train_neg_sample_args": {"dynamic": True, "candidate_num": 3, "sample_num": 1}}),
    ("BPR", {"eval_args.mode": "uni20", "rerank": "popularity"}),
    ("LightGCN", {"metrics": ["ILD", "NDCG"], "rerank": "mmr"}),
    ("NeuMF", {}),
    ("MultiVAE", {}),
    ("SASRec", SEQUENTIAL),
    ("DVR", SMALL_DVR),
    ("DVR", {**SMALL_DVR, "dvr_values": "harsanyi"}),
    ("RVRec", {}),
    ("RVRec", {"rvrec_candidates": 20, "backbone": "LightGCN"}),
    ("RVRec", {**USER_QUERY, "rvrec_peo": True}),
    ("RVRec", {**USER_QUERY, "rvrec_gate_mode": "sampled"}),
    ("RER", {"backbone": "BPR", "rer_target": "params"}),
    ("IaCN", {"backbone": "SASRec", **SEQUENTIAL}),
    ("AOBPR", {"aobpr_warmup_epochs": 0}),
    ("AOBPR", {"aobpr_warmup_epochs": 0, "aobpr_mode": "exact"}),
    ("WBPR", {}),
    ("PRIS", {"pris_proposal": "cluster-popular", "pris_clusters": 4}),
    ("TCE", {"tce_gradual": 0}),
    ("RCE", {}),
    ("TIL", {"til_warmup_epochs": 0}),
    ("ProtoMF", {}),
    ("TransGNN", {}),
    ("MultiGCCF", {}),
]
OF_REVIEWS = ["CER", "EFM", "RER"]


def test_every_method_is_tried():
    assert {name for name, _ in RUNS} > set(ENHANCERS)


def test_a_mixture_is_found(monkeypatch):
    with pretended_device(monkeypatch) as device:
        far, near = torch.ones(3, device=device), torch.ones(3)
        assert (far + near.to(device)).sum().item() == 6
        assert far[torch.tensor([0, 2])].device == device  # as CUDA takes it
        for mix in (
            lambda: far + near,
            lambda: near[far.long()],
            lambda: far.index_select(0, near),
        ):
            with pytest.raises(MixedDevicesError):
                mix()
        with pytest.raises((RuntimeError, TypeError)):
            far.numpy()


def train_and_test(options, device):
    """A run without a folder, on a device; its test result."""
    config = Config(config_dict={"show_progress": False, **options, "epochs": 2})
    config["device"] = device
    run = assemble(config)
    run.trainer.fit(run.train_data, run.valid_data)
    return run.trainer.evaluate(run.test_data)


# DVR's derivatives (forward mode; one in place) do not reach the pretended tensors.
@pytest.mark.parametrize(("model", "options"), [r for r in RUNS if r[0] != "DVR"], ids=str)
def test_a_run_keeps_its_tensors_on_one_device(toy, monkeypatch, model, options):
    options = toy_options(toy, model, **options)
    here = train_and_test(options, torch.device("cpu"))
    with pretended_device(monkeypatch) as device:
        found = train_and_test(options, device)
    assert found == pytest.approx(here, abs=2e-4)


@pytest.mark.parametrize("model", OF_REVIEWS)
def test_a_run_on_reviews_keeps_its_tensors_on_one_device(reviews, monkeypatch, model):
    options = feature_toy_options(reviews, model)
    with pretended_device(monkeypatch) as device:
        found = train_and_test(options, device)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("model", "options"), RUNS, ids=str)
def test_a_gpu_gives_the_metrics_of_the_cpu(toy, model, options):
    options = {**options, "epochs": 2}
    on_gpu = run_toy(toy, model, saved=False, use_gpu=True, **options)
    on_cpu = run_toy(toy, model, saved=False, use_gpu=False, **options)
    # Dropout draws other numbers there; without it an order may differ where scores nearly tie.
    for name, value in on_cpu["test_result"].items():
        assert on_gpu["test_result"][name] == pytest.approx(value, rel=0.3, abs=0.15), name
