"""A mend of RecBole's negative samplers: popularity is that of the training interactions."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from recbole_enhance.options.errors import OptionError


def popularity_of_training() -> bool:
    """Let samplers with ``distribution=popularity`` count training interactions only.

    ``sampler/sampler.py:229`` counts the interactions of all phases, and so does the
    ``RepeatableSampler`` of sequential models (``:399``, on a data set that is not split):
    validation and test rows decide which negatives a model is trained with, and how often. Both
    now count the training split. The candidates of a ``popN`` evaluation are drawn by the same
    object and so by the same counts: what a recommender may know at test time. An item that no
    training interaction has is never drawn. The power ``alpha`` of ``train_neg_sample_args`` is
    that of training only; it was that of ``popN`` too, which is 1 otherwise.

    Returns:
        Whether RecBole's functions were replaced by this call.
    """
    from recbole.data import utils
    from recbole.sampler import Sampler

    create = utils._create_sampler
    if hasattr(create, "__wrapped__"):
        return False

    @functools.wraps(create)
    def create_from_training(
        dataset: Any,
        built_datasets: Sequence[Any],
        distribution: str,
        repeatable: bool,
        alpha: float = 1.0,
        base_sampler: Any = None,
    ) -> Any:
        if distribution == "popularity" and not repeatable:
            _refuse_users_of_everything(built_datasets)
        if base_sampler is not None:  # an evaluation's; the training sampler is a copy with tables
            base_sampler.alpha = alpha
        # RepeatableSampler takes from its data set the candidates and the numbers of users and
        # items, which are the same in each split.
        training = built_datasets[0]
        return create(training, built_datasets, distribution, repeatable, alpha, base_sampler)

    utils._create_sampler = create_from_training
    Sampler._get_candidates_list = _training_candidates
    return True


def _training_candidates(self: Any) -> list[int]:
    """Stand in for ``Sampler._get_candidates_list``: one entry per training interaction."""
    phase = self.phases.index("train") if "train" in self.phases else 0
    return list(self.datasets[phase].inter_feat[self.iid_field].numpy())


def _refuse_users_of_everything(built_datasets: Sequence[Any]) -> None:
    """RecBole would draw for ever for a user who has every item that can be drawn."""
    uid, iid = built_datasets[0].uid_field, built_datasets[0].iid_field
    drawable = np.unique(built_datasets[0].inter_feat[iid].numpy())
    users = np.concatenate([data.inter_feat[uid].numpy() for data in built_datasets])
    items = np.concatenate([data.inter_feat[iid].numpy() for data in built_datasets])
    known = np.isin(items, drawable)
    pairs = np.unique(np.stack([users[known], items[known]]), axis=1)
    if len(pairs[0]) and np.bincount(pairs[0]).max() >= len(drawable):
        raise OptionError(
            "distribution",
            "popularity",
            f"a user has all {len(drawable)} items of the training interactions, so that none is "
            "left to draw: set user_inter_num_interval to filter such users",
        )
