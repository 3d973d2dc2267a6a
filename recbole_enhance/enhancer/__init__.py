"""The methods: an explicit table from name to definition, imported on use."""

import importlib

from recbole_enhance.enhancer.base import Enhancer

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


def load_enhancer(name: str) -> Enhancer:
    """Import a method by its name in :data:`ENHANCERS`."""
    module, attribute = ENHANCERS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
