"""Options that are gone and later ones: what run folders of earlier versions name, or lack."""

from collections.abc import Mapping
from typing import Any

from recbole_enhance.options.errors import UnknownOptionError

# Method or model -> removed option -> the value that holds now, or that nothing reads.
GONE: dict[str, dict[str, Any]] = {
    "any": {"item_tail_share": 0.8},
    "AOBPR": {"aobpr_pool": 200},
    "CER": {"cf_chunk": 2048, "cf_user_mask": True},
    "DVR": {"dvr_hidden_size": 64, "dvr_loss_feature": True},
    "IaCN": {"iacn_negatives": 100, "iacn_routing_std": 1.0},
    "RVRec": {"rvrec_contrast_rows": 256},
    "TIL": {"til_hidden_size": 64},
}
# Method or model -> later option -> what runs did before there was the option. A new option belongs
# here in the commit that brings it: older run folders could not be read otherwise.
LATER: dict[str, dict[str, Any]] = {
    "any": {"closed_form": False, "read_known": False},
    "RVRec": {"rvrec_decay": 0.0, "rvrec_propagated": True},
}
# What to say in place of that value.
_INSTEAD = {
    "item_tail_share": "item_head_share is the share of the interactions that the head has",
}


def with_gone(options: Mapping[str, Any]) -> dict[str, Any]:
    """Add removed options, as earlier versions recorded them, so that a run keeps its name.

    Args:
        options: Those of ``config.yaml``, ``model`` and ``backbone`` among them.

    Example:
        >>> with_gone({"model": "TIL", "backbone": "BPR"})
        {'item_tail_share': 0.8, 'til_hidden_size': 64, 'model': 'TIL', 'backbone': 'BPR'}
    """
    gone = dict(GONE["any"])
    for key in ("model", "backbone"):
        gone |= GONE.get(str(options.get(key)), {})
    return {**gone, **options}


def not_yet(options: Mapping[str, Any]) -> dict[str, Any]:
    """Later options that a run folder does not have, as its run was made.

    Args:
        options: Those of ``config.yaml``, ``model`` and ``backbone`` among them.

    Example:
        >>> not_yet({"model": "RVRec", "backbone": "BPR", "closed_form": True, "rvrec_decay": 0.3})
        {'read_known': False, 'rvrec_propagated': True}
    """
    later = dict(LATER["any"])
    for key in ("model", "backbone"):
        later |= LATER.get(str(options.get(key)), {})
    return {key: value for key, value in later.items() if key not in options}


def without_gone(options: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Leave out removed options whose recorded value is the one that holds now.

    Args:
        options: Options from one source.
        origin: The source, for the message.

    Raises:
        UnknownOptionError: If a removed option has another value.
    """
    left = dict(options)
    for gone in GONE.values():
        for key in gone.keys() & left.keys():
            if left.pop(key) != gone[key]:
                instead = _INSTEAD.get(key, f"it is {gone[key]}")
                raise UnknownOptionError(key, "this option was removed", origin, f"; {instead}")
    return left
