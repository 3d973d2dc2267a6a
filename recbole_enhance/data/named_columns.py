"""Options that name columns, refused where a column is missing or of a kind that cannot serve."""

from collections.abc import Mapping
from typing import Any

from recbole.utils import FeatureType, ModelType

from recbole_enhance.options.errors import OptionError

# Options that name columns: one, a list, or a mapping from them.
_NAMING = (
    "selected_features",
    "numerical_features",
    "normalize_field",
    "discretization",
    "val_interval",
    "threshold",
    "alias_of_user_id",
    "alias_of_item_id",
    "alias_of_entity_id",
    "alias_of_relation_id",
    "item_attribute",
)


def refuse_bad_columns(dataset: Any) -> None:
    """Refuse options that name columns which are not loaded, or cannot be used so.

    Args:
        dataset: RecBole's, as its files were read.

    Raises:
        OptionError: With the option, its value, and what is loaded.
    """
    config = dataset.config
    by_feature = {
        name.removesuffix("_feat"): list(getattr(dataset, name))
        for name in dataset._build_feat_name_list()
    }
    loaded = {column for columns in by_feature.values() for column in columns}
    for option in _NAMING:
        named = config[option] or ()
        for column in [named] if isinstance(named, str) else named:
            if column not in loaded:
                listed = "; ".join(f"{name}: {', '.join(of)}" for name, of in by_feature.items())
                why = f"no column {column!r} is loaded (load_col, additional_feat_suffix)"
                raise OptionError(option, config[option], f"{why}; loaded are {listed}")
            kind = dataset.field2type[column]
            if option.startswith("alias_of_") and not kind.value.startswith("token"):
                raise OptionError(option, config[option], f"{column!r} is {kind.value}, no id")
    _refuse_selected(dataset, by_feature.get("item", []))
    _refuse_filters(dataset)
    longest = dataset.field2seqlen.get(f"{dataset.iid_field}{config['LIST_SUFFIX']}", 0)
    at_most = config["MAX_ITEM_LIST_LENGTH"]
    if dataset.benchmark_filename_list and at_most and longest > at_most:
        why = f"the ready-made sequences have up to {longest} items; seq_len keeps the last"
        raise OptionError("MAX_ITEM_LIST_LENGTH", at_most, why)


def _refuse_selected(dataset: Any, of_items: list[str]) -> None:
    selected = dataset.config["selected_features"] or ()
    for column in selected:
        kind = dataset.field2type[column].value
        if "float" in kind and column not in (dataset.config["numerical_features"] or ()):
            why = f"{column!r} is {kind}, which is embedded only if numerical_features names it"
            raise OptionError("selected_features", selected, why)
        if dataset.config["MODEL_TYPE"] == ModelType.SEQUENTIAL and column not in of_items:
            why = f"{column!r} is no column of items, which are {', '.join(of_items) or 'none'}"
            raise OptionError("selected_features", selected, why)


def _refuse_filters(dataset: Any) -> None:
    filters = dataset.config["val_interval"]
    for column, value in filters.items() if isinstance(filters, Mapping) else ():
        kind = dataset.field2type[column]
        if kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ):
            why = f"{column!r} is {kind.value}: rows cannot be chosen by several values in a cell"
            raise OptionError("val_interval", filters, why)
        if kind == FeatureType.TOKEN and isinstance(value, str):
            why = f"{column!r} is token: a list of its values is expected, and no interval"
            raise OptionError("val_interval", filters, why)
