"""The methods: ours in an explicit table, others' by entry points; all imported on use."""

import importlib

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.options import packages
from recbole_enhance.options.errors import OptionError

ENHANCERS: dict[str, str] = {
    "DVR": "recbole_enhance.enhancer.dvr.method:DVR",
    "RER": "recbole_enhance.enhancer.rer:RER",
    "RVRec": "recbole_enhance.enhancer.rvrec.method:RVRec",
    "IaCN": "recbole_enhance.enhancer.iacn.method:IaCN",
    "AOBPR": "recbole_enhance.enhancer.aobpr:AOBPR",
    "WBPR": "recbole_enhance.enhancer.wbpr:WBPR",
    "PRIS": "recbole_enhance.enhancer.pris:PRIS",
    "TCE": "recbole_enhance.enhancer.tce:TCE",
    "RCE": "recbole_enhance.enhancer.rce:RCE",
    "TIL": "recbole_enhance.enhancer.til.method:TIL",
}


def enhancer_names() -> dict[str, str]:
    """Names of all methods, also of those that other packages register: lower case -> name."""
    others = packages.registered(packages.ENHANCERS).values()
    names = [*ENHANCERS, *(entries[0].name for entries in others)]
    return {name.lower(): name for name in reversed(names)}


def load_enhancer(name: str) -> Enhancer:
    """Import a method by its name.

    Args:
        name: One of :func:`enhancer_names`.

    Raises:
        OptionError: If another package registers it, and it is none or cannot be imported.
    """
    if name in ENHANCERS:
        module, attribute = ENHANCERS[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    entry = packages.registered(packages.ENHANCERS)[name.lower()][0]
    method = entry.load("model")
    if not isinstance(method, Enhancer):
        raise entry.broken("model", f"is of type {type(method).__name__}, no Enhancer")
    if method.name != entry.name:
        raise entry.broken("model", f"calls itself {method.name}")
    return method


def recorded_name(method: Enhancer) -> str:
    """What a run folder calls a method: its name if it has one here, else ``module:Name``.

    Args:
        method: A method of ours, of another package, or of the user's.

    Raises:
        OptionError: If it is the user's, and has the name of another one.
    """
    name = enhancer_names().get(method.name.lower())
    if name is None:
        return method.path
    if load_enhancer(name) != method:
        entries = packages.registered(packages.ENHANCERS).get(name.lower())
        owner = "recbole_enhance" if name in ENHANCERS else entries[0].package if entries else ""
        raise OptionError("model", method.path, f"{owner} has a method {name} too; rename this one")
    return name
