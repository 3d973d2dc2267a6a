"""One run from start to end: train, test, resume and load."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.utils import calculate_valid_score

from recbole_enhance.data import atomic
from recbole_enhance.enhancer import recorded_name
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.evaluation.files import write_candidates, write_evaluation
from recbole_enhance.experiment import frames
from recbole_enhance.experiment.assembly import Run, assemble, timed
from recbole_enhance.experiment.config import Config, recorded_config
from recbole_enhance.experiment.idle import refuse_idle, tell_idle, tell_notes
from recbole_enhance.experiment.names import class_name
from recbole_enhance.experiment.trackers import Callback, watched
from recbole_enhance.options import launched
from recbole_enhance.options.errors import (
    InputError,
    NotFiniteError,
    OptionError,
    RunFolderError,
)
from recbole_enhance.options.model_class import class_path, own_code, same_code
from recbole_enhance.storage import processes, resources
from recbole_enhance.storage.files import is_file
from recbole_enhance.storage.followed_folder import create_for_all, open_for_all
from recbole_enhance.storage.run_folder import (
    CHECKPOINT,
    CONFIG,
    DATA,
    ENVIRONMENT,
    METRICS,
    MODEL,
    RunFolder,
    logger,
    refuse_external,
    run_key,
)
from recbole_enhance.training.trainer import EnhancedTrainer


def run_recbole_enhance(
    model: str | type | Enhancer | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    saved: bool = True,
    command_line: Mapping[str, str] | None = None,
    *,
    data: Any = None,
    callbacks: Sequence[Callback] = (),
    **columns: Any,
) -> dict[str, Any]:
    """Train a model, with or without a method on top, and report its test result.

    Args:
        model: A method (``DVR``, or an :class:`~recbole_enhance.enhancer.base.Enhancer`) or a
            RecBole model (``BPR``, or a class).
        dataset: Name of the dataset.
        config_file_list: YAML files of options.
        config_dict: Options.
        saved: Whether to write a run folder. Without one, the best parameters are kept in memory.
        command_line: For the command line: options as unparsed text, from
            :func:`~recbole_enhance.options.read.parse_argv`.
        data: A log of interactions: a data frame of pandas, polars or pyarrow, or a path. The
            dataset made from it is kept in the run folder; its name begins with ``dataset``.
        callbacks: Objects whose methods are called during the run; the option ``track`` names
            those of this package.
        **columns: The columns of the log, and other tables: ``user``, ``item``, ``time``, ``items``
            and other arguments of :func:`~recbole_enhance.data.importing.import_data`.

    Returns:
        RecBole's ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and
        ``test_result``, and ``run_dir`` (None without a folder).

    Raises:
        ValueError: If an option or the data are refused, or training fails; no folder is left
            behind.
    """
    if data is None:
        for name in columns:
            raise InputError(
                f"{name} is no argument of a run without data=FRAME; options go into config_dict"
            )
        with processes.joined():
            config = Config(model, dataset, config_file_list, config_dict, command_line)
            with config.naming_origins():
                refuse_idle(config)
                folder = create_for_all(config) if saved else None
            return _run(config, folder, callbacks=callbacks)
    if launched.size() > 1:
        raise InputError("data=FRAME: several processes take a dataset; see `data import`")
    with frames.as_dataset(data, dataset, columns) as (dataset, data_path):
        options = {**(config_dict or {}), "data_path": str(data_path)}
        config = Config(model, dataset, config_file_list, options, command_line)
        with config.naming_origins():
            refuse_idle(config)
            folder = RunFolder.create(config) if saved else None
        if folder:
            frames.keep(folder, config)
        return _run(config, folder, callbacks=callbacks)


def run_again(folder: RunFolder, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run with the settings and the data of a finished run, in another folder.

    Args:
        folder: Of the finished run.
        options: What differs: ``run_dir``, and where the data are now.

    Returns:
        The same as :func:`run_recbole_enhance`.

    Raises:
        ValueError: If the data are not those that the run was made from; nothing is trained then.
    """
    config = recorded_config(folder.path / CONFIG, options)
    folder.refuse_other_files(data_hashes(config))
    with config.naming_origins():
        target = RunFolder.create(config)
    return _run(config, target, again=folder)


def resume_run(
    run_dir: str | Path,
    quiet: bool = False,
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Continue a run that was stopped, or read the result of a finished one.

    Args:
        run_dir: Folder of the run.
        quiet: Print nothing but errors.
        model_class: The backbone, if it is a class of your own: the class or ``module:Class``.
            A run folder names it but never imports it.
        method: The method, if it is one of your own: the Enhancer or ``module:Name``.
        callbacks: As in :func:`run_recbole_enhance`; not called for a run that is finished.

    Returns:
        The same as :func:`run_recbole_enhance`.

    Raises:
        ValueError: If the folder has no run, or its checkpoint cannot be read or belongs to
            another run.
    """
    folder = open_for_all(run_dir)
    if folder.finished:
        return _finished_result(folder)
    with processes.joined():
        folder.lock("resume")
        try:
            if processes.share(folder.finished):  # by a process that has just released it
                return _finished_result(folder)
            config = saved_config(folder, model_class, method, quiet=quiet)
            return _run(config, folder, callbacks=callbacks)
        finally:
            folder.release()


def _finished_result(folder: RunFolder) -> dict[str, Any]:
    report = folder.read_json(METRICS)
    if not isinstance(report, dict) or not all(k in report for k in _RECBOLE_KEYS):
        raise OptionError("resume", folder.path, f"{METRICS} is not the report of a run")
    logger.info("%s is finished", folder.path)
    return {**{key: report[key] for key in _RECBOLE_KEYS}, "run_dir": str(folder.path)}


_RECBOLE_KEYS = ("best_valid_score", "valid_score_bigger", "best_valid_result", "test_result")


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    saved: bool = True,
) -> dict[str, Any]:
    """Run one trial of RecBole's ``HyperTuning``; returns the result and the model's name."""
    result = run_recbole_enhance(
        config_file_list=config_file_list,
        config_dict={**(config_dict or {}), "quiet": True},
        saved=saved,
    )
    return {"model": (config_dict or {}).get("model"), **result}


def load_run(
    run_dir: str | Path,
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
) -> Run:
    """Load a finished run, with its best parameters.

    Args:
        run_dir: Folder of the run.
        model_class: As in :func:`resume_run`.
        method: As in :func:`resume_run`.

    Returns:
        The run; ``trainer.model`` is the model, ``trainer.evaluate(test_data)`` its test result.

    Raises:
        ValueError: If the folder has no run, its model file cannot be read or belongs to another
            run, or the data are not those that the run was made from.
    """
    folder = RunFolder.open(run_dir)
    config = saved_config(folder, model_class, method)
    folder.refuse_other_files(data_hashes(config))
    run = assemble(config)
    folder.refuse_other_rows(run.train_data._dataset.account.as_json())
    run.trainer.load_best(folder.path / MODEL, run_key(run.config))
    run.trainer.eval_collector.data_collect(run.train_data)  # fit does so elsewhere
    return run


def finished_run(run_dir: str | Path) -> RunFolder:
    """Open the folder of a run that has a model.

    Raises:
        RunFolderError: If it has none.
    """
    refuse_external(run_dir)
    for name in (CONFIG, MODEL):
        if not is_file(Path(run_dir, name)):
            raise RunFolderError(
                run_dir,
                f"not a finished run ({name} is missing); the folder of a finished run is expected",
            )
    return RunFolder.open(run_dir)


def data_hashes(config: Config) -> dict[str, str]:
    """SHA-256 of the files that a run reads, by name."""
    options = ("dataset", "load_col", "benchmark_filename", "eval_candidates_file")
    return atomic.data_hashes(Path(config["data_path"]), *(config[key] for key in options))


def saved_config(
    folder: RunFolder,
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
    **options: Any,
) -> Config:
    """Read the settings in a run folder, and put options over them.

    They are data: code that they name is not imported.
    """
    options.update(refuse_other_code(folder, model_class, method))
    options.update(frames.own_data(folder))
    config = recorded_config(folder.path / CONFIG, options, key=True)
    # Also if the named files have moved.
    config.options.update({"backbone": folder.named()["model"], **folder.named()})
    return config


def refuse_other_code(
    folder: RunFolder,
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
) -> dict[str, Any]:
    """Check that a class or method passed for a run is the one it was made with.

    Args:
        folder: Folder of the run.
        model_class: As in :func:`resume_run`.
        method: As in :func:`resume_run`.

    Returns:
        Those that were passed, as the run's options ``model`` and ``backbone``.

    Raises:
        OptionError: If the run was made with another one.
    """
    named = folder.named()
    given: dict[str, Any] = {"model": method} if method is not None else {}
    if model_class is not None:
        given["backbone" if "backbone" in named else "model"] = model_class
    for option, thing in given.items():
        name = recorded_name(thing) if isinstance(thing, Enhancer) else thing
        name = class_name(name) if isinstance(name, type) else name
        if not same_code(named[option], name):
            shown = class_path(thing) if isinstance(thing, type) else name
            raise OptionError(option, shown, f"{folder.path} is a run of {named[option]}")
    return given


def named_again(run_dir: str | Path, words: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a command line's classes into arguments of :func:`resume_run` and :func:`load_run`.

    Args:
        run_dir: Folder of the run.
        words: ``model`` and ``backbone`` as on the command line, each ``module:Name``.
    """
    argument = {"model": "model_class", "backbone": "model_class"}
    if "backbone" in RunFolder.open(run_dir).named():
        argument["model"] = "method"
    return {argument[option]: word for option, word in words.items()}


def _code_of(config: Config) -> dict[str, str]:
    """SHA-256 of each module of a run that is neither RecBole's nor ours."""
    if config.method is None:
        return own_code([config.model_class])
    trainer = [config.method.trainer] if config.method.trainer is not None else []
    module = config.method.path.partition(":")[0]
    return own_code([config.model_class, *trainer], [module])


def _run(
    config: Config,
    folder: RunFolder | None,
    again: RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Run, and leave either a complete run folder or none at all.

    Args:
        config: The run's settings.
        folder: Its folder.
        again: The folder of the run that this one repeats, whose data it must have.
        callbacks: Called during the run.
    """
    logging = folder.logging() if folder else contextlib.nullcontext()
    with (
        _clean_up(folder, config),
        logging,
        config.naming_origins(),
        watched(config, folder, callbacks) as watch,
    ):
        seconds: dict[str, float] = {}
        if not processes.agree([config["device"].type == "cuda"]):
            why = "a process has no GPU of its own; use_gpu=false trains on CPUs"
            raise OptionError("gpu_id", config.options["gpu_id"], why)
        stopped_before = processes.share(folder is not None and folder.has(ENVIRONMENT))
        if folder:
            hashes = data_hashes(config)
            if stopped_before:
                folder.refuse_other_files(hashes, "resume")
            else:
                folder.write_environment(hashes, _code_of(config))
        _, train_data, valid_data, test_data, trainer = assemble(config, folder, seconds)
        account = train_data._dataset.account
        for line in account.lines():
            logger.info("%s", line)
        if again is not None:
            again.refuse_other_rows(account.as_json())
        if folder:
            if stopped_before and folder.has(DATA):
                folder.refuse_other_rows(account.as_json(), "resume")
            folder.write_json(DATA, account.as_json())
            if config["save_candidates"]:
                write_candidates(folder, valid_data, test_data)
        logger.info(
            "%s on %s, seed %d%s",
            config["label"],
            config["dataset"],
            config["seed"],
            f", writing {folder.path}" if folder else "",
        )
        tell_notes(config)
        show_progress = config["show_progress"] and not config["quiet"] and launched.is_first()
        with timed(seconds, "fit"):
            score, valid_result = trainer.fit(
                train_data,
                valid_data,
                show_progress=show_progress,
                callback_fn=lambda *_: watch.rows(trainer.history),
            )
        watch.rows(trainer.history)
        tell_idle(config, trainer.best_epoch)
        with timed(seconds, "test"):
            test_result = trainer.evaluate(test_data, show_progress=False)
        result = {
            "best_valid_score": float(score),
            "valid_score_bigger": config["valid_metric_bigger"],
            "best_valid_result": dict(valid_result or {}),
            "test_result": dict(test_result or {}),
        }
        if folder:
            if test_result and launched.is_first():
                write_evaluation(folder, config, test_data._dataset, trainer.evaluator)
            report = {**_report(config, trainer, seconds), "data": account.size()}
            folder.write_json(METRICS, {**result, **report})
        result["run_dir"] = str(folder.path) if folder else None
        watch.tell("end", result)
        return result


def validate(
    config: Config, callback_fn: Callable[[int, float], None] | None = None
) -> dict[str, Any]:
    """Train in memory and report on validation; the test data are not evaluated.

    Args:
        config: The run's settings.
        callback_fn: Called with the epoch and its validation score after each evaluated epoch.

    Returns:
        ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``best_epoch``.

    Raises:
        ValueError: If an option or the data are refused, or training fails.
    """
    with config.naming_origins():
        refuse_idle(config)
    _, train_data, valid_data, _, trainer = assemble(config)
    with config.naming_origins():
        if not valid_data:
            raise OptionError("eval_args.split", config["eval_args"]["split"], "no validation data")
        score, result = trainer.fit(
            train_data, valid_data, show_progress=False, callback_fn=callback_fn
        )
        if result is None:  # eval_step is 0, so no epoch was evaluated: take the last one
            result = trainer.evaluate(valid_data)
            score = calculate_valid_score(result, trainer.valid_metric)
    return {
        "best_valid_score": float(score),
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": dict(result),
        "best_epoch": trainer.best_epoch,
    }


def _report(
    config: Config, trainer: EnhancedTrainer, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What was run and what it cost."""
    per_epoch = [row["train_seconds"] for row in trainer.history]
    return {
        "label": config["label"],
        "enhancer": config["enhancer"],
        "backbone": config["backbone"],
        "model_type": config["MODEL_TYPE"].name.lower(),
        "dataset": config["dataset"],
        "variant": config["variant"],
        "seed": config["seed"],
        "epochs_run": len(trainer.history),
        "best_epoch": trainer.best_epoch,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "train_seconds_per_epoch": round(sum(per_epoch) / len(per_epoch), 4) if per_epoch else None,
        **trainer.report(),
        "peak_memory_mb": round(resources.peak_mb(), 1),
        "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1)
        if config["device"].type == "cuda"
        else None,
    }


@contextlib.contextmanager
def _clean_up(folder: RunFolder | None, config: Config) -> Iterator[None]:
    resume = f"--resume={folder.path}" if folder else ""
    if config.pair.own_method:
        resume += f" --model={config.pair.own_method}"
    if config.pair.own_class:
        resume += " --{}={}".format(*config.pair.own_class)
    try:
        yield
    except KeyboardInterrupt:
        _tell_how_to_go_on("stopped", folder, resume, ended=False)
        raise
    except processes.ProcessEndedError as error:
        _tell_how_to_go_on(str(error), folder, resume, ended=True)
        raise
    except BaseException as error:
        if isinstance(error, NotFiniteError) and error.last_good:
            pass  # what it names stays; resuming would end the same
        elif folder and (folder.path / CHECKPOINT).is_file() and not isinstance(error, ValueError):
            # After a full disk or memory, the epochs that are done are still good.
            logger.warning("failed; continue with: recbole-enhance %s", resume)
        elif folder:
            folder.discard()
        raise
    finally:
        if folder:
            folder.release()


def _tell_how_to_go_on(what: str, folder: RunFolder | None, resume: str, ended: bool) -> None:
    """Log how to continue a run whose files are kept.

    Args:
        what: Why it ends.
        folder: Of the run.
        resume: Options that continue it.
        ended: Whether the reason is that another process is gone.
    """
    if folder and processes.first_to_tell(ended):
        # Of several processes all but the first show errors only.
        tell = logger.warning if launched.is_first() else logger.error
        tell("%s; continue with: recbole-enhance %s", what, resume)
