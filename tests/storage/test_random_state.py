import contextlib
import random

import numpy as np
import pytest
import torch

from recbole_enhance.storage.random_state import RandomState, kept_random_state, seeded
from recbole_enhance.storage.tensor_files import dump_tensors, load_tensors

DRAWS = {
    "python": random.random,
    "numpy": np.random.rand,
    "torch": lambda: torch.rand(1).item(),
}


def test_a_state_that_was_written_brings_every_generator_back(tmp_path):
    own = torch.Generator().manual_seed(3)
    draws = {**DRAWS, "own": lambda: torch.rand(1, generator=own).item()}
    random.gauss(0, 1)  # leaves a second number behind, which belongs to the state
    state = RandomState.now(own=own)
    (tmp_path / "x.pt").write_bytes(dump_tensors({"label": "x", "random": state.to_plain()}))
    first = [[draw() for draw in draws.values()], random.gauss(0, 1)]
    saved = load_tensors(tmp_path / "x.pt", "x", "cpu")["random"]
    RandomState.from_plain(saved).restore(own=own)
    assert [[draw() for draw in draws.values()], random.gauss(0, 1)] == first


@pytest.mark.parametrize("name", ["python", "numpy", "torch", "cuda"])
def test_a_missing_state_is_told(name):
    saved = RandomState.now().to_plain()
    del saved[name]
    with pytest.raises(KeyError, match=name):
        RandomState.from_plain(saved)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_draw_is_noticed_and_taken_back(draw):
    state = RandomState.now()
    assert state.is_now()
    with contextlib.suppress(ZeroDivisionError), kept_random_state():
        draw()
        assert not state.is_now()
        raise ZeroDivisionError
    assert state.is_now()


def test_a_seeded_block_draws_the_same_and_moves_nothing():
    state = RandomState.now()
    drawn = []
    for _ in range(2):
        with seeded(7):
            drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1] == torch.rand(1, generator=torch.Generator().manual_seed(7)).item()
    assert state.is_now()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_states_of_a_gpu_come_back():
    torch.rand(1, device="cuda")
    state = RandomState.from_plain(RandomState.now().to_plain())
    drawn = torch.rand(1, device="cuda")
    assert not state.is_now()
    state.restore()
    assert torch.equal(torch.rand(1, device="cuda"), drawn)
    state.restore()
    with seeded(7):  # a seed for the CPU alone
        assert torch.equal(torch.rand(1, device="cuda"), drawn)
