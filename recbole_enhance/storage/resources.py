"""Threads and peak memory of one run in a process that does several."""

import contextlib
import gc
import math
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_SELF = Path("/proc/self")


@contextlib.contextmanager
def limited_threads(number: int | None) -> Iterator[None]:
    """Limit the threads of torch and the numerical libraries; None changes nothing."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(number):
        torch.set_num_threads(number or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def reset_peak() -> None:
    """Reset the recorded peaks of memory, where the kernel can."""
    gc.collect()
    with contextlib.suppress(OSError):
        (_SELF / "clear_refs").write_text("5")  # man 5 proc: resets the peak resident set size
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_mb() -> float:
    """Peak resident memory of this process since its start or :func:`reset_peak`, in MB.

    Example:
        >>> peak_mb() > 1
        True
    """
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB", (_SELF / "status").read_text(), re.M)
        if found:
            return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on macOS bytes
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def free_bytes() -> int:
    """Memory that a process can still get, by the machine and its control group, in bytes."""
    import psutil

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    return max(free, 0)


class BeyondMemoryError(MemoryError):
    """Refused before any memory was allocated, unlike other memory errors."""


def refuse_beyond_memory(needed: int, free: int | None = None) -> None:
    """Refuse what does not fit into memory.

    Args:
        needed: In bytes.
        free: In bytes; by default what the machine says.

    Raises:
        BeyondMemoryError: Telling how much is needed, and how much there is.
    """
    free = free_bytes() if free is None else free
    if needed > free:
        raise BeyondMemoryError(
            f"needs {needed / 1e9:.3g} GB more, and {free / 1e9:.3g} GB are free"
        )


class WithinMemory(TorchFunctionMode):
    """Refuses tensors on the CPU that do not fit into memory, before the kernel kills the process.

    Linux grants memory that it does not have, and kills the process that then writes to it.
    Tensors of the old constructors, ``torch.Tensor(rows, columns)``, are not seen. (A mode of
    dispatch would see them, and imports torch's compiler: a second and 70 MB of each process.)

    Args:
        free: What is left, in bytes; by default what the machine says.

    Raises:
        BeyondMemoryError: Telling how much is needed, and how much there is.
    """

    def __init__(self, free: int | None = None) -> None:
        super().__init__()
        self._given, self._free = free, free_bytes() if free is None else free

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Look at the sizes of new tensors, which are made as they would be."""
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if (
            func in _MAKE_TENSORS
            and torch.device("cpu" if device is None else device).type == "cpu"
        ):
            shape = _shape(args, kwargs)
            item = torch.empty(0, dtype=kwargs.get("dtype")).element_size()  # it may be bool itself
            needed = math.prod(shape) * item
            if needed > min(self._free, _LARGE) and self._given is None:
                self._free = free_bytes()  # what came before has taken some
            if needed > self._free:
                raise BeyondMemoryError(
                    f"needs {needed / 1e9:.3g} GB for one tensor {shape}, and "
                    f"{self._free / 1e9:.3g} GB are free"
                )
        return func(*args, **kwargs)


_LARGE = 2**26  # bytes
_MAKE_TENSORS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


def _shape(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """The size as torch takes it: by name, as one sequence, or a number for each dimension."""
    if "size" in kwargs:
        return tuple(kwargs["size"])
    if args and isinstance(args[0], (tuple, list)):
        return tuple(args[0])
    return tuple(number for number in args if isinstance(number, int))
