"""Models and checkpoints as files of tensors and plain values, which load without running code."""

import contextlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from recbole_enhance.options.errors import InputError, RunFolderError
from recbole_enhance.storage.files import open_reading

_FORMAT = 1
# What code may raise on values that it does not expect.
_MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def dump_tensors(content: Mapping[str, Any]) -> memoryview:
    """Tensors, arrays, sparse matrices and plain values as the content of a file.

    It is built in memory, since torch writes to a file from C++: there, the exception of a signal
    becomes a RuntimeError, and a file that it has closed crashes the process.
    """
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **_encode(dict(content))}, buffer)
    return buffer.getbuffer()


def out_of_memory(error: Exception) -> bool:
    """Whether there was no memory, of which torch makes a RuntimeError."""
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or "allocate memory" in str(error)


def load_tensors(path: Path, label: str, device: Any, run: str | None = None) -> dict[str, Any]:
    """Read a model or checkpoint without running code from it.

    Args:
        path: The file.
        label: What the file must belong to, as ``DVR-BPR``.
        device: Where tensors go.
        run: The key of the run that the file must have; None takes any.

    Raises:
        RunFolderError: If the file is missing, no such file of tensors, or belongs to another pair
            of models or to another run.
        OSError: If it cannot be read.
    """
    try:
        with open_reading(path) as file:
            _refuse_packed(path, file)
            content = torch.load(file, map_location=device, weights_only=True)
    except (InputError, OSError):
        raise
    except Exception as error:  # torch raises many types on what is not its own
        if out_of_memory(error):
            raise
        raise RunFolderError(path, "not a checkpoint of tensors and plain values") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT or "label" not in content:
        raise RunFolderError(path, "not a checkpoint of recbole_enhance")
    if content["label"] != label:
        raise RunFolderError(path, f"belongs to {content['label']}, this run is {label}")
    if run is not None and content.get("run") != run:
        raise RunFolderError(path, "belongs to a run with other options or another seed")
    with refused_misfit(path):
        decoded: dict[str, Any] = _decode(content)
    return decoded


def _refuse_packed(path: Path, file: Any) -> None:
    """Refuse an archive whose files unpack to more than it has: torch stores them as they are."""
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise RunFolderError(path, "is compressed, which files of recbole_enhance are not")
    file.seek(0)


@contextlib.contextmanager
def refused_misfit(path: Any) -> Iterator[None]:
    """Say in one line that what a file holds is not what the block expects of it."""
    try:
        yield
    except InputError:
        raise
    except _MISFITS as error:
        if out_of_memory(error):
            raise
        raise RunFolderError(path, "does not fit this model or these data") from error


def _encode(value: Any) -> Any:
    """Write arrays and sparse matrices (ItemKNN, EASE) as tensors, which load safely."""
    if scipy.sparse.issparse(value):  # first: one layout, dok, is a dict too
        rows = value.tocsr()
        parts = [torch.from_numpy(part) for part in (rows.data, rows.indices, rows.indptr)]
        return {"__sparse__": parts, "shape": list(rows.shape), "layout": value.format}
    if isinstance(value, dict):
        return {key: _encode(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_encode(inner) for inner in value)
    if isinstance(value, np.ndarray):
        kind = str(value.dtype)
        array = value.astype(np.int64) if kind in ("uint32", "uint64", "uint16") else value
        return {"__array__": torch.from_numpy(np.ascontiguousarray(array)), "dtype": kind}
    return value.item() if isinstance(value, np.generic) else value


def _array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of a file as an array; refused if it repeats fewer stored numbers."""
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("is damaged: a tensor is longer than its stored data")
    return tensor.cpu().numpy()


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "__array__" in value:
        return _array(value["__array__"]).astype(value["dtype"])
    if isinstance(value, dict) and "__sparse__" in value:
        parts = tuple(_array(part) for part in value["__sparse__"])
        return scipy.sparse.csr_matrix(parts, shape=value["shape"]).asformat(value["layout"])
    if isinstance(value, dict):
        return {key: _decode(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(inner) for inner in value)
    return value
