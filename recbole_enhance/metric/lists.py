"""RecBole classes of diversity, concentration and novelty. The maths is in their modules."""

from typing import Any

from torch import Tensor

from recbole_enhance.metric import base, concentration, diversity, novelty
from recbole_enhance.metric.base import POSITIVES, ListMetric, UserMetric

_CATEGORIES = frozenset({"categories"})
_NOVELTY = (*POSITIVES, "data.train_matrix")


class CategoryCoverage(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.category_coverage`."""

    metric_need = ("rec.items", "data.item_category")
    requires = _CATEGORIES

    def per_user(self, data: Any, k: int) -> Tensor:
        """Share of all categories. Shape: ``(users,)``."""
        return diversity.category_coverage(base.top(data, k), data["data.item_category"])


class CategoryRecall(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.category_recall`."""

    metric_need = ("rec.items", "rec.positive_u", "rec.positive_i", "data.item_category")
    requires = _CATEGORIES

    def per_user(self, data: Any, k: int) -> Tensor:
        """Share of the held-out items' categories. Shape: ``(users,)``."""
        positives = data["rec.positive_u"], data["rec.positive_i"]
        return diversity.category_recall(base.top(data, k), *positives, data["data.item_category"])


class SubtopicRecall(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.subtopic_recall`."""

    metric_need = (*POSITIVES, "data.item_category")
    requires = _CATEGORIES

    def per_user(self, data: Any, k: int) -> Tensor:
        """Share of the held-out items' categories, by hits. Shape: ``(users,)``."""
        positives = data["rec.positive_u"], data["rec.positive_i"]
        hits = base.relevant(data, k)
        return diversity.subtopic_recall(
            base.top(data, k), hits, *positives, data["data.item_category"]
        )


class ILD(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.intra_list_distance`."""

    metric_need = ("rec.items", "data.item_category")
    requires = _CATEGORIES

    def per_user(self, data: Any, k: int) -> Tensor:
        """Mean Jaccard distance of the pairs. Shape: ``(users,)``."""
        return diversity.intra_list_distance(base.top(data, k), data["data.item_category"])


class EmbeddingILD(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.embedding_distance`."""

    metric_need = ("rec.items", "data.item_embedding")
    requires = frozenset({"embedding"})

    def per_user(self, data: Any, k: int) -> Tensor:
        """Mean cosine distance of the pairs. Shape: ``(users,)``."""
        return diversity.embedding_distance(base.top(data, k), data["data.item_embedding"])


class CategoryEntropy(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.category_entropy`."""

    metric_need = ("rec.items", "data.item_category")
    requires = _CATEGORIES

    def per_user(self, data: Any, k: int) -> Tensor:
        """Entropy of the category distribution. Shape: ``(users,)``."""
        return diversity.category_entropy(base.top(data, k), data["data.item_category"])


class Calibration(UserMetric):
    """:func:`~recbole_enhance.metric.diversity.calibration`."""

    metric_need = ("rec.items", "rec.users", "data.train_matrix", "data.item_category")
    requires = _CATEGORIES
    smaller = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.alpha = config["calibration_alpha"]

    def per_user(self, data: Any, k: int) -> Tensor:
        """Divergence from the history's distribution. Shape: ``(users,)``."""
        categories = data["data.item_category"]
        return diversity.calibration(base.top(data, k), *base.history(data), categories, self.alpha)


class ItemCoverage(ListMetric):
    """:func:`~recbole_enhance.metric.concentration.item_coverage`."""

    metric_need = ("rec.items", "data.num_items")

    def value(self, data: Any, k: int) -> float:
        """Share of all items."""
        return float(concentration.item_coverage(base.top(data, k), data["data.num_items"]))


class GiniIndex(ListMetric):
    """:func:`~recbole_enhance.metric.concentration.gini_index`."""

    metric_need = ("rec.items", "data.num_items")
    smaller = True

    def value(self, data: Any, k: int) -> float:
        """Inequality of the items' counts."""
        return float(concentration.gini_index(base.top(data, k), data["data.num_items"]))


class ShannonEntropy(ListMetric):
    """:func:`~recbole_enhance.metric.concentration.shannon_entropy`."""

    metric_need = ("rec.items", "data.num_items")

    def value(self, data: Any, k: int) -> float:
        """Entropy of the items' counts."""
        return float(concentration.shannon_entropy(base.top(data, k), data["data.num_items"]))


class AveragePopularity(UserMetric):
    """:func:`~recbole_enhance.metric.concentration.average_popularity`, by interactions."""

    metric_need = ("rec.items", "data.num_items", "data.count_items")
    smaller = True

    def per_user(self, data: Any, k: int) -> Tensor:
        """Mean number of training interactions. Shape: ``(users,)``."""
        return concentration.average_popularity(base.top(data, k), base.interactions(data))


class TailPercentage(UserMetric):
    """:func:`~recbole_enhance.metric.concentration.tail_share`, by RecBole's ``tail_ratio``."""

    metric_need = ("rec.items", "data.num_items", "data.count_items")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tail = config["tail_ratio"]

    def per_user(self, data: Any, k: int) -> Tensor:
        """Share of the list that is tail. Shape: ``(users,)``."""
        tail = concentration.tail_items(base.interactions(data), self.tail)
        return concentration.tail_share(base.top(data, k), tail)


class ARP(UserMetric):
    """:func:`~recbole_enhance.metric.concentration.average_popularity`, by users."""

    metric_need = ("rec.items", "data.train_matrix")
    smaller = True

    def per_user(self, data: Any, k: int) -> Tensor:
        """Mean number of training users. Shape: ``(users,)``."""
        return concentration.average_popularity(base.top(data, k), base.popularity(data))


class APLT(UserMetric):
    """:func:`~recbole_enhance.metric.concentration.tail_share`, by ``item_head_share``."""

    metric_need = ("rec.items", "data.item_group")

    def per_user(self, data: Any, k: int) -> Tensor:
        """Share of the list that is tail. Shape: ``(users,)``."""
        return concentration.tail_share(base.top(data, k), data["data.item_group"] == 1)


class EPC(UserMetric):
    """:func:`~recbole_enhance.metric.novelty.expected_popularity_complement`."""

    metric_need = _NOVELTY

    def per_user(self, data: Any, k: int) -> Tensor:
        """Discounted unpopularity of the hits. Shape: ``(users,)``."""
        return novelty.expected_popularity_complement(
            base.top(data, k), base.relevant(data, k), base.popularity(data), base.n_active(data)
        )


class EFD(UserMetric):
    """:func:`~recbole_enhance.metric.novelty.expected_free_discovery`."""

    metric_need = _NOVELTY

    def per_user(self, data: Any, k: int) -> Tensor:
        """Discounted information of the hits. Shape: ``(users,)``."""
        return novelty.expected_free_discovery(
            base.top(data, k), base.relevant(data, k), base.popularity(data)
        )


class MIUF(UserMetric):
    """:func:`~recbole_enhance.metric.novelty.mean_inverse_user_frequency`."""

    metric_need = ("rec.items", "data.train_matrix")

    def per_user(self, data: Any, k: int) -> Tensor:
        """Mean information of the items. Shape: ``(users,)``."""
        return novelty.mean_inverse_user_frequency(
            base.top(data, k), base.popularity(data), base.n_active(data)
        )


class Serendipity(UserMetric):
    """:func:`~recbole_enhance.metric.novelty.serendipity`."""

    metric_need = _NOVELTY

    def per_user(self, data: Any, k: int) -> Tensor:
        """Mean surprise of the hits. Shape: ``(users,)``."""
        return novelty.serendipity(base.top(data, k), base.relevant(data, k), base.popularity(data))
