"""Fair timing: each case is a process of its own, and they take turns.

A process of its own has its own peak memory. Turn by turn, what else the machine does hits all
cases alike; ratios are of the fastest turns, since what else it does only ever adds time.
"""

import argparse
import contextlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_enhance.experiment.assembly import Run, assemble
from recbole_enhance.experiment.config import Config


def parser(
    doc: str,
    quick: str,
    rounds: int = 0,
    seconds: float = 0,
    cases: Iterable[str] = (),
    hidden: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """The options that benchmarks share.

    Args:
        doc: The script's docstring; its first line describes it.
        quick: What ``--quick`` does.
        rounds: Default; 0 leaves the option out.
        seconds: Default limit of the rounds; 0 leaves the option out.
        cases: What ``--worker`` may be, in the process of a case.
        hidden: More options of that process.
    """
    made = argparse.ArgumentParser(description=doc.partition("\n")[0])
    made.add_argument("--data_path", default="../shared/dataset")
    made.add_argument("--threads", type=int, default=1, help="of torch; 0: its own choice")
    if rounds:
        made.add_argument("--rounds", type=int, default=rounds)
    if seconds:
        made.add_argument("--seconds", type=float, default=seconds, help="limit of the rounds")
    made.add_argument("--quick", action="store_true", help=quick)
    if cases:
        made.add_argument("--worker", choices=list(cases), help=argparse.SUPPRESS)
    for name in hidden:
        made.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return made


def choose_dataset(data_path: str, wanted: str = "amazon-beauty") -> str:
    """The wanted dataset if its files are there; ml-100k comes with RecBole and needs no folder."""
    if wanted == "ml-100k" or Path(data_path, wanted, f"{wanted}.inter").is_file():
        return wanted
    print(f"no {wanted} in {data_path}: using ml-100k, which ships with RecBole")
    return "ml-100k"


def settings(threads: int, **options: Any) -> Config:
    """Settings of a case that is timed: on the CPU, quiet, no epoch of its own.

    Args:
        threads: Of torch; 0 leaves its own choice.
        options: Of the run.
    """
    if threads:
        torch.set_num_threads(threads)
    config = Config(config_dict={"epochs": 0, "use_gpu": False, "show_progress": False, **options})
    config["checkpoint_dir"] = "."
    return config


def assembled(threads: int, **options: Any) -> Run:
    """Data, model and trainer of a case that is timed; arguments are those of :func:`settings`."""
    return assemble(settings(threads, **options))


def first_batches(loader: Any, number: int) -> list[Any]:
    """The first batches of an epoch, fetched before the clock runs."""
    return list(itertools.islice(loader, number))


def serve(
    turn: Callable[[str], int],
    about: dict[str, Any],
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Child's side: say what this case is, then take a turn for each line of stdin.

    Args:
        turn: Does what the line says; returns how often, so that seconds are of one.
        about: Plain values for the parent.
        clock: Gives seconds. ``time.process_time`` on one thread leaves out the time in which a
            busy machine runs other jobs.
    """
    scale = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({**about, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        start = clock()
        times = turn(line.strip())
        seconds = (clock() - start) / times
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


class Worker:
    """Parent's side: the process of one case.

    Args:
        script: The benchmark, which calls :func:`serve` when it is given these words.
        case: Name of the case.
        words: Command line of the child.
    """

    def __init__(self, script: str, case: str, words: Sequence[str]) -> None:
        self.case = case
        # RecBole's log goes to stderr, which nobody reads before the end: a file cannot fill up.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [sys.executable, script, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.about: dict[str, Any] = {}
        self.seconds: dict[str, list[float]] = {}
        self.peak_mb = 0.0

    def _read(self) -> dict[str, Any]:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self._errors.seek(0)
        raise SystemExit(f"case {self.case} failed:\n{self._errors.read()}")

    def wait(self) -> None:
        """Wait until it is ready."""
        self.about = self._read()
        print(f"ready: {self.case}", file=sys.stderr)

    def run(self, what: str) -> None:
        """Take one turn."""
        print(what, file=self.process.stdin, flush=True)
        answer = self._read()
        self.seconds.setdefault(what, []).append(answer["seconds"])
        self.peak_mb = max(self.peak_mb, answer["peak_mb"])

    def fastest(self, what: str) -> float:
        """Seconds of the fastest turn."""
        return min(self.seconds[what])

    def median(self, what: str) -> float:
        """Seconds of the median turn."""
        return statistics.median(self.seconds[what])

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()


@contextlib.contextmanager
def workers(
    script: str, cases: Iterable[str], args: argparse.Namespace, **words: Any
) -> Iterator[dict[str, Worker]]:
    """A ready process for each case; they end with the block.

    Args:
        script: The benchmark.
        cases: Their names.
        args: From :func:`parser`; data path and threads are handed on.
        words: More options of the processes.
    """
    words = {"data_path": args.data_path, "threads": args.threads, **words}
    common = [f"--{key}={value}" for key, value in words.items()]
    found = {case: Worker(script, case, [f"--worker={case}", *common]) for case in cases}
    for worker in found.values():
        worker.wait()
    yield found
    for worker in found.values():
        worker.close()


def measure(
    workers: Sequence[Worker], what: str, rounds: int, seconds: float, at_least: int = 2
) -> int:
    """Let the workers take turns; each round starts with another one.

    Args:
        workers: All ready.
        what: Said to each.
        rounds: At most so many.
        seconds: No new round begins after so long.
        at_least: Rounds that are played in any case.

    Returns:
        Rounds played.
    """
    end, workers = time.perf_counter() + seconds, list(workers)
    for number in range(rounds):
        turn = number % len(workers)
        for worker in workers[turn:] + workers[:turn]:
            worker.run(what)
        if number + 1 >= at_least and time.perf_counter() > end:
            break
    return number + 1
