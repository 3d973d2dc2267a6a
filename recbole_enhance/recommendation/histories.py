"""What users have, in the order of time: what a list leaves out, and what sequential models read.

A user here is a row: of a dataset's users, or of new users who come with a history of their own.
"""

from collections.abc import Mapping
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_enhance.data.loaders import join
from recbole_enhance.data.sequences import fill_histories
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.options.errors import OptionError

HISTORIES = ("all", "train+valid", "train")


class Sequences:
    """Interactions of some users, each user's together and in the order of time.

    Args:
        users: User of each interaction, rising. Shape: ``(interactions,)``.
        columns: Item id and what else is known of each interaction. Shape: ``(interactions, ...)``.
        n_users: Number of users.
        hidden: How many of each user's last interactions are not to be seen. Shape: ``(n_users,)``.

    Attributes:
        lengths: Interactions of each user that are seen. Shape: ``(n_users,)``.
        ends: Row after the last of them. Shape: ``(n_users,)``.
    """

    def __init__(
        self,
        users: Tensor,
        columns: Mapping[str, Tensor],
        n_users: int,
        hidden: Tensor | None = None,
    ) -> None:
        self.users, self.columns = users, columns
        counts = torch.bincount(users, minlength=n_users)
        hidden = torch.zeros_like(counts) if hidden is None else hidden
        self.lengths = counts - hidden
        self.ends = counts.cumsum(0) - hidden

    def of(self, users: Tensor, field: str) -> tuple[Tensor, Tensor]:
        """A column of some users, oldest first.

        Args:
            users: Shape: ``(rows,)``.
            field: The column.

        Returns:
            Row in ``users`` and value of each interaction. Shape: ``(interactions,)`` both.
        """
        counts = self.lengths[users]
        rows = torch.repeat_interleave(torch.arange(len(users)), counts)
        place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
        return rows, self.columns[field][(self.ends - self.lengths)[users][rows] + place]

    def seen(self, field: str, n_items: int) -> UserLists:
        """Items of each user.

        Args:
            field: The column of items.
            n_items: Number of item ids.
        """
        keep = torch.arange(len(self.users)) < self.ends[self.users]
        items = self.columns[field]
        return UserLists(self.users[keep], items[keep], len(self.lengths), n_items)

    def rows(self, dataset: Any, which: Tensor, ids: Tensor, transform: Any) -> Interaction:
        """Rows as a sequential model reads them: the whole history, and no next item.

        Args:
            dataset: A built part, whose columns these are.
            which: Users. Shape: ``(rows,)``.
            ids: Their ids in the dataset, 0 for a new user. Shape: ``(rows,)``.
            transform: Of the run's loaders.
        """
        ends = self.ends[which]
        lengths = self.lengths[which].clamp(max=dataset.max_item_list_len)
        columns = {dataset.uid_field: ids, dataset.item_list_length_field: lengths}
        for field in dataset.interactions:
            if field == dataset.uid_field:
                continue
            out = dataset.empty_histories(field, len(which))
            values = self.columns.get(field)
            name = getattr(dataset, f"{field}_list_field")
            columns[name] = (
                out.zero_() if values is None else fill_histories(out, values, ends, lengths)
            )
        if hasattr(dataset, "neg_item_list_field"):  # DIEN's, which only its training reads
            of_items = columns[getattr(dataset, f"{dataset.iid_field}_list_field")]
            columns[dataset.neg_item_list_field] = torch.zeros_like(of_items)
        return transform(dataset, join(dataset, Interaction(columns)))


def sequences_of(run: Any, history: str) -> Sequences:
    """The interactions of a sequential model's data.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        history: One of :data:`HISTORIES`: which parts are seen.

    Raises:
        OptionError: If the data came as lists, not as interactions.
    """
    dataset = run.train_data._dataset
    refuse_lists(run)
    rows = dataset.interactions
    hidden = torch.zeros(dataset.user_num, dtype=torch.long)
    for part in _parts(run)[len(parts_seen(run, history)) :]:
        hidden += torch.bincount(part.inter_feat[part.uid_field], minlength=dataset.user_num)
    return Sequences(rows[dataset.uid_field], rows.interaction, dataset.user_num, hidden)


def refuse_lists(run: Any) -> None:
    """Refuse data that a sequential model did not read as interactions.

    Raises:
        OptionError: If they came as lists.
    """
    if not hasattr(run.train_data._dataset, "interactions"):
        raise OptionError(
            "benchmark_filename",
            run.config["benchmark_filename"],
            "the files hold ready-made sequences, of which whole histories cannot be rebuilt",
        )


def seen_items(run: Any, history: str) -> UserLists:
    """Items that each user of a general model has, in the parts that are seen.

    Args:
        run: As in :func:`sequences_of`.
        history: As in :func:`sequences_of`.
    """
    return UserLists.of_datasets(parts_seen(run, history))


def parts_seen(run: Any, history: str) -> list[Any]:
    """The built parts that are seen, the training part first.

    Args:
        run: As in :func:`sequences_of`.
        history: As in :func:`sequences_of`.
    """
    return _parts(run)[: HISTORIES[::-1].index(history) + 1]


def _parts(run: Any) -> list[Any]:
    loaders = run.train_data, run.valid_data, run.test_data
    return [loader._dataset for loader in loaders if loader is not None]
