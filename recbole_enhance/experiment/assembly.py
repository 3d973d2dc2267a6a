"""The parts of a run: data, model and trainer, before anything is trained."""

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recbole.utils import init_seed

from recbole_enhance.data.kept_parts import built
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.experiment import validation
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.options.model_class import options_without_value
from recbole_enhance.options.read import one_line
from recbole_enhance.storage import resources
from recbole_enhance.storage.run_folder import RunFolder, logger
from recbole_enhance.storage.tensor_files import out_of_memory
from recbole_enhance.training.trainer import EnhancedTrainer, make_trainer


class Run(NamedTuple):
    """The parts of a run: settings, RecBole's loaders, and the trainer with the model."""

    config: Config
    train_data: Any
    valid_data: Any
    test_data: Any
    trainer: EnhancedTrainer


def assemble(
    config: Config,
    folder: RunFolder | None = None,
    seconds: dict[str, float] | None = None,
) -> Run:
    """Load the data and build model and trainer, with the random states of RecBole's own run.

    Args:
        config: The run's settings.
        folder: Folder for the trainer's files; None keeps everything in memory.
        seconds: A mapping to which the seconds of ``data`` and ``model`` are added.

    Returns:
        A run that is not trained yet.

    Raises:
        ValueError: If data or model cannot be built with these options.
    """
    config["checkpoint_dir"] = str(folder.path) if folder else "."
    with config.naming_origins():
        return _assemble(config, folder, {} if seconds is None else seconds)


def load_data(config: Config) -> tuple[Any, Any, Any]:
    """Read and split the data of a run: its training, validation and test loader.

    Args:
        config: The run's settings.

    Raises:
        ValueError: If the data cannot be read or split with these options.
    """
    with told_as_input_error(f"dataset={config['dataset']}"):
        init_seed(config["seed"], config["reproducibility"])
        dataset, parts = built(config, config.method.prepare if config.method else None)
        validation.refuse_bad_k(config.final_config_dict, dataset.item_num - 1)
        return prepare_data(config, dataset, parts)


def _assemble(config: Config, folder: RunFolder | None, seconds: dict[str, float]) -> Run:
    with timed(seconds, "data"):
        loaders = load_data(config)
    with timed(seconds, "model"), told_as_input_error(f"model={config['model']}"):
        init_seed(config["seed"], config["reproducibility"])
        wrap = config.method.wrap if config.method else None
        model_class = wrap(config.model_class) if wrap else config.model_class
        with _naming_missing_options(config):
            model = _within_memory(model_class, config, loaders[0]._dataset)
        model = model.to(config["device"])
    train_data, valid_data, test_data = loaders
    with told_as_input_error(
        "log_wandb=True: the trainer" if config["log_wandb"] else "the trainer"
    ):
        trainer = make_trainer(config, model, folder)
    return Run(config, train_data, valid_data, test_data, trainer)


@contextlib.contextmanager
def _naming_missing_options(config: Config) -> Iterator[None]:
    """Report options that a user's class reads and that have no value, also when it fails."""
    own = config.pair.own_class
    lacking = options_without_value(config.model_class, config.final_config_dict) if own else []
    if lacking:
        example = " ".join(f"--{name}=VALUE" for name in lacking)
        named = f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no value"
        logger.warning("%s: %s, so it reads None; set %s", config["model"], named, example)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not lacking or out_of_memory(error):
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"{named} (set {example}); the model stops with {reason}") from error


def _within_memory(model_class: Any, config: Config, dataset: Any) -> Any:
    """Build a model, unless it or its training cannot fit."""
    try:
        with resources.WithinMemory():
            model = model_class(config, dataset)
        if config["device"].type == "cpu":
            size = sum(p.numel() * p.element_size() for p in model.parameters())
            resources.refuse_beyond_memory(2 * size)  # gradients, and the best epoch's copy
    except FileNotFoundError as error:  # of models that are trained in two stages
        if error.filename != config["pre_model_path"]:
            raise
        why = "there is no such file; the first stage writes it (train_stage=pretrain)"
        raise OptionError("pre_model_path", error.filename, why) from error
    except resources.BeyondMemoryError as error:
        raise InputError(f"{error}; lower the sizes of its rows and layers") from error
    return model


@contextlib.contextmanager
def told_as_input_error(what: str) -> Iterator[None]:
    """Turn the many errors that RecBole raises on unusual options or data into ours.

    Args:
        what: The option, or the part that is being built, for the message.
    """
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, MemoryError):
            raise InputError(f"{what}: {error}") from error
        raise
    except OSError:
        raise
    except ValueError as error:
        raise InputError(f"{what}: {error}") from error
    except Exception as error:
        if out_of_memory(error):  # not the fault of the options or the data
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}: {last.line}"
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise InputError(
            f"{what} cannot be built with these options: {reason} ({where})"
        ) from error


@contextlib.contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Write down the seconds that the block takes.

    Args:
        seconds: Phase -> seconds; gets an entry.
        phase: Its name.
    """
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start
