"""RecBole's choice of a dataset class, with vectorised histories."""

from typing import Any

import recbole.data.dataset as datasets
from recbole.utils import ModelType

from recbole_enhance.data.sequences import with_fast_sequences

_BY_TYPE = {
    ModelType.SEQUENTIAL: "SequentialDataset",
    ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
}


def create_dataset(config: Any) -> Any:
    """Build the dataset that RecBole would: by the model's name, else by its type.

    RecBole's function of this name also unpickles files that it finds; this one reads none.
    """
    name = config["model"] + "Dataset"
    if not hasattr(datasets, name):
        name = _BY_TYPE.get(config["MODEL_TYPE"], "Dataset")
    return with_fast_sequences(getattr(datasets, name))(config)
