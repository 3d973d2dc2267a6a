from types import SimpleNamespace

import pytest
import torch

from recbole_enhance.enhancer.dvr.record import ValueRecord, ValueSums
from recbole_enhance.shapley.amortise import amortised


def add(record, rows, values, w=0.5):
    values = torch.tensor(values)
    record.add(torch.tensor(rows), values, torch.full_like(values, w))


def test_the_first_ten_visits_count_alike_and_later_ones_a_tenth():
    record = ValueRecord(2)
    visits = [float(v) for v in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)]
    for n, value in enumerate(visits, start=1):
        add(record, [1], [value])
        assert record.values[1].item() == pytest.approx(sum(visits[:n]) / n)
    expected = sum(visits) / 10
    for value in (7.0, 0.0, 8.0):
        add(record, [1], [value])
        expected += 0.1 * (value - expected)
        assert record.values[1].item() == pytest.approx(expected)
    assert record.seen.tolist() == [0, 13]
    assert record.values[0] == 0


def test_old_values_are_forgotten():
    record = ValueRecord(1)
    for _ in range(100):
        add(record, [0], [1.0], w=0.1)
    for _ in range(30):
        add(record, [0], [0.0], w=0.9)
    assert record.values.item() == pytest.approx(0.9**30, rel=1e-4)  # a plain mean: 0.77
    assert record.probabilities.item() == pytest.approx(0.9 - 0.8 * 0.9**30, rel=1e-4)


def test_samples_of_one_interaction_are_averaged_first():
    record = ValueRecord(3)
    add(record, [2, 0, 2, 2], [1.0, 5.0, 2.0, 6.0])
    assert record.values.tolist() == [5.0, 0.0, 3.0]
    assert record.seen.tolist() == [1, 0, 3]
    add(record, [2], [7.0])
    assert record.values[2] == 4.0


def test_its_state_is_all_there_is():
    record, other = ValueRecord(2), ValueRecord(2)
    add(record, [0, 1], [1.0, 2.0])
    other.load_state(record.state())
    for one in (record, other):
        add(one, [1], [5.0])
    assert all(torch.equal(a, b) for a, b in zip(record.state().values(), other.state().values()))


def test_the_standard_error_is_that_of_a_sum(generator):
    visits = torch.randn((40, 5), generator=generator, dtype=torch.float64)
    sums = ValueSums(5)
    for row in visits:
        sums.add(torch.arange(5), row)
    torch.testing.assert_close(sums.total, visits.sum(0))
    torch.testing.assert_close(sums.standard_error(), visits.std(0) * 40**0.5)
    assert (sums.visits == 40).all()


def test_amortised_values_know_the_loss_the_item_and_the_user():
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randint(1, 9, (2, 40), generator=generator)
    rows = torch.randint(40, (200,), generator=generator)
    values, losses = torch.randn(2, 200, generator=generator)
    sums = ValueSums(40)
    sums.add(rows, values, losses)
    part = SimpleNamespace(
        uid_field="user", iid_field="item", inter_feat={"user": users, "item": items}
    )
    visits = torch.bincount(rows, minlength=40).clamp(min=1)
    mean = torch.zeros(40).double().index_add_(0, rows, losses.double()) / visits
    popularity = [(items == item).sum() for item in items]
    activity = [(users == user).sum() for user in users]
    features = torch.stack([mean, torch.tensor(popularity), torch.tensor(activity)], 1)
    torch.testing.assert_close(sums.amortised(part), amortised(sums.total, features))
    again = ValueSums(40)
    again.load_state(sums.state())
    torch.testing.assert_close(again.amortised(part), sums.amortised(part))
