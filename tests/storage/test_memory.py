"""What does not fit into memory is refused before the kernel ends the process."""

import pytest
import torch

from recbole_enhance.options.errors import InputError
from recbole_enhance.storage import resources
from recbole_enhance.storage.resources import WithinMemory, free_bytes, refuse_beyond_memory
from recbole_enhance.testing.worlds import run_toy


@pytest.mark.parametrize(
    "make",
    [
        lambda n: torch.nn.Embedding(n, 65536),
        lambda n: torch.nn.Linear(n, 65536),
        lambda n: torch.empty(size=(n, 65536)),
        lambda n: torch.zeros(n, 65536),
        lambda n: torch.ones([n, 65536]),
        lambda n: torch.full((n, 65536), 3.0),
        lambda n: torch.rand(n, 65536),
        lambda n: torch.randn(n, 65536, dtype=torch.float64),
    ],
)
def test_a_tensor_larger_than_memory_is_not_made(make):
    with WithinMemory(), pytest.raises(MemoryError, match=r"^needs \d+ GB for one tensor \("):
        make(10**6)


def test_bounds_are_exact_and_other_tensors_are_the_same():
    torch.manual_seed(0)
    with WithinMemory(free=400):
        table = torch.nn.Embedding(10, 10)
        with pytest.raises(MemoryError, match=r"needs 4\.04e-07 GB .*\(101,\), and 4e-07 GB are"):
            torch.zeros(101)
        with pytest.raises(MemoryError):
            torch.zeros(51, dtype=torch.float64)
        assert torch.ones(8, 8, dtype=bool).all()
        with pytest.raises(MemoryError, match=r"4\.01e-07 GB"):
            torch.ones(401, dtype=bool)
    torch.manual_seed(0)
    assert torch.equal(table.weight, torch.nn.Embedding(10, 10).weight)


def test_training_must_fit_too():
    assert 2**20 < free_bytes() < 2**50
    refuse_beyond_memory(10, free=10)
    with pytest.raises(MemoryError, match=r"needs 1\.1e-08 GB more, and 1e-08 GB are free"):
        refuse_beyond_memory(11, free=10)


def test_a_run_is_told_in_one_line(toy, monkeypatch):
    monkeypatch.setattr(resources, "free_bytes", lambda: 5000)
    with pytest.raises(InputError, match=r"^model=BPR: needs .* GB more, and 5e-06 GB are free; l"):
        run_toy(toy, "BPR")
    monkeypatch.setattr(resources, "free_bytes", lambda: 1000)
    with pytest.raises(InputError, match=r"^model=BPR: needs .* for one tensor \(61, 8\), and"):
        run_toy(toy, "BPR")
