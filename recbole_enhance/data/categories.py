"""Item categories as a membership matrix, for diversity metrics and rewards."""

from typing import Any

import torch
from recbole.utils import FeatureType

from recbole_enhance.options.errors import OptionError


def category_matrix(dataset: Any, field: str, option: str = "item_category_field") -> torch.Tensor:
    """Say which item has which category.

    After ``build()``, RecBole holds a token column as ids ``(n_items,)`` and a token sequence as
    ids ``(n_items, longest)`` filled up with 0, the id of its padding token.

    Args:
        dataset: A built RecBole dataset (``train_data._dataset``, or any of the three parts).
        field: A loaded token or token_seq column of items.
        option: The option that names it, for the message.

    Returns:
        True where the item has the category, on the CPU. The categories are those that remain after
        RecBole's filters; column *c* is ``dataset.id2token(field, c + 1)``, as padding is no
        category and has no column. Row 0, the padding item, is all False, as is every item without
        categories.
        Shape: ``(n_items, n_categories)``.

    Raises:
        ValueError: If the field is not loaded with the items or does not hold categories.
    """
    features = dataset.item_feat
    names = [] if features is None else features.columns
    kinds = {name: dataset.field2type[name] for name in names}
    usable = [
        name
        for name, kind in kinds.items()
        if kind in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ) and name != dataset.iid_field
    ]
    if field not in usable:
        state = f"is {kinds[field].value}, not a category" if field in kinds else "is not loaded"
        if field == dataset.iid_field:
            state = "is the item's id, not a category"
        raise OptionError(
            option,
            repr(field),
            f"{state}: usable item columns are {', '.join(usable) or 'none'} "
            "(load_col.item decides which are loaded)",
        )
    ids = features[field].cpu().reshape(dataset.item_num, -1)  # (n_items, 1 or longest)
    member = torch.zeros(dataset.item_num, dataset.num(field), dtype=torch.bool)
    member.scatter_(1, ids, True)
    member[0] = False
    return member[:, 1:].contiguous()
