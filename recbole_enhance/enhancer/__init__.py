"""The methods: an explicit table from name to definition, imported on use."""

import importlib
from typing import Dict

from recbole_enhance.enhancer.base import Enhancer

ENHANCERS: Dict[str, str] = {
    "DVR": "recbole_enhance.enhancer.dvr:DVR",
    "RER": "recbole_enhance.enhancer.rer:RER",
    "IaCN": "recbole_enhance.enhancer.iacn:IaCN",
    "RVRec": "recbole_enhance.enhancer.rvrec:RVRec",
}


def load_enhancer(name: str) -> Enhancer:
    """Import a method by its name in :data:`ENHANCERS`."""
    module, attribute = ENHANCERS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
