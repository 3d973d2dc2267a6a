import random
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_enhance.experiment.quick_start import resume_run
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training.trainer import EnhancedTrainer


@pytest.mark.parametrize(
    "draw",
    [random.random, np.random.rand, lambda: torch.rand(1).item()],
    ids=["python", "numpy", "torch"],
)
def test_what_a_method_draws_goes_on_after_a_resume(toy, monkeypatch, draw):
    monkeypatch.setattr(EnhancedTrainer, "log_epoch", lambda self: {"drawn": draw()})
    whole = run_toy(toy, "BPR", epochs=4)
    original = EnhancedTrainer._train_epoch

    def stop(self, *args, **kwargs):
        if len(self.history) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(EnhancedTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", epochs=4, run_dir="stopped")
    resume_run("stopped", quiet=True)
    drawn = [
        [row["drawn"] for row in history_rows(Path(folder))]
        for folder in ("stopped", whole["run_dir"])
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 4


def test_the_history_shows_means_of_what_the_batches_log(toy):
    trainer, (train, valid, _) = assemble(toy_options(toy, "BPR", epochs=2, show_progress=False))
    loss_of, losses, sizes = trainer.model.calculate_loss, [], []

    def log(batch):
        loss = loss_of(batch)
        losses.append(loss.item())
        sizes.append(len(batch))
        trainer.log("their_loss", loss)
        trainer.log("size", len(batch))
        if len(trainer.history) == 1:
            trainer.log("late", 1.0)
        return loss

    trainer.model.calculate_loss = log
    trainer.fit(train, valid)
    n = len(losses) // 2
    assert n > 1
    for epoch, row in enumerate(trainer.history):
        assert row["their_loss"] == pytest.approx(np.mean(losses[epoch * n :][:n]))
        assert row["size"] == sum(sizes[:n]) / n
        assert type(row["their_loss"]) is float
    assert [row.get("late") for row in trainer.history] == [None, 1.0]
    names = [name for name in trainer.history[1] if name in ("late", "size", "their_loss")]
    assert names == sorted(names)  # whichever batch logs first
