"""The weights of triplets: a network over states that the backbone's tables make."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.enhancer.kmeans import cluster_means, kmeans
from recbole_enhance.enhancer.til.importance import (
    WeightNet,
    multi_interest_state,
    scale,
    unified_state,
)
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.random_state import seeded

_HIDDEN = 64  # width of the network, the release's


class TripletWeights:
    """Weighs the triplets of a batch by the network Phi.

    Args:
        config: The run's settings.
        users: The backbone's table of users.
        items: Its table of items.
        generator: Source of the clusters' first centres.

    Attributes:
        net: Phi.
        cluster: Of each item, for ``til_mode: mi``; empty before the first are found. Shape:
            ``(n_items,)``.
        centres: That states are made of: of each user's items, or of each cluster's.

    Raises:
        OptionError: If there are fewer items than clusters, or the tables differ in width.
    """

    def __init__(
        self, config: Any, users: nn.Embedding, items: nn.Embedding, generator: torch.Generator
    ) -> None:
        self.config, self.generator = config, generator
        self.mode, self.users, self.items = config["til_mode"], users, items
        self.n_clusters, self.refit_epochs = config["til_clusters"], config["til_refit_epochs"]
        n_items = items.num_embeddings - 1
        if self.mode == "mi" and self.n_clusters > n_items:
            allowed = f"at most the number of items, {n_items}"
            raise OptionError("til_clusters", self.n_clusters, allowed)
        if users.embedding_dim != items.embedding_dim:
            raise OptionError(
                "backbone",
                config["model"],
                "TIL needs embedding tables of users and of items, of one width",
            )
        with seeded(config["seed"]):
            net = WeightNet(2 * users.embedding_dim, _HIDDEN)
        self.net = net.to(config["device"])
        self.cluster = torch.zeros(0, dtype=torch.long)
        self.centres = torch.zeros(0)

    def read_histories(self, train: Any) -> None:
        """Take the users' items from the training part."""
        lists, device = UserLists.of_datasets([train]), self.config["device"]
        _, items = lists.of(torch.arange(train.user_num))
        start = lists.counts.cumsum(0) - lists.counts
        self._bags = items.to(device), start.to(device)

    @torch.no_grad()
    def find_centres(self, epoch: int) -> None:
        """Centres that the states of an epoch after the warm-up are made of."""
        items = self.items.weight.detach()
        if self.mode == "ui":
            members, start = self._bags
            self.centres = embedding_bag(members, items, start, mode="mean")  # (users, d)
            return
        if not len(self.cluster) or epoch % self.refit_epochs == 0:  # padding is nobody's item
            label = kmeans(items[1:].float(), self.n_clusters, self.generator)
            self.cluster = torch.cat([label.new_zeros(1), label])
        zeros = items.new_zeros(self.n_clusters, items.shape[1])
        self.centres = cluster_means(items[1:], self.cluster[1:], zeros)  # (clusters, d)

    def __call__(self, batch: Any, moving: bool) -> Tensor:
        """Weights of a batch at the parameters as they stand.

        Args:
            batch: Triplets.
            moving: Whether gradients flow from the weights to the tables.

        Returns:
            With their graph in Phi. Shape: ``(batch,)``.
        """
        user, item = batch[self.config["USER_ID_FIELD"]], batch[self.config["ITEM_ID_FIELD"]]
        negative = batch[self.config["NEG_PREFIX"] + self.config["ITEM_ID_FIELD"]]
        users, items = self.users.weight, self.items.weight
        if not moving:
            users, items = users.detach(), items.detach()
        vectors = embedding(user, users), embedding(item, items), embedding(negative, items)
        if self.mode == "ui":
            state = unified_state(*vectors, embedding(user, self.centres))
        else:
            c_i, c_j = (embedding(self.cluster[v], self.centres) for v in (item, negative))
            state = multi_interest_state(*vectors, c_i, c_j)
        with torch.enable_grad():
            h = self.net(state.to(self.net.hidden.weight.dtype))
            return scale(h, self.config["til_weights"])

    def state(self) -> dict[str, Any]:
        """What a continued run needs; the network's optimiser is the trainer's."""
        return {"net": self.net.state_dict(), "cluster": self.cluster}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        self.net.load_state_dict(state["net"])
        self.cluster = state["cluster"].to(self.config["device"])
