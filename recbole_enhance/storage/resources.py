"""Threads and peak memory of one run in a process that does several."""

import contextlib
import gc
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

_SELF = Path("/proc/self")


@contextlib.contextmanager
def limited_threads(number: int | None) -> Iterator[None]:
    """Let torch and the numerical libraries use so many threads; None leaves them theirs."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(number):
        torch.set_num_threads(number or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def reset_peak() -> None:
    """Forget the peaks so far; where the kernel does not offer it, they stay."""
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
