"""Tasks side by side on this machine, in loky processes that joblib starts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

CRASHED = "the process that ran it was killed (out of memory?)"


def run_here(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int, threads: int
) -> Iterator[tuple[int, Any | None]]:
    """Call a function with each task's arguments.

    When a process is killed, the whole pool of processes ends. The calls that were running are then
    tried again, one at a time; a call whose process is killed a second time is given up.

    Args:
        function: A picklable function.
        tasks: Its arguments, per call.
        jobs: Calls at the same time; 1 stays in this process.
        threads: Of the numerical libraries, per process.

    Yields:
        Number of the task and its result, in the order in which they finish; the result is None
        where the process was killed twice.
    """
    if jobs == 1:
        for number, task in enumerate(tasks):
            yield number, function(*task)
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left: list[int] = list(range(len(tasks)))
    suspects: list[int] = []  # were running when a process was killed
    while left:
        chosen = [suspects.pop(0)] if suspects else left
        begun: set[int] = set()
        try:
            for number, result in _parallel(function, tasks, chosen, begun, jobs, threads):
                begun.discard(number)
                left = [other for other in left if other != number]
                yield number, result
        except TerminatedWorkerError:
            if chosen is not left and len(chosen) == 1:
                left = [other for other in left if other != chosen[0]]
                yield chosen[0], None
            elif begun:
                suspects = sorted(begun)
            else:
                raise


def _parallel(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    chosen: Sequence[int],
    begun: set[int],
    jobs: int,
    threads: int,
) -> Iterator[tuple[int, Any]]:
    from joblib import Parallel, delayed, parallel_config

    def calls() -> Iterator[Any]:
        for number in chosen:
            begun.add(number)
            yield delayed(_numbered)(number, function, tasks[number])

    with parallel_config(backend="loky", inner_max_num_threads=threads):
        # One at a time to each process: cells take long, and none may wait in a killed one.
        pool = Parallel(
            n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs"
        )
        results = pool(calls())
    try:
        yield from results
    finally:
        results.close()  # ends what is in flight


def _numbered(number: int, function: Callable[..., Any], task: tuple[Any, ...]) -> tuple[int, Any]:
    return number, function(*task)
