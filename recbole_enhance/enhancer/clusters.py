"""Negatives drawn by cluster: first one to the user's taste, then an item of it."""

import torch
from torch import Tensor

from recbole_enhance.data.negatives import draw, outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.kmeans import lloyd, nearest, spread_start


class ClusterSampler:
    r"""Draws a cluster by the user's taste, and in it an item that the user has not.

    .. math::
        P(c | u) \propto e^{p_u \cdot \mu_c} (Q_c - Q_{c, u}), \qquad
        q(j | u) = P(c_j | u) \, q_j / (Q_{c_j} - Q_{c_j, u})

    with the cluster's mean :math:`\mu_c`, its weight :math:`Q_c = \sum_{j \in c} q_j` and what the
    user's own items have of it, :math:`Q_{c, u}`. The law sums to 1 over the user's negatives.

    Args:
        used: What the users have.
        weights: :math:`q_j`, 0 for padding. Shape: ``(n_items,)``.
    """

    per_batch = False

    def __init__(self, used: UserLists, weights: Tensor) -> None:
        self.used, self.weights, self.rounds = used, weights.double(), 0

    def fit(self, users: Tensor, items: Tensor, k: int, generator: torch.Generator) -> None:
        """Cluster the items.

        Args:
            users: :math:`p_u`, padding included. Shape: ``(n_users, d)``.
            items: What is clustered, padding included. Shape: ``(n_items, d)``.
            k: Clusters.
            generator: Source of randomness, on the CPU.
        """
        means = lloyd(items[1:], spread_start(items[1:], k, generator))
        labels = nearest(items[1:], means)
        self.cluster = torch.cat([labels.new_zeros(1), labels])
        self._order_items(k)
        rest, n = self._rest(k), len(users)
        logits = (users @ means.t()).double() + rest.log()
        self.log_p = logits.log_softmax(1).nan_to_num(float("-inf"))  # a user without negatives
        self.log_rest = rest.log()
        cdf = self.log_p.exp().cumsum(1)
        cdf = cdf / cdf[:, -1:].clamp(min=torch.finfo(cdf.dtype).tiny)
        # One rising row for all users: that of user u lies between u and u + 1.
        self._cdf = (cdf + torch.arange(n).unsqueeze(1)).flatten()
        self._last_cluster = (rest > 0).long().mul(torch.arange(k)).amax(1)

    def _order_items(self, k: int) -> None:
        """Lay the drawable items out cluster by cluster, with running sums of their weights."""
        drawable = (self.weights > 0).nonzero().squeeze(1)
        order = drawable[self.cluster[drawable].argsort(stable=True)]
        sizes = torch.bincount(self.cluster[order], minlength=k)
        self._ordered, self._end = order, sizes.cumsum(0)
        self._sums = torch.cat([self.weights.new_zeros(1), self.weights[order].cumsum(0)])
        self._start = self._end - sizes

    def _rest(self, k: int) -> Tensor:
        """:math:`Q_c - Q_{c,u}`, exactly 0 where the user has all of the cluster's items."""
        n = len(self.used.counts)
        row, item = self.used.of(torch.arange(n))
        row, item = row[self.weights[item] > 0], item[self.weights[item] > 0]
        cell = row * k + self.cluster[item]
        taken = torch.zeros(n * k).double().index_add_(0, cell, self.weights[item]).view(n, k)
        counts = torch.bincount(cell, minlength=n * k).view(n, k)
        whole = self._sums[self._end] - self._sums[self._start]
        left = (whole - taken).clamp(min=torch.finfo(taken.dtype).tiny)
        return torch.where(counts < self._end - self._start, left, left.new_zeros(()))

    def draw(
        self, users: Tensor, positives: Tensor, num: int, generator: torch.Generator
    ) -> Tensor:
        """As :meth:`~recbole_enhance.data.negatives.NegativeSampler.draw`."""
        users = users.repeat(num)
        place = users + torch.rand(len(users), generator=generator, dtype=torch.float64)
        cluster = torch.searchsorted(self._cdf, place, right=True) - users * self.log_p.shape[1]
        cluster = cluster.minimum(self._last_cluster[users])

        def propose(rows: Tensor) -> Tensor:
            first, last = self._start[cluster[rows]], self._end[cluster[rows]]
            u = torch.rand(len(rows), generator=generator, dtype=torch.float64)
            place = self._sums[first] + u * (self._sums[last] - self._sums[first])
            found = torch.searchsorted(self._sums[1:], place, right=True)
            return self._ordered[found.minimum(last - 1)]

        def law(rows: Tensor) -> Tensor:
            return self.weights * (self.cluster == cluster[rows].unsqueeze(1))

        items, self.rounds = draw(
            len(users), propose, lambda rows, items: self.used.holds(users[rows], items),
            lambda rows: outside(self.used, users[rows], lambda at: law(rows[at]), generator),
        )  # fmt: skip
        return items.view(num, -1)

    def log_q(self, users: Tensor, items: Tensor) -> Tensor:
        """As :meth:`~recbole_enhance.data.negatives.NegativeSampler.log_q`."""
        cluster = self.cluster[items]
        of_cluster = self.log_p[users, cluster] - self.log_rest[users, cluster]
        return of_cluster + self.weights[items].log()
