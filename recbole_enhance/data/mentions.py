"""Feature mentions of reviews: the features that an interaction names, and their sentiment.

Reference:
    Y. Zhang et al. "Explicit Factor Models for Explainable Recommendation based on Phrase-level
    Sentiment Analysis." in SIGIR 2014: the matrices X (users, features) and Y (items, features).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_enhance.data.categories import category_matrix
from recbole_enhance.data.reading import read_header
from recbole_enhance.options.errors import DataError, InputError, OptionError


class Mentions(NamedTuple):
    """One entry per mention.

    Attributes:
        user: User ids. Shape: ``(mentions,)``.
        item: Item ids. Shape: ``(mentions,)``.
        feature: Columns of X and Y, from 0: RecBole's id minus 1, as padding has no column.
            Shape: ``(mentions,)``.
        sentiment: +1 or -1. Shape: ``(mentions,)``.
    """

    user: Tensor
    item: Tensor
    feature: Tensor
    sentiment: Tensor


def _sums(row: Tensor, column: Tensor, value: Tensor, n_rows: int, n_columns: int) -> Tensor:
    total = torch.zeros(n_rows, n_columns, dtype=torch.float64)
    return total.index_put_((row, column), value.double(), accumulate=True)


def user_feature_matrix(
    mentions: Mentions, n_users: int, n_features: int, scale: float = 5.0
) -> Tensor:
    r"""How much each user cares for each feature.

    .. math:: X_{uf} = 0 \text{ if } t_{uf} = 0 \text{ else }
        1 + (N - 1) \left(\frac{2}{1 + e^{-t_{uf}}} - 1\right)

    Args:
        mentions: Those of the training rows only.
        n_users: Number of user ids, padding included.
        n_features: Number of features.
        scale: N, the largest value.

    Returns:
        0 or a value in (1, N]; row 0 is 0. Shape: ``(n_users, n_features)``.

    Example:
        >>> m = Mentions(*(torch.tensor(x) for x in ([1, 1, 1], [1, 2, 2], [0, 1, 1], [1, 1, -1])))
        >>> user_feature_matrix(m, 2, 2)[1].tolist()
        [2.848468542098999, 4.046376705169678]
    """
    t = _sums(mentions.user, mentions.feature, torch.ones(len(mentions.user)), n_users, n_features)
    x = 1 + (scale - 1) * (2 * torch.sigmoid(t) - 1)
    return torch.where(t > 0, x, 0.0).float()


def item_feature_matrix(
    mentions: Mentions, n_items: int, n_features: int, scale: float = 5.0
) -> Tensor:
    r"""How well each item does on each feature, by what users say.

    .. math:: Y_{if} = 0 \text{ if no user mentions it, else } 1 + (N - 1) / (1 + e^{-s_{if}}),
        \quad s_{if} = \text{sum of sentiments}

    Args:
        mentions: Those of the training rows only.
        n_items: Number of item ids, padding included.
        n_features: Number of features.
        scale: N, the largest value.

    Returns:
        0 or a value in [1, N]; row 0 is 0. Shape: ``(n_items, n_features)``.

    Example:
        >>> m = Mentions(*(torch.tensor(x) for x in ([1, 1, 2], [1, 1, 1], [0, 1, 1], [1, 1, -1])))
        >>> item_feature_matrix(m, 2, 3)[1].tolist()
        [3.924234390258789, 3.0, 0.0]
    """
    ones = torch.ones(len(mentions.item))
    count = _sums(mentions.item, mentions.feature, ones, n_items, n_features)
    s = _sums(mentions.item, mentions.feature, mentions.sentiment, n_items, n_features)
    return torch.where(count > 0, 1 + (scale - 1) * torch.sigmoid(s), 0.0).float()


def truth_matrix(
    mentions: Mentions,
    user: Tensor,
    item: Tensor,
    n_items: int,
    n_features: int,
    positive_only: bool = True,
) -> Tensor:
    """Features that the reviews of the pairs mention: what an explanation is compared with.

    Args:
        mentions: Those of the rows that hold the pairs (test rows).
        user: User of each pair. Shape: ``(pairs,)``.
        item: Item of each pair. Shape: ``(pairs,)``.
        n_items: Number of item ids, padding included.
        n_features: Number of features.
        positive_only: Whether features must be praised at least once to count.

    Returns:
        True where the pair's review mentions the feature. Shape: ``(pairs, n_features)``.
    """
    truth = torch.zeros(len(user), n_features, dtype=torch.bool)
    if not len(user):
        return truth
    keys, place = torch.unique(user * n_items + item, return_inverse=True)
    key = mentions.user * n_items + mentions.item
    at = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
    use = keys[at] == key
    if positive_only:
        use &= mentions.sentiment > 0
    of_key = torch.zeros(len(keys), n_features, dtype=torch.bool)
    of_key[at[use], mentions.feature[use]] = True
    return of_key[place]


class FeatureDataset(Dataset):
    """RecBole's dataset whose splits carry their :class:`Mentions`.

    The two sequence columns leave the interactions once they are read: otherwise each batch would
    carry two matrices as wide as the longest review.

    Attributes:
        mentions: Of the split's own rows.
        n_features: Number of features.
        feature_names: Their tokens, in the order of the columns.
    """

    mentions: Mentions
    n_features: int
    feature_names: list[str]

    @staticmethod
    def choose_columns(
        values: dict[str, Any], folder: Path, dataset: str, model: str
    ) -> Sequence[str]:
        """Decide where features come from, and have those columns loaded.

        Args:
            values: All options; ``feature_source`` and ``load_col`` are changed.
            folder: The dataset's folder.
            dataset: Its name.
            model: Name of the model that needs features, for the message.

        Returns:
            The options that were changed.

        Raises:
            InputError: If the data have no features.
        """
        source = values["feature_source"]
        splits = values["benchmark_filename"] or ()
        name = f"{dataset}.{splits[0]}.inter" if splits else f"{dataset}.inter"
        there = read_header(folder / name, values["field_separator"], values.get("encoding"))
        wanted = {values["feature_field"]: "token_seq", values["sentiment_field"]: "float_seq"}
        said, items = values["item_feature_field"], folder / f"{dataset}.item"
        if said is not None:  # also where reviews are used instead
            has = (values["field_separator"], values.get("encoding"))
            columns = read_header(items, *has) if items.is_file() else {}
            if said not in columns:
                usable = f"{items} has {', '.join(columns) or 'no columns'}"
                raise OptionError("item_feature_field", said, f"no item column: {usable}")
        attribute = said or values["item_category_field"]
        if source == "auto":
            source = "interaction" if set(wanted) <= set(there) else "item_attribute"
            if source == "item_attribute" and attribute is None:
                raise OptionError(
                    "model",
                    model,
                    f"needs features of items: columns {' and '.join(wanted)} in {folder / name} "
                    "(feature_field, sentiment_field), or an item column (item_feature_field)",
                )
        if source == "item_attribute" and attribute is None:
            raise OptionError("feature_source", "item_attribute", "needs item_feature_field")
        for field, kind in wanted.items() if source == "interaction" else ():
            if there.get(field, kind) != kind:
                raise DataError(folder / name, f"{field}:{there[field]} must be {field}:{kind}")
        values["feature_source"], values["item_feature_field"] = source, attribute
        changed = ("feature_source", "item_feature_field", "load_col")
        if values["load_col"] is None:  # everything is loaded
            return changed
        suffix, names = "inter", list(wanted)
        if source == "item_attribute":
            suffix, names = "item", [values["ITEM_ID_FIELD"], attribute]
        columns = values["load_col"].get(suffix, [])
        if columns != "*":
            more = [field for field in names if field not in columns]
            values["load_col"] = {**values["load_col"], suffix: [*columns, *more]}
        return changed

    def build(self) -> list["FeatureDataset"]:
        """Split as RecBole does, and give each split its mentions."""
        by_row = self.config["feature_source"] == "interaction"
        if by_row:
            self._check_mentions()
        parts = super().build()
        field = self.config["feature_field" if by_row else "item_feature_field"]
        member = None if by_row else category_matrix(self, field, "item_feature_field")
        for part in parts:
            part.n_features = self.num(field) - 1
            tokens = self.id2token(field, np.arange(1, self.num(field)))
            part.feature_names = [str(token) for token in tokens]
            part.mentions = part._of_items(member) if member is not None else part._of_rows()
        return parts

    def _check_mentions(self) -> None:
        """Refuse rows whose features and sentiments do not pair up, or are not +1 and -1."""
        feature, sentiment = self.config["feature_field"], self.config["sentiment_field"]
        lengths = self.inter_feat[feature].map(len), self.inter_feat[sentiment].map(len)
        wrong = (lengths[0] != lengths[1]).to_numpy().nonzero()[0]
        if len(wrong):
            n, m = lengths[0].iloc[wrong[0]], lengths[1].iloc[wrong[0]]
            raise InputError(
                f"{feature} and {sentiment}: {len(wrong)} interactions differ in length (the "
                f"first has {n} features and {m} sentiments)"
            )
        values = self.inter_feat[sentiment].explode().dropna()
        odd = [value for value in values.unique() if value not in (1.0, -1.0)]
        if odd:
            raise InputError(f"{sentiment}: sentiments are 1 or -1, not {odd[0]:g}")

    def _of_rows(self) -> Mentions:
        feature, sentiment = self.config["feature_field"], self.config["sentiment_field"]
        ids, signs = self.inter_feat[feature], self.inter_feat[sentiment]
        row, place = ids.nonzero(as_tuple=True)
        users, items = self.inter_feat[self.uid_field], self.inter_feat[self.iid_field]
        mentions = Mentions(users[row], items[row], ids[row, place] - 1, signs[row, place])
        for field in (feature, sentiment):
            self.inter_feat.drop(field)
        return mentions

    def _of_items(self, member: Tensor) -> Mentions:
        """Each interaction mentions all features of its item, in the tone of its rating."""
        users, items = self.inter_feat[self.uid_field], self.inter_feat[self.iid_field]
        row, feature = member[items].nonzero(as_tuple=True)
        rating = self.config["RATING_FIELD"]
        sign = torch.ones(len(self.inter_feat))
        if rating in self.inter_feat.columns:
            sign[self.inter_feat[rating] < self.config["feature_min_rating"]] = -1.0
        return Mentions(users[row], items[row], feature, sign[row])
