"""BPR's loss with its gradient in closed form: what it computes, and whom it stands for."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.model.general_recommender.bpr import BPR
from recbole.model.loss import BPRLoss
from torch import nn

from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training import acceleration, bpr_gradient
from recbole_enhance.training.acceleration import Rows
from recbole_enhance.training.bpr_gradient import BPRGradient, is_plain, loss_of

SMALL = {"train_batch_size": 16, "learning_rate": 0.05, "epochs": 3}


def autograd(tables, users, items, negatives, gamma):
    """RecBole's ``BPR.calculate_loss``, word for word."""
    user, item, negative = tables[0][users], tables[1][items], tables[1][negatives]
    positive, other = torch.mul(user, item).sum(1), torch.mul(user, negative).sum(1)
    return BPRLoss(gamma)(positive, other)


@given(
    st.integers(1, 60),
    st.integers(1, 7),
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from([1e-10, 0.3]),
    st.sampled_from([0.1, 1.0, 30.0]),
    st.integers(1, 64),
    st.integers(0, 999),
)
def test_loss_and_gradient_are_autograds(size, n_users, n_items, d, gamma, scale, at_once, seed):
    generator = torch.Generator().manual_seed(seed)
    made = [
        torch.randn(n, d, generator=generator, dtype=torch.float64).mul_(scale).requires_grad_()
        for n in (n_users, n_items)
    ]
    ids = [torch.randint(n, (size,), generator=generator) for n in (n_users, n_items, n_items)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpr_gradient, "_NUMBERS", at_once)
        ours = BPRGradient.apply(*made, *ids, gamma)
        (3.0 * ours).backward()
    expected = autograd(made, *ids, gamma)
    gradients = torch.autograd.grad(3.0 * expected, made)
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)
    for table, gradient in zip(made, gradients):
        torch.testing.assert_close(table.grad, gradient, atol=1e-11, rtol=1e-11)


def test_a_gradient_of_the_gradient_is_refused_and_not_wrong():
    made = [torch.ones(2, 2, requires_grad=True) for _ in range(2)]
    loss = BPRGradient.apply(*made, *(torch.tensor([1]) for _ in range(3)), 1e-10)
    first = torch.autograd.grad(loss, made, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        sum(g.sum() for g in first).backward()


def test_a_number_that_is_none_is_a_loss_that_is_none():
    made = [torch.full((2, 2), float("nan"), requires_grad=True) for _ in range(2)]
    assert BPRGradient.apply(*made, *(torch.tensor([1]) for _ in range(3)), 1e-10).isnan()


@given(st.lists(st.integers(0, 2**40), max_size=40), st.booleans())
def test_numbers_are_sorted_as_they_stand(numbers, small):
    row = torch.tensor([n % 7 if small else n for n in numbers], dtype=torch.long)
    n = 7 if small else 2**40 + 1
    assert torch.equal(acceleration._order(row, n), row.argsort(stable=True))


@pytest.mark.parametrize("n", [2**28 - 1, 2**28, 2**29, 2**31 + 2])
def test_numbers_at_the_end_of_32_bits_are_sorted(n):
    """Five places take three bits, so that these are just below, at and above what is left."""
    row = torch.tensor([n - 1, n - 2, 0, n - 1, n - 2])
    assert acceleration._order(row, n).tolist() == [2, 1, 4, 0, 3]


@given(st.integers(0, 30), st.integers(1, 6), st.integers(0, 99))
def test_rows_of_coordinates_in_any_order_multiply(entries, n, seed):
    generator = torch.Generator().manual_seed(seed)
    row, column = (torch.randint(k, (entries,), generator=generator) for k in (n, 4))
    value = torch.randn(entries, generator=generator, dtype=torch.float64)
    dense = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    matrix = torch.zeros(n, 4, dtype=torch.float64)
    matrix.index_put_((row, column), value, accumulate=True)
    torch.testing.assert_close(Rows.of(row, column, value, n).times(dense), matrix @ dense)


# ---- runs ----------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """How many batches went through the closed form."""
    counted, own = [], BPRGradient.apply

    def apply(*args):
        counted.append(len(args[2]))
        return own(*args)

    monkeypatch.setattr(BPRGradient, "apply", apply)
    return counted


CLOSED = {**SMALL, "closed_form": True}


def curve(run):
    return [float(row["train_loss"]) for row in history_rows(Path(run["run_dir"]))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learner": "adamw", "weight_decay": 0.1},
        {"learner": "sgd"},
        {"learner": "row_adam"},
        {"weight_decay": 0.01},
        {"clip_grad_norm": {"max_norm": 1e-3}},
        {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 3}},
        {"train_neg_sample_args": {"dynamic": True, "candidate_num": 3}},
    ],
    ids=str,
)
def test_a_run_is_the_one_of_autograd(toy, calls, options):
    ours = run_toy(toy, "BPR", **CLOSED, **options)
    assert calls
    calls.clear()
    theirs = run_toy(toy, "BPR", **SMALL, **options)
    assert not calls
    assert curve(ours) == pytest.approx(curve(theirs), rel=1e-4)
    assert len(set(curve(ours))) == 3


@pytest.mark.parametrize("method", ["WBPR", "AOBPR"])
def test_a_method_that_only_draws_negatives_has_it(toy, calls, caplog, method):
    run_toy(toy, method, **CLOSED)
    assert calls
    assert "closed_form has no effect" not in caplog.text


@pytest.mark.parametrize(
    ("model", "options", "why"),
    [
        ("BPR", {"closed_form": False}, None),
        ("BPR", {"fast": False}, "it needs fast=True and enable_amp=False"),
        ("BPR", {"enable_amp": True}, "it needs fast=True and enable_amp=False"),
        ("LightGCN", {}, "it is for RecBole's BPR, WBPR and AOBPR on a CPU"),
        ("TCE", {"tce_drop_rate": 0.3}, "it is for RecBole's BPR, WBPR and AOBPR on a CPU"),
        ("RCE", {}, "it is for RecBole's BPR, WBPR and AOBPR on a CPU"),
        ("PRIS", {"pris_negatives": 3}, "it is for RecBole's BPR, WBPR and AOBPR on a CPU"),
    ],
)
def test_others_keep_their_loss_and_say_so(toy, calls, caplog, model, options, why):
    run_toy(toy, model, **{**CLOSED, **options})
    assert not calls
    said = [text for text in caplog.messages if text.startswith("closed_form has no effect: ")]
    assert said == ([f"closed_form has no effect: {why}"] if why else [])


def plain_model(toy):
    return assemble(toy_options(toy, "BPR"))[0].model


class Penalised(BPR):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) + self.item_embedding.weight.square().sum()


class Scaled(BPR):
    def get_item_embedding(self, item):
        return 2 * super().get_item_embedding(item)


class Ranked(BPR):
    """Another ranking, the same loss."""

    def predict(self, interaction):
        return -super().predict(interaction)


@pytest.mark.parametrize(
    ("kind", "expected"), [(Penalised, False), (Scaled, False), (Ranked, True)]
)
def test_a_class_of_ones_own(toy, kind, expected):
    assert is_plain(assemble(toy_options(toy, kind))[0].model) is expected


def _padded(model):
    model.item_embedding = nn.Embedding(*model.item_embedding.weight.shape, padding_idx=0)


def _largest(model):
    model.user_embedding.max_norm = 1.0


def _sparse(model):
    model.user_embedding.sparse = True


def _by_counts(model):
    model.user_embedding.scale_grad_by_freq = True


CHANGES = {
    "padding": _padded,
    "max_norm": _largest,
    "sparse": _sparse,
    "scale_grad_by_freq": _by_counts,
    "another loss": lambda m: setattr(m, "loss", type("Other", (BPRLoss,), {})()),
    "own calculate_loss": lambda m: setattr(m, "calculate_loss", m.calculate_loss),
    "own forward": lambda m: setattr(m, "forward", m.forward),
    "own look-up": lambda m: setattr(m.item_embedding, "forward", m.item_embedding.forward),
    "hook of the loss": lambda m: m.loss.register_forward_hook(lambda *_: None),
    "hook before a table": lambda m: m.user_embedding.register_forward_pre_hook(lambda *_: None),
    "hook of a gradient": lambda m: m.item_embedding.register_full_backward_hook(lambda *_: None),
    "bfloat16": lambda m: m.to(torch.bfloat16),
    "another device": lambda m: m.to("meta"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_changed_keeps_its_own(toy, change):
    model = plain_model(toy)
    assert is_plain(model)
    CHANGES[change](model)
    assert not is_plain(model)


def test_the_loss_is_of_the_tables_that_are_there_when_it_is_called(toy):
    trainer, (train, _, _) = assemble(toy_options(toy, "BPR", closed_form=True))
    loss = loss_of(trainer.model, trainer.config)
    batch = next(iter(train))
    assert float(loss(batch)) == pytest.approx(float(trainer.model.calculate_loss(batch)), rel=1e-5)
    trainer.model.user_embedding.weight = nn.Parameter(5 * trainer.model.user_embedding.weight)
    trainer.model.loss.gamma = 0.1
    assert float(loss(batch)) == pytest.approx(float(trainer.model.calculate_loss(batch)), rel=1e-5)
