r"""Re-ranking of finished lists: a dial between accuracy and diversity that needs no training.

A list is built greedily of a user's best candidates: at each place the one of the largest

.. math:: (1 - \lambda) \, \tilde s_i + \lambda \, b(i \mid L)

with the score :math:`\tilde s` scaled to [0, 1] over the user's candidates, and the bonus b of the
items that are in the list already.
"""

from typing import Any

import torch
from torch import Tensor
from torch.special import entr

_MAX_CELLS = 1 << 20  # of candidates x the most categories of an item at a time
RERANKERS = ("coverage", "mmr", "calibrated", "popularity")
CANDIDATES = 100  # of a user
DEFAULT_WEIGHT = 0.2
_ALPHA = 0.01  # Steck's smoothing


def rerank(
    how: str,
    weight: float,
    scores: Tensor,
    items: Tensor,
    k: int,
    categories: Tensor | None = None,
    popularity: Tensor | None = None,
    taste: Tensor | None = None,
) -> Tensor:
    r"""Choose k of each user's candidates.

    Args:
        how: The bonus. ``coverage``: share of the item's categories that are new in the list;
            ``mmr``: minus the largest Jaccard similarity of the categories to an item in the list
            (Carbonell, Goldstein, SIGIR 1998); ``calibrated``: by how much the divergence of the
            list's categories from the user's history falls (Steck, RecSys 2018); ``popularity``:
            share of the items that are more popular.
        weight: :math:`\lambda`, from 0 (the list as it is) to 1.
        scores: Of the candidates, best first, -inf where there is none. Shape:
            ``(users, candidates)``, at least k.
        items: Item of each, 0 where there is none. Shape: ``(users, candidates)``.
        k: Length of the lists.
        categories: True where the item has the category, for all but ``popularity``. Shape:
            ``(n_items, n_categories)``.
        popularity: Training users of each item, for ``popularity``. Shape: ``(n_items,)``.
        taste: Category distribution of each user's history, for ``calibrated``. Shape:
            ``(users, n_categories)``.

    Returns:
        Places of the chosen among the candidates, in the order of the list. Shape: ``(users, k)``.

    Example:
        >>> scores, items = torch.tensor([[3.0, 2.9, 1.0]]), torch.tensor([[1, 2, 3]])
        >>> categories = torch.tensor([[0, 0], [1, 0], [1, 0], [0, 1]]).bool()
        >>> rerank("coverage", 0.0, scores, items, 2, categories).tolist()
        [[0, 1]]
        >>> rerank("coverage", 0.6, scores, items, 2, categories).tolist()
        [[0, 2]]
    """
    if how == "popularity":
        assert popularity is not None
        ordered = popularity[1:].sort().values
        more_popular = len(ordered) - torch.searchsorted(ordered, popularity, right=True)
        rarity = more_popular.to(scores.dtype) / max(len(ordered), 1)
        return _greedy(scores, weight, k, _Fixed(rarity[items]))
    assert categories is not None
    ids, n = _padded(categories), categories.shape[1]
    step = max(1, _MAX_CELLS // (items.shape[1] * ids.shape[1]))
    chosen = []
    for rows in torch.arange(len(items), device=items.device).split(step):
        own = ids[items[rows]].masked_fill_((items[rows] == 0).unsqueeze(2), n)
        state: _Fixed | _Coverage | _MMR | _Calibrated
        if how == "coverage":
            state = _Coverage(own, n, scores.dtype)
        elif how == "mmr":
            state = _MMR(own, n, scores.dtype)
        else:
            assert taste is not None
            state = _Calibrated(own, taste[rows].to(scores.dtype))
        chosen.append(_greedy(scores[rows], weight, k, state))
    return torch.cat(chosen)


class Reranker:
    """Re-ranks a model's lists, with what the training data tell of users and items.

    Args:
        how: See :func:`rerank`.
        weight: See :func:`rerank`.
        matrix: scipy CSR of the training pairs. Shape: ``(n_users, n_items)``.
        categories: See :func:`rerank`; None for ``popularity``.
    """

    def __init__(self, how: str, weight: float, matrix: Any, categories: Tensor | None) -> None:
        self.how, self.weight, self.matrix, self.categories = how, weight, matrix, categories
        self.popularity = torch.from_numpy(matrix.getnnz(axis=0)).long()
        if how == "calibrated":
            assert categories is not None
            own = categories.double()
            self._spread = (own / own.sum(1, keepdim=True).clamp(min=1)).numpy()

    def lists(self, scores: Tensor, items: Tensor, users: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The best k items of each user after re-ranking.

        Args:
            scores: Of the candidates, best first, -inf where there is none. Shape:
                ``(users, candidates)``.
            items: Shape: ``(users, candidates)``.
            users: Shape: ``(users,)``.
            k: Length of the lists.

        Returns:
            Scores and items, in the order of the list. Shape of both: ``(users, k)``.
        """
        real = items.masked_fill(scores == -torch.inf, 0).cpu()
        taste = self._taste(users.cpu()) if self.how == "calibrated" else None
        known = self.categories, self.popularity, taste
        place = rerank(self.how, self.weight, scores.cpu(), real, k, *known).to(items.device)
        return scores.gather(1, place), items.gather(1, place)

    def _taste(self, users: Tensor) -> Tensor:
        total = torch.from_numpy(self.matrix[users.numpy()] @ self._spread)
        return total / total.sum(1, keepdim=True).clamp(min=1e-12)


def _greedy(
    scores: Tensor, weight: float, k: int, state: "_Fixed | _Coverage | _MMR | _Calibrated"
) -> Tensor:
    real = scores.isfinite()
    low = scores.masked_fill(~real, torch.inf).amin(1, keepdim=True)
    span = (scores[:, :1] - low).clamp(min=torch.finfo(scores.dtype).tiny)
    scaled = ((scores - low) / span).nan_to_num(neginf=0.0, posinf=0.0, nan=0.0)
    open_places = real.to(scores.dtype)  # 1, or 0 where there is no candidate, or -1 once taken
    chosen = []
    for _ in range(k):  # places of the list
        value = (1 - weight) * scaled + weight * state.bonus()
        # A user who runs out of candidates is given padding.
        value = torch.where(open_places > 0, value, torch.finfo(value.dtype).min)
        place = value.masked_fill(open_places < 0, -torch.inf).argmax(1)
        open_places.scatter_(1, place.unsqueeze(1), -1.0)
        chosen.append(place)
        state.take(place)
    return torch.stack(chosen, 1)


class _Fixed:
    """A bonus that does not depend on the list."""

    def __init__(self, bonus: Tensor) -> None:
        self._bonus = bonus

    def bonus(self) -> Tensor:
        return self._bonus

    def take(self, place: Tensor) -> None:
        pass


class _Own:
    """Categories of the candidates.

    Args:
        own: Their numbers, filled up with n. Shape: ``(users, candidates, most of an item)``.
        n: How many categories there are.
    """

    def __init__(self, own: Tensor, n: int, dtype: torch.dtype) -> None:
        self.own, self.n = own, n
        self.size = (own < n).sum(2).to(dtype)

    def at(self, values: Tensor) -> Tensor:
        """Of values by category, those of each candidate's. Shape: that of ``own``."""
        return values.gather(1, self.own.flatten(1)).view(self.own.shape)

    def of(self, place: Tensor) -> Tensor:
        """Categories of the candidate at a place. Shape: ``(users, most of an item)``."""
        return self.own[torch.arange(len(self.own), device=self.own.device), place]


class _Coverage(_Own):
    def __init__(self, own: Tensor, n: int, dtype: torch.dtype) -> None:
        super().__init__(own, n, dtype)
        self.new = torch.ones(len(own), n + 1, dtype=dtype, device=own.device)
        self.new[:, n] = 0

    def bonus(self) -> Tensor:
        return self.at(self.new).sum(2) / self.size.clamp(min=1)

    def take(self, place: Tensor) -> None:
        self.new.scatter_(1, self.of(place), 0.0)


class _MMR(_Own):
    def __init__(self, own: Tensor, n: int, dtype: torch.dtype) -> None:
        super().__init__(own, n, dtype)
        self.nearest = torch.zeros_like(self.size)

    def bonus(self) -> Tensor:
        return -self.nearest

    def take(self, place: Tensor) -> None:
        its = self.size.new_zeros(len(self.own), self.n + 1).scatter_(1, self.of(place), 1.0)
        its[:, self.n] = 0
        both = self.at(its).sum(2)
        either = self.size + its.sum(1, keepdim=True) - both
        # Two items of which nothing is known are alike.
        similarity = torch.where(either > 0, both / either.clamp(min=1), 1.0)
        self.nearest = torch.maximum(self.nearest, similarity)


class _Calibrated(_Own):
    # Scaled to one more item, the divergence with a candidate differs from that without it by the
    # candidate's own categories alone.

    def __init__(self, own: Tensor, taste: Tensor) -> None:
        super().__init__(own, taste.shape[1], taste.dtype)
        self.taste = torch.nn.functional.pad(taste, (0, 1))  # p
        self.wanted = self.at(self.taste)
        self.share = (1 / self.size.clamp(min=1)).unsqueeze(2)  # of an item's in q
        self.total = torch.zeros_like(self.taste)
        self.taken = 0

    def bonus(self) -> Tensor:
        mixed = (1 - _ALPHA) * self.total / (self.taken + 1) + _ALPHA * self.taste
        cross = torch.where(self.taste > 0, self.taste * _log(mixed), 0.0).sum(1, keepdim=True)
        without = self.at(mixed)
        with_it = without + (1 - _ALPHA) * self.share / (self.taken + 1)
        change = torch.where(self.wanted > 0, self.wanted * (_log(with_it) - _log(without)), 0.0)
        return entr(self.taste).sum(1, keepdim=True) + cross + change.sum(2)

    def take(self, place: Tensor) -> None:
        rows = torch.arange(len(place), device=place.device)
        share = self.share[rows, place].expand(-1, self.own.shape[2])
        self.total.scatter_add_(1, self.of(place), share)  # the last column is not wanted
        self.taken += 1


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=1e-12).log()


def _padded(categories: Tensor) -> Tensor:
    """Numbers of each item's categories, filled up with the number of all.

    Args:
        categories: See :func:`rerank`.

    Returns:
        Shape: ``(n_items, most of an item, at least 1)``.
    """
    n = categories.shape[1]
    item, category = categories.nonzero(as_tuple=True)
    sizes = categories.sum(1)
    first = sizes.cumsum(0) - sizes
    width = max(int(sizes.max()), 1) if len(sizes) else 1
    ids = torch.full((len(categories), width), n, device=categories.device)
    ids[item, torch.arange(len(item), device=item.device) - first[item]] = category
    return ids
