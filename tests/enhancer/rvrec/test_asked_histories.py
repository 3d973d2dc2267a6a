import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.enhancer.rvrec import asked_histories
from recbole_enhance.enhancer.rvrec.asked_histories import AskedHistories


def world(seed, n_items=9, d=4, width=5, asked=2, share=0.5):
    """A table, ragged histories with holes (one of them empty), and items that ask."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(n_items, d, generator=generator, dtype=torch.float64)
    there = torch.rand(6, width, generator=generator) < share
    there[1] = False
    history = torch.randint(1, n_items, there.shape, generator=generator) * there
    items = torch.randint(1, n_items, (asked, len(there)), generator=generator)
    return table, history, there, items


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([0.0, 2.5, -1.0, 39.0]))
def test_the_closed_gradient_is_autograds_of_a_padded_softmax(seed, asked, beta):
    table, history, there, items = world(seed, asked=asked)
    table.requires_grad_()
    beta = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    products = table[items.T] @ table[history].transpose(1, 2)
    norm = table.detach().norm(dim=1)
    cosine = products.detach() / (norm[items.T].unsqueeze(2) * norm[history].unsqueeze(1))
    logits = (beta * cosine).masked_fill(~there.unsqueeze(1), -1e4)
    expected = (logits.softmax(2) * products * there.unsqueeze(1)).sum(2).T
    found = AskedHistories.apply(table, beta, history, there, items)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    pull = torch.randn(found.shape, dtype=torch.float64)
    theirs = torch.autograd.grad(expected, (table, beta), pull)
    for one, other in zip(torch.autograd.grad(found, (table, beta), pull), theirs):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_beta_is_that_of_numerical_differences(seed):
    table, history, there, items = world(seed)
    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda b: AskedHistories.apply(table, b, history, there, items), (beta,)
    )


@pytest.mark.parametrize("seed", range(3))
def test_at_beta_0_the_whole_gradient_is_that_of_numerical_differences(seed):
    table, history, there, items = world(seed)  # weights that cosines do not move
    table.requires_grad_()
    zero = torch.tensor(0.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda t: AskedHistories.apply(t, zero, history, there, items), (table,)
    )


def test_a_beta_beyond_the_steepest_has_no_gradient_and_nobody_asked_is_no_error():
    table, history, there, items = world(1)
    beta = torch.tensor(41.0, dtype=torch.float64, requires_grad=True)
    AskedHistories.apply(table, beta, history, there, items).sum().backward()
    assert beta.grad == 0
    table.requires_grad_()
    none = torch.zeros_like(there)
    scores = AskedHistories.apply(table, beta, history, none, items)
    assert not scores.any()
    scores.sum().backward()
    assert not table.grad.any()


@pytest.mark.parametrize("numbers", [1, 9, 30, 10_000])
def test_blocks_change_neither_scores_nor_gradients(monkeypatch, numbers):
    table, history, there, items = world(2, width=7)
    table.requires_grad_()
    beta = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)

    def all_of_it():
        scores = AskedHistories.apply(table, beta, history, there, items)
        return scores, *torch.autograd.grad(scores.square().sum(), (table, beta))

    whole = all_of_it()
    monkeypatch.setattr(asked_histories, "_NUMBERS", numbers)
    for one, other in zip(all_of_it(), whole):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-14)


def test_no_rows_have_no_scores():
    table, history, there, items = world(1)
    beta = torch.tensor(1.0, dtype=torch.float64)
    scores = AskedHistories.apply(table, beta, history[:0], there[:0], items[:, :0])
    assert scores.shape == (2, 0)
