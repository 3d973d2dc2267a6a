"""Checks, before data are read, of what RecBole would ignore silently or fail on later."""

import importlib.util
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import recbole.evaluator.register as recbole_metrics
from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender
from recbole.utils import InputType, ModelType

from recbole_enhance.compat.needs import EXTRAS, line_for
from recbole_enhance.metric.name import Metric
from recbole_enhance.metric.registry import requirements_of
from recbole_enhance.options.errors import OptionError, UnknownOptionError
from recbole_enhance.options.limits import MOST
from recbole_enhance.options.model_class import sources
from recbole_enhance.options.read import nearest
from recbole_enhance.options.recbole import (
    INTERVAL_EXPECTED,
    NESTED,
    NO_NEGATIVES,
    RecBoleModelOptions,
    is_interval,
)
from recbole_enhance.options.schema import Options, like_default, validated

logger = logging.getLogger("recbole_enhance")
# RecBole computes these, or overwrites them without a word.
COMPUTED = {
    "device": "use_gpu and gpu_id choose it",
    "MODEL_TYPE": "the model decides it",
}
# What a metric may need, and the option that gives it.
_NEEDED_OPTIONS = {"categories": "item_category_field", "groups": "group_fields"}
_PHASES = ("valid", "test")
_MODE = re.compile(r"full|labeled|(uni|pop)[1-9]\d*")


def check_values(
    values: Mapping[str, Any], defaults: Mapping[str, Any], schemas: Sequence[type[Options]]
) -> dict[str, Any]:
    """Check types and ranges.

    Args:
        values: All options.
        defaults: Those of the YAML files that ship with RecBole and with us. They say what type
            an option has that no class describes.
        schemas: Classes of options; the first that has an option decides.

    Returns:
        The options of these classes with their types.

    Raises:
        OptionError: Naming the option, the value and what is allowed.
    """
    typed: dict[str, Any] = {}
    for key, value in values.items():
        found = [schema for schema in schemas if key in schema.model_fields]
        # Some models of RecBole have a list where the others have a number (HGN's reg_weight).
        if not found and not isinstance(defaults.get(key), list):
            found = [RecBoleModelOptions] if key in RecBoleModelOptions.model_fields else []
        if found:
            typed |= validated(found[0], {key: value})
        else:
            like_default(key, value, defaults.get(key))
    if values["log_wandb"] and importlib.util.find_spec("wandb") is None:
        raise OptionError("log_wandb", True, f"needs wandb: {line_for('wandb')}")
    for name in typed.get("track") or ():
        if importlib.util.find_spec(name) is None:
            extra = {"codecarbon": "carbon"}.get(name, name)
            line = line_for(extra) if extra in EXTRAS else f"pip install {name}"
            raise OptionError("track", name, f"needs {name}: {line}")
    for column, interval in (values.get("val_interval") or {}).items():
        # A list holds the values of a column of tokens.
        if not isinstance(interval, list) and not is_interval(interval):
            raise OptionError(f"val_interval.{column}", interval, INTERVAL_EXPECTED)
    return typed


def order_a_split_by_time(values: Mapping[str, Any], said: bool) -> None:
    """Order by time where the split is by time: RecBole would put late rows into training.

    Args:
        values: All options; ``eval_args.order`` is changed.
        said: Whether the user has said the order.

    Raises:
        OptionError: If the user wants another order.
    """
    protocol = values["eval_args"]
    split = protocol.get("split") if isinstance(protocol, dict) else None
    if values["benchmark_filename"]:  # nothing is split
        return
    if isinstance(split, dict) and "TS" in split and protocol.get("order") == "RO":
        if said:
            why = "eval_args.split=TS splits by time, for which rows must be in TO"
            raise OptionError("eval_args.order", "RO", why)
        protocol["order"] = "TO"


def refuse_bad_protocol(values: Mapping[str, Any]) -> None:
    """Check how data are split and how negatives are drawn.

    Args:
        values: All options.

    Raises:
        OptionError: Naming the option, the value and what is allowed.
    """
    for option, schema in NESTED.items():
        for key in values[option] or {}:
            if key not in schema.model_fields:
                hint = nearest(key, schema.model_fields)
                raise UnknownOptionError(f"{option}.{key}", "unknown option", hint=hint)
        validated(schema, values[option] or {}, f"{option}.")
    _refuse_bad_mode(values["eval_args"].get("mode", "full"))
    _refuse_bad_candidates(values)
    _refuse_bad_negatives(values["train_neg_sample_args"] or {})


def _refuse_bad_negatives(negatives: Mapping[str, Any]) -> None:
    option, candidates = "train_neg_sample_args", negatives.get("candidate_num", 0)
    if negatives.get("dynamic", False) and candidates == 0:
        raise OptionError(
            f"{option}.candidate_num",
            candidates,
            "a whole number above 0 is expected, because dynamic=True needs candidates",
        )
    drawn = negatives.get("sample_num", 1)
    none = negatives.get("distribution") in NO_NEGATIVES and "distribution" in negatives
    if not none and drawn in NO_NEGATIVES:
        raise OptionError(f"{option}.sample_num", drawn, "a whole number above 0")


def _refuse_bad_mode(mode: Any) -> None:
    """Check ``eval_args.mode``; RecBole takes any unknown mode for ``full``."""
    modes = mode if isinstance(mode, dict) else {"": mode}
    for phase, text in modes.items():
        name = f"eval_args.mode.{phase}" if phase else "eval_args.mode"
        if phase and phase not in _PHASES:
            hint = nearest(str(phase), _PHASES)
            raise UnknownOptionError(name, "unknown option", hint=hint)
        number = text[3:] if isinstance(text, str) and _MODE.fullmatch(text) else ""
        if number.isdigit() and (len(number) > len(str(MOST)) or int(number) > MOST):
            raise OptionError(name, text[:80], f"at most {MOST} negatives")
        if not isinstance(text, str) or not _MODE.fullmatch(text):
            raise OptionError(
                name,
                text,
                "full, labeled, uni100 or pop100 (any number of negatives), or one of these for "
                "each of valid and test",
            )
    if not modes:
        raise OptionError("eval_args.mode", mode, "valid and test are expected")


def _refuse_bad_candidates(values: Mapping[str, Any]) -> None:
    """Check that a file of candidates is there, and that there are candidates."""
    mode = values["eval_args"].get("mode", "full")
    modes = mode.values() if isinstance(mode, dict) else [mode]
    file = values["eval_candidates_file"]
    if file is not None and not Path(file).is_file():
        raise OptionError("eval_candidates_file", file, "there is no such file")
    for option in ("eval_candidates_file", "save_candidates"):
        if values[option] and not any(text.startswith(("uni", "pop")) for text in modes):
            why = f"eval_args.mode={mode} has no candidates; uniN and popN have"
            raise OptionError(option, values[option], why)


def refuse_computed(options: Mapping[str, Any], origin: str) -> None:
    """Refuse what the user cannot choose.

    Args:
        options: What the user says in one place.
        origin: That place.

    Raises:
        OptionError: Naming the option, the place and what decides instead.
    """
    for key, why in COMPUTED.items():
        if key in options:
            raise UnknownOptionError(key, "this option cannot be set", origin, f"; {why}")


def refuse_missing_labels(config: Any, columns: Sequence[str]) -> None:
    """Check that a model or an evaluation that needs labels or negatives has them.

    RecBole falls over a missing column in the first batch, or in the first evaluation.

    Args:
        config: The run's settings, all of them resolved.
        columns: Columns of the interactions that are loaded.

    Raises:
        OptionError: Naming the option, the value and what is allowed.
    """
    modes, kind, model = config["eval_args"]["mode"], config["MODEL_INPUT_TYPE"], config["model"]
    if kind is None:  # the model's class leaves it to its loss
        raise OptionError("loss_type", config["loss_type"], "one of BPR, CE")
    labeled = "labeled" in modes.values()
    if labeled and config["eval_type"].name == "RANKING":
        raise OptionError(
            "eval_args.mode",
            "labeled",
            f"metrics={config['metrics']} rank items, so it must be full, uniN or popN",
        )
    parts = dict(sources(config.model_class))
    parts.pop(AbstractRecommender.__module__, None)
    code = "".join(parts.values())
    if str(config["learner"]).lower() == "sparse_adam" and "sparse=True" not in code:
        raise OptionError("learner", "sparse_adam", f"{model} has no sparse embeddings; use adam")
    drawn = config["train_neg_sample_args"]["distribution"] != "none"
    if not drawn and kind == InputType.PAIRWISE and "NEG_ITEM_ID" in code:
        raise OptionError(
            "train_neg_sample_args.distribution",
            "none",
            f"{model} compares with negatives, so it must be uniform or popularity",
        )
    context = issubclass(config.model_class, ContextRecommender)
    learns = context or config["MODEL_TYPE"] == ModelType.CONTEXT or "LABEL_FIELD" in code
    if config["transform"] == "mask_itemseq" and (
        int(config["mask_ratio"] * config["MAX_ITEM_LIST_LENGTH"]) < 1
    ):
        raise OptionError(
            "MAX_ITEM_LIST_LENGTH",
            config["MAX_ITEM_LIST_LENGTH"],
            f"{model} masks mask_ratio={config['mask_ratio']} of it, which must be one item at "
            "least",
        )
    if config["threshold"] and not learns and config["eval_type"].name == "RANKING":
        logger.warning(
            "threshold=%s has no effect on %s, which treats every interaction as a positive; "
            "val_interval={%s: '[%s,inf)'} keeps only those with at least this value",
            config["threshold"],
            model,
            *next(iter(config["threshold"].items())),
        )
    needed = labeled or (not drawn and learns and kind == InputType.POINTWISE)
    if needed and config["threshold"] is None and config["LABEL_FIELD"] not in columns:
        raise OptionError(
            "threshold",
            None,
            f"{'eval_args.mode=labeled' if labeled else model} needs labels: "
            "threshold={rating: 4} makes them from a column, or load_col.inter may name a "
            f"column {config['LABEL_FIELD']}",
        )


def refuse_unweighable(config: Any) -> None:
    """Check that a model has samples whose losses can be weighed one by one.

    Args:
        config: The run's settings, all of them resolved.

    Raises:
        OptionError: Naming ``interaction_weight_field`` and the model.
    """
    option = "interaction_weight_field"
    if config[option] is None:
        return
    name, why = config["label"], None
    if config.method is not None:
        why = f"{name} weights samples itself, or makes its own; use {config['model']}"
    elif config["MODEL_TYPE"] in (ModelType.TRADITIONAL, ModelType.DECISIONTREE):
        why = f"{name} is not trained by the losses of samples"
    elif config["MODEL_INPUT_TYPE"] == InputType.LISTWISE:
        why = f"the samples of {name} are users"
    if why is not None:
        raise OptionError(option, config[option], why)


def refuse_bad_k(options: Mapping[str, Any], n_items: int) -> None:
    """Check that there are items enough for every list, once the data are read.

    Args:
        options: All options, with their types.
        n_items: Number of items, without the padding item.

    Raises:
        OptionError: Naming the option, the value and the number of items.
    """
    topk = options["topk"] if isinstance(options["topk"], list) else [options["topk"]]
    for k in topk:
        if k > n_items:
            raise OptionError(
                "topk", options["topk"], f"lists of {k} items, but there are only {n_items}"
            )
    for key, value in options.items():
        if isinstance(value, Metric) and value.k > n_items:
            raise OptionError(key, value, f"lists of {value.k} items, but there are only {n_items}")


def refuse_bad_metrics(values: Mapping[str, Any]) -> None:
    """Check that metrics exist and that ``valid_metric`` is one of those computed.

    Args:
        values: All options.

    Raises:
        OptionError: Naming the option, the value and what is allowed.
    """
    metrics = values["metrics"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    topk = values["topk"] if isinstance(values["topk"], list) else [values["topk"]]
    for metric in metrics:
        if str(metric).lower() not in recbole_metrics.metric_types:
            known = [cls.__name__ for cls in recbole_metrics.metrics_dict.values()]
            hint = nearest(str(metric), known)
            raise OptionError("metrics", metric, f"unknown metric{hint}")
        for need in sorted(requirements_of(str(metric)) & set(_NEEDED_OPTIONS)):
            if not values[_NEEDED_OPTIONS[need]]:
                raise OptionError("metrics", metric, f"needs {need}: set {_NEEDED_OPTIONS[need]}")
    if values["rerank"] not in (None, "popularity") and not values["item_category_field"]:
        raise OptionError("rerank", values["rerank"], "needs categories: set item_category_field")
    given = values["valid_metric"]
    chosen = Metric.parse(given)
    if chosen.name not in [str(metric).lower() for metric in metrics]:
        raise OptionError("valid_metric", given, f"not one of metrics={metrics}")
    ranking = recbole_metrics.metric_types[chosen.name].name == "RANKING"
    allowed = topk if ranking and chosen.name != "gauc" else [0]
    if chosen.k not in allowed:
        name = next(str(m) for m in metrics if str(m).lower() == chosen.name)
        can = [f"{name}@{k}" if k else name for k in allowed]
        raise OptionError("valid_metric", given, f"with topk={topk} it can be {', '.join(can)}")
