"""A pretended device: tensors that say they are on ``meta``, computed on the CPU.

Where an operation mixes them with tensors of the CPU, as a GPU would not allow, it fails. Sparse
matrices are nobody's: torch makes no such tensors of them.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
_TAKES_INDEX_OF_CPU = ("aten.index.", "aten.index_put")
_MOVES = ("aten._to_copy", "aten.copy_", "aten._local_scalar_dense")


class MixedDevicesError(RuntimeError):
    """Tensors of two devices in one operation."""


class Far(torch.Tensor):
    """A tensor of the pretended device."""

    @staticmethod
    def __new__(cls, near):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=DEVICE,
        )
        made.near = near
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _near(value):
    return value.near if isinstance(value, Far) else value


def _far(value):
    strided = isinstance(value, torch.Tensor) and value.layout == torch.strided
    return Far(value) if strided and not isinstance(value, Far) else value


def _run(func, args, kwargs):
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    far = [t for t in tensors if isinstance(t, Far)]
    others = [t for t in tensors if not isinstance(t, Far) and t.layout == torch.strided]
    name, device = str(func), kwargs.get("device")
    if far and not name.startswith(_MOVES):
        indexed = name.startswith(_TAKES_INDEX_OF_CPU) and isinstance(args[0], Far)
        mixed = [tuple(t.shape) for t in others if t.dim() > 0 and not indexed]
        if mixed:
            raise MixedDevicesError(f"{name}: tensors {mixed} of the CPU")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    out = func(*tree_map(_near, args), **tree_map(_near, kwargs))
    if func._schema.name.endswith("_") and isinstance(args[0], torch.Tensor):
        return args[0]
    if name.startswith("aten._local_scalar"):
        return out
    onto_far = torch.device(device) == DEVICE if device is not None else bool(far)
    return tree_map(_far, out) if onto_far else out


class _Pretended(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _NoAutocast:
    """Of a device that torch does not know."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return False


@contextmanager
def pretended_device(monkeypatch):
    """Within the block ``device="meta"`` is a device to compute on; yields it."""
    monkeypatch.setattr(torch, "autocast", _NoAutocast)
    # The first has no step for it; the second looks for graphs of the CPU, where those here stay.
    monkeypatch.setattr("recbole_enhance.training.acceleration.fused", lambda optimizer: optimizer)
    monkeypatch.setattr("recbole_enhance.training.acceleration.compress_graphs", lambda model: 0)
    of_tensor = torch.Tensor.tolist  # which torch refuses to subclasses
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: of_tensor(_near(tensor)))
    with _Pretended():
        yield DEVICE
