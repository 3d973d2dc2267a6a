"""What two runs must have in common to stand in one table: data, split, candidates, metrics.

How a model is trained (learning rate, epochs, training negatives) is no part of it: that is what a
method may choose. A table shows the options in which its rows differ.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recbole_enhance.leaderboard.collect import FinishedRun

# Which rows of the files are interactions, and which column means what.
_DATA = (
    "benchmark_filename",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "RATING_FIELD",
    "LABEL_FIELD",
    "unload_col",
    "unused_col",
    "additional_feat_suffix",
    "rm_dup_inter",
    "val_interval",
    "filter_inter_by_user_or_item",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "threshold",
)
_EVALUATION = ("topk", "valid_metric", "item_category_field")
MASKS = ("mask_history", "repeatable")  # what they come to is in the protocol
_METRICS = (
    "group_fields",
    "group_metric",
    "activity_groups",
    "item_head_share",
    "calibration_alpha",
    "score_link",
    "tail_ratio",
    "metric_decimal_place",
)
_SAMPLED = ("uni", "pop")
CANDIDATES = "eval_candidates_file"
# Columns that only training reads: EFM and CER have them loaded (data/mentions.py).
_OF_A_MODEL = ("feature_field", "sentiment_field", "interaction_weight_field")


class Table(NamedTuple):
    """The runs of one protocol."""

    dataset: str
    variant: Any
    protocol: dict[str, Any]
    digest: str
    runs: Sequence[FinishedRun]

    @property
    def title(self) -> str:
        """Dataset and variant."""
        return f"{self.dataset} ({self.variant})" if self.variant else self.dataset


def protocol_of(run: FinishedRun) -> dict[str, Any]:
    """The options that decide what a run's numbers mean.

    Args:
        run: A finished run.

    Returns:
        Option -> value, in the order in which a page shows them.
    """
    options = run.options
    protocol: dict[str, Any] = {
        "dataset": run.report["dataset"],
        "variant": run.report.get("variant"),
        "data_sha256": _hashes(run),
        "load_col.inter": _columns(options),
        "data": run.report.get("data"),
    }
    protocol.update({key: options.get(key) for key in _DATA})
    arguments = options.get("eval_args")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    mode = arguments.get("mode")
    modes = mode if isinstance(mode, Mapping) else {"valid": mode, "test": mode}
    for key in ("split", "order", "group_by"):  # of which ready-made parts need none
        said = "ready-made" if options.get("benchmark_filename") else arguments.get(key)
        protocol[f"eval_args.{key}"] = said
    protocol["eval_args.mode"] = dict(modes)
    protocol["split_seed"] = _split_seed(options, arguments)
    sampled = any(str(value).startswith(_SAMPLED) for value in modes.values())
    protocol["candidates_seed"] = "the run's seed" if sampled else "nothing is drawn"
    is_sequential = _is_sequential(run)
    masks = not options.get("repeatable")
    if is_sequential and not sampled:
        masks = bool(options.get("mask_history"))
    protocol["seen_items"] = "left out" if masks else "ranked"
    one_each = not is_sequential or sampled or "LS" in (arguments.get("split") or {})
    protocol["lists"] = "one for each user" if one_each else "one for each held-out interaction"
    if options.get(CANDIDATES):
        protocol["candidates_seed"] = f"a file, SHA-256 {_known_hashes(run).get(CANDIDATES)}"
    protocol.update({key: options.get(key) for key in (*_EVALUATION, *_METRICS)})
    result: dict[str, Any] = json.loads(json.dumps(protocol, default=str))
    return result


def digest(protocol: Mapping[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a protocol.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(protocol, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def tables(runs: Sequence[FinishedRun]) -> list[Table]:
    """Put runs of one protocol together: a table for each dataset and variant.

    Args:
        runs: Finished runs.

    Raises:
        ValueError: If two runs of one dataset and variant have different protocols; names the
            first option that differs, both values, and both folders.
    """
    by_data: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        key = run.report["dataset"], str(run.report.get("variant") or "")
        by_data.setdefault(key, []).append(run)
    made = []
    for (dataset, _), alike in sorted(by_data.items()):
        first = protocol_of(alike[0])
        for run in alike[1:]:
            other = protocol_of(run)
            if other != first:
                _refuse(alike[0], first, run, other)
        variant = alike[0].report.get("variant")
        made.append(Table(dataset, variant, first, digest(first), alike))
    return made


def first_difference(protocol: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first option in which two protocols differ, which are not the same."""
    return next(key for key in protocol if protocol[key] != other[key])


def _refuse(
    run: FinishedRun, first: Mapping[str, Any], other_run: FinishedRun, other: Mapping[str, Any]
) -> None:
    option = first_difference(first, other)
    loaded = [value_text(one.options.get("load_col")) for one in (run, other_run)]
    why = {
        "data": f" (load_col={loaded[0]} and {loaded[1]})",
        "seen_items": " (mask_history=true leaves them out for sequential models, too)",
    }.get(option, "")
    raise ValueError(
        f"dataset={run.report['dataset']}: two protocols in one table, {option}="
        f"{value_text(first[option])} in {run.folder} and {value_text(other[option])} in "
        f"{other_run.folder}{why}; give them folders of their own"
    )


def value_text(value: Any) -> str:
    """An option's value on one line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _is_sequential(run: FinishedRun) -> bool:
    """Whether RecBole takes the model for a sequential one; older runs do not say so."""
    kind = run.report.get("model_type")
    return bool(run.options.get("repeatable")) if kind is None else kind == "sequential"


def _hashes(run: FinishedRun) -> dict[str, str]:
    """Of the files that every model reads: interactions, and items where categories are read."""
    known = _known_hashes(run)
    wanted = [".inter"] + [".item"] * (run.options.get("item_category_field") is not None)
    return {name: known[name] for name in sorted(known) if name.endswith(tuple(wanted))}


def _known_hashes(run: FinishedRun) -> Mapping[str, str]:
    known = run.environment.get("data_sha256")
    return known if isinstance(known, Mapping) else {}


def _columns(options: Mapping[str, Any]) -> Any:
    loaded = options.get("load_col")
    columns = loaded.get("inter") if isinstance(loaded, Mapping) else loaded
    if not isinstance(columns, list):
        return columns
    of_a_model = {options.get(key) for key in _OF_A_MODEL}
    return sorted(str(column) for column in columns if column not in of_a_model)


def _split_seed(options: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    if options.get("benchmark_filename"):
        return "the files are split"
    return "the run's seed" if str(arguments.get("order")) == "RO" else "nothing is drawn"
