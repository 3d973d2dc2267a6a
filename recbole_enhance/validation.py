"""What RecBole would take silently or fall over later: refused before any data are read."""

import math
import re
from typing import Any, Mapping

import recbole.evaluator.register as recbole_metrics

from recbole_enhance.options import nearest

# RecBole would unpickle these files, and so run whatever code is in them.
_PICKLES = ("dataset_save_path", "dataloaders_save_path", "save_dataset", "save_dataloaders")
_POSITIVE = ("train_batch_size", "eval_batch_size", "learning_rate", "embedding_size",
             "eval_memory_mb")  # fmt: skip
_WHOLE = ("epochs", "eval_step", "stopping_step", "seed", "train_batch_size", "eval_batch_size",
          "embedding_size", "worker", "metric_decimal_place")  # fmt: skip
_TEXT = ("dataset", "variant", "run_dir", "data_path", "item_category_field")
_MAPPINGS = ("eval_args", "train_neg_sample_args", "load_col", "val_interval")
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
_EVAL_ARGS = {"split", "order", "group_by", "mode"}
_NEGATIVE_ARGS = {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"}
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
    if values["epochs"] < 0:
        raise ValueError(f"epochs={values['epochs']}: must not be below 0")
    if str(values["learner"]).lower() not in _LEARNERS:
        raise ValueError(f"learner={values['learner']}: one of {', '.join(_LEARNERS)}")
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
    if key in _TEXT and value is not None and not isinstance(value, str):
        raise ValueError(f"{key}={value}: text is expected")
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


def _refuse_bad_interval(name: str, text: str) -> None:
    """RecBole ignores what is no interval, and so filters nothing."""
    if not all(_INTERVALS.fullmatch(part) for part in text.split(";")):
        raise ValueError(f"{name}={text}: an interval such as [5,inf) is expected")


def refuse_bad_protocol(values: Mapping[str, Any]) -> None:
    """Check how data are split and how negatives are drawn.

    Args:
        values: All options.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    protocol, negatives = values["eval_args"], values["train_neg_sample_args"] or {}
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
        good = all(_is_number(x) and x >= 0 for x in parts) and sum(parts) > 0
    else:
        good = way == "LS" and parts in ("valid_and_test", "valid_only", "test_only")
    if not good or len(split) != 1:
        raise ValueError(
            f"eval_args.split={split}: {{RS: [0.8, 0.1, 0.1]}}, {{TS: [0.8, 0.1, 0.1]}} or "
            "{LS: valid_and_test} is expected"
        )
    drawn = negatives.get("sample_num", 1)
    none = negatives.get("distribution") in (None, "none", "None") and "distribution" in negatives
    if not none and not (isinstance(drawn, int) and drawn >= 1):
        raise ValueError(f"train_neg_sample_args.sample_num={drawn}: a whole number above 0")


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
