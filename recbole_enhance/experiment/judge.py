"""Evaluate lists of another tool by the protocol of a run, into a folder that a board can read."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments

from recbole_enhance.data.outside_lists import checked, read_lists
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.evaluation.collector import EnhancedCollector
from recbole_enhance.evaluation.evaluator import EnhancedEvaluator
from recbole_enhance.evaluation.files import write_evaluation
from recbole_enhance.evaluation.outside import (
    lay_out,
    metrics_of_lists,
    refuse_no_lists,
    told,
)
from recbole_enhance.experiment.assembly import load_data
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import data_hashes, saved_config
from recbole_enhance.options.errors import OptionError, UnknownOptionError
from recbole_enhance.options.general import GeneralOptions
from recbole_enhance.options.read import load_yaml
from recbole_enhance.storage.run_folder import (
    DATA,
    EXTERNAL,
    KIND,
    METRICS,
    RunFolder,
    logger,
)

# Beside the options that say which data, which split and which metrics.
_KEPT = {"dataset", "seed", "data_path", "variant"}
# Options of ours that only training, or a model's own lists, depend on.
_OF_MODELS = {
    "backbone",
    "data_cache",
    "eval_batch_size",
    "eval_memory_mb",
    "fast",
    "log_tensorboard",
    "quiet",
    "rerank",
    "rerank_lambda",
    "run_dir",
    "track",
}
_BESIDE_LIKE = {"data_path", "run_dir", "quiet", "save_recs", "model", "backbone"}
_PROTOCOL_OF = "Pop"  # a general model, where no run and no model says which kind of rows there are


def evaluate_lists(
    lists: str | Path | pd.DataFrame,
    like: str | Path | None = None,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, str] | None = None,
    model_class: str | type | None = None,
    method: str | Enhancer | None = None,
    saved: bool = True,
    check: Callable[[dict[str, float]], None] | None = None,
    marks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate lists of recommendations like those of a run: same split, users and metrics.

    Args:
        lists: A file, see :func:`~recbole_enhance.data.outside_lists.read_lists`, or a table.
        like: Folder of a finished run, whose data, split and metrics are used. Without it, the
            options give them, as for a run; the default of ``model`` is then Pop.
        name: What a board calls the lists; by default the file's name.
        columns: ``user``, ``item``, ``score``, ``rank`` -> a column of the table.
        config_file_list: YAML files of options.
        config_dict: Options.
        command_line: Options as text.
        model_class: Your model class or ``module:Class``, if the run ``like`` used one.
        method: Your method or ``module:Name``, if the run ``like`` used one.
        saved: Whether to write a run folder.
        check: Called with the result before anything is written; it may refuse it.
        marks: More entries of its ``metrics.json``.

    Returns:
        ``test_result``, ``counts`` (problems of the lists, see
        :func:`~recbole_enhance.evaluation.outside.lay_out`), ``left_out`` (metrics that need a
        model) and ``run_dir`` (None without a folder).

    Raises:
        ValueError: In one line, if the lists, the run or an option cannot be used.
    """
    is_table = isinstance(lists, pd.DataFrame)
    path = Path("lists") if is_table else Path(lists)
    table = checked(lists, columns) if is_table else read_lists(path, columns)
    name = name or path.name.partition(".")[0]
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise OptionError("name", name, "a name that can be a folder is expected")
    if like is not None:
        said = {**(config_dict or {}), **(command_line or {})}
        config, against = _config_like(like, said, config_file_list, model_class, method)
    else:
        config = _config_of_options(config_file_list, config_dict, command_line)
        against = None
    with config.naming_origins():
        config["metrics"], left_out = metrics_of_lists(list(config["metrics"]))
        if not config["metrics"]:
            raise OptionError("metrics", left_out, "none of them can be computed from lists alone")
        train, _, test = load_data(config)
        refuse_no_lists(test, config)
    account = train._dataset.account
    if like is not None:
        folder = RunFolder.open(like, "like")
        folder.refuse_other_rows(account.as_json())
    config["rerank"] = None  # the lists are final
    k = max(config["topk"])
    laid = lay_out(table, path, test._dataset, test, k)
    sampled = str(config["eval_args"]["mode"]["test"]) != "full"
    why = "no candidates of their users" if sampled else "what their users had before the test"
    for line in told(laid.counts, k, why):
        logger.warning("%s: %s", path, line)
    if left_out:
        logger.warning("%s: left out, they need a model's scores: %s", path, ", ".join(left_out))
    collector, evaluator = EnhancedCollector(config), EnhancedEvaluator(config)
    collector.data_collect(train)
    users, *positives = test.held_out()
    collector.take_lists(laid.items, laid.scores, users, *positives)
    result = evaluator.evaluate(collector.get_data_struct())
    if check is not None:
        check(result)
    found = {"test_result": result, "counts": laid.counts, "left_out": left_out}
    if not saved:
        return {**found, "run_dir": None}
    source = {"lists": path.name, "lists_sha256": _digest(table if is_table else path)}
    report = {
        "best_valid_score": None,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": {},
        "test_result": result,
        KIND: EXTERNAL,
        "label": name,
        "enhancer": None,
        "backbone": None,
        "model_type": config["MODEL_TYPE"].name.lower(),  # whose protocol it is
        "dataset": config["dataset"],
        "variant": config["variant"],
        "seed": config["seed"],
        "against": against,
        "left_out": left_out,
        **source,
        "counts": laid.counts,
        "data": account.size(),
        **(marks or {}),
    }
    written = _write(config, name, source, report, account, test._dataset, evaluator)
    return {**found, "run_dir": str(written)}


def _config_like(
    like: str | Path,
    said: Mapping[str, Any],
    files: Sequence[str | Path] | None,
    model_class: str | type | None,
    method: str | Enhancer | None,
) -> tuple[Config, str]:
    """Settings of a run, and its label; its data files are as they were."""
    if files:
        raise UnknownOptionError("config_files", "--like takes all options from its run")
    for key in said:
        if key.partition(".")[0] not in _BESIDE_LIKE:
            raise UnknownOptionError(key, "cannot be set with like, which decides the protocol")
    folder = RunFolder.open(like, "like")
    if not folder.finished:
        raise OptionError("like", like, f"no finished run ({METRICS} is missing)")
    options = {key: said[key] for key in said if key not in ("model", "backbone")}
    config = saved_config(folder, model_class, method, **options)
    folder.refuse_other_files(data_hashes(config))
    return config, config["label"]


def _config_of_options(
    files: Sequence[str | Path] | None,
    options: Mapping[str, Any] | None,
    command_line: Mapping[str, str] | None,
) -> Config:
    layers: list[Mapping[str, Any]] = [*map(load_yaml, files or ()), options or {}]
    layers.append(command_line or {})
    named = any(layer.get(key) for layer in layers for key in ("model", "backbone"))
    model = None if named else _PROTOCOL_OF
    return Config(model, None, files, options, command_line)


def _digest(lists: Path | pd.DataFrame) -> str:
    if isinstance(lists, Path):
        return hashlib.sha256(lists.read_bytes()).hexdigest()
    return hashlib.sha256(lists.drop(columns="line").to_csv(index=False).encode()).hexdigest()


def _write(
    config: Config,
    name: str,
    source: Mapping[str, str],
    report: Mapping[str, Any],
    account: Any,
    dataset: Any,
    evaluator: EnhancedEvaluator,
) -> Path:
    """Write the folder: all files of a run but the model."""
    wanted = {*dataset_arguments, *evaluation_arguments, *GeneralOptions.model_fields, *_KEPT}
    wanted -= _OF_MODELS
    options = {key: value for key, value in config.options.items() if key in wanted}
    hashes = data_hashes(config)
    config.options = {**options, KIND: EXTERNAL, "model": EXTERNAL, "backbone": EXTERNAL}
    config.options.update(source)
    config["label"] = name
    folder = RunFolder.create(config)
    try:
        folder.write_environment(hashes)
        folder.write_json(DATA, account.as_json())
        write_evaluation(folder, config, dataset, evaluator)
        folder.write_json(METRICS, report)
    except BaseException:
        folder.discard()
        raise
    finally:
        folder.release()
    return folder.path
