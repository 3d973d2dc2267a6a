"""Option interaction_weight_field: each sample's loss by its interaction's weight."""

from pathlib import Path

import pytest
import torch

from recbole_enhance.data.rows import WEIGHT
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options

VALUES = {
    "threshold": {"rating": 3},
    "eval_args": {"mode": "uni5"},
    "metrics": ["Recall"],
    "valid_metric": "Recall@5",
}
MODELS = {
    "BPR": {},
    "NeuMF": {},
    "LightGCN": {},
    "ProtoMF": {},
    "FM": VALUES,
    "DeepFM": VALUES,
    "SASRec": {"train_neg_sample_args": None},
    "GRU4Rec": {"loss_type": "BPR"},
}


def with_weights(toy, folder, weight):
    """The toy with a column of weights."""
    (folder / "toy").mkdir(parents=True)
    for path in (toy / "toy").iterdir():
        header, *rows = path.read_text().splitlines()
        if path.suffix == ".inter":
            header += "\tw:float"
            rows = [f"{row}\t{weight(n)}" for n, row in enumerate(rows)]
        (folder / "toy" / path.name).write_text("\n".join([header, *rows, ""]))
    return folder


def losses_of(run):
    return [row["train_loss"] for row in history_rows(Path(run["run_dir"]))]


@pytest.mark.parametrize("model", MODELS)
def test_equal_weights_are_the_model_bit_for_bit(toy, tmp_path, model):
    data = with_weights(toy, tmp_path / "data", lambda n: 3)
    plain = run_toy(data, model, epochs=3, run_dir="plain", **MODELS[model])
    options = {**MODELS[model], "interaction_weight_field": "w"}
    weighted = run_toy(data, model, epochs=3, run_dir="weighted", **options)
    assert losses_of(weighted) == losses_of(plain)
    assert weighted["test_result"] == plain["test_result"]


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_is_the_mean_of_the_weighted_ones(toy, tmp_path, model):
    """A batch with weights of 0 and 2 is the one half of it."""
    data = with_weights(toy, tmp_path / "data", lambda n: n % 3)
    options = {**MODELS[model], "interaction_weight_field": "w"}
    trainer, (train, *_) = assemble(toy_options(data, model, **options))
    model, batch = trainer.model, next(iter(train))
    model.eval()  # no dropout
    half = torch.arange(len(batch)) % 2 == 0
    batch.interaction[WEIGHT] = 2.0 * half
    found = model.calculate_loss(batch)
    part = batch[half]
    part.interaction[WEIGHT] = torch.ones(len(part))
    batch.interaction[WEIGHT] = torch.ones(len(batch))
    equal, expected = model.calculate_loss(batch), model.calculate_loss(part)
    if type(model).__name__ in ("BPR", "NeuMF", "FM", "SASRec", "GRU4Rec"):  # no penalty beside it
        scale = 2 * int(half.sum()) / len(half)
        torch.testing.assert_close(found, scale * expected)
    assert not torch.equal(found, equal)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("EASE", "EASE is not trained by the losses of samples"),
        ("Pop", "Pop is not trained"),
        ("MultiDAE", "MultiDAE has 0 loss modules"),
        ("DiffRec", "the samples of DiffRec are users"),
        ("DVR", "DVR-BPR weights samples itself"),
        ("SimpleX", "SimpleX has 0 loss modules"),
        ("ENMF", "ENMF has 0 loss modules"),
    ],
)
def test_a_model_that_cannot_weigh_is_refused(toy, model, why):
    with pytest.raises(OptionError, match=f"interaction_weight_field=.*: {why}"):
        run_toy(toy, model, interaction_weight_field="rating")


def test_weights_move_the_model(toy, tmp_path):
    data = with_weights(toy, tmp_path / "data", lambda n: 1 + n % 5)
    plain = run_toy(data, "BPR", run_dir="plain")
    weighted = run_toy(data, "BPR", run_dir="weighted", interaction_weight_field="w")
    assert losses_of(weighted) != losses_of(plain)
