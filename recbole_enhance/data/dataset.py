"""RecBole's choice of a dataset class, unless the model brings its own."""

from typing import Any

from recbole.data import create_dataset as recbole_create_dataset


def create_dataset(config: Any) -> Any:
    """Build the dataset that ``config.model_class`` wants.

    RecBole finds special dataset classes by the model's name inside its own module; a model of ours
    names its class in the attribute ``dataset_class``.
    """
    own = getattr(config.model_class, "dataset_class", None)
    return own(config) if own else recbole_create_dataset(config)
