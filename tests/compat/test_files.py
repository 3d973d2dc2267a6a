"""Files of parameters that RecBole's models read: tensors only, and the two stages fit together."""

import importlib
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation

from recbole_enhance.compat import files
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.testing.worlds import run_toy, toy_options


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


# With labels, as KD_DAGFM needs them.
LABELED = {"threshold": {"rating": 4}, "metrics": ["AUC"], "valid_metric": "AUC"}
READERS = [
    ("NeuMF", {"use_pretrain": True, "mf_pretrain_path": "f", "mlp_pretrain_path": "f"}),
    ("ConvNCF", {"train_method": "after_pretrain", "pre_model_path": "f"}),
    ("NAIS", {"pretrain_path": "f"}),
    ("RaCT", {"train_stage": "finetune", "pre_model_path": "f"}),
    ("RaCT", {"train_stage": "critic_pretrain", "pre_model_path": "f"}),
    ("S3Rec", {"train_stage": "finetune", "pre_model_path": "f", "item_attribute": "genres"}),
    ("KD_DAGFM", {"phase": "finetuning", "warm_up": "f", **LABELED}),
]


@pytest.mark.parametrize(("model", "options"), READERS)
def test_code_in_a_file_of_parameters_does_not_run(toy, monkeypatch, model, options):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # the default below torch 2.6
    torch.save({"state_dict": Bomb()}, "f")
    torch.load("f")
    Path("exploded").rmdir()  # so the file is what it says
    with pytest.raises(ValueError, match=r"^f: not a file of tensors and plain values only$"):
        run_toy(toy, model, saved=False, **options)
    assert not Path("exploded").exists()


def test_code_in_an_array_beside_the_data_does_not_run():
    np.save("item_emb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    files.weights_only_files()
    ldiffrec = importlib.import_module("recbole.model.general_recommender.ldiffrec")
    with pytest.raises(ValueError, match="allow_pickle"):
        ldiffrec.np.load("item_emb.npy", allow_pickle=True)
    assert not Path("exploded").exists()
    np.save("good.npy", np.ones(3))
    assert ldiffrec.np.load("good.npy", allow_pickle=True).tolist() == [1, 1, 1]
    assert ldiffrec.np.mean is np.mean


def test_our_model_files_start_the_models_that_read_files(toy):
    """A BPR run starts ConvNCF, a run of NeuMF its halves."""
    small = {"embedding_size": 64, "epochs": 1}
    bpr = run_toy(toy, "BPR", **small)
    file = str(Path(bpr["run_dir"], "model.pt"))
    config = Config(
        config_dict=toy_options(
            toy,
            "ConvNCF",
            embedding_size=64,
            train_method="after_pretrain",
            pre_model_path=file,
        )
    )
    train, _, _ = data_preparation(config, create_dataset(config))
    model = config.model_class(config, train.dataset)
    expected = torch.load(file, weights_only=True)["state_dict"]["user_embedding.weight"]
    assert torch.equal(model.user_embedding.weight, expected)
    halves = {}
    for half, other in (("mf", "mlp"), ("mlp", "mf")):
        run = run_toy(toy, "NeuMF", epochs=1, **{f"{other}_train": False})
        halves[f"{half}_pretrain_path"] = str(Path(run["run_dir"], "model.pt"))
    run_toy(toy, "NeuMF", epochs=1, saved=False, use_pretrain=True, **halves)


def test_two_stages_fit_together(toy, capfd, monkeypatch):
    """RaCT, with its own options, from its first stage's file to its second and third."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's raise at ract.py:76
    file = None
    for stage, following in (("actor_pretrain", True), ("critic_pretrain", True), ("finetune", 0)):
        options = {
            "train_stage": stage,
            "pretrain_epochs": 1,
            "save_step": 1,
            "epochs": 1,
            "train_neg_sample_args": None,
            "pre_model_path": file or "",
            "metrics_k": 20,
        }
        result = run_toy(toy, "RaCT", **options)
        if following:
            file = str(Path(result["run_dir"], "RaCT-toy-1.pth"))
            assert "config" not in torch.load(file, weights_only=True)
        else:
            assert result["best_valid_result"]
    assert "Logging error" not in capfd.readouterr().err
    assert file in Path(result["run_dir"], "run.log").read_text()


def test_s3rec_goes_on_from_its_first_stage(toy):
    options = {
        "item_attribute": "genres",
        "pretrain_epochs": 1,
        "save_step": 1,
        "n_layers": 1,
        "hidden_size": 8,
        "inner_size": 8,
    }
    second = {"train_stage": "finetune", "epochs": 1}
    with pytest.raises(
        ValueError, match=r"pre_model_path=no\.pth: there is no such file; the first"
    ):
        run_toy(toy, "S3Rec", **options, **second, pre_model_path="no.pth")
    file = Path(run_toy(toy, "S3Rec", **options)["run_dir"], "S3Rec-toy-1.pth")
    options.update(second, pre_model_path=str(file))
    assert run_toy(toy, "S3Rec", saved=False, **options)["best_valid_result"]


@pytest.mark.parametrize("teacher", ["os.mkdir('exploded')", "DAGFM", "CrossNet.__init__"])
def test_the_name_of_a_teacher_is_not_evaluated(toy, teacher):
    with pytest.raises(ValueError, match=r"teacher=.*: one of CrossNet, CIN"):
        run_toy(toy, "KD_DAGFM", teacher=teacher, **LABELED)
    assert list(Path(".").iterdir()) == []


def test_pickled_data_in_a_run_folder_are_not_read(toy):
    """RecBole would unpickle <checkpoint_dir>/<dataset>-Dataset.pth because it is there."""
    Path("saved").mkdir()
    for place in (".", "saved"):
        for name in ("toy-Dataset.pth", "toy-for-BPR-dataloader.pth"):
            Path(place, name).write_bytes(pickle.dumps(Bomb()))
    run_recbole_enhance(config_dict=toy_options(toy, "BPR", epochs=1), saved=False)
    config = Config(config_dict=toy_options(toy, "BPR"))
    data_preparation(config, create_dataset(config))
    assert not Path("exploded").exists()
