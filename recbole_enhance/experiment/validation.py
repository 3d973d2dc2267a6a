"""What RecBole would take silently or fall over later: refused before any data are read."""

import importlib.util
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import recbole.evaluator.register as recbole_metrics
from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender
from recbole.utils import InputType, ModelType

from recbole_enhance.metric.registry import requirements_of
from recbole_enhance.options.model_class import sources
from recbole_enhance.options.read import nearest

logger = logging.getLogger("recbole_enhance")
# RecBole would unpickle these files, and so run whatever code is in them.
_PICKLES = ("dataset_save_path", "dataloaders_save_path", "save_dataset", "save_dataloaders")
_POSITIVE = (
    "train_batch_size",
    "eval_batch_size",
    "learning_rate",
    "embedding_size",
    "eval_memory_mb",
    "MAX_ITEM_LIST_LENGTH",
    "k",
)
# RecBole computes these, or overwrites them without a word.
_COMPUTED = {
    "device": "use_gpu and gpu_id choose it",
    "MODEL_TYPE": "the model decides it",
}
_ONE_OF = {
    "learner": ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam"),
    "state": ("debug", "info", "warning", "error", "critical"),
    "rm_dup_inter": ("first", "last", "none"),
}
_WHOLE = (
    "epochs",
    "eval_step",
    "stopping_step",
    "seed",
    "train_batch_size",
    "eval_batch_size",
    "embedding_size",
    "worker",
    "metric_decimal_place",
    "loss_decimal_place",
    "MAX_ITEM_LIST_LENGTH",
    "k",
)
_NOT_NEGATIVE = (
    "epochs",
    "eval_step",
    "stopping_step",
    "metric_decimal_place",
    "loss_decimal_place",
    "worker",
    "weight_decay",
    "reg_weight",
    "shrink",
)
# What a metric may need, and the option that gives it.
_NEEDED_OPTIONS = {"categories": "item_category_field", "groups": "group_fields"}
_TEXT = ("dataset", "variant", "run_dir", "data_path", "item_category_field")
_MAPPINGS = ("eval_args", "train_neg_sample_args", "load_col", "val_interval", "threshold")
_SEPARATORS = ("field_separator", "seq_separator")
_EVAL_ARGS = {"split", "order", "group_by", "mode"}
_NEGATIVE_ARGS = {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"}
_CLIP_ARGS = {"max_norm", "norm_type", "error_if_nonfinite", "foreach"}  # torch's clip_grad_norm_
_TEACHERS = ("CrossNet", "CIN")
_PHASES = ("valid", "test")
_MODE = re.compile(r"full|labeled|(uni|pop)[1-9]\d*")
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+|inf)(e[-+]?\d+)?"
_INTERVALS = re.compile(rf"\s*[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]\s*", re.I)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def refuse_bad_values(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check types and ranges.

    Args:
        values: All options.
        defaults: Those of the YAML files that ship with RecBole and with us, whose types count.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    for key, value in values.items():
        _refuse_bad_value(key, value, defaults.get(key))
    if not 0 <= values["seed"] < 2**32:
        raise ValueError(f"seed={values['seed']}: must be at least 0 and below 2**32")
    for key, allowed in _ONE_OF.items():
        if str(values.get(key)).lower() not in allowed:
            raise ValueError(f"{key}={values.get(key)}: one of {', '.join(allowed)}")
    if not re.fullmatch(r"\d*(\s*,\s*\d+)*", str(values["gpu_id"])):
        raise ValueError(f"gpu_id={values['gpu_id']}: numbers such as 0 or 0,1 are expected")
    threshold = values.get("threshold")
    if threshold is not None and not (
        len(threshold) == 1 and all(map(_is_number, threshold.values()))
    ):
        raise ValueError(f"threshold={threshold}: one column and a number, {{rating: 4}}")
    if values.get("teacher", _TEACHERS[0]) not in _TEACHERS:  # KD_DAGFM evaluates it
        raise ValueError(f"teacher={values['teacher']}: one of {', '.join(_TEACHERS)}")
    _refuse_bad_clipping(values["clip_grad_norm"])
    if values["log_wandb"] and importlib.util.find_spec("wandb") is None:
        raise ValueError("log_wandb=True: needs pip install wandb")
    splits = values.get("benchmark_filename")
    if splits is not None and not (
        isinstance(splits, list) and len(splits) == 3 and all(isinstance(s, str) for s in splits)
    ):
        raise ValueError(
            f"benchmark_filename={splits}: three names are expected, [train, valid, test] "
            "for <dataset>.train.inter and so on"
        )
    for key in _PICKLES:
        if values.get(key):
            raise ValueError(f"{key}={values[key]}: pickled datasets are not read or written")


def _refuse_bad_value(key: str, value: Any, default: Any) -> None:
    number = _is_number(value)
    if isinstance(default, bool) and not isinstance(value, bool):
        raise ValueError(f"{key}={value}: true or false is expected")
    if _is_number(default) and not number:
        raise ValueError(f"{key}={value}: a number is expected")
    if number and not math.isfinite(value):
        raise ValueError(f"{key}={value}: a finite number is expected")
    if key in _WHOLE and not isinstance(value, int) and value is not None:
        raise ValueError(f"{key}={value}: a whole number is expected")
    if key in _POSITIVE and number and value <= 0:
        raise ValueError(f"{key}={value}: must be above 0")
    if key in _NOT_NEGATIVE and number and value < 0:
        raise ValueError(f"{key}={value}: must not be below 0")
    if key.endswith("dropout_prob") and number and not 0 <= value <= 1:
        raise ValueError(f"{key}={value}: must be between 0 and 1")
    if key in _TEXT and value is not None and not isinstance(value, str):
        raise ValueError(f"{key}={value}: text is expected")
    if key in _TEXT and value is not None and "\0" in value:
        raise ValueError(f"{key}={value!r}: must not hold a zero byte")
    if key in _SEPARATORS and not (isinstance(value, str) and value):
        raise ValueError(f"{key}={value}: a separator is expected")
    if key in _MAPPINGS and value is not None and not isinstance(value, dict):
        raise ValueError(f"{key}={value}: a mapping is expected")
    if key == "data_path" and value is None:
        raise ValueError("data_path: the folder that holds the dataset's folder is expected")
    texts = {key: value} if key.endswith("_num_interval") else {}
    if key == "val_interval":
        texts = {f"{key}.{field}": text for field, text in (value or {}).items()}
    for name, text in texts.items():
        listed = isinstance(text, list) and key == "val_interval"  # the values of a token column
        if text is not None and not listed:
            _refuse_bad_interval(name, str(text))


def _refuse_bad_clipping(clip: Any) -> None:
    """RecBole hands the mapping to torch in the first step."""
    if clip is None:
        return
    known = isinstance(clip, dict) and set(clip) <= _CLIP_ARGS
    known = known and _is_number(clip.get("norm_type", 2))
    if not known or not _is_number(clip.get("max_norm")) or clip["max_norm"] <= 0:
        raise ValueError(
            f"clip_grad_norm={clip}: a mapping such as {{max_norm: 5}} is expected, with "
            f"{', '.join(sorted(_CLIP_ARGS))}"
        )


def _refuse_bad_interval(name: str, text: str) -> None:
    """RecBole ignores what is no interval, and so filters nothing."""
    for part in text.split(";"):
        if not _INTERVALS.fullmatch(part):
            raise ValueError(f"{name}={text}: an interval such as [5,inf) is expected")
        low, high = (float(end) for end in part.strip().strip("[]()").split(","))
        if low > high:
            raise ValueError(f"{name}={text}: the lower end of an interval comes first")


def refuse_bad_protocol(values: Mapping[str, Any]) -> None:
    """Check how data are split and how negatives are drawn.

    Args:
        values: All options.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    protocol, negatives = values["eval_args"], values["train_neg_sample_args"] or {}
    if protocol is None:
        raise ValueError("eval_args=None: a mapping is expected")
    for option, given, known in (
        ("eval_args", protocol, _EVAL_ARGS),
        ("train_neg_sample_args", negatives, _NEGATIVE_ARGS),
    ):
        for key in given:
            if key not in known:
                raise ValueError(f"{option}.{key}: unknown option{nearest(key, known)}")
    order, group = protocol.get("order", "RO"), protocol.get("group_by", "user")
    if order not in ("RO", "TO"):
        raise ValueError(f"eval_args.order={order}: one of RO, TO")
    if str(group).lower() not in ("user", "none"):
        raise ValueError(f"eval_args.group_by={group}: one of user, none")
    split = protocol.get("split", {"RS": [0.8, 0.1, 0.1]})
    way, parts = next(iter(split.items())) if isinstance(split, dict) and split else (None, None)
    if way in ("RS", "TS") and isinstance(parts, list) and len(parts) == 3:
        good = all(_is_number(x) and x >= 0 for x in parts) and parts[0] > 0
    else:
        good = way == "LS" and parts in ("valid_and_test", "valid_only", "test_only")
    if not good or len(split) != 1:
        raise ValueError(
            f"eval_args.split={split}: {{RS: [0.8, 0.1, 0.1]}}, {{TS: [0.8, 0.1, 0.1]}} or "
            "{LS: valid_and_test} is expected"
        )
    _refuse_bad_mode(protocol.get("mode", "full"))
    _refuse_bad_negatives(negatives)


def _refuse_bad_negatives(negatives: Mapping[str, Any]) -> None:
    option, distribution = "train_neg_sample_args", negatives.get("distribution", "uniform")
    if distribution not in (None, "none", "None", "uniform", "popularity"):
        raise ValueError(f"{option}.distribution={distribution}: uniform, popularity or none")
    if not _is_number(negatives.get("alpha", 1)):
        raise ValueError(f"{option}.alpha={negatives['alpha']}: a number is expected")
    dynamic, candidates = negatives.get("dynamic", False), negatives.get("candidate_num", 0)
    if not isinstance(dynamic, bool):
        raise ValueError(f"{option}.dynamic={dynamic}: true or false is expected")
    if type(candidates) is not int or candidates < 0 or (dynamic and candidates == 0):
        allowed = "above 0, as dynamic=True needs candidates" if dynamic else "not below 0"
        raise ValueError(f"{option}.candidate_num={candidates}: a whole number {allowed}")
    drawn = negatives.get("sample_num", 1)
    none = negatives.get("distribution") in (None, "none", "None") and "distribution" in negatives
    if not none and not (isinstance(drawn, int) and drawn >= 1):
        raise ValueError(f"train_neg_sample_args.sample_num={drawn}: a whole number above 0")


def _refuse_bad_mode(mode: Any) -> None:
    """Check ``eval_args.mode``, of which RecBole takes ``full`` for what it does not know."""
    modes = mode if isinstance(mode, dict) else {"": mode}
    for phase, text in modes.items():
        name = f"eval_args.mode.{phase}" if phase else "eval_args.mode"
        if phase and phase not in _PHASES:
            raise ValueError(f"{name}: unknown option{nearest(str(phase), _PHASES)}")
        if not isinstance(text, str) or not _MODE.fullmatch(text):
            raise ValueError(
                f"{name}={text}: full, labeled, uni100 or pop100 (any number of negatives), or "
                "one of these for each of valid and test"
            )
    if not modes:
        raise ValueError(f"eval_args.mode={mode}: valid and test are expected")


def refuse_computed(options: Mapping[str, Any], origin: str) -> None:
    """Refuse what the user cannot choose.

    Args:
        options: What the user says in one place.
        origin: That place.

    Raises:
        ValueError: Naming the option, the place and what decides instead.
    """
    for key, why in _COMPUTED.items():
        if key in options:
            raise ValueError(f"{key}: no option to set ({origin}); {why}")


def refuse_missing_labels(config: Any, columns: Sequence[str]) -> None:
    """Check that a model or an evaluation that needs labels or negatives has them.

    RecBole falls over a missing column in the first batch, or in the first evaluation.

    Args:
        config: The run's settings, all of them resolved.
        columns: Columns of the interactions that are loaded.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    modes, kind, model = config["eval_args"]["mode"], config["MODEL_INPUT_TYPE"], config["model"]
    if kind is None:  # the model's class leaves it to its loss
        raise ValueError(f"loss_type={config['loss_type']}: one of BPR, CE")
    labeled = "labeled" in modes.values()
    if labeled and config["eval_type"].name == "RANKING":
        raise ValueError(
            f"eval_args.mode=labeled: metrics={config['metrics']} rank items, for which it must "
            "be full, uniN or popN"
        )
    parts = dict(sources(config.model_class))
    parts.pop(AbstractRecommender.__module__, None)
    own = "".join(parts.values())
    if str(config["learner"]).lower() == "sparse_adam" and "sparse=True" not in own:
        raise ValueError(f"learner=sparse_adam: {model} has no sparse embeddings; use adam")
    drawn = config["train_neg_sample_args"]["distribution"] != "none"
    if not drawn and kind == InputType.PAIRWISE and "NEG_ITEM_ID" in own:
        raise ValueError(
            f"train_neg_sample_args.distribution=none: {model} compares with negatives, "
            "so it must be uniform or popularity"
        )
    context = issubclass(config.model_class, ContextRecommender)
    learns = context or config["MODEL_TYPE"] == ModelType.CONTEXT or "LABEL_FIELD" in own
    if config["transform"] == "mask_itemseq" and (
        int(config["mask_ratio"] * config["MAX_ITEM_LIST_LENGTH"]) < 1
    ):
        raise ValueError(
            f"MAX_ITEM_LIST_LENGTH={config['MAX_ITEM_LIST_LENGTH']}: {model} masks "
            f"mask_ratio={config['mask_ratio']} of it, which must be one item at least"
        )
    if config["threshold"] and not learns and config["eval_type"].name == "RANKING":
        logger.warning(
            "threshold=%s: does nothing for %s, which takes every interaction for a positive; "
            "val_interval={%s: '[%s,inf)'} keeps those from there on only",
            config["threshold"],
            model,
            *next(iter(config["threshold"].items())),
        )
    needed = labeled or (not drawn and learns and kind == InputType.POINTWISE)
    if needed and config["threshold"] is None and config["LABEL_FIELD"] not in columns:
        raise ValueError(
            f"threshold=None: {'eval_args.mode=labeled' if labeled else model} needs labels: "
            "threshold={rating: 4} makes them of a column, and load_col.inter may name a column "
            f"{config['LABEL_FIELD']}"
        )


def refuse_bad_k(options: Mapping[str, Any], n_items: int) -> None:
    """Check that there are items enough for every list, once the data are read.

    Args:
        options: All options; one that ends in ``_reward`` may be of the form ``NAME@K``.
        n_items: Number of items, without the padding item.

    Raises:
        ValueError: Naming the option, the value and the number of items.
    """
    topk = options["topk"] if isinstance(options["topk"], list) else [options["topk"]]
    for k in topk:
        if k > n_items:
            raise ValueError(f"topk={options['topk']}: {k} of {n_items} items cannot be listed")
    for key, value in options.items():
        k = str(value).partition("@")[2]
        if key.endswith("_reward") and k.isdigit() and int(k) > n_items:
            raise ValueError(f"{key}={value}: {k} of {n_items} items cannot be listed")


def refuse_bad_metrics(values: Mapping[str, Any]) -> None:
    """Check that metrics exist and that ``valid_metric`` is one of those computed.

    Args:
        values: All options.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    metrics = values["metrics"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    topk = values["topk"] if isinstance(values["topk"], list) else [values["topk"]]
    if not metrics or not isinstance(metrics, list):
        raise ValueError(f"metrics={metrics}: a list of metric names is expected")
    for metric in metrics:
        if str(metric).lower() not in recbole_metrics.metric_types:
            known = [cls.__name__ for cls in recbole_metrics.metrics_dict.values()]
            raise ValueError(f"metrics={metric}: unknown metric{nearest(str(metric), known)}")
        for need in sorted(requirements_of(str(metric)) & set(_NEEDED_OPTIONS)):
            if not values[_NEEDED_OPTIONS[need]]:
                raise ValueError(f"metrics={metric}: needs {need}: set {_NEEDED_OPTIONS[need]}")
    if not topk or not all(type(k) is int and k > 0 for k in topk):
        raise ValueError(f"topk={values['topk']}: whole numbers above 0 are expected")
    name, at, k = str(values["valid_metric"]).partition("@")
    if name.lower() not in [str(metric).lower() for metric in metrics]:
        raise ValueError(f"valid_metric={values['valid_metric']}: not one of metrics={metrics}")
    ranking = recbole_metrics.metric_types[name.lower()].name == "RANKING"
    needs_k = ranking and name.lower() != "gauc"
    if needs_k != bool(at) or (at and k not in map(str, topk)):
        allowed = [f"{name}@{k}" for k in topk] if needs_k else [name]
        raise ValueError(
            f"valid_metric={values['valid_metric']}: with topk={topk} "
            f"it can be {', '.join(allowed)}"
        )
