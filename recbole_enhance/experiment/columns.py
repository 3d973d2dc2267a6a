"""Which columns of a dataset's files a run loads."""

import copy
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from recbole_enhance.data import atomic
from recbole_enhance.data.groups import check_group_fields
from recbole_enhance.data.reading import read_header
from recbole_enhance.options.errors import DataError, OptionError


def choose_columns(config: Any, values: dict[str, Any], named: bool) -> list[str]:
    """Load the columns there are, and refuse the ones asked for that are not there.

    Args:
        config: The run's settings so far; their record of options and origins is kept up to date.
        values: All options; ``load_col`` and others are changed, and ``data_path`` becomes the
            dataset's own folder.
        named: Whether columns were named; else those of the interactions' header are used.

    Returns:
        The columns of the interactions that are loaded.

    Raises:
        ValueError: Naming the option, or the file and its columns.
    """
    splits = values["benchmark_filename"] or ()
    folder = atomic.find_dataset(Path(values["data_path"]), config.dataset, splits)
    values["data_path"] = str(folder)
    if not named:
        values["load_col"] = atomic.default_load_col(
            folder,
            config.dataset,
            values,
            values["field_separator"],
            values.get("encoding"),
            splits,
        )
        first = f"{config.dataset}.{atomic.suffixes(None, splits)[0]}"
        config.origins["load_col"] = f"columns of {first}"
    _load_categories(config, values, folder, named)
    _load_weights(config, values, folder)
    if config.model_class.type == ModelType.KNOWLEDGE:
        graph = atomic.graph_columns(folder, config.dataset, values, config.model)
        if graph:
            values["load_col"] = {**values["load_col"], **graph}
    config.options["load_col"] = copy.deepcopy(values["load_col"])
    if hasattr(config.model_class, "dataset_class"):
        own = config.model_class.dataset_class
        for key in own.choose_columns(values, folder, config.dataset, config.model):
            config.options[key] = copy.deepcopy(values[key])
    required = [values["USER_ID_FIELD"], values["ITEM_ID_FIELD"]]
    if splits and config.model_class.type == ModelType.SEQUENTIAL:
        required.append(_ready_made_sequences(config, values, folder))
    elif not splits and str(values["eval_args"].get("order")) == "TO":
        required.append(values["TIME_FIELD"])
    columns = atomic.check_columns(
        folder,
        config.dataset,
        values["load_col"],
        required,
        unload_col=values["unload_col"],
        splits=splits,
        separator=values["field_separator"],
        encoding=values.get("encoding"),
    )
    check_group_fields(folder, config.dataset, values)
    _check_unused(values, folder, config.dataset)
    return columns


def _check_unused(values: dict[str, Any], folder: Path, dataset: str) -> None:
    """Refuse what option ``unused_col`` cannot drop after filtering: an id, or of no file."""
    ids = (values["USER_ID_FIELD"], values["ITEM_ID_FIELD"])
    loaded = values["load_col"]
    if loaded is None:
        loaded = {
            s: "*" for s in ("inter", "user", "item") if (folder / f"{dataset}.{s}").is_file()
        }
    there = [suffix for suffix, columns in loaded.items() if columns]
    for suffix, names in (values["unused_col"] or {}).items():
        option = f"unused_col.{suffix}"
        if not isinstance(names, (list, tuple, set)) or not all(isinstance(n, str) for n in names):
            raise OptionError(option, names, "a list of columns is expected")
        if names and suffix not in there:
            raise OptionError(option, names, f"only columns of {', '.join(there)} are loaded")
        for name in names:
            if name in ids:
                raise OptionError(option, name, "ids of users and items cannot be dropped")


def _load_categories(config: Any, values: dict[str, Any], folder: Path, named: bool) -> None:
    """Load the column of ``item_category_field``, unless columns were named after it.

    Columns that are named in a layer above, or in the same, are meant as they are.
    """
    field, load = values["item_category_field"], values["load_col"]
    above = not named or config.layer_of("item_category_field") > config.layer_of("load_col")
    if field is None or load is None or not above:
        return
    path = folder / f"{config.dataset}.item"
    if not path.is_file():
        raise OptionError("item_category_field", field, f"there is no file {path}")
    kinds = read_header(path, values["field_separator"], values.get("encoding"))
    if field not in kinds:
        raise OptionError("item_category_field", field, f"{path} has {', '.join(kinds)}")
    columns = load.get("item") or [values["ITEM_ID_FIELD"]]
    if columns != "*" and field not in columns:
        values["load_col"] = {**load, "item": [*columns, field]}


def _load_weights(config: Any, values: dict[str, Any], folder: Path) -> None:
    """Add the column of option ``interaction_weight_field`` to those that are loaded."""
    option = "interaction_weight_field"
    field = values[option]
    if field is None:
        return
    inter, *_ = atomic.suffixes(None, values["benchmark_filename"] or ())
    allowed = {"inter": ("float",), "item": ("float", "token_seq", "float_seq")}
    there = []
    for suffix, kinds in allowed.items():
        path = folder / f"{config.dataset}.{inter if suffix == 'inter' else suffix}"
        if not path.is_file():
            continue
        header = read_header(path, values["field_separator"], values.get("encoding"))
        if header.get(field) in kinds:
            columns = values["load_col"]
            loaded = None if columns is None else columns.get(suffix, [])
            if loaded is not None and loaded != "*" and field not in loaded:
                ids = [values["ITEM_ID_FIELD"]] if suffix == "item" and not loaded else []
                values["load_col"] = {**columns, suffix: [*loaded, *ids, field]}
            return
        there += [f"{path.name}: {name}" for name, kind in header.items() if kind in kinds]
    raise OptionError(
        option,
        field,
        "a column of numbers of the interactions, or of numbers or lists of the items, is wanted: "
        + (", ".join(there) or "the files have none"),
    )


def _ready_made_sequences(config: Any, values: dict[str, Any], folder: Path) -> str:
    """The column that holds the histories of ready-made parts; its items are the items."""
    sequence = values["ITEM_ID_FIELD"] + values["LIST_SUFFIX"]
    for split in values["benchmark_filename"]:
        path = folder / f"{config.dataset}.{split}.inter"
        kinds = read_header(path, values["field_separator"], values.get("encoding"))
        if kinds.get(sequence) != "token_seq":
            raise DataError(
                path,
                f"no column {sequence}:token_seq, which a sequential model needs with "
                "benchmark_filename: the items before each row's",
            )
    alias = values["alias_of_item_id"] or []
    if sequence not in alias:
        values["alias_of_item_id"] = [*alias, sequence]
        config.options["alias_of_item_id"] = [*alias, sequence]
    return sequence
