"""Vectors of users and items in files that other programs search, and an index of the items."""

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from recbole_enhance.compat.needs import line_for
from recbole_enhance.data.loaders import rows_in_memory
from recbole_enhance.experiment.assembly import Run
from recbole_enhance.options.errors import OptionError
from recbole_enhance.recommendation.recommend import open_run
from recbole_enhance.recommendation.scoring import KnownUsers, dataset_of
from recbole_enhance.recommendation.vectors import item_vectors, watched
from recbole_enhance.recommendation.writing import VECTOR, growing_table, replacing
from recbole_enhance.storage.outputs import output_file

logger = logging.getLogger("recbole_enhance")
INDEXES = ("hnsw",)
_ENDING = ".hnsw"


class Embeddings(NamedTuple):
    """Vectors with their tokens.

    Attributes:
        users: Tokens, of none where the model has no vectors of users. Shape: ``(users,)``.
        user_vectors: Shape: ``(users, d)``.
        items: Tokens. Shape: ``(items,)``.
        item_vectors: Shape: ``(items, d)``.
        is_score: Whether the product of a user's and an item's vector is the model's score.
        bias: Whether the last number of an item's vector is its bias, and that of a user's is 1.
    """

    users: np.ndarray
    user_vectors: np.ndarray
    items: np.ndarray
    item_vectors: np.ndarray
    is_score: bool
    bias: bool


def embeddings(run: Run, quiet: bool = True) -> Embeddings:
    """The vectors that the model of a run multiplies, or its table of items.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        quiet: Whether there is no progress bar.

    Raises:
        InputError: If the model has no vectors of items.
    """
    dataset, known = dataset_of(run), KnownUsers(run, filter_seen=False)
    found = item_vectors(run, known)
    items = found.items
    rows = known.can.nonzero().squeeze(1) if found.is_score else torch.empty(0, dtype=torch.long)
    users = torch.cat([*_of_users(run, known, rows, quiet), items.new_empty(0, items.shape[1])])
    if found.bias is not None and found.is_score:
        items = torch.cat([items, found.bias.unsqueeze(1)], dim=1)
        users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
    ids = np.arange(1, dataset.item_num)
    return Embeddings(
        np.asarray(dataset.id2token(dataset.uid_field, rows.numpy()), dtype=str),
        users.cpu().numpy(),
        np.asarray(dataset.id2token(dataset.iid_field, ids), dtype=str),
        items[1:].detach().cpu().numpy(),
        found.is_score,
        found.bias is not None and found.is_score,
    )


def _of_users(
    run: Run, known: KnownUsers, rows: torch.Tensor, quiet: bool
) -> Iterator[torch.Tensor]:
    step = rows_in_memory(run.config, dataset_of(run).item_num)
    bar = tqdm(total=len(rows), disable=True if quiet else None, unit="user", desc="export")
    with bar:
        for users in rows.split(step) if len(rows) else ():
            product, _ = watched(run, known, users)
            assert product is not None
            yield product.users
            bar.update(len(users))


def export(
    run: Run | str | Path,
    out: str | Path,
    index: str | None = None,
    model_class: str | type | None = None,
    method: Any = None,
    quiet: bool = True,
) -> Embeddings:
    """Write the vectors of a run.

    Args:
        run: As in :func:`~.recommend.recommend`.
        out: The file. ``.npz``: arrays ``users``, ``user_vectors``, ``items``, ``item_vectors``,
            ``is_score`` and ``bias``, without pickle. ``.parquet``: columns ``kind`` (user or
            item), ``token`` and ``vector``.
        index: ``hnsw`` writes an index of hnswlib by inner product beside it, whose label n is the
            n-th item.
        model_class: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.
        method: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.
        quiet: Whether there is no progress bar.

    Returns:
        What was written.

    Raises:
        InputError: If there is no such run, the model has no vectors of items, the name has
            another ending, or hnswlib is not installed.
    """
    path = output_file("embeddings", out, (".npz", ".parquet"))
    if index is not None and index not in INDEXES:
        raise OptionError("index", index, f"one of {', '.join(INDEXES)}")
    if index is not None and importlib.util.find_spec("hnswlib") is None:
        raise OptionError("index", index, f"needs hnswlib: {line_for('index')}")
    run = open_run(run, model_class, method)
    found = embeddings(run, quiet)
    if not found.is_score:
        name = type(run.trainer.model).__name__
        logger.warning(
            "%s: a score is not a product of two vectors; only the vectors of items are written",
            name,
        )
    if path.suffix == ".npz":
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **found._asdict())
    else:
        with growing_table(path) as write:
            for kind, tokens, vectors in (
                ("user", found.users, found.user_vectors),
                ("item", found.items, found.item_vectors),
            ):
                if len(tokens):
                    columns = {"kind": kind, "token": tokens.astype(object), VECTOR: list(vectors)}
                    write(pd.DataFrame(columns))
    if index is not None:
        _write_index(path.with_suffix(_ENDING), found.item_vectors)
    return found


def _write_index(path: Path, vectors: np.ndarray) -> None:
    import hnswlib

    made = hnswlib.Index(space="ip", dim=vectors.shape[1])
    made.init_index(max_elements=len(vectors), ef_construction=200, M=32, random_seed=0)
    made.add_items(vectors, np.arange(len(vectors)), num_threads=1)
    with replacing(path) as temporary:
        made.save_index(str(temporary))
