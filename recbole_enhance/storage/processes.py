"""What the processes of one run tell each other: numbers, a word from the first, and their end."""

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
_store: Any = None  # what the launcher keeps for all processes
_runs = 0  # of this process
_has_told = False
_PATIENCE = 10.0  # seconds


class ProcessEndedError(Exception):
    """Another process of the run is gone, or the launcher stops them all."""


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes of a run while the block runs; nothing where there is but one.

    On CPUs they speak by gloo, on GPUs gradients go by nccl.

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
        add_up(torch.zeros(1))  # none goes before all are done
    dist.destroy_process_group()


def together() -> bool:
    """Whether this process shares its run with others."""
    return dist.is_available() and dist.is_initialized() and bool(dist.get_world_size() > 1)


def first_to_tell(ended: bool) -> bool:
    """Whether this process is to say why a run ends, as no other has done so.

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
    except RuntimeError:  # the first process kept it, and is gone
        return ended
    return told


def _wait_for_the_others() -> None:
    """Let them hear that all is told, before the first process, which keeps that, is gone."""
    if not torch.cuda.is_initialized():
        dist.destroy_process_group()  # who waits for a word learns that none comes
    until = time.monotonic() + _PATIENCE
    while _store.add(_TOLD, 0) < launched.size() and time.monotonic() < until:
        time.sleep(0.05)


def share(value: Any = None) -> Any:
    """The first process's value, a plain one, for all."""
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
    """Sum over the processes, in place."""
    if together():
        _heard(lambda: dist.all_reduce(tensor))
    return tensor


def take_from_first(tensor: Tensor) -> None:
    """Overwrite with what the first process has."""
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
    """Which of ``n`` things in a row one of several processes takes; the first takes the most.

    Example:
        >>> [own_share(5, rank, 2) for rank in range(2)]
        [slice(0, 3, None), slice(3, 5, None)]
    """
    return slice(math.ceil(n * rank / size), math.ceil(n * (rank + 1) / size))


def _heard(speak: Callable[[], Result]) -> Result:
    """Tell a process that is gone from a fault of the program."""
    try:
        return speak()
    except RuntimeError as error:
        raise ProcessEndedError("another process of this run has ended") from error


@contextlib.contextmanager
def _stopped_by_launcher() -> Iterator[None]:
    """End as when another process is gone, where the launcher asks for it."""

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ProcessEndedError("the launcher stopped this run")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    yield  # after a failure the process ends, and is not to be disturbed then
    signal.signal(signal.SIGTERM, before)
