"""Which recommendations are explained: candidates, lists, and pairs of user and item."""

from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_enhance.evaluation.ties import drawn_order

_CELLS = 2**24


class Candidates(NamedTuple):
    """What is ranked for each user: test positives, then sampled negatives, then padding.

    Attributes:
        user: Users with a test item. Shape: ``(users,)``.
        item: Candidate items, 0 where there is none. Shape: ``(users, C)``.
        positive: True for test items. Shape: ``(users, C)``.
        place: Of the item in the order drawn by ``seed`` by which equal scores stand, as in
            evaluation. Shape: ``(users, C)``.
    """

    user: Tensor
    item: Tensor
    positive: Tensor
    place: Tensor

    @property
    def valid(self) -> Tensor:
        """True where there is a candidate. Shape: ``(users, C)``."""
        return self.item > 0


class Pairs(NamedTuple):
    """Recommendations to be explained.

    Attributes:
        row: Row of the candidates. Shape: ``(P,)``.
        column: Column of the candidates. Shape: ``(P,)``.
        user: User id. Shape: ``(P,)``.
        item: Item id. Shape: ``(P,)``.
    """

    row: Tensor
    column: Tensor
    user: Tensor
    item: Tensor


def draw_candidates(known: Any, test: Any, n_items: int, n_negatives: int, seed: int) -> Candidates:
    """Draw negatives once per user, as CountER evaluates.

    They depend on the data, the split and the seed, not on the model: runs to be compared rank the
    same candidates.

    Args:
        known: Pairs of training and validation ``(user, item)``, which no negative may be.
        test: Pairs of the test split.
        n_items: Number of item ids, padding included.
        n_negatives: Negatives per user; fewer where there are not so many.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    keys = torch.unique(test[0] * n_items + test[1])
    test_user, test_item = keys // n_items, keys % n_items
    users, row, count = torch.unique(test_user, return_inverse=True, return_counts=True)
    place = torch.arange(len(keys)) - (count.cumsum(0) - count)[row]  # rows are sorted by user
    width = int(count.max())
    positives = torch.zeros(len(users), width, dtype=torch.long)
    positives[row, place] = test_item
    taken_user = torch.cat([known[0], test_user])
    taken_item = torch.cat([known[1], test_item])
    negatives = [
        _negatives(chunk, taken_user, taken_item, n_items, n_negatives, generator)
        for chunk in users.split(max(1, _CELLS // n_items))
    ]
    items = torch.cat([positives, torch.cat(negatives)], dim=1)
    positive = torch.zeros_like(items, dtype=torch.bool)
    positive[:, :width] = positives > 0
    return Candidates(users, items, positive, drawn_order(n_items, seed)[items])


def _negatives(
    users: Tensor,
    taken_user: Tensor,
    taken_item: Tensor,
    n_items: int,
    n: int,
    generator: torch.Generator,
) -> Tensor:
    """Items that the users do not know, without repetition. Shape: ``(users, n)``."""
    luck = torch.rand(len(users), n_items, generator=generator)
    at = torch.searchsorted(users, taken_user).clamp(max=len(users) - 1)
    mine = users[at] == taken_user
    luck[at[mine], taken_item[mine]] = -1.0
    luck[:, 0] = -1.0
    best = luck.topk(min(n, n_items), dim=1)
    return best.indices.masked_fill(best.values < 0, 0)


def candidates_of(run: Any, n_negatives: int, seed: int) -> Candidates:
    """Candidates of a run's test users; see :func:`draw_candidates`."""
    known = [_pairs(data._dataset) for data in (run.train_data, run.valid_data)]
    users, items = (torch.cat(parts) for parts in zip(*known))
    dataset = run.test_data._dataset
    return draw_candidates((users, items), _pairs(dataset), dataset.item_num, n_negatives, seed)


def _pairs(dataset: Any) -> "tuple[Tensor, Tensor]":
    return dataset.inter_feat[dataset.uid_field], dataset.inter_feat[dataset.iid_field]


@torch.no_grad()
def score_candidates(model: Any, candidates: Candidates, chunk: int | None = None) -> Tensor:
    """Scores of all candidates, -inf for padding, by any general model.

    Args:
        model: The model, in evaluation mode.
        candidates: What is ranked.
        chunk: Users at once.

    Returns:
        Shape: ``(users, C)``.
    """
    model.eval()
    device = model.device
    chunk = chunk or max(1, 2**18 // candidates.item.shape[1])
    rows = []
    for users, items in zip(candidates.user.split(chunk), candidates.item.split(chunk)):
        users, items = users.to(device), items.to(device)
        if hasattr(model, "score_pairs"):
            scores = model.score_pairs(users, items)
        else:
            batch = {
                model.USER_ID: users.repeat_interleave(items.shape[1]),
                model.ITEM_ID: items.flatten(),
            }
            scores = model.predict(Interaction(batch)).reshape(items.shape)
        rows.append(scores.float().cpu())
    return torch.cat(rows).masked_fill(~candidates.valid, -torch.inf)


def top_k(scores: Tensor, place: Tensor, k: int) -> Tensor:
    """Columns of the k best candidates, -1 beyond the candidates.

    Args:
        scores: -inf where there is no candidate. Shape: ``(users, C)``.
        place: Of equal scores, the one with the smallest stands first; by column, test items
            would. Shape: ``(users, C)``.
        k: Length of the list.

    Returns:
        Shape: ``(users, k)``.

    Example:
        >>> scores = torch.tensor([[0.5, 0.9, 0.5, -torch.inf]])
        >>> top_k(scores, torch.tensor([[7, 3, 2, 0]]), 4).tolist()
        [[1, 2, 0, -1]]
    """
    order = place.argsort(dim=1)
    best, index = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return order.gather(1, index)[:, :k].masked_fill(best[:, :k] == -torch.inf, -1)


def margins(scores: Tensor, k: int) -> Tensor:
    """Score of the item at rank k + 1; of the last one where there are fewer.

    Args:
        scores: -inf where there is no candidate. Shape: ``(users, C)``.
        k: Length of the list.

    Returns:
        Shape: ``(users,)``.

    Example:
        >>> margins(torch.tensor([[0.3, 0.9, 0.5], [0.3, -torch.inf, -torch.inf]]), 2).tolist()
        [0.30000001192092896, 0.30000001192092896]
    """
    ordered = scores.sort(dim=1, descending=True).values
    last = (scores > -torch.inf).sum(1) - 1
    return ordered.gather(1, last.clamp(max=k, min=0).unsqueeze(1)).squeeze(1)


def choose_pairs(candidates: Candidates, scores: Tensor, which: str | None, k: int) -> Pairs:
    """Pairs to explain.

    Args:
        candidates: What was ranked.
        scores: Of the candidates.
        which: ``hits``: test items in the list, as CountER; ``test``: all test items, which no
            model chooses.
        k: Length of the list.
    """
    chosen = candidates.positive
    if which == "hits":
        listed = top_k(scores, candidates.place, k)
        member = torch.zeros(len(scores), scores.shape[1] + 1, dtype=torch.bool)
        chosen = chosen & member.scatter_(1, listed + 1, True)[:, 1:]
    row, column = chosen.nonzero(as_tuple=True)
    return Pairs(row, column, candidates.user[row], candidates.item[row, column])
