"""Which histories are one another's beginnings, against a slow loop."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.data import windows
from recbole_enhance.data.windows import Neighbours, windows_of


def rows_of(users, longest):
    """Each user's prefixes as RecBole makes them: users, histories and lengths."""
    found = [
        (user, items[max(0, end - longest) : end])
        for user, items in enumerate(users)
        for end in range(1, len(items))
    ]
    histories = torch.zeros(len(found), longest, dtype=torch.long)
    for row, (_, items) in enumerate(found):
        histories[row, : len(items)] = torch.tensor(items)
    lengths = torch.tensor([len(items) for _, items in found], dtype=torch.long)
    return torch.tensor([user for user, _ in found], dtype=torch.long), histories, lengths


# Few items, so that histories agree by chance and repeat themselves.
USERS = st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=12), min_size=1, max_size=4)


@given(USERS, st.integers(1, 5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_row_is_read_where_its_history_stands(users, longest, step, random):
    _, histories, lengths = rows_of(users, longest)
    order = list(range(len(lengths)))
    if random.random() < 0.5:
        random.shuffle(order)
    histories, lengths = histories[order], lengths[order]
    found = windows_of(histories, lengths, step)
    for row, history in enumerate(histories.tolist()):
        own = history[: lengths[row]]
        seen = found.place[row] + 1
        window = histories[found.row[found.window[row]]].tolist()
        assert window[:seen] == own[len(own) - seen :]
        assert 0 <= len(own) - seen < min(step, longest)  # items that it does not see
        if seen < len(own):
            assert len(own) == longest


@given(USERS, st.integers(1, 5), st.integers(1, 4))
def test_a_window_serves_all_that_it_can(users, longest, step):
    _, histories, lengths = rows_of(users, longest)
    step = min(step, longest)
    most = sum(1 + -(-max(0, len(items) - 1 - longest) // step) for items in users)
    assert len(windows_of(histories, lengths, step).row) <= most


def part_of(users, longest):
    of, histories, lengths = rows_of(users, longest)
    return SimpleNamespace(
        inter_feat={"u": of, "i_list": histories, "n": lengths},
        uid_field="u",
        iid_field="i",
        item_list_length_field="n",
        config={"LIST_SUFFIX": "_list"},
    )


@pytest.mark.parametrize("step", [1, 3])
def test_an_epoch_has_each_row_once_and_windows_whole(monkeypatch, step):
    monkeypatch.setattr(windows, "_PIECE", 7)
    generator = torch.Generator().manual_seed(0)
    users = [torch.randint(1, 90, (n,), generator=generator).tolist() for n in (2, 6, 14, 25)]
    part = part_of(users, longest=5)
    neighbours = Neighbours(part, step)
    seen = set()
    for _ in range(8):
        order = neighbours.shuffled(generator)
        assert sorted(order.tolist()) == list(range(len(part.inter_feat["u"])))
        histories, lengths = (part.inter_feat[name][order] for name in ("i_list", "n"))
        # Beyond the limit, windows begin at a random row: one more of a user than there need be.
        least = sum(1 + -(-max(0, len(items) - 6) // step) for items in users)
        assert least - 3 <= len(windows_of(histories, lengths, step).row) <= least + 3
        seen.add(tuple(order.tolist()))
    assert len(seen) == 8
    again = [neighbours.shuffled(torch.Generator().manual_seed(3)).tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_rows_in_disorder_are_found_again():
    users = [[1, 2, 3, 4, 5], [6, 7, 8, 9]]
    part = part_of(users, longest=4)
    order = torch.tensor([5, 0, 3, 1, 6, 4, 2])
    part.inter_feat = {name: column[order] for name, column in part.inter_feat.items()}
    rows = Neighbours(part, 1).shuffled(torch.Generator().manual_seed(0))
    found = windows_of(part.inter_feat["i_list"][rows], part.inter_feat["n"][rows], 1)
    assert len(found.row) == 2
