"""Row numbers on training interactions: a value belongs to one of them, not to a batch slot."""

from typing import Any

import torch
from recbole.data.interaction import Interaction

ROW_ID = "inter_idx"


def number_rows(train_data: Any) -> int:
    """Add the column :data:`ROW_ID` to the training split; it survives negative sampling.

    It is not entered as a field, so that no model embeds it.

    Args:
        train_data: RecBole's training loader.

    Returns:
        The number of training interactions.
    """
    interactions = train_data._dataset.inter_feat
    interactions.update(Interaction({ROW_ID: torch.arange(len(interactions))}))
    return len(interactions)
