"""Where the numbers of a run go beside its folder: MLflow, W&B, TensorBoard, CodeCarbon."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_enhance.experiment.config import Config
from recbole_enhance.options import launched
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.run_folder import RunFolder, logger, plain

PROJECT = "recbole_enhance"
CARBON = "carbon.json"


class Callback:
    """Methods that are called during a run. Override those that you need.

    If a method raises an exception, a warning names the callback, and it is not called again. The
    run continues.
    """

    def begin(self, options: Mapping[str, Any], run_dir: str | None) -> None:
        """Called when the run begins or is resumed.

        Args:
            options: All options, as plain values.
            run_dir: Folder of the run; None if the run has no folder.
        """

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Called after each epoch. A run that is resumed first repeats its earlier epochs.

        Args:
            row: The epoch's row of ``history.csv``: ``epoch``, ``train_loss``, ``train_seconds``
                and others; ``valid_ndcg@10`` and others where the epoch was evaluated.
        """

    def end(self, result: Mapping[str, Any]) -> None:
        """Called when the run has finished.

        Args:
            result: What the run returns: ``best_valid_result``, ``test_result`` and others.
        """

    def stop(self, error: BaseException) -> None:
        """Called when the run has failed or was stopped.

        Args:
            error: The exception.
        """


class Watch:
    """The callbacks of one run.

    Args:
        callbacks: Those that are called.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = list(callbacks)
        self._told = 0  # rows of the history

    def tell(self, what: str, *arguments: Any) -> None:
        """Call a method of all of them; one that fails is not called again.

        Args:
            what: Name of the method of :class:`Callback`.
            *arguments: Its arguments.
        """
        for callback in list(self._callbacks):
            try:
                getattr(callback, what)(*arguments)
            except Exception as error:  # whatever a tracker fails with
                reason = one_line(f"{type(error).__name__}: {error}")
                name = type(callback).__name__
                logger.warning("%s failed (%s); the run goes on without it", name, reason)
                self._callbacks.remove(callback)

    def rows(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Report the epochs that were not reported yet.

        Args:
            history: All rows of ``history.csv``.
        """
        for row in history[self._told :]:
            self.tell("epoch", dict(row))
        self._told = len(history)


@contextlib.contextmanager
def watched(
    config: Config, folder: RunFolder | None, callbacks: Sequence[Callback]
) -> Iterator[Watch]:
    """Report the beginning and a failure of a run; the caller reports epochs and the end.

    Of several processes of one run, only the first tells.

    Args:
        config: The run's settings; ``track`` names trackers of this file.
        folder: Its folder.
        callbacks: Of the user.
    """
    run_dir = str(folder.path) if folder else None
    named = [TRACKERS[name]() for name in config["track"] or ()]
    watch = Watch([*callbacks, *named] if launched.is_first() else [])
    watch.tell("begin", plain(config.options), run_dir)
    try:
        yield watch
    except BaseException as error:
        watch.tell("stop", error)
        raise


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a row or a result."""
    return {
        f"{prefix}{name}": float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _title(options: Mapping[str, Any]) -> str:
    return f"{options['label']}-{options['dataset']}-{options['seed']}"


class MLflowTracker(Callback):
    """A run of MLflow: options as parameters, epochs and test results as metrics.

    ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` choose the server and the experiment. In
    names of metrics, ``_at_`` replaces ``@``, which MLflow refuses.
    """

    def begin(self, options: Mapping[str, Any], run_dir: str | None) -> None:
        """Open a run."""
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        tags = {"mlflow.runName": _title(options), "run_dir": run_dir or ""}
        self.run = self.client.create_run(number, tags=tags).info.run_id
        for key, value in _flat(options).items():
            self.client.log_param(self.run, key.replace("@", "_at_"), str(value)[:500])

    def _log(self, numbers: Mapping[str, float], step: int = 0) -> None:
        for name, value in numbers.items():
            self.client.log_metric(self.run, name.replace("@", "_at_"), value, step=step)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log the row."""
        self._log(_numbers(row), row["epoch"])

    def end(self, result: Mapping[str, Any]) -> None:
        """Log the results, and close the run."""
        self._log(_numbers(result["best_valid_result"], "best_valid_"))
        self._log(_numbers(result["test_result"], "test_"))
        self.client.set_terminated(self.run, "FINISHED")

    def stop(self, error: BaseException) -> None:
        """Close the run."""
        killed = isinstance(error, KeyboardInterrupt)
        self.client.set_terminated(self.run, "KILLED" if killed else "FAILED")


class WandbTracker(Callback):
    """A run of Weights & Biases, in the project of option ``wandb_project``."""

    def begin(self, options: Mapping[str, Any], run_dir: str | None) -> None:
        """Open a run."""
        import wandb

        project = options.get("wandb_project") or PROJECT
        self.run = wandb.init(project=project, name=_title(options), config=dict(options))
        self.run.summary["run_dir"] = run_dir

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log the row."""
        self.run.log(_numbers(row), step=row["epoch"])

    def end(self, result: Mapping[str, Any]) -> None:
        """Write the results into the summary, and close the run."""
        self.run.summary.update(_numbers(result["best_valid_result"], "best_valid_"))
        self.run.summary.update(_numbers(result["test_result"], "test_"))
        self.run.finish()

    def stop(self, error: BaseException) -> None:
        """Close the run."""
        self.run.finish(exit_code=1)


class TensorBoardTracker(Callback):
    """Events in the folder ``tensorboard`` of the run, or of the working folder without one."""

    def begin(self, options: Mapping[str, Any], run_dir: str | None) -> None:
        """Open a file of events."""
        from torch.utils.tensorboard import SummaryWriter

        folder = RunFolder.open(run_dir).folder("tensorboard") if run_dir else Path("tensorboard")
        self.writer = SummaryWriter(str(folder))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Write the row."""
        for name, value in _numbers(row).items():
            self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()

    def end(self, result: Mapping[str, Any]) -> None:
        """Write the results, and close the file."""
        for name, value in _numbers(result["test_result"], "test_").items():
            self.writer.add_scalar(name, value, 0)
        self.writer.close()

    def stop(self, error: BaseException) -> None:
        """Close the file."""
        self.writer.close()


class CodeCarbonTracker(Callback):
    """Energy and emissions, estimated by CodeCarbon without the network, in ``carbon.json``.

    The country, whose mix of power plants decides the emissions, is the environment variable
    ``CODECARBON_COUNTRY_ISO_CODE``. CodeCarbon measures the whole machine, or estimates its power
    where there are no counters. A run that was stopped and resumed adds up its parts.
    """

    def begin(self, options: Mapping[str, Any], run_dir: str | None) -> None:
        """Start to measure.

        Raises:
            ValueError: If no country is set.
        """
        from codecarbon import OfflineEmissionsTracker

        country = os.environ.get("CODECARBON_COUNTRY_ISO_CODE")
        if not country:
            raise ValueError("set CODECARBON_COUNTRY_ISO_CODE, for example to DEU")
        self.folder = RunFolder.open(run_dir) if run_dir else None
        self.tracker = OfflineEmissionsTracker(
            country_iso_code=country,
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="error",
        )
        self.tracker.start()

    def end(self, result: Mapping[str, Any]) -> None:
        """Write what the run has taken."""
        self.tracker.stop()
        data = self.tracker.final_emissions_data
        taken = {
            "seconds": data.duration,
            "energy_kwh": data.energy_consumed,
            "emissions_kg": data.emissions,
        }
        if self.folder is None:
            logger.info("%.3g kWh, %.3g kg of CO2", taken["energy_kwh"], taken["emissions_kg"])
            return
        if self.folder.has(CARBON):
            before = self.folder.read_json(CARBON)
            taken = {key: value + before[key] for key, value in taken.items()}
        country = {"country": data.country_iso_code, "codecarbon": data.codecarbon_version}
        self.folder.write_json(CARBON, taken | country)

    def stop(self, error: BaseException) -> None:
        """Write what the run has taken until now."""
        self.end({})


TRACKERS: Mapping[str, Callable[[], Callback]] = {
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
    "tensorboard": TensorBoardTracker,
    "codecarbon": CodeCarbonTracker,
}
