"""Mixed precision runs under every method, or is refused by name (case C18)."""

import math

import pytest
import torch
from recbole.model.general_recommender import BPR

from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.testing.worlds import SMALL_DVR, run_toy

SEQUENTIAL = {
    "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}},
    "MAX_ITEM_LIST_LENGTH": 10,
}
RUNS = [
    ("DVR", {}),
    ("DVR", {**SMALL_DVR, "dvr_values": "harsanyi"}),
    ("DVR", {"dvr_weighting": "direct", "backbone": "LightGCN"}),
    ("RVRec", {"backbone": "LightGCN"}),
    ("RER", {"backbone": "BPR", "rer_target": "params"}),
    ("IaCN", {"backbone": "SASRec", **SEQUENTIAL}),
    ("AOBPR", {"aobpr_warmup_epochs": 0}),
    ("WBPR", {}),
    ("PRIS", {}),
    ("TCE", {}),
    ("RCE", {}),
    ("TIL", {"til_warmup_epochs": 0}),
    ("TIL", {"til_hypergradient": "double", "til_warmup_epochs": 0}),
    ("MultiGCCF", {}),
]


def test_every_method_is_tried():
    assert {name for name, _ in RUNS} > set(ENHANCERS)


@pytest.mark.parametrize(("model", "options"), RUNS, ids=str)
def test_it_runs_under(toy, model, options):
    result = run_toy(toy, model, saved=False, enable_amp=True, **{**options, "epochs": 2})
    assert all(math.isfinite(value) for value in result["test_result"].values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("model", "options"), RUNS, ids=str)
def test_it_runs_on_a_gpu_under(toy, model, options):
    test_it_runs_under(toy, model, {**options, "use_gpu": True})


@pytest.mark.parametrize("model", ["SGL", "GCMC"])
def test_a_model_without_it_is_refused_by_name(toy, model):
    said = rf"enable_amp=True: must be False: {model} has an operation without mixed .*BFloat16"
    with pytest.raises(OptionError, match=said):
        run_toy(toy, model, enable_amp=True)


def test_a_model_that_falls_over_its_options_is_named(toy):
    with pytest.raises(InputError, match="model=ConvNCF cannot be trained with these options: Run"):
        run_toy(toy, "ConvNCF")  # kernels that an embedding of eight is too short for


def test_a_fault_of_a_class_of_ones_own_stays_a_traceback(toy):
    class Broken(BPR):
        def calculate_loss(self, interaction):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run_toy(toy, Broken)
