import copy
import io

import pytest
import torch
from torch import nn

from recbole_enhance.enhancer.iacn.fused import FusedItemEmbedding, SharedRows, fuse, scale_gradient


def test_the_forward_is_the_table_itself():
    table = nn.Embedding(6, 5, padding_idx=0)
    plain, ids = copy.deepcopy(table), torch.tensor([[0, 2], [5, 2]])
    same = fuse(table, 2, 0, 6, 0.3)
    assert same is table
    assert type(table) is FusedItemEmbedding
    assert torch.equal(table(ids), plain(ids))
    assert torch.equal(table.weight, plain.weight)
    assert list(table.state_dict()) == list(plain.state_dict())
    assert len(list(table.parameters())) == 1


@pytest.mark.parametrize("delta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("read", ["ids", "weight"])
def test_gradients_are_delta_in_the_last_columns_of_items_and_whole_elsewhere(delta, read):
    # Rows 2..5 are items, the others another field's.
    table = fuse(nn.Embedding(8, 5), 2, 2, 4, delta)
    ids = torch.arange(8)
    x = table(ids) if read == "ids" else table.weight
    x.sum().backward()
    expected = torch.ones(8, 5)
    expected[2:6, 3:] = delta
    assert torch.equal(table.raw.grad, expected)


def test_the_auxiliary_read_has_the_other_share_and_the_items_numbers():
    table = fuse(nn.Embedding(8, 5), 2, 2, 4, 0.25)
    items = torch.tensor([1, 3, 3])
    assert torch.equal(table.interests(items), table.raw[items + 2, 3:])
    table.interests(items).sum().backward()
    expected = torch.zeros(8, 5)
    expected[3, 3:], expected[5, 3:] = 0.75, 1.5
    assert torch.equal(table.raw.grad, expected)
    table.raw.grad = None
    one, other = table.interests_of(items, torch.tensor([[3, 0]]))
    assert torch.equal(other, table.interests(torch.tensor([[3, 0]])))
    (one.sum() + 2 * other.sum()).backward()
    expected[5, 3:], expected[2, 3:] = 3.0, 1.5
    assert torch.equal(table.raw.grad, expected)
    table.raw.grad = None
    table.all_interests().sum().backward()
    assert torch.equal(table.raw.grad[2:6, 3:], torch.full((4, 2), 0.75))


def test_an_infinite_gradient_times_nothing_is_nothing():
    table = fuse(nn.Embedding(3, 2), 1, 0, 3, 0.0)
    (table(torch.tensor([1])) * torch.tensor([1.0, float("inf")])).sum().backward()
    assert torch.equal(table.raw.grad[:, 1], torch.zeros(3))
    alone = fuse(nn.Embedding(3, 2), 1, 0, 3, 1.0)
    assert not alone.interests(torch.tensor([1])).requires_grad


def test_new_interests_leave_the_rest_and_the_padding_row():
    table = nn.Embedding(5, 4, padding_idx=0)
    before = table.weight.detach().clone()
    fuse(table, 2, 0, 5, 0.5).draw_interests(1.0, torch.Generator().manual_seed(0))
    assert torch.equal(table.raw[:, :2], before[:, :2])
    assert not table.raw[0].any()
    assert not torch.equal(table.raw[1:, 2:], before[1:, 2:])


def test_a_copy_and_a_file_keep_what_it_is():
    table = fuse(nn.Embedding(5, 4), 2, 0, 5, 0.5)
    other = copy.deepcopy(table)
    assert isinstance(other, FusedItemEmbedding)
    assert other.raw is not table.raw
    buffer = io.BytesIO()
    torch.save(table.state_dict(), buffer)
    buffer.seek(0)
    nn.Embedding(5, 4).load_state_dict(torch.load(buffer, weights_only=True))
    holder = nn.ModuleList([table, SharedRows(table)])
    assert len(list(holder.parameters())) == 1
    twin = copy.deepcopy(holder)
    assert twin[1]._table[0] is twin[0]


def test_scaling_by_1_is_nothing_at_all():
    x = torch.ones(2, requires_grad=True)
    assert scale_gradient(x, 1.0) is x
