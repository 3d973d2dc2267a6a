"""Options of earlier versions that are constants now, and the run folders that name them."""

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
