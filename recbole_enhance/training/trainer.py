"""A mix-in over any RecBole trainer: safe checkpoints, exact resume, history and progress."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from recbole.trainer.trainer import PretrainTrainer, Trainer
from recbole.utils import get_trainer
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from recbole_enhance.compat import mends
from recbole_enhance.data.rows import WEIGHT
from recbole_enhance.evaluation.collector import EnhancedCollector
from recbole_enhance.evaluation.evaluator import EnhancedEvaluator
from recbole_enhance.model.history import reading
from recbole_enhance.options import launched
from recbole_enhance.options.errors import InputError, NotFiniteError, OptionError
from recbole_enhance.storage import processes
from recbole_enhance.storage.random_state import RandomState
from recbole_enhance.storage.run_folder import CHECKPOINT, MODEL, RunFolder, logger, run_key
from recbole_enhance.storage.tensor_files import load_tensors, refused_misfit
from recbole_enhance.training import acceleration, bpr_gradient, packing
from recbole_enhance.training.losses import weigh_by_column
from recbole_enhance.training.parts import PartsTrainer
from recbole_enhance.training.refusals import overflow_told, told_as_refusal
from recbole_enhance.training.row_adam import RowTrainer, is_by_rows

_PAIRS_PER_PREDICTION = 2**18  # hidden layers of so many pairs stay below some 200 MB
_COUNTED = (bool, int, float)


class NotResumableError(InputError):
    """A run that can only start over."""


class EnhancedTrainer(Trainer):
    """RecBole's trainer with what a run of ours needs; a method's trainer extends it.

    Mixed in front of the backbone's own trainer class by :func:`make_trainer`. ``fit`` stays
    RecBole's: each epoch passes through the overridden steps below.

    Args:
        config: The run's settings.
        model: The backbone.
        folder: Where files go; None keeps everything in memory.

    Attributes:
        history: One row per epoch: losses, seconds, means of what the batches gave :meth:`log`,
            :meth:`log_epoch`, and validation metrics.
        best_epoch: The epoch whose parameters :meth:`evaluate` reports.
        generator: A method's own source of randomness: drawing from it leaves the backbone's
            random states alone, so that a neutral method is the backbone, bit for bit.
    """

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        writer = _tensorboard_writer(config, folder)
        with mends.redirect_tensorboard(writer):
            super().__init__(config, model)
        own = config.options["eval_batch_size"]
        self.test_batch_size = min(own or _PAIRS_PER_PREDICTION, _PAIRS_PER_PREDICTION)
        self.eval_collector = EnhancedCollector(config)
        self.eval_collector.check_model(model)
        self.evaluator = EnhancedEvaluator(config)
        if config["fast"]:
            acceleration.compress_graphs(model)
        if config["interaction_weight_field"]:
            weigh_by_column(model, WEIGHT, config["interaction_weight_field"])
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.best_epoch = -1
        self.generator = torch.Generator(device="cpu").manual_seed(config["seed"])
        self._best: dict[str, Any] | None = None
        self._epoch = -1
        self._validates = False
        self._bar: tqdm | None = None
        self._train_data: Any = None
        self._logged: dict[str, list[Any]] = {}

    # ---- what a method may call ------------------------------------------------------------

    def log(self, name: str, value: float | torch.Tensor) -> None:
        """Put a number of a batch into the mean that the epoch's row of ``history.csv`` shows.

        Args:
            name: The column.
            value: A number; or a tensor, which stays on its device until the epoch ends, and whose
                mean is taken in its own precision. Shape: ``()``.
        """
        self._logged.setdefault(name, []).append(
            value.detach() if isinstance(value, torch.Tensor) else value
        )

    # ---- what a method may override --------------------------------------------------------

    def log_epoch(self) -> dict[str, float]:
        """What the epoch's row of ``history.csv`` shows that is no mean over batches."""
        return {}

    def report(self) -> dict[str, Any]:
        """What ``metrics.json`` says of the method: plain values."""
        return {}

    def method_state(self) -> dict[str, Any]:
        """State of the method that a checkpoint must hold: tensors and plain values."""
        return {}

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""

    def write_results(self, folder: RunFolder) -> None:
        """Write the method's own files after training."""

    # ---- RecBole's steps -------------------------------------------------------------------

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, Any]:
        """Train, keep the best parameters, write a checkpoint after each evaluated epoch.

        Arguments and result are those of RecBole's ``Trainer.fit``. A checkpoint found in the
        run folder is continued.
        """
        self._train_data, self._validates = train_data, bool(valid_data) and self.eval_step > 0
        if self.config["fast"]:
            packing.pack(self.model, train_data, self.config["packed_step"])
        bpr_gradient.say_if_unused(self.model, self.config)
        if self.folder is not None and self.folder.has(CHECKPOINT):
            with refused_misfit(path := self.folder.path / CHECKPOINT):
                self.resume_checkpoint(path)
        if self.cur_step > self.stopping_step or self.start_epoch >= self.epochs > 0:
            self.eval_collector.data_collect(train_data)  # stopped before; only the test is left
            result = self.best_valid_score, self.best_valid_result
        else:
            result = self._fit(train_data, valid_data, verbose, show_progress, callback_fn)
        if self.folder is not None:
            if self.history:  # epochs after the last evaluated one
                self.folder.write_history(self.history)
            self.write_results(self.folder)
        return result

    def _fit(
        self,
        train_data: Any,
        valid_data: Any,
        verbose: bool,
        show_progress: bool,
        callback_fn: Callable[[int, float], None] | None,
    ) -> tuple[float, Any]:
        """RecBole's ``fit`` under a progress bar over all steps."""

        def end_of_epoch(epoch: int, score: float) -> None:
            self._end_epoch(epoch)
            if callback_fn is not None:
                callback_fn(epoch, score)

        steps = len(train_data)
        with tqdm(
            total=self.epochs * steps,
            initial=self.start_epoch * steps,
            disable=None if show_progress else True,  # None: where there is no terminal
            unit="step",
            desc=self.config["label"],
            dynamic_ncols=True,
        ) as self._bar:
            hook = self.optimizer.register_step_post_hook(lambda *_: self._bar.update())
            try:
                with told_as_refusal(self.config), self._naming_the_last_good():
                    return super().fit(train_data, valid_data, verbose, True, False, end_of_epoch)
            finally:
                hook.remove()

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        self._epoch, self._logged = epoch_idx, {}
        start = time.perf_counter()
        for module in self.model.modules():  # a wrapped backbone, too
            if hasattr(module, "begin_epoch"):
                module.begin_epoch()
        loss_func = loss_func or bpr_gradient.loss_of(self.model, self.config)
        loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        self.history.append(
            {
                "epoch": epoch_idx,
                "train_loss": sum(loss) if isinstance(loss, tuple) else loss,
                "train_seconds": round(time.perf_counter() - start, 4),
                **{name: _mean(values) for name, values in sorted(self._logged.items())},
                **self.log_epoch(),
            }
        )
        return loss

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        start = time.perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress)
        if math.isnan(score):
            raise OptionError(
                "valid_metric",
                self.config["valid_metric"],
                f"no user has a value of it in epoch {self._epoch}, so it cannot "
                "choose the best epoch; choose another metric",
            )
        row = self.history[-1]
        row["valid_seconds"] = round(time.perf_counter() - start, 4)
        row.update({f"valid_{name}": value for name, value in result.items()})
        return score, result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Keep the best parameters (RecBole calls this on each improvement)."""
        self.best_epoch = epoch
        self._best = {
            "epoch": epoch,
            "state_dict": {k: v.detach().clone() for k, v in self.model.state_dict().items()},
            "other_parameter": _other_parameter(self.model),
        }
        if self.folder is not None:
            self.folder.save_tensors(
                MODEL,
                {
                    "label": self.config["label"],
                    "run": run_key(self.config),
                    **self._best,
                },
            )
        if not self._validates and epoch >= 0:
            self._end_epoch(epoch)

    def _end_epoch(self, epoch: int) -> None:
        """Report the epoch, then write history and checkpoint."""
        row = self.history[-1]
        parts = []
        if self._validates:
            score = row.get(f"valid_{self.valid_metric}", math.nan)
            parts = [
                f"{self.valid_metric} {score:.4f}",
                f"best {self.best_valid_score:.4f} in epoch {self.best_epoch}",
            ]
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(parts))
        if self._bar is None or self._bar.disable:
            parts.insert(0, f"train loss {row['train_loss']:.4f}")
            logger.info("epoch %d: %s", epoch, ", ".join(parts))
        if self.folder is not None:
            self.folder.write_history(self.history)
            self.folder.save_tensors(CHECKPOINT, self._checkpoint(epoch))

    def _check_nan(self, loss: torch.Tensor) -> None:
        if not torch.isfinite(loss):
            raise NotFiniteError(f"training loss is {loss.item()}")

    @contextlib.contextmanager
    def _naming_the_last_good(self) -> Iterator[None]:
        """Say when training diverged, what may have done it, and what there is to go back to."""
        try:
            with overflow_told():
                yield
        except NotFiniteError as error:
            if error.__cause__ is not None:  # said already
                raise
            options = ["learning_rate", *(["weight_decay"] if self.weight_decay else [])]
            named = " or ".join(f"{key}={self.config[key]}" for key in options)
            before = self._best["epoch"] if self._validates and self._best else self._epoch
            good = before < self._epoch
            file = self.folder.path / MODEL if good and self.folder else None
            kept = f"{file or 'memory'} holds epoch {before}" if good else "none before"
            raise NotFiniteError(
                f"{error} in epoch {self._epoch}: {named} may be too high for "
                f"{self.config['label']}; last good parameters: {kept}",
                file,
            ) from error

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: Any = None,
        show_progress: bool = False,
    ) -> Any:
        """Evaluate; arguments and result are those of RecBole's ``Trainer.evaluate``.

        Raises:
            ValueError: If ``model_file`` is unreadable or belongs to another model, or scores are
                not finite.
        """
        if load_best_model and eval_data:
            if model_file is not None:
                self.load_best(model_file)
            elif self._best is not None:
                self._load(self._best)
            self._epoch = self._best["epoch"] if self._best else self._epoch
        self.eval_collector.start(getattr(eval_data, "labelled", None))
        parts = getattr(eval_data, "known", ()) if self.config["read_known"] else ()
        known = reading(self.config, self.model, parts)
        with self._naming_the_last_good(), (known or contextlib.nullcontext)():
            return super().evaluate(eval_data, False, None, show_progress)

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        self.eval_collector.rows = batched_data[1]
        return super()._neg_sample_batch_eval(batched_data)

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        optimizer = super()._build_optimizer(**kwargs)
        return acceleration.fused(optimizer) if self.config["fast"] else optimizer

    def load_best(self, model_file: Any, run: str | None = None) -> None:
        """Take the parameters of a model file.

        Args:
            model_file: ``model.pt`` of a run folder.
            run: The ``run_key`` of the run that must have written it; None takes any.

        Raises:
            ValueError: If it is unreadable or belongs to another model or run.
        """
        state = load_tensors(model_file, self.config["label"], self.device, run)
        with refused_misfit(model_file):
            self._load(state)
        self._best = state

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["state_dict"])
        self.model.load_other_parameter(state["other_parameter"])

    # ---- resume ----------------------------------------------------------------------------

    def _optimizers(self) -> dict[str, Optimizer]:
        """All optimisers of the trainer, a method's too; the base class's own comes last.

        Last, because some trainers (RecVAE's) let ``optimizer`` be one of theirs in turn.
        """
        named = {name: value for name, value in vars(self).items() if isinstance(value, Optimizer)}
        named["optimizer"] = named.pop("optimizer")
        return named

    def _optimizer_states(self) -> dict[str, Any]:
        """State of each optimiser, or the name of the one that it is."""
        first: dict[int, str] = {}
        states: dict[str, Any] = {}
        for name, optimizer in self._optimizers().items():
            twin = first.setdefault(id(optimizer), name)
            states[name] = optimizer.state_dict() if twin == name else twin
        return states

    def _counters(self) -> dict[str, Any]:
        """Plain numbers that the backbone keeps as attributes (MultiVAE's annealing step)."""
        return {k: v for k, v in vars(self.model).items() if type(v) in _COUNTED}

    def _generators(self) -> dict[str, torch.Generator]:
        """Generators of the run's own: the loader's draws its batches."""
        return {"loader": self._train_data.generator, "method": self.generator}

    def _checkpoint(self, epoch: int) -> dict[str, Any]:
        return {
            "label": self.config["label"],
            "run": run_key(self.config),
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_epoch": self.best_epoch,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": dict(self.best_valid_result or {}) or None,
            "state_dict": self.model.state_dict(),
            "other_parameter": _other_parameter(self.model),
            "counters": self._counters(),
            "optimizers": self._optimizer_states(),
            "history": self.history,
            "method": self.method_state(),
            "random": RandomState.now(**self._generators()).to_plain(),
        }

    def resume_checkpoint(self, resume_file: Any) -> None:
        """Continue after the checkpoint's epoch, as if the run had never stopped.

        Args:
            resume_file: ``checkpoint.pt`` of a run folder; ``model.pt`` stands beside it.

        Raises:
            ValueError: If a file is unreadable or belongs to another model.
        """
        if isinstance(self, PretrainTrainer):
            raise NotResumableError(
                f"resume: {self.config['model']} trains in stages, which cannot be continued"
            )
        run = run_key(self.config)
        state = load_tensors(resume_file, self.config["label"], self.device, run)
        self.load_best(resume_file.with_name(MODEL), run)
        self._restore_progress(state)
        self._load(state)
        for name, value in state["counters"].items():
            # KGCN makes some at its first batch: there is nothing to compare them with yet.
            here = getattr(self.model, name, value)
            if type(value) not in _COUNTED or type(here) is not type(value):
                raise TypeError(f"{name} is {value}")
            setattr(self.model, name, value)
        for name, optimizer in self._optimizers().items():
            saved = state["optimizers"][name]
            if isinstance(saved, str):
                setattr(self, name, self._optimizers()[saved])
            else:
                optimizer.load_state_dict(saved)
        self.load_method_state(state["method"])
        RandomState.from_plain(state["random"]).restore(**self._generators())
        logger.info("resumed after epoch %d", state["epoch"])

    def _restore_progress(self, state: dict[str, Any]) -> None:
        kinds = {"epoch": int, "cur_step": int, "best_epoch": int, "best_valid_score": float}
        wrong = [name for name, kind in kinds.items() if type(state[name]) is not kind]
        rows, epoch = state["history"], state["epoch"]
        if wrong or epoch < 0 or len(rows) != epoch + 1 or not all(type(r) is dict for r in rows):
            raise ValueError("no progress of a run")
        self.start_epoch = epoch + 1
        for name in ("cur_step", "best_epoch", "best_valid_score", "best_valid_result", "history"):
            setattr(self, name, state[name])


def _mean(values: list[Any]) -> float:
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values).mean().item()
    return sum(values) / len(values)


def _other_parameter(model: Any) -> dict[str, Any]:
    """What RecBole saves beside the parameters, without modules (DIN's embedding layer).

    The state dict has their tensors, and the rest of such a module is the whole dataset.
    """
    others = model.other_parameter()
    return {k: value for k, value in others.items() if not isinstance(value, nn.Module)}


def make_trainer(config: Any, model: Any, folder: RunFolder | None) -> EnhancedTrainer:
    """Mix the method's trainer over the backbone's own trainer.

    Args:
        config: The run's settings.
        model: The backbone, wrapped if the method wraps it.
        folder: Where files go, or None.
    """
    base = get_trainer(config["MODEL_TYPE"], config["model"])
    method = (config.method and config.method.trainer_for(config)) or EnhancedTrainer
    bases = (method,) if base is Trainer else (method, base)
    if processes.together():
        bases = (*bases, PartsTrainer)
    if is_by_rows(config):
        bases = (*bases, RowTrainer)
    return type(f"{config['label'].replace('-', '')}Trainer", bases, {})(config, model, folder)


def _tensorboard_writer(config: Any, folder: RunFolder | None) -> Any:
    if not config["log_tensorboard"] or folder is None or not launched.is_first():
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder.folder("tensorboard")))
