"""The story of one run."""

import contextlib
import resource
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Sequence, Union

import torch
from recbole.data import data_preparation
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, init_seed

from recbole_enhance.config import Config
from recbole_enhance.data import atomic
from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.run_folder import CHECKPOINT, CONFIG, METRICS, MODEL, RunFolder, logger
from recbole_enhance.trainer import EnhancedTrainer, make_trainer


def run_recbole_enhance(
    model: Union[str, type, None] = None,
    dataset: Optional[str] = None,
    config_file_list: Optional[Sequence[Union[str, Path]]] = None,
    config_dict: Optional[Mapping[str, Any]] = None,
    saved: bool = True,
    command_line: Optional[Mapping[str, str]] = None,
) -> Dict[str, Any]:
    """Train a model, with or without a method on top, and report its test result.

    Args:
        model: A method (``DVR``) or a RecBole model (``BPR``, or a class).
        dataset: Name of the dataset.
        config_file_list: YAML files of options.
        config_dict: Options.
        saved: Whether to write a run folder. Without one, the best parameters stay in memory.
        command_line: Options as text, from :func:`~recbole_enhance.options.parse_argv`.

    Returns:
        RecBole's ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and
        ``test_result``, and ``run_dir`` (None without a folder).

    Raises:
        ValueError: If an option, the data or the training say no; no folder is left behind.
    """
    config = Config(model, dataset, config_file_list, config_dict, command_line)
    return _run(config, RunFolder.create(config) if saved else None)


def resume_run(run_dir: Union[str, Path], quiet: bool = False) -> Dict[str, Any]:
    """Continue a run that was stopped, or read the result of one that was not.

    Args:
        run_dir: Its folder.
        quiet: Print nothing but errors.

    Returns:
        As :func:`run_recbole_enhance`.

    Raises:
        ValueError: If the folder holds no run, or its checkpoint is unreadable or foreign.
    """
    folder = RunFolder.open(run_dir)
    if folder.finished:
        report = folder.read_json(METRICS)
        if not isinstance(report, dict) or not all(k in report for k in _RECBOLE_KEYS):
            raise ValueError(f"resume={folder.path}: {METRICS} is not the report of a run")
        logger.info("%s is finished", folder.path)
        return {**{key: report[key] for key in _RECBOLE_KEYS}, "run_dir": str(folder.path)}
    return _run(_saved_config(folder, quiet=quiet), folder)


_RECBOLE_KEYS = ("best_valid_score", "valid_score_bigger", "best_valid_result", "test_result")


def objective_function(
    config_dict: Optional[Mapping[str, Any]] = None,
    config_file_list: Optional[Sequence[Union[str, Path]]] = None,
    saved: bool = True,
) -> Dict[str, Any]:
    """One trial of RecBole's ``HyperTuning``: the result of a run, and the model's name."""
    result = run_recbole_enhance(
        config_file_list=config_file_list,
        config_dict={**(config_dict or {}), "quiet": True},
        saved=saved,
    )
    return {"model": (config_dict or {}).get("model"), **result}


class Run(NamedTuple):
    """A run put together: settings, RecBole's loaders, and a trainer around the model."""

    config: Config
    train_data: Any
    valid_data: Any
    test_data: Any
    trainer: EnhancedTrainer


def load_run(run_dir: Union[str, Path]) -> Run:
    """Put a finished run together again, with its best parameters.

    Args:
        run_dir: Its folder.

    Returns:
        The run; ``trainer.model`` is the model, ``trainer.evaluate(test_data)`` its test result.

    Raises:
        ValueError: If the folder holds no run, or its model file is unreadable or foreign.
    """
    folder = RunFolder.open(run_dir)
    run = _assemble(_saved_config(folder), None, {})
    run.trainer.load_best(folder.path / MODEL)
    return run


def _saved_config(folder: RunFolder, **options: Any) -> Config:
    return Config(config_file_list=[folder.path / CONFIG], config_dict=options)


def _assemble(config: Config, folder: Optional[RunFolder], seconds: Dict[str, float]) -> Run:
    """Load the data and build model and trainer, with the random states of RecBole's own run."""
    config["checkpoint_dir"] = str(folder.path) if folder else "."
    with _timed(seconds, "data"), _said_as_one_line(f"dataset={config['dataset']}"):
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        _fit_evaluation_into_memory(config, dataset)
        loaders = data_preparation(config, dataset)
    with _timed(seconds, "model"), _said_as_one_line(f"model={config['model']}"):
        init_seed(config["seed"], config["reproducibility"])
        wrap = config.method.wrap if config.method else None
        model_class = wrap(config.model_class) if wrap else config.model_class
        model = model_class(config, loaders[0]._dataset).to(config["device"])
    train_data, valid_data, test_data = loaders
    return Run(config, train_data, valid_data, test_data, make_trainer(config, model, folder))


def _run(config: Config, folder: Optional[RunFolder]) -> Dict[str, Any]:
    """Run, and leave either a folder that tells the story or none at all."""
    with _clean_up(folder), folder.logging() if folder else contextlib.nullcontext():
        seconds: Dict[str, float] = {}
        if folder:
            suffixes = ["inter", *(config["load_col"] or {})]
            hashes = atomic.sha256(Path(config["data_path"]), config["dataset"], suffixes)
            folder.write_environment(hashes)
        _, train_data, valid_data, test_data, trainer = _assemble(config, folder, seconds)
        logger.info("%s on %s, seed %d%s", config["label"], config["dataset"], config["seed"],
                    f", writing {folder.path}" if folder else "")  # fmt: skip
        show_progress = config["show_progress"] and not config["quiet"]
        with _timed(seconds, "fit"):
            score, valid_result = trainer.fit(train_data, valid_data, show_progress=show_progress)
        with _timed(seconds, "test"):
            test_result = trainer.evaluate(test_data, show_progress=False)
        result = {
            "best_valid_score": float(score),
            "valid_score_bigger": config["valid_metric_bigger"],
            "best_valid_result": dict(valid_result or {}),
            "test_result": dict(test_result or {}),
        }
        if folder:
            folder.write_json(METRICS, {**result, **_report(config, trainer, seconds)})
        return {**result, "run_dir": str(folder.path) if folder else None}


def _report(
    config: Config, trainer: EnhancedTrainer, seconds: Mapping[str, float]
) -> Dict[str, Any]:
    """What was run and what it cost."""
    per_epoch = [row["train_seconds"] for row in trainer.history]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on macOS bytes
    peak_mb = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    return {
        "label": config["label"],
        "enhancer": config["enhancer"],
        "backbone": config["backbone"],
        "dataset": config["dataset"],
        "variant": config["variant"],
        "seed": config["seed"],
        "epochs_run": len(trainer.history),
        "best_epoch": trainer.best_epoch,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "train_seconds_per_epoch": round(sum(per_epoch) / len(per_epoch), 4) if per_epoch else None,
        "peak_memory_mb": round(peak_mb, 1),
        "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1)
        if config["device"].type == "cuda" else None,
    }  # fmt: skip


def _fit_evaluation_into_memory(config: Config, dataset: Any) -> None:
    """Score many users per step: RecBole's default scores one, and takes five times as long.

    Of a general model only: elsewhere ``eval_batch_size`` counts rows, not pairs of user and item.
    The numbers do not depend on it.
    """
    own = config.options["eval_batch_size"] is not None
    general = config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    if not own and general and config["eval_args"]["mode"]["valid"] == "full":
        by_pairs = config.model_class.full_sort_predict is AbstractRecommender.full_sort_predict
        # Scores and what ranking them takes; a model without a matrix of scores repeats its inputs.
        pairs = int(config["eval_memory_mb"] * 2**20 / (128 if by_pairs else 16))
        config["eval_batch_size"] = max(pairs, dataset.item_num)


@contextlib.contextmanager
def _clean_up(folder: Optional[RunFolder]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if folder:  # what there is stays
            logger.warning("stopped; continue with: recbole-enhance --resume=%s", folder.path)
        raise
    except BaseException as error:
        if folder and (folder.path / CHECKPOINT).is_file() and not isinstance(error, ValueError):
            # A full disk or memory says nothing against the epochs that are done.
            logger.warning("failed; continue with: recbole-enhance --resume=%s", folder.path)
        elif folder:
            folder.discard()
        raise


@contextlib.contextmanager
def _said_as_one_line(what: str) -> Iterator[None]:
    """Turn the many types that RecBole fails with on odd options or data into ours."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"{what} cannot be built with these options: {kind}: {error}") from error


@contextlib.contextmanager
def _timed(seconds: Dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start
