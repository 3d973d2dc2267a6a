"""Compare runs bit for bit: a method with its backbone, a resumed run with a whole one."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed
from torch import Tensor

from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.storage.run_folder import METRICS, MODEL, RunFolder, history_rows
from recbole_enhance.storage.tensor_files import load_tensors
from recbole_enhance.training.trainer import EnhancedTrainer


class Trained(NamedTuple):
    """The results of a training.

    Attributes:
        valid: Best validation score, and the validation result of that epoch.
        state: The model's state dict after the last epoch.
        random: States of Python's, numpy's and torch's generators after the last epoch.
        test: Test result of the best epoch.
        scores: Scores by the best epoch's model: of a training batch, and of all items if the model
            can rank them.
    """

    valid: tuple[float, Any]
    state: dict[str, Tensor]
    random: tuple[Any, ...]
    test: dict[str, float]
    scores: list[Tensor]


def trained(options: Mapping[str, Any]) -> Trained:
    """Train and test in memory, without a run folder.

    Args:
        options: Options of the run.
    """
    run = assemble(Config(config_dict={"show_progress": False, **options}))
    valid = run.trainer.fit(run.train_data, run.valid_data)
    of_numpy = [np.asarray(part).tolist() for part in np.random.get_state()]
    states = random.getstate(), of_numpy, torch.get_rng_state().tolist()
    model = run.trainer.model
    state = {name: value.clone() for name, value in model.state_dict().items()}
    test = dict(run.trainer.evaluate(run.test_data))
    return Trained(valid, state, states, test, _scores(model, run.train_data))


def _scores(model: Any, train_data: Any) -> list[Tensor]:
    batch = next(iter(train_data)).to(model.device)
    init_seed(0, True)  # RecBole's NGCF drops out in evaluation too
    model.eval()
    with torch.no_grad():
        scores = [model.predict(batch)]
        try:
            users = torch.arange(1, model.n_users, device=model.device)
            scores.append(model.full_sort_predict(Interaction({model.USER_ID: users})).flatten())
        except (AttributeError, KeyError, NotImplementedError):  # scores pairs, or sequences
            pass
    return scores


def assert_same(plain: Trained, other: Trained, extra: bool = False) -> None:
    """Fail unless two trainings are the same to the last bit.

    Args:
        plain: The first training.
        other: The second training.
        extra: Whether the second may have parameters that the first does not have.
    """
    assert other.valid == plain.valid
    assert extra or set(other.state) == set(plain.state)
    for name, value in plain.state.items():
        assert torch.equal(other.state[name], value), name
    assert other.random == plain.random, "the backbone's random numbers are others"
    assert other.test == plain.test
    assert len(other.scores) == len(plain.scores)
    assert all(map(torch.equal, other.scores, plain.scores))


def assert_resumes(
    run: Callable[..., dict[str, Any]],
    resume: Callable[[str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    stopped: str = "stopped",
) -> None:
    """Fail unless a run that is stopped in its fourth epoch of five ends with the same result.

    Test and validation result, history and the state dict of the best epoch are compared.

    Args:
        run: Function that runs with the given options.
        resume: Function that resumes a run folder.
        monkeypatch: The fixture of pytest.
        stopped: Run folder of the stopped run.
    """
    whole = run(epochs=5)
    with monkeypatch.context() as patch:
        train_epoch = EnhancedTrainer._train_epoch

        def stop(self: Any, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
            loss = train_epoch(self, train_data, epoch_idx, *args, **kwargs)
            if epoch_idx == 3:
                raise KeyboardInterrupt
            return loss

        patch.setattr(EnhancedTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run(epochs=5, run_dir=stopped)
    resumed = resume(stopped)
    assert {**resumed, "run_dir": None} == {**whole, "run_dir": None}
    folders = [Path(stopped), Path(whole["run_dir"])]
    rows, states = [], []
    for folder in folders:
        history = history_rows(folder)
        rows.append([{k: v for k, v in row.items() if "seconds" not in k} for row in history])
        label = RunFolder.open(folder).read_json(METRICS)["label"]
        states.append(load_tensors(folder / MODEL, label, "cpu")["state_dict"])
    assert rows[0] == rows[1]
    assert set(states[0]) == set(states[1])
    for name, value in states[1].items():
        assert torch.equal(states[0][name], value), name
