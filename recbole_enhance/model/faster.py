"""Replacements of parts of RecBole's models under ``fast``: the same values, in less time.

Each is a mix-in before RecBole's class; the mixed class is a subclass of that, with its name.
"""

import importlib
from typing import Any, NamedTuple


class _StandIn(NamedTuple):
    """A mix-in, and what it computes or replaces, which a class must have from RecBole."""

    place: str
    of_recbole: tuple[str, ...]


_CLOSED = ("__init__", "predict", "full_sort_predict")
_RANKED = ("forward", "predict", "full_sort_predict")
_STAND_INS = {
    "ItemKNN": _StandIn("closed_forms:Neighbours", _CLOSED),
    "EASE": _StandIn("closed_forms:Ridge", _CLOSED),
    "SLIMElastic": _StandIn("closed_forms:ElasticNets", _CLOSED),
    "LightGCN": _StandIn("propagation:GraphMean", ("forward", "get_ego_embeddings")),
    "NeuMF": _StandIn("pair_ranking:NeuMFRanking", ("__init__", *_RANKED)),
    "FM": _StandIn("pair_ranking:FMRanking", _RANKED),
    "DeepFM": _StandIn("pair_ranking:DeepFMRanking", _RANKED),
    "WideDeep": _StandIn("pair_ranking:WideDeepRanking", _RANKED),
}


def faster(model_class: Any) -> Any:
    """The class with faster parts mixed in, or the class itself if there are none.

    Args:
        model_class: A class of RecBole's, or one of a user's or a method's that extends it. Where
            it has its own way to score, it keeps that.
    """
    for base in model_class.__mro__:
        found = _STAND_INS.get(base.__name__) if _is_recboles(base) else None
        if found is not None:
            same = all(getattr(model_class, n) is getattr(base, n) for n in found.of_recbole)
            return _mixed(model_class, found.place) if same else model_class
    return model_class


def _is_recboles(cls: type) -> bool:
    return cls.__module__.startswith("recbole.model.")


def _mixed(model_class: Any, place: str) -> Any:
    module, name = place.split(":")
    mixin = getattr(importlib.import_module(f"recbole_enhance.model.{module}"), name)
    content = {"__module__": model_class.__module__, "__doc__": model_class.__doc__}
    return type(model_class.__name__, (mixin, model_class), content)
