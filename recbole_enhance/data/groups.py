"""Groups of users, by a column of the .user file or by how active they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_enhance.data.reading import read_atomic, read_header
from recbole_enhance.metric.fairness import activity_groups
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.general import ACTIVITY

Groups = dict[str, tuple[list[str], Tensor]]


def check_group_fields(folder: Path, dataset: str, options: Mapping[str, Any]) -> None:
    """Refuse a group field that is no column of users.

    Args:
        folder: The dataset's folder.
        dataset: Its name.
        options: ``group_fields``, ``field_separator``, ``encoding`` and ``USER_ID_FIELD``.

    Raises:
        ValueError: Naming the field, and the columns that there are.
    """
    columns = [field for field in options["group_fields"] or () if field != ACTIVITY]
    path = folder / f"{dataset}.user"
    if not columns:
        return
    if not path.is_file():
        raise OptionError(
            "group_fields", columns[0], f"there is no file {path}; {ACTIVITY} needs none"
        )
    kinds = read_header(path, options["field_separator"], options.get("encoding"))
    usable = [n for n, kind in kinds.items() if kind == "token" and n != options["USER_ID_FIELD"]]
    for field in columns:
        if field not in usable:
            state = f"is :{kinds[field]}" if field in kinds else "does not exist"
            raise OptionError(
                "group_fields",
                field,
                f"{state}; token columns of {path} are {', '.join(usable) or 'none'}, and "
                f"{ACTIVITY} needs no column",
            )


def user_groups(config: Any, dataset: Any, lengths: Tensor) -> Groups:
    """Put users into the groups of ``group_fields``.

    A column is read from the file, not through RecBole, whose context-aware models would take it
    for a feature.

    Args:
        config: The run's settings.
        dataset: The training part, whose users count.
        lengths: Training interactions of each user. Shape: ``(n_users,)``.

    Returns:
        Field -> labels and the group of each user, -1 where it is not known.
        Shape of the groups: ``(n_users,)``.
    """
    groups: Groups = {}
    for field in config["group_fields"] or ():
        if field == ACTIVITY:
            groups[field] = activity_groups(lengths, config["activity_groups"])
        else:
            groups[field] = _of_column(config, dataset, field)
    return groups


def _of_column(config: Any, dataset: Any, field: str) -> tuple[list[str], Tensor]:
    path = Path(config["data_path"], f"{config['dataset']}.user")
    table = read_atomic(
        path,
        (dataset.uid_field, field),
        separator=config["field_separator"],
        encoding=config["encoding"],
    )
    table = table.drop_duplicates(dataset.uid_field).set_index(dataset.uid_field)[field]
    tokens = dataset.id2token(dataset.uid_field, np.arange(dataset.user_num))
    codes, labels = pd.factorize(table.reindex(tokens), sort=True)  # missing: -1
    codes[0] = -1  # padding
    return [str(label) for label in labels], torch.from_numpy(codes.astype(np.int64))
