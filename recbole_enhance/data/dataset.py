"""The dataset of a model: RecBole's class or the model's own, mixed with ``as_written``."""

from typing import Any

import recbole.data.dataset as datasets
from recbole.utils import ModelType

from recbole_enhance.data.as_written import as_written
from recbole_enhance.data.sequences import with_fast_sequences

_BY_TYPE = {
    ModelType.SEQUENTIAL: "SequentialDataset",
    ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
}


def create_dataset(config: Any) -> Any:
    """Build the dataset of ``config.model_class``.

    RecBole's function of this name also unpickles files that it finds; this one reads none.
    """
    return dataset_class(config)(config)


def dataset_class(config: Any) -> type:
    """The class of the dataset: the model's own, by RecBole's name for it, or by type.

    RecBole finds special classes by the model's name inside its own module; a model of ours names
    its class in the attribute ``dataset_class``.
    """
    own = getattr(config.model_class, "dataset_class", None)
    if own is not None:
        return as_written(own)
    name = config["model"] + "Dataset"
    if not hasattr(datasets, name):
        name = _BY_TYPE.get(config["MODEL_TYPE"], "Dataset")
    return as_written(with_fast_sequences(getattr(datasets, name)))
