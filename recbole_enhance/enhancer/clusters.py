"""Negatives drawn by cluster: first a cluster that suits the user, then an item of it."""

import torch
from torch import Tensor

from recbole_enhance.data.negatives import draw, outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.kmeans import lloyd, nearest, spread_start

# A third of the iterations; the sum of squares ends .15 % higher, and starts differ by .25 %.
_TOLERANCE = 0.01


class ClusterSampler:
    r"""Draws a cluster by the user's vector, and in it an item that the user does not have.

    .. math::
        P(c | u) \propto e^{p_u \cdot \mu_c} (Q_c - Q_{c, u}), \qquad
        q(j | u) = P(c_j | u) \, q_j / (Q_{c_j} - Q_{c_j, u})

    with the cluster's mean :math:`\mu_c`, its weight :math:`Q_c = \sum_{j \in c} q_j` and what the
    user's own items have of it, :math:`Q_{c, u}`. The law sums to 1 over the user's negatives.

    Args:
        used: The items that each user has.
        weights: :math:`q_j`, 0 for padding. Shape: ``(n_items,)``.
    """

    per_batch = False

    def __init__(self, used: UserLists, weights: Tensor) -> None:
        self.used, self.weights, self.rounds = used, weights.double(), 0
        self._log_weights = self.weights.log()

    def fit(self, users: Tensor, items: Tensor, k: int, generator: torch.Generator) -> None:
        """Cluster the items.

        Args:
            users: :math:`p_u`, padding included. Shape: ``(n_users, d)``.
            items: What is clustered, padding included. Shape: ``(n_items, d)``.
            k: Clusters.
            generator: Source of randomness, on the CPU.
        """
        means = lloyd(items[1:], spread_start(items[1:], k, generator), _TOLERANCE)
        labels = nearest(items[1:], means)
        self.cluster = torch.cat([labels.new_zeros(1), labels])
        self._order_items(k)
        rest, n = self._rest(k), len(users)
        logits = (users @ means.t()).double() + rest.log()
        log_p = logits.log_softmax(1).nan_to_num(float("-inf"))  # a user without negatives
        self._log_q = log_p - rest.log()  # of an item of the cluster, but for its own weight
        cdf = log_p.exp().cumsum(1)
        cdf = cdf / cdf[:, -1:].clamp(min=torch.finfo(cdf.dtype).tiny)
        # One rising row for all users: that of user u lies between u and u + 1.
        self._cdf = (cdf + torch.arange(n).unsqueeze(1)).flatten()
        self._last_cluster = (rest > 0).long().mul(torch.arange(k)).amax(1)

    def _order_items(self, k: int) -> None:
        """Lay the drawable items out cluster by cluster, with running sums of their weights."""
        drawable = (self.weights > 0).nonzero().squeeze(1)
        self._ordered = drawable[self.cluster[drawable].argsort(stable=True)]
        self._sizes = torch.bincount(self.cluster[self._ordered], minlength=k)
        self._sums = self.weights[self._ordered].cumsum(0)
        end, sums = self._sizes.cumsum(0), torch.cat([self._sums.new_zeros(1), self._sums])
        self._last, self._before = end - 1, sums[end - self._sizes]
        self._whole = sums[end] - self._before  # :math:`Q_c`

    def _rest(self, k: int) -> Tensor:
        """:math:`Q_c - Q_{c,u}`, exactly 0 where the user has all of the cluster's items."""
        n = len(self.used.counts)
        row, item = self.used.of(torch.arange(n))
        row, item = row[self.weights[item] > 0], item[self.weights[item] > 0]
        cell = row * k + self.cluster[item]
        taken = torch.zeros(n * k).double().index_add_(0, cell, self.weights[item]).view(n, k)
        counts = torch.bincount(cell, minlength=n * k).view(n, k)
        left = (self._whole - taken).clamp(min=torch.finfo(taken.dtype).tiny)
        return torch.where(counts < self._sizes, left, left.new_zeros(()))

    def draw(
        self, users: Tensor, positives: Tensor, num: int, generator: torch.Generator
    ) -> Tensor:
        """As :meth:`~recbole_enhance.data.negatives.NegativeSampler.draw`."""
        # In the order of users, whose rows of the tables are then read one after the other.
        users, order = users.repeat(num).sort()
        place = users + torch.rand(len(users), generator=generator, dtype=torch.float64)
        cluster = torch.searchsorted(self._cdf, place, right=True) - users * self._log_q.shape[1]
        cluster = cluster.minimum(self._last_cluster[users])

        def propose(rows: Tensor) -> Tensor:
            c = cluster[rows]
            u = torch.rand(len(rows), generator=generator, dtype=torch.float64)
            place = self._before[c] + u * self._whole[c]
            found = torch.searchsorted(self._sums, place, right=True)
            return self._ordered[found.minimum(self._last[c])]

        def law(rows: Tensor) -> Tensor:
            return self.weights * (self.cluster == cluster[rows].unsqueeze(1))

        items, self.rounds = draw(
            len(users),
            propose,
            lambda rows, items: self.used.holds(users[rows], items),
            lambda rows: outside(self.used, users[rows], lambda at: law(rows[at]), generator),
        )
        return torch.empty_like(items).index_copy_(0, order, items).view(num, -1)

    def log_q(self, users: Tensor, items: Tensor) -> Tensor:
        """As :meth:`~recbole_enhance.data.negatives.NegativeSampler.log_q`."""
        return self._log_q[users, self.cluster[items]] + self._log_weights[items]
