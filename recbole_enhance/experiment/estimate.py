"""Estimates of a run's memory, by counting, and of its time, from a few of its steps."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import scipy.sparse as sp
import torch
from recbole.data.interaction import Interaction

from recbole_enhance.experiment.assembly import Run, assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.idle import refuse_idle
from recbole_enhance.storage import resources
from recbole_enhance.training.acceleration import CompressedGraph

_WARM_UP = 2  # steps and batches that are not counted: the first ones make caches and buffers
_MOST_SECONDS = 20.0  # of steps, and of batches
_SCORES_AT_ONCE = 16  # bytes of a score: itself, its copy in a top-k, and masks
_MB = 2**20


class Seconds(NamedTuple):
    """Seconds of a whole, by parts of it.

    Attributes:
        low: By the first quartile of the parts.
        median: By the median.
        high: By the third quartile.
        timed: How many parts were timed.
        parts: How many there are.
    """

    low: float
    median: float
    high: float
    timed: int
    parts: int

    @classmethod
    def of(cls, parts: Sequence[float], number: int, before: float = 0.0) -> "Seconds | None":
        """Seconds of so many parts, and of what comes before them; None if none was timed."""
        if not parts:
            return None
        few = len(parts) < 2
        quartiles = [parts[0]] * 3 if few else statistics.quantiles(parts, n=4)
        low, median, high = (before + number * seconds for seconds in quartiles)
        return cls(low, median, high, len(parts), number)


class Estimate(NamedTuple):
    """What a run will take.

    Attributes:
        label: The model, or the method and the model.
        dataset: Name of the dataset.
        size: Interactions of the training part, and all users and items.
        parameters: Numbers that are learnt.
        memory: What takes it -> MB.
        measured_mb: Peak of this process, which did the steps that were timed.
        data: Seconds of reading and splitting.
        model: Seconds of building the model.
        epoch: Of training; None where a model has no steps, or no step was done in time.
        validation: One evaluation without the metrics' own seconds; None without validation data.
        epochs: The most that there are.
        eval_step: Epochs from one validation to the next.
        stopping_step: Validations without a better one that end the run.
    """

    label: str
    dataset: str
    size: dict[str, int]
    parameters: int
    memory: dict[str, float]
    measured_mb: float
    data: float
    model: float
    epoch: Seconds | None
    validation: Seconds | None
    epochs: int
    eval_step: int
    stopping_step: int

    def run_seconds(self, epochs: int) -> float:
        """Seconds of a run of so many epochs, by the medians."""
        each = self.epoch.median if self.epoch else 0.0
        judged = epochs // self.eval_step if self.eval_step else 0
        judging = (judged + 1) * self.validation.median if self.validation else 0.0
        return self.data + self.model + epochs * each + judging  # one more for the test

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        told = self._asdict()
        for name in ("epoch", "validation"):
            told[name] = told[name] and told[name]._asdict()
        return {**told, "at_most_seconds": self.run_seconds(self.epochs)}

    def lines(self) -> list[str]:
        """The estimate as a page."""
        size = self.size
        found = [
            f"{self.label} on {self.dataset}: {size['users']:,} users, {size['items']:,} items, "
            f"{size['interactions']:,} training interactions, {self.parameters:,} parameters"
        ]
        for name, mb in self.memory.items():
            found.append(f"  {name:<42}{mb:>10,.1f} MB")
        found += [
            f"  {'memory in all':<42}{sum(self.memory.values()):>10,.1f} MB",
            f"  {'measured peak of the steps below':<42}{self.measured_mb:>10,.1f} MB",
            f"  {'reading and splitting':<42}{self.data:>10,.2f} s",
            f"  {'building the model':<42}{self.model:>10,.2f} s",
            _line("an epoch", self.epoch, "steps"),
            _line("a validation, without metrics", self.validation, "batches"),
        ]
        if self.epoch is None:
            return [*found, "  no training step was timed: the model is trained when it is built"]
        least = min(self.epochs, max(1, self.eval_step) * (self.stopping_step + 2))
        found.append(
            f"  run: {_clock(self.run_seconds(least))} if it stops early ({least} epochs), at most "
            f"{_clock(self.run_seconds(self.epochs))} ({self.epochs} epochs)"
        )
        found.append(
            "  seconds are measured on this machine with its present load; work that a method does "
            "only every few epochs is not included"
        )
        return found


def _line(name: str, seconds: Seconds | None, parts: str) -> str:
    if seconds is None:
        return f"  {name:<42}{'-':>10}"
    return (
        f"  {name:<42}{seconds.median:>10,.2f} s, {seconds.low:.2f} to {seconds.high:.2f} by "
        f"quartiles of {seconds.timed} of {seconds.parts} {parts}"
    )


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def estimate(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, str] | None = None,
    steps: int = 20,
) -> Estimate:
    """Build a run, do a few of its steps, and say what the whole will take.

    Nothing is written. Memory is counted from the parts of the run; seconds are those of some steps
    and batches, times how many there are.

    Args:
        model: As in :func:`~recbole_enhance.experiment.quick_start.run_recbole_enhance`.
        dataset: As there.
        config_file_list: As there.
        config_dict: As there.
        command_line: As there.
        steps: Steps of training, and batches of evaluation, that are timed at most.

    Raises:
        ValueError: If an option or the data are refused, or the run does not fit into memory.
    """
    config = Config(model, dataset, config_file_list, config_dict, command_line)
    resources.reset_peak()
    before = resources.peak_mb()
    with config.naming_origins():
        refuse_idle(config)
    seconds: dict[str, float] = {}
    run = assemble(config, None, seconds)
    memory = _memory(run, before)
    epoch = _epoch(run, steps)
    data = run.train_data._dataset
    return Estimate(
        label=config["label"],
        dataset=config["dataset"],
        size={"interactions": len(data), "users": data.user_num - 1, "items": data.item_num - 1},
        parameters=sum(p.numel() for p in run.trainer.model.parameters()),
        memory=memory,
        measured_mb=resources.peak_mb(),
        data=seconds["data"],
        model=seconds["model"],
        epoch=epoch,
        validation=_validation(run, steps),
        epochs=run.trainer.epochs,
        eval_step=config["eval_step"],
        stopping_step=config["stopping_step"],
    )


# ---- memory --------------------------------------------------------------------------------------


def _memory(run: Run, process: float) -> dict[str, float]:
    """What takes memory -> MB."""
    model, config = run.trainer.model, run.config
    learnt = sum(map(_bytes, model.parameters())) / _MB
    states = sum(
        _states(optimizer)
        * sum(_bytes(p) for group in optimizer.param_groups for p in group["params"])
        for optimizer in {id(o): o for o in run.trainer._optimizers().values()}.values()
    )
    columns = sum(
        _bytes(column)
        for loader in (run.train_data, run.valid_data, run.test_data)
        for column in _columns(loader)
    )
    n_items, n_train = run.train_data._dataset.item_num, len(run.train_data._dataset)
    rows = getattr(run.test_data, "step", 1)
    return {
        "Python and its libraries": process,
        "parameters": learnt,
        "gradients": learnt,
        f"state of {config['learner']}": states / _MB,
        "parameters of the best epoch": learnt,
        "graphs and other tables of the model": _others(model) / _MB,
        "interactions": columns / _MB,
        "negatives and order of an epoch": 16 * n_train / _MB,
        f"scores of {rows:,} users at once": _SCORES_AT_ONCE * rows * n_items / _MB,
    }


def _bytes(thing: Any) -> int:
    if isinstance(thing, CompressedGraph):
        matrix = thing.matrix
        kept = (*thing.rows, *thing.columns) if thing.columns is not thing.rows else thing.rows
        return sum(map(_bytes, (matrix.indices(), matrix.values(), *kept)))
    if isinstance(thing, torch.Tensor):
        if thing.layout == torch.sparse_coo:
            return _bytes(thing._indices()) + _bytes(thing._values())
        return thing.numel() * thing.element_size()
    if sp.issparse(thing):
        parts = (getattr(thing, name, None) for name in ("data", "indices", "indptr", "row", "col"))
        return sum(int(getattr(part, "nbytes", 0)) for part in parts)
    return int(getattr(thing, "nbytes", 0))


def _states(optimizer: Any) -> int:
    """How many numbers an optimiser keeps of a parameter."""
    kept = {"Adam": 2, "AdamW": 2, "SparseAdam": 2, "RowAdam": 2, "Adagrad": 1, "RMSprop": 1}
    return kept.get(type(optimizer).__name__, 0)


def _columns(loader: Any) -> Iterator[Any]:
    features = getattr(getattr(loader, "_dataset", None), "inter_feat", None)
    return iter(features.interaction.values() if isinstance(features, Interaction) else ())


def _others(model: Any) -> int:
    """Bytes of what a model holds beside its parameters."""
    held = {
        id(value): value
        for module in model.modules()
        for name, value in vars(module).items()
        if name not in ("_parameters", "_modules", "_buffers")
    }
    return sum(map(_bytes, [*held.values(), *model.buffers()]))


# ---- seconds -------------------------------------------------------------------------------------


class _EnoughError(BaseException):
    """Ends a loop of RecBole from within; no ``Exception``, so that no handler catches it."""


class _Stopwatch:
    """Records when each part ends, and ends the loop after some parts."""

    def __init__(self, parts: int) -> None:
        self.ends: list[float] = []
        self._most, self.start = parts + _WARM_UP, time.perf_counter()

    def __call__(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())
        long = self.ends[-1] - self.start > _MOST_SECONDS and len(self.ends) > 1
        if long or len(self.ends) >= self._most:
            raise _EnoughError

    def parts(self) -> list[float]:
        """Seconds of each part but the first ones."""
        times = [after - before for before, after in zip(self.ends, self.ends[1:])]
        return times[min(_WARM_UP - 1, len(times) - 1) :] if times else []


def _epoch(run: Run, steps: int) -> Seconds | None:
    """Time the first steps of training."""
    watch, trainer = _Stopwatch(steps), run.trainer
    planned = trainer.epochs, trainer.eval_step
    hook = trainer.optimizer.register_step_post_hook(watch)
    try:
        trainer.epochs, trainer.eval_step = min(1, trainer.epochs), 0
        trainer.fit(run.train_data, run.valid_data, verbose=False)
    except _EnoughError:
        pass
    finally:
        hook.remove()
        trainer.epochs, trainer.eval_step = planned
    parts = watch.parts()
    if not parts or not any(p.numel() > 1 for p in trainer.model.parameters()):
        return None  # ItemKNN and its like take a step of nothing
    first = watch.ends[0] - watch.start - statistics.median(parts)
    return Seconds.of(parts, len(run.train_data), max(0.0, first))


def _validation(run: Run, batches: int) -> Seconds | None:
    """Time the first batches of an evaluation."""
    if not run.valid_data:
        return None
    watch, collector = _Stopwatch(batches), run.trainer.eval_collector
    collect = collector.eval_batch_collect

    def collected(*args: Any) -> None:
        collect(*args)
        watch()

    collector.data_collect(run.train_data)
    watch.start = time.perf_counter()
    collector.eval_batch_collect = collected  # type: ignore[method-assign, assignment]
    try:
        run.trainer.evaluate(run.valid_data, load_best_model=False)
    except _EnoughError:
        pass
    finally:
        collector.eval_batch_collect = collect  # type: ignore[method-assign]
        collector.start()
    return Seconds.of(
        watch.parts() or [end - watch.start for end in watch.ends], len(run.valid_data)
    )
