"""Mends of how RecBole's models and trainers read and write files of parameters."""

import importlib
import pickle
from typing import Any

import numpy as np
import torch

from recbole_enhance.options.errors import InputError

# Each reads a file that an option names by a bare torch.load, LDiffRec by np.load with pickles.
_READERS = (
    "general_recommender.convncf",
    "general_recommender.nais",
    "general_recommender.neumf",
    "general_recommender.ract",
    "context_aware_recommender.kd_dagfm",
    "sequential_recommender.s3rec",
)
_ARRAY_READER = "general_recommender.ldiffrec"


class _Lookalike:
    """A module with some of its functions replaced."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        self._module = module
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def weights_only_files() -> bool:
    """Let the models that start from a file of parameters read tensors and plain values only.

    ConvNCF (``convncf.py:82``), NAIS (``:127``), NeuMF (``:84``), RaCT (``:75``), KD_DAGFM
    (``:56``) and S3Rec (``:120``) call ``torch.load`` as it is by default, which below torch 2.6
    runs the code that the file names; LDiffRec (``:232``) allows pickles in ``item_emb.npy`` beside
    the data. A file that needs code is refused.

    Returns:
        Whether RecBole's modules were changed by this call.
    """

    def load(f: Any, map_location: Any = None, **kwargs: Any) -> Any:
        try:
            return torch.load(f, map_location, **{**kwargs, "weights_only": True})
        except pickle.UnpicklingError as error:  # torch's own text advises to run the code
            raise InputError(f"{f}: not a file of tensors and plain values only") from error

    def load_array(file: Any, **kwargs: Any) -> Any:
        return np.load(file, **{**kwargs, "allow_pickle": False})

    arrays: Any = importlib.import_module(f"recbole.model.{_ARRAY_READER}")
    if isinstance(arrays.np, _Lookalike):
        return False
    arrays.np = _Lookalike(np, load=load_array)
    for name in _READERS:
        reader: Any = importlib.import_module(f"recbole.model.{name}")
        reader.torch = _Lookalike(torch, load=load)
    return True


def pretrained_checkpoint() -> bool:
    """Let S3Rec and RaCT read, in their second stage, what they wrote in their first.

    ``trainer/trainer.py:763`` writes RecBole's Config object into the file, which no reader that
    takes weights only accepts (torch 2.6, and :func:`weights_only_files`): UnpicklingError. The
    settings stand in the run's own files.

    Returns:
        Whether RecBole's method was replaced by this call.
    """
    from recbole.trainer.trainer import PretrainTrainer

    if PretrainTrainer.save_pretrained_model is _save_pretrained_model:
        return False
    PretrainTrainer.save_pretrained_model = _save_pretrained_model
    return True


def _save_pretrained_model(self: Any, epoch: int, saved_model_file: str) -> None:
    """Stand in for ``PretrainTrainer.save_pretrained_model``: the same file without the Config."""
    state = {
        "epoch": epoch,
        "state_dict": self.model.state_dict(),
        "optimizer": self.optimizer.state_dict(),
        "other_parameter": self.model.other_parameter(),
    }
    torch.save(state, saved_model_file)
    self.saved_model_file = saved_model_file
