"""Context-aware models on sequential data: one row per prefix of a history, as DIN gets."""

from typing import Any

from recbole.model.abstract_recommender import ContextRecommender
from recbole.utils import ModelType


class RowView:
    """A sequential dataset as a context-aware model may see it: without the list columns.

    RecBole's context-aware models take every column for a feature, and fail on histories, whose
    tokens have no table of their own.

    Args:
        dataset: The sequential dataset.
        config: The run's settings.
        pooled: Whether the history of items stays, as a feature whose vectors are averaged.
    """

    def __init__(self, dataset: Any, config: Any, pooled: bool) -> None:
        self._dataset = dataset
        self._suffix = config["LIST_SUFFIX"]
        self._length = config["ITEM_LIST_LENGTH_FIELD"]
        self._history = config["ITEM_ID_FIELD"] + self._suffix
        self._pooled = pooled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        """Names of the columns that are features; arguments are those of RecBole."""
        return [f for f in self._dataset.fields(ftype, source) if self._is_feature(f)]

    def _is_feature(self, field: str) -> bool:
        if field == self._history:
            return self._pooled
        stem = field[: -len(self._suffix)]
        is_list = field.endswith(self._suffix) and stem in self._dataset.field2type
        return not is_list and field != self._length

    def num(self, field: str) -> int:
        """Number of tokens; those of the history are items."""
        return self._dataset.num(self._dataset.iid_field if field == self._history else field)


def over_sequences(model_class: type, pooled_option: str | None = None) -> type:
    """Make a context-aware model a sequential one; other models stay what they are.

    Args:
        model_class: The backbone's class.
        pooled_option: Option that says whether the history is a feature; None for no.
    """
    if not issubclass(model_class, ContextRecommender):
        return model_class
    base: Any = model_class

    class OverSequences(base):
        type = ModelType.SEQUENTIAL

        def __init__(self, config: Any, dataset: Any) -> None:
            pooled = bool(pooled_option) and config[pooled_option]
            super().__init__(config, RowView(dataset, config, pooled))

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(OverSequences, name, getattr(model_class, name))
    return OverSequences
