"""Tasks on a Dask cluster, whose scheduler and workers are running already."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recbole_enhance.compat.needs import line_for
from recbole_enhance.options.read import one_line

ANSWER_SECONDS = 10

RunThere = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[tuple[int, Any]]]


@contextlib.contextmanager
def connected(address: str) -> Iterator[RunThere]:
    """Connect to a scheduler and give what calls a function there.

    Each worker must have one thread: RecBole's and torch's state is the process's. All of them must
    see the board's folder and the data under the same paths, and have the same packages.

    Args:
        address: As the scheduler prints it, ``tcp://host:8786``.

    Raises:
        ValueError: If no scheduler or no worker answers, or a worker has several threads.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            f"cluster={address}: {error.name} is missing: {line_for('distributed')}"
        ) from error
    with _hushed():
        _refuse_silence(address)
        connect: Any = Client  # it has no types
        with connect(address, timeout=ANSWER_SECONDS, set_as_default=False) as client:
            _refuse_bad_workers(client, address)
            yield lambda function, tasks: _run(client, address, function, tasks)


def _refuse_silence(address: str) -> None:
    """Check that a scheduler answers; a client would wait for ever for a silent port."""
    from distributed.core import rpc

    async def ask() -> Any:
        connect: Any = rpc
        async with connect(address) as scheduler:
            return await scheduler.identity()

    async def ask_in_time() -> Any:
        return await asyncio.wait_for(ask(), ANSWER_SECONDS)

    with ThreadPoolExecutor(1) as pool:  # a thread of its own, as a notebook's has a loop already
        try:
            known = pool.submit(asyncio.run, ask_in_time()).result()
        except (TimeoutError, asyncio.TimeoutError, OSError):
            known = {}
        except ValueError as error:
            raise ValueError(f"cluster={address}: {error}") from error
    if not isinstance(known, dict) or known.get("type") != "Scheduler":
        raise ValueError(f"cluster={address}: no Dask scheduler answers within {ANSWER_SECONDS} s")


def _refuse_bad_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=ANSWER_SECONDS)
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise ValueError(
            f"cluster={address}: no worker within {ANSWER_SECONDS} s; start some: "
            f"dask worker {address} --nthreads 1 --nworkers 2"
        ) from error
    for worker, threads in client.nthreads().items():
        if threads > 1:
            raise ValueError(
                f"cluster={address}: worker {worker} runs {threads} cells in one process, which "
                "RecBole cannot; start it with --nthreads 1"
            )


def _run(
    client: Any, address: str, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Any | None]]:
    """Call a function with each task's arguments; a task whose worker dies goes to another one.

    Yields:
        Number of the task and its result, as they finish; None where too many workers died of it.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    finished: Any = as_completed
    batch = uuid.uuid4().hex  # what an earlier board left on the scheduler is not ours
    futures = {
        client.submit(function, *task, key=f"board-{batch}-{number}", pure=False): number
        for number, task in enumerate(tasks)
    }
    try:
        for future in finished(list(futures), loop=client.loop):
            try:
                yield futures[future], future.result()
            except KilledWorker:
                yield futures[future], None
            except (asyncio.CancelledError, Exception) as error:
                if future.status == "error":  # raised by the task, and not by the way to it
                    why = one_line(f"{type(error).__name__}: {error}")
                    raise ValueError(f"cluster={address}: a worker fails with {why}") from error
                if isinstance(error, (asyncio.CancelledError, OSError)):
                    raise ValueError(f"cluster={address}: the scheduler has ended") from error
                raise
    finally:
        with contextlib.suppress(Exception):  # it may be gone
            client.cancel(list(futures))


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep Dask's tracebacks of lost connections off the terminal; what matters is raised."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
