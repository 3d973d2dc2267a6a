"""Our backbones: an explicit table from name to class, imported on use."""

import importlib
from typing import Any

MODELS: dict[str, str] = {
    "CER": "recbole_enhance.model.cer:CER",
    "EFM": "recbole_enhance.model.efm:EFM",
    "MultiGCCF": "recbole_enhance.model.multigccf:MultiGCCF",
    "ProtoMF": "recbole_enhance.model.protomf:ProtoMF",
    "TransGNN": "recbole_enhance.model.transgnn:TransGNN",
}


def load_model(name: str) -> Any:
    """Import a model by its name in :data:`MODELS`."""
    module, attribute = MODELS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
