"""Communication of the processes of one run: sums, values of the first process, and ends."""

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from recbole_enhance.options import launched
from recbole_enhance.options.errors import InputError

Result = TypeVar("Result")
_TOLD = "recbole_enhance/told"
_store: Any = None  # the launcher's key-value store for all processes
_runs = 0  # of this process
_has_told = False
_PATIENCE = 10.0  # seconds


class ProcessEndedError(Exception):
    """Another process of the run is gone, or the launcher stops them all."""


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the processes of a run while the block runs; do nothing if there is only one.

    Messages go by gloo; gradients on GPUs go by nccl.

    Raises:
        InputError: If the others cannot be reached.
    """
    global _store, _runs
    if launched.size() == 1 or together():
        yield
        return
    if not dist.is_available():
        raise InputError(f"WORLD_SIZE={launched.size()}: this torch has no torch.distributed")
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"
    try:
        if _store is None:
            _store = next(iter(rendezvous("env://")))[0]
        _runs += 1
        group = dist.PrefixStore(  # type: ignore[attr-defined]
            f"recbole_enhance/{_runs}", _store
        )
        dist.init_process_group(
            backend, store=group, rank=launched.rank(), world_size=launched.size()
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"WORLD_SIZE={launched.size()}: the other processes did not answer: {error}"
        ) from error
    with _stopped_by_launcher():
        yield
        add_up(torch.zeros(1))  # wait until all are done
    dist.destroy_process_group()


def together() -> bool:
    """Whether this process shares its run with others."""
    return dist.is_available() and dist.is_initialized() and bool(dist.get_world_size() > 1)


def first_to_tell(ended: bool) -> bool:
    """Whether this process should print why the run ends: no other has done so.

    Args:
        ended: Whether the reason is that another process is gone.
    """
    global _has_told
    if _store is None:
        return launched.is_first()
    if _has_told:
        return False
    _has_told = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end has begun
    try:
        told = bool(_store.add(_TOLD, 1) == 1)
        if launched.is_first() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            _wait_for_the_others()
    except RuntimeError:  # the first process kept the store, and has ended
        return ended
    return told


def _wait_for_the_others() -> None:
    """Let the others read from the store before the first process, which keeps it, ends."""
    if not torch.cuda.is_initialized():
        dist.destroy_process_group()  # those that wait for a message get an error
    until = time.monotonic() + _PATIENCE
    while _store.add(_TOLD, 0) < launched.size() and time.monotonic() < until:
        time.sleep(0.05)


def share(value: Any = None) -> Any:
    """Give all processes a plain value of the first one."""
    if not together():
        return value
    text = json.dumps(value).encode() if launched.is_first() else b""
    length = torch.tensor([len(text)])
    _heard(lambda: dist.broadcast(length, 0))
    content = torch.zeros(int(length), dtype=torch.uint8)
    if launched.is_first():
        content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    _heard(lambda: dist.broadcast(content, 0))
    return json.loads(content.numpy().tobytes())


def add_up(tensor: Tensor) -> Tensor:
    """Add a tensor up over the processes, in place; all have the same shape."""
    if together():
        _heard(lambda: dist.all_reduce(tensor))
    return tensor


def take_from_first(tensor: Tensor) -> None:
    """Overwrite a tensor by that of the first process, in place."""
    _heard(lambda: dist.broadcast(tensor, 0))


def agree(numbers: list[int]) -> bool:
    """Whether all processes have the same whole numbers."""
    if not together():
        return True
    own = torch.tensor([numbers, [-n for n in numbers]])
    _heard(lambda: dist.all_reduce(own, dist.ReduceOp.MAX))
    return bool((own[0] == -own[1]).all())


def gathered(tensor: Tensor) -> Tensor | None:
    """Rows of all processes, in their order, for the first of them; None for the others.

    Args:
        tensor: On the CPU, of the same type and width everywhere. Shape: ``(own rows, ...)``.
    """
    size = dist.get_world_size()
    counts = [torch.zeros(1, dtype=torch.long) for _ in range(size)]
    _heard(lambda: dist.all_gather(counts, torch.tensor([len(tensor)])))
    most = max(map(int, counts))
    own = tensor.new_zeros((most, *tensor.shape[1:]))
    own[: len(tensor)] = tensor
    # Bytes: gloo knows few types.
    flat = own.reshape(-1).view(torch.uint8)
    first = launched.is_first()
    parts = [torch.zeros_like(flat) for _ in range(size)] if first else None
    _heard(lambda: dist.gather(flat, parts, 0))
    if parts is None:
        return None
    whole = [part.view(tensor.dtype).reshape(own.shape) for part in parts]
    return torch.cat([part[: int(n)] for part, n in zip(whole, counts)])


def own_share(n: int, rank: int, size: int) -> slice:
    """The slice of ``n`` rows that one of several processes takes; sizes differ by one at most.

    Example:
        >>> [own_share(5, rank, 2) for rank in range(2)]
        [slice(0, 3, None), slice(3, 5, None)]
    """
    return slice(math.ceil(n * rank / size), math.ceil(n * (rank + 1) / size))


def _heard(speak: Callable[[], Result]) -> Result:
    """Communicate; an error means that another process has ended, and is raised as that."""
    try:
        return speak()
    except RuntimeError as error:
        raise ProcessEndedError("another process of this run has ended") from error


@contextlib.contextmanager
def _stopped_by_launcher() -> Iterator[None]:
    """Handle SIGTERM from torchrun as if another process had died."""

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ProcessEndedError("the launcher stopped this run")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    yield  # after a failure the process ends, and is not to be disturbed then
    signal.signal(signal.SIGTERM, before)
