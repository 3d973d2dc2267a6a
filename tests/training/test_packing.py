"""Windows of histories give a model the loss and the gradient of one row per target."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # options of small models
from iacn_backbones import OWN, PROPERTIES, SMALL

from recbole_enhance.options.read import load_yaml
from recbole_enhance.testing.worlds import assemble, toy_options
from recbole_enhance.training import packing

SEQUENTIAL = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
CAUSAL = ("SASRec", "GRU4Rec", "SASRecF", "GRU4RecF", "FDSA")
READ = {
    **dict.fromkeys(CAUSAL, "windows"),
    "BERT4Rec": None,
    "Caser": None,
    "STAMP": None,  # the vector of its padding is not zero, and counts
    "NARM": "cut",
    "SRGNN": "cut",
}


def made(toy, model, **options):
    """A small model that has not been packed, and its loaders."""
    known = load_yaml(PROPERTIES / f"{model}.yaml")
    small = {k: v for k, v in SMALL.items() if k in known and isinstance(v, type(known[k]))}
    loss = options.get("loss_type", known.get("loss_type"))
    none = {"train_neg_sample_args": None} if loss == "CE" else {}
    own = {**small, **OWN.get(model, {}), "MAX_ITEM_LIST_LENGTH": 6, "eval_args": SEQUENTIAL}
    own |= {"train_batch_size": 100, **none, **options}
    trainer, (train, *_) = assemble(toy_options(toy, model, **own))
    return trainer, train


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.double().train()


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


@pytest.mark.parametrize(
    ("model", "loss"),
    [*((model, loss) for model in CAUSAL for loss in ("CE", "BPR")), ("NARM", "CE")],
)
def test_loss_and_gradient_are_those_of_a_row_per_target(toy, monkeypatch, model, loss):
    monkeypatch.setattr(packing, "_CPU_ROWS", 20)  # so that something is cut
    trainer, train = made(toy, model, loss_type=loss)
    plain = copy.deepcopy(trainer.model)
    assert packing.pack(trainer.model, train, 1) == READ[model]
    plain, packed = without_dropout(plain), without_dropout(trainer.model)
    rows, sizes = 0, []
    for batch in train:
        expected, of_expected = loss_and_gradients(plain, batch)
        found, of_found = loss_and_gradients(packed, batch)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert of_found.keys() == of_expected.keys()
        for name, gradient in of_expected.items():
            torch.testing.assert_close(of_found[name], gradient, rtol=1e-6, atol=1e-10)
        rows += len(batch)
        sizes.append(len(batch))
    assert rows == len(train._dataset.inter_feat)
    assert set(sizes[:-1]) == {100}  # a batch has train_batch_size targets, as before


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_far_fewer_histories_are_read(toy, model):
    trainer, train = made(toy, model)
    net, read = trainer.model, []
    packing.pack(net, train, 5)
    net.item_embedding.register_forward_hook(lambda _, args, __: read.append(len(args[0])))
    net.train()
    for batch in train:
        net(batch[net.ITEM_SEQ], batch[net.ITEM_SEQ_LEN])
    # 60 users with 11 targets each: 6 of them in one window, the others in one or two.
    assert sum(read) <= 60 * 3 + 2 * len(train)
    net.eval()
    del read[:]
    net(batch[net.ITEM_SEQ], batch[net.ITEM_SEQ_LEN])
    assert sum(read) == len(batch)  # evaluation is as it was


def test_a_copy_of_a_packed_model_is_one_of_its_own(toy):
    trainer, train = made(toy, "SASRec")
    packing.pack(trainer.model, train, 1)
    twin, batch = without_dropout(copy.deepcopy(trainer.model)), next(iter(train))
    before = twin.calculate_loss(batch)
    with torch.no_grad():
        trainer.model.item_embedding.weight.zero_()
    assert torch.equal(twin.calculate_loss(batch), before)
    assert twin.forward.model is twin


@pytest.mark.parametrize("model", READ)
def test_what_is_not_the_same_is_left(toy, model):
    trainer, train = made(toy, model)
    own = vars(trainer.model).copy()
    state = torch.get_rng_state()
    assert packing.pack(trainer.model, train, 10) == READ[model]
    assert torch.equal(torch.get_rng_state(), state)  # trying draws nothing of the run's
    assert (train.windows is not None) == (READ[model] == "windows")
    assert ("forward" in vars(trainer.model)) == (READ[model] is not None)
    if READ[model] is None:
        assert vars(trainer.model).keys() == own.keys()


class Peeks(nn.Module):
    """Looks at all items, and so at those that come later."""

    max_seq_length, n_items, device = 6, 50, torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.item_embedding = nn.Embedding(50, 4)

    def gather_indexes(self, output, index):
        return output.gather(1, index.view(-1, 1, 1).expand(-1, -1, 4)).squeeze(1)

    def forward(self, item_seq, item_seq_len):
        vectors = self.item_embedding(item_seq) * (item_seq != 0).unsqueeze(-1)
        return self.gather_indexes(vectors + vectors.sum(1, keepdim=True), item_seq_len - 1)


def test_a_model_that_looks_ahead_is_found_out():
    assert not packing.Reading(Peeks(), 1).replaces_forward()
    assert packing.Reading(Peeks(), 0).replaces_forward()


@pytest.mark.parametrize("options", [{"packed_step": 0}, {"fast": False}])
def test_it_can_be_turned_off(toy, options):
    trainer, train = made(toy, "SASRec", epochs=1, **options)
    trainer.fit(train, None)
    assert "forward" not in vars(trainer.model)
    assert getattr(train, "windows", None) is None


def test_under_iacn_too(toy):
    options = {"backbone": "SASRec", "hidden_size": 16, "inner_size": 32, "eval_args": SEQUENTIAL}
    options |= {"MAX_ITEM_LIST_LENGTH": 6, "train_neg_sample_args": None}
    trainer, (train, *_) = assemble(toy_options(toy, "IaCN", **options))
    plain = copy.deepcopy(trainer.model)
    assert packing.pack(trainer.model, train, 1) == "windows"
    batch, rng = next(iter(train)), torch.get_rng_state()
    plain.eval()
    expected = plain.calculate_loss(batch)
    for module in trainer.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.set_rng_state(rng)
    for found, of_rows in zip(trainer.model.train().calculate_loss(batch), expected):
        torch.testing.assert_close(found, of_rows, rtol=1e-5, atol=1e-6)
