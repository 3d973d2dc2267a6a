"""What a comparison with plain RecBole needs."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch


@contextmanager
def trusted_torch_load() -> Iterator[None]:
    """Let plain RecBole trainers read back, inside the block, the checkpoints they wrote in it.

    torch 2.6 loads weights only, and RecBole's checkpoint holds its Config object: UnpicklingError
    in ``Trainer.evaluate(load_best_model=True)`` (``trainer/trainer.py:583``) and in
    ``resume_checkpoint`` (``:323``). Unpickling runs code that the file names, so only bytes that a
    trainer saved inside this block are trusted; any other file is read as weights only, with any
    torch. Meant for comparisons with plain RecBole.
    """
    from recbole.trainer import trainer

    with patch.object(trainer, "torch", _TorchThatKnowsItsFiles()):
        yield


class _TorchThatKnowsItsFiles:
    """The module torch, but ``load`` unpickles only what ``save`` has written."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def save(self, obj: Any, f: "os.PathLike[str]", **kwargs: Any) -> None:
        buffer = io.BytesIO()
        torch.save(obj, buffer, **kwargs)
        self._digests.add(hashlib.sha256(buffer.getbuffer()).digest())
        with open(f, "wb") as file:
            file.write(buffer.getbuffer())

    def load(self, f: "os.PathLike[str]", map_location: Any = None) -> Any:
        # Read once: the bytes that are loaded are the bytes that were checked.
        with open(f, "rb") as file:
            content = file.read()
        trusted = hashlib.sha256(content).digest() in self._digests
        return torch.load(io.BytesIO(content), map_location, weights_only=not trusted)
