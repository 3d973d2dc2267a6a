import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_enhance.data import user_lists
from recbole_enhance.data.user_lists import UserLists

N_USERS, N_ITEMS = 5, 7
pairs = st.lists(st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)), max_size=40)


def lists_of(given_pairs):
    users, items = torch.tensor(given_pairs, dtype=torch.long).reshape(-1, 2).T
    return UserLists(users, items, N_USERS, N_ITEMS)


@settings(deadline=None)
@given(pairs, st.lists(st.integers(0, N_USERS - 1), max_size=6))
def test_it_is_a_set_of_items_for_each_user(given_pairs, asked):
    lists = lists_of(given_pairs)
    sets = [sorted({i for u, i in given_pairs if u == user}) for user in range(N_USERS)]
    assert lists.counts.tolist() == [len(s) for s in sets]
    rows, items = lists.of(torch.tensor(asked, dtype=torch.long))
    expected = [(row, item) for row, user in enumerate(asked) for item in sets[user]]
    assert list(zip(rows.tolist(), items.tolist())) == expected
    every = torch.cartesian_prod(torch.arange(N_USERS), torch.arange(N_ITEMS))
    expected = [(u, i) in set(given_pairs) for u, i in every.tolist()]
    for cells, far_apart in ((N_USERS * N_ITEMS, 0), (N_USERS * N_ITEMS - 1, 0), (0, 10**9)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(user_lists, "_CELLS", cells)
            patch.setattr(user_lists, "_FAR_APART", far_apart)
            assert lists.holds(every[:, 0], every[:, 1]).tolist() == expected
            square = every[:, 0].view(1, -1), every[:, 1].view(1, -1)
            assert lists.holds(*square).tolist() == [expected]


class Part:
    """What UserLists reads of a built dataset."""

    user_num, item_num = N_USERS, N_ITEMS

    def __init__(self, given_pairs):
        from scipy.sparse import coo_matrix

        rows, columns = zip(*given_pairs)
        self.matrix = coo_matrix(([1.0] * len(rows), (rows, columns)), (N_USERS, N_ITEMS))

    def inter_matrix(self, form):
        assert form == "coo"
        return self.matrix


def test_parts_add_up_without_what_is_held_out():
    train, valid = Part([(1, 2), (1, 3), (1, 2)]), Part([(1, 3), (2, 4)])
    held_out = UserLists.of_datasets([valid])
    known = UserLists.of_datasets([train, valid], without=held_out)
    assert known.counts.tolist() == [0, 1, 0, 0, 0]
    assert known.of(torch.tensor([1]))[1].tolist() == [2]


@pytest.mark.parametrize("n_pairs", [0, 1])
def test_few_pairs(n_pairs):
    lists = lists_of([(1, 1)] * n_pairs)
    assert lists.holds(torch.tensor([1, 4]), torch.tensor([1, 6])).tolist() == [n_pairs == 1, False]
