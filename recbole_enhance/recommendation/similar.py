"""Items that are similar by the model's own vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

from recbole_enhance.experiment.assembly import Run
from recbole_enhance.experiment.titles import shown_titles
from recbole_enhance.options.errors import OptionError
from recbole_enhance.recommendation.files import ITEM, ids_of
from recbole_enhance.recommendation.recommend import Tokens, given, open_run
from recbole_enhance.recommendation.scoring import KnownUsers, dataset_of
from recbole_enhance.recommendation.vectors import item_vectors

SIMILAR = "similar_item_id"


def similar_items(
    run: Run | str | Path,
    items: Tokens,
    k: int = 10,
    *,
    titles: str | None = "auto",
    model_class: str | type | None = None,
    method: Any = None,
) -> pd.DataFrame:
    """Find the most similar items to some items, by the cosine of the model's vectors.

    Args:
        run: As in :func:`~.recommend.recommend`.
        items: Ids of items, or the path of a file with one id on each line.
        k: Number of similar items for each, the item itself not included.
        titles: As in :func:`~.recommend.recommend`; titles of the similar items.
        model_class: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.
        method: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.

    Returns:
        One row each: ``item_id``, ``similar_item_id``, ``similarity`` from -1 to 1, ``rank`` from
        1, and ``title`` if asked for.

    Raises:
        InputError: If there is no such run or item, or the model has no vectors of items.
    """
    assert items is not None
    run = open_run(run, model_class, method)
    dataset = dataset_of(run)
    ids = ids_of(dataset, dataset.iid_field, given(items, "similar_to"), "item")
    if type(k) is not int or not 0 < k <= dataset.item_num - 2:
        allowed = f"from 1 to {dataset.item_num - 2}, the number of other items"
        raise OptionError("k", k, allowed)
    vectors = item_vectors(run, KnownUsers(run, filter_seen=False)).items
    unit = normalize(vectors.float(), dim=1)
    cosine = unit[ids.to(unit.device)] @ unit.T
    cosine[:, 0] = -torch.inf
    cosine[torch.arange(len(ids)), ids] = -torch.inf
    values, near = run.trainer.eval_collector.lists(cosine, None, k)
    tokens = dataset.id2token(dataset.iid_field, np.arange(dataset.item_num))
    near = near.cpu()
    table = pd.DataFrame(
        {
            ITEM: tokens[ids.repeat_interleave(k).numpy()],
            SIMILAR: tokens[near.flatten().numpy()],
            "similarity": values.cpu().flatten().numpy(),
            "rank": np.tile(np.arange(1, k + 1), len(ids)),
        }
    )
    names = shown_titles(run, titles, near)
    if names is not None:
        table["title"] = [names[item] for item in near.flatten().tolist()]
    return table
