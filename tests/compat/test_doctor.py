import importlib.metadata
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import recbole_enhance
from recbole_enhance.compat import doctor, mends, needs


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
    need = needs.Need("no-such-package-at-all", "", "")
    monkeypatch.setattr(needs, "needs", lambda extras=(): [need])

    assert re.search(r"^no-such-package-at-all +not installed$", doctor.report(), re.MULTILINE)
