"""A mend of RecBole's baselines Pop and Random: they do what their names say."""

from typing import Any

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF  # 32 bits, in which the products of a hash are taken


def pop_and_random() -> bool:
    """Let Pop rank by interactions in training, and Random rank at random for each user.

    Pop counts an item once per batch and epoch, however often the batch holds it, and the negatives
    drawn with it (``pop.py:47``): its lists depend on ``train_batch_size``, ``epochs`` and
    ``train_neg_sample_args``. Random draws one list for all users of a batch
    (``random.py:42``), and another at each evaluation: its numbers depend on ``eval_batch_size``.

    Returns:
        Whether RecBole's methods were replaced by this call.
    """
    from recbole.model.general_recommender import Pop, Random

    if Pop.calculate_loss is _nothing_to_learn:
        return False
    of_recbole = Pop.__init__

    def init(self: Any, config: Any, dataset: Any) -> None:
        of_recbole(self, config, dataset)
        counts = torch.bincount(dataset.inter_feat[dataset.iid_field], minlength=dataset.item_num)
        self.item_cnt = counts.unsqueeze(1).to(self.device)
        self.max_cnt = self.item_cnt.max(dim=0)[0]

    Pop.__init__ = init
    Pop.calculate_loss = Random.calculate_loss = _nothing_to_learn
    Random.__init__ = _seeded(Random.__init__)
    Random.predict = _random_of_pairs
    Random.full_sort_predict = _random_of_users
    return True


def _nothing_to_learn(self: Any, interaction: Any) -> Tensor:
    return torch.nn.Parameter(torch.zeros(1)).to(self.device)


def _seeded(of_recbole: Any) -> Any:
    def init(self: Any, config: Any, dataset: Any) -> None:
        of_recbole(self, config, dataset)
        self.seed = config["seed"]

    return init


def _random_of_pairs(self: Any, interaction: Any) -> Tensor:
    return _random(self.seed, interaction[self.USER_ID], interaction[self.ITEM_ID])


def _random_of_users(self: Any, interaction: Any) -> Tensor:
    users = interaction[self.USER_ID]
    items = torch.arange(self.n_items, device=users.device)
    return _random(self.seed, users.unsqueeze(1), items).flatten()


def _random(seed: int, users: Tensor, items: Tensor) -> Tensor:
    """A number of each pair in [0, 1), uniform and the same at each call."""
    return _mixed(_mixed(_mixed(users + 1) + seed) + items).double() / (_MASK + 1)


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of MurmurHash3, over 32 bits."""
    x = x & _MASK
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK
    return x ^ (x >> 16)
