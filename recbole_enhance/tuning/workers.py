"""Runs the trials of a study in one process or several."""

import contextlib
import dataclasses
import logging
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import torch

from recbole_enhance.experiment.quick_start import validate
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.run_folder import logger
from recbole_enhance.tuning import space as spaces
from recbole_enhance.tuning.settings import make_config
from recbole_enhance.tuning.study import REASON, SharedStudy, storage_errors, wait

_PATIENCE = 5  # seconds


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that a process needs to work on a study.

    Attributes:
        options: Of the run, without ``config_files``.
        files: YAML files of options.
        space: What is searched.
        out: Folder of the study's files.
        url: The database.
        study: The study's name.
        about: What must be the same for all who work on it.
        maximize: Whether a larger value is better.
        budget: Trials in total.
        seed: Of the sampler, and of each run.
        pruner: See :func:`recbole_enhance.tuning.tune.tune`.
    """

    options: dict[str, Any]
    files: list[str]
    space: spaces.Space
    out: Path
    url: str
    study: str
    about: dict[str, Any]
    maximize: bool
    budget: int
    seed: int
    pruner: str

    def open(self) -> Any:
        """Connect to the study."""
        return SharedStudy(
            self.url, self.study, self.about, self.maximize, self.budget, self.seed, self.pruner
        )


def work(plan: Plan, study: Any, show: Callable[[], None], parent: int | None = None) -> None:
    """Run trials until none of the budget is left, here or elsewhere."""
    while True:
        trial = study.claim()
        if trial is None:
            if study.finished() >= plan.budget:
                return
            wait()  # for others: we do the trials that they lose
        else:
            _run(plan, study, trial, parent)
        show()


def _run(plan: Plan, study: Any, trial: Any, parent: int | None) -> None:
    """Run one trial, and report it whatever happens."""

    def end_of_epoch(epoch: int, score: float) -> None:
        if parent is not None and os.getppid() != parent:
            raise KeyboardInterrupt  # the process that was asked for this study is gone
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        changed = {name: parameter.suggest(trial) for name, parameter in plan.space.items()}
        if plan.space and spaces.size(plan.space) < math.inf and study.replaced(trial, plan.space):
            return
        twin = study.twin(trial)
        if twin is not None:  # the same options and seed give the same score, or fail alike
            study.tell(trial, twin.value, twin.user_attrs.get(REASON, ""))
            return
        with study.alive(trial):
            config = make_config({**plan.options, "config_files": plan.files}, changed)
            score = validate(config, end_of_epoch)["best_valid_score"]
        if not math.isfinite(score):
            raise ValueError(f"the validation score is {score}")
        study.tell(trial, score)
    except optuna.TrialPruned:
        study.tell(trial)
    except optuna.exceptions.UpdateFinishedTrialError:
        logger.warning("trial %d had been marked as lost, so its result is dropped", trial.number)
    except optuna.exceptions.StorageInternalError:  # no fault of the trial's
        raise
    except Exception as error:  # any failure of training is the trial's result
        reason = one_line(f"{_kind(error)}{error}")[:500]
        logger.warning("trial %d failed: %s", trial.number, reason)
        study.tell(trial, reason=reason)
    except BaseException:
        study.lose(trial)
        raise


def _kind(error: Exception) -> str:
    return "" if isinstance(error, ValueError) else f"{type(error).__name__}: "


def work_in_processes(plan: Plan, study: Any, jobs: int, show: Callable[[], None]) -> None:
    """Let several processes work on the study, with a share of the cores each."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    workers: list[Any] = [
        context.Process(target=_child, args=(plan, threads, os.getpid()))
        for _ in range(min(jobs, plan.budget))
    ]
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            wait()
            show()
    finally:
        # A Ctrl-C reaches them too, and they give their trials back.
        for worker in (worker for worker in workers if worker.pid is not None):
            worker.join(_PATIENCE)
            if worker.is_alive():
                worker.terminate()
                worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    if failed and study.finished() < plan.budget:
        raise ValueError(f"jobs={jobs}: a process ended with status {failed[0]}; run it again")


def _child(plan: Plan, threads: int, parent: int) -> None:
    torch.set_num_threads(threads)
    with hushed(), contextlib.suppress(KeyboardInterrupt):
        try:
            with storage_errors(plan.url):
                work(plan, plan.open(), lambda: None, parent)
        except ValueError as error:
            logger.error("%s", error)
            sys.exit(1)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Trials say nothing but warnings, and Optuna too."""
    loud = optuna.logging.get_verbosity()
    level = logger.level
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        optuna.logging.set_verbosity(loud)
