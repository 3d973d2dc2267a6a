import importlib.metadata
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data import create_dataset, data_preparation

import recbole_enhance
from recbole_enhance.compat import doctor, mends
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.names import get_model_class
from recbole_enhance.testing.worlds import toy_options


def test_names_each_version_that_is_installed():
    text = doctor.report()

    rows = dict(re.findall(r"^(\S+) {2,}(\S+)$", text, flags=re.MULTILINE))
    assert rows["recbole"] == "1.2.1"
    assert rows["recbole_enhance"] == recbole_enhance.__version__
    assert rows["numpy"] == np.__version__
    assert rows["pyyaml"] == importlib.metadata.version("pyyaml")


def test_names_each_mend_with_its_state():
    text = doctor.report()

    for mend in mends.apply():
        state = "mended" if mend.applied else "not needed"
        assert re.search(rf"^{mend.name} +{state} +{re.escape(mend.symptom)}$", text, re.MULTILINE)


def test_says_which_package_a_model_lacks(monkeypatch):
    monkeypatch.setattr(mends, "missing_packages", lambda: {"NCL": ("faiss-cpu",)})

    assert re.search(r"^NCL +pip install faiss-cpu$", doctor.report(), re.MULTILINE)


def test_says_so_when_every_model_can_run(monkeypatch):
    monkeypatch.setattr(mends, "missing_packages", dict)

    assert "All RecBole models have the packages they need." in doctor.report()


@pytest.mark.parametrize(("there", "text"), [(True, "CUDA 12.9, Some GPU"), (False, "CPU only")])
def test_says_whether_there_is_a_gpu(monkeypatch, there, text):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.version, "cuda", "12.9")

    assert f"device: {text}" in doctor.report()


def test_exit_code_and_last_line_when_recbole_works(capsys):
    assert doctor.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "RecBole works here."


def test_exit_code_and_reason_with_a_pandas_that_loses_values(monkeypatch, capsys):
    monkeypatch.setattr(pd, "__version__", "3.0.1")

    assert doctor.main() == 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("RecBole does not work here")
    assert "pandas 3.0.1" in last
    assert "pandas<3" in last


def test_exit_code_and_reason_with_a_module_that_cannot_be_imported(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "recbole.evaluator", None)

    assert doctor.main() == 2
    assert "recbole.evaluator" in capsys.readouterr().out.splitlines()[-1]


def test_a_package_that_is_not_installed_is_a_row(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package-at-all",))

    assert re.search(r"^no-such-package-at-all +not installed$", doctor.report(), re.MULTILINE)


def test_known_faults_of_recbole_are_told():
    text = doctor.report()

    assert re.search(r"^Pop +counts an item once per batch and epoch", text, re.MULTILINE)
    assert re.search(r"^Random +draws one list for all users of an evaluation batch", text, re.M)


def test_they_are_there(toy):
    """When RecBole mends them, the doctor has to be told."""
    config = Config(config_dict=toy_options(toy, "Pop"))
    train, _, _ = data_preparation(config, create_dataset(config))
    assert sum(len(batch) for batch in train) == 2 * len(train.dataset)  # negatives are counted too
    counts = torch.bincount(train.dataset.inter_feat["item_id"], minlength=49)
    pop = get_model_class("Pop")(config, train.dataset)
    pop.calculate_loss(train.dataset.inter_feat)
    assert pop.item_cnt.flatten().tolist() == (counts > 0).long().tolist()

    exact = {"train_batch_size": 1, "train_neg_sample_args": None}  # what the doctor advises
    config = Config(config_dict=toy_options(toy, "Pop", **exact))
    train, _, _ = data_preparation(config, create_dataset(config))
    pop = get_model_class("Pop")(config, train.dataset)
    for batch in train:
        pop.calculate_loss(batch)
    counts = torch.bincount(train.dataset.inter_feat["item_id"], minlength=49)
    assert pop.item_cnt.flatten().tolist() == counts.tolist()

    config = Config(config_dict=toy_options(toy, "Random"))
    random = get_model_class("Random")(config, train.dataset)
    scores = random.full_sort_predict({"user_id": torch.arange(1, 4)}).view(3, -1)
    assert torch.equal(scores[0], scores[1])
