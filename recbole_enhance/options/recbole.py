"""RecBole's own options, which RecBole does not check: type, range and sentence of each."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from recbole_enhance.options.limits import MOST_NEGATIVES, MOST_PROCESSES, MOST_STEPS
from recbole_enhance.options.schema import (
    Name,
    Options,
    Rule,
    Text,
    Width,
    is_finite,
    is_number,
    refusal,
    word,
)

WHOLE_EXPECTED = "a whole number is expected"
Above0 = Annotated[
    int,
    Field(gt=0, le=MOST_STEPS),
    Rule(f"must be above 0 and at most {MOST_STEPS}", whole=WHOLE_EXPECTED),
]
NotBelow0 = Annotated[
    int,
    Field(ge=0, le=MOST_STEPS),
    Rule(f"must not be below 0 or above {MOST_STEPS}", whole=WHOLE_EXPECTED),
]
Decimals = Annotated[  # a float has no more
    int, Field(ge=0, le=15), Rule("must not be below 0 or above 15", whole=WHOLE_EXPECTED)
]
Workers = Annotated[
    int,
    Field(ge=0, le=MOST_PROCESSES),
    Rule(f"must not be below 0 or above {MOST_PROCESSES}", whole=WHOLE_EXPECTED),
]
LearningRate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0), Rule("must not be below 0")]
Dropout = Annotated[float, Field(ge=0, le=1)]

NO_NEGATIVES = (None, "none", "None")  # words for a distribution and a number of none
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+|inf)(e[-+]?\d+)?"
_INTERVAL = re.compile(rf"\s*[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]\s*", re.I)
_CLIPPING = ("error_if_nonfinite", "foreach", "max_norm", "norm_type")  # of torch's clip_grad_norm_


INTERVAL_EXPECTED = "an interval such as [5,inf) is expected, the lower end first"


def is_interval(value: Any) -> bool:
    """Whether RecBole filters by a value; it ignores what is no interval, and so filters nothing.

    Example:
        >>> is_interval("[5,inf)"), is_interval("(0,1];[3,4)"), is_interval("5")
        (True, True, False)
        >>> is_interval("[10,5]")
        False
    """
    parts = [] if value is None else [part.strip() for part in str(value).split(";")]
    if not all(map(_INTERVAL.fullmatch, parts)):
        return False
    ends = ([float(end) for end in part.strip("[]()").split(",")] for part in parts)
    return all(low <= high for low, high in ends)


def _interval(value: Any) -> Any:
    if not is_interval(value):
        raise refusal(INTERVAL_EXPECTED)
    return value


Interval = Annotated[
    Any, Rule(type="str or None", check=_interval, shape={"type": ["string", "null", "array"]})
]


def _separator(value: Any) -> Any:
    if not (isinstance(value, str) and value):
        raise refusal("a separator is expected")
    return value


Separator = Annotated[str, Rule(check=_separator, shape={"type": "string", "minLength": 1})]


def _gpus(value: Any) -> Any:
    if not re.fullmatch(r"\d*(\s*,\s*\d+)*", str(value)):
        raise refusal("numbers such as 0 or 0,1 are expected")
    return value


def _threshold(value: Any) -> Any:
    if isinstance(value, dict) and not (len(value) == 1 and all(map(is_number, value.values()))):
        raise refusal("one column and a number, {rating: 4}")
    return value


def _clipping(clip: Any) -> Any:
    """RecBole hands the mapping to torch in the first step."""
    if clip is None:
        return None
    known = isinstance(clip, dict) and set(clip) <= set(_CLIPPING)
    known = known and is_number(clip.get("norm_type", 2)) and clip.get("norm_type", 2) > 0
    if not known or not is_finite(clip.get("max_norm")) or clip["max_norm"] <= 0:
        listed = ", ".join(_CLIPPING)
        raise refusal(
            f"a mapping such as {{max_norm: 5}} is expected, with {listed}; max_norm and norm_type "
            "are above 0"
        )
    return clip


def _three_names(splits: Any) -> Any:
    if splits is not None and not (
        isinstance(splits, list) and len(splits) == 3 and all(isinstance(s, str) for s in splits)
    ):
        raise refusal(
            "three names are expected, [train, valid, test] for <dataset>.train.inter and so on"
        )
    return splits


def _unused(value: Any) -> Any:
    """RecBole would unpickle these files, and so run whatever code is in them."""
    if value:
        raise refusal("pickled datasets are not read or written")
    return value


def _topk(value: Any) -> Any:
    ks = value if isinstance(value, list) else [value]
    if not ks or not all(type(k) is int and k > 0 for k in ks):
        raise refusal("whole numbers above 0 are expected")
    return value


def _metrics(value: Any) -> Any:
    if not value or not isinstance(value, (str, list)):
        raise refusal("a list of metric names is expected")
    return value


def _split(split: Any) -> Any:
    way, parts = next(iter(split.items())) if isinstance(split, dict) and split else (None, None)
    if way in ("RS", "TS") and isinstance(parts, list) and len(parts) == 3:
        good = all(is_number(x) and x >= 0 for x in parts) and parts[0] > 0
    else:
        good = way == "LS" and parts in ("valid_and_test", "valid_only", "test_only")
    if not good or len(split) != 1:
        raise refusal(
            "{RS: [0.8, 0.1, 0.1]}, {TS: [0.8, 0.1, 0.1]} or {LS: valid_and_test} is expected"
        )
    return split


def _distribution(value: Any) -> Any:
    if value not in (*NO_NEGATIVES, "uniform", "popularity"):
        raise refusal("uniform, popularity or none")
    return value


def _drawn(value: Any) -> Any:
    """Of the words, RecBole has none where the distribution is none, too."""
    if value in NO_NEGATIVES:
        return value
    if type(value) is not int or not 0 < value <= MOST_NEGATIVES:
        raise refusal(f"a whole number above 0 and at most {MOST_NEGATIVES}")
    return value


Mapped = dict[str, Any] | None
_Names = list[str] | None
_AnyText = Text | None


class EvalArgs(Options):
    """What ``eval_args`` holds."""

    split: Annotated[
        Any, Rule(type="dict", check=_split, shape={"type": "object", "maxProperties": 1})
    ] = Field(
        description="Which parts are training, validation and test: RS and TS take shares or "
        "numbers, LS leaves one interaction out."
    )
    group_by: Annotated[Any, word("user", "none")] = Field(
        description="Whether the rows of each user are split separately, or all rows together."
    )
    order: Annotated[Literal["RO", "TO"], Rule("one of RO, TO")] = Field(
        description="Order of the rows before they are split: RO is random, TO is by time."
    )
    mode: Annotated[Any, Rule(type="str or dict", shape={"type": ["string", "object"]})] = Field(
        description="Items among which held-out items are ranked: full, uni100, pop100 (with any "
        "number of negatives) or labeled; or one of these for each of valid and test."
    )


class NegativeSampling(Options):
    """What ``train_neg_sample_args`` holds."""

    distribution: Annotated[
        Any,
        Rule(
            type="str",
            range="[uniform, popularity, none]",
            check=_distribution,
            shape={"enum": [None, "none", "uniform", "popularity"]},
        ),
    ] = Field(description="How negatives are drawn.")
    sample_num: Annotated[
        Any, Rule(type="int", check=_drawn, shape={"type": ["integer", "string", "null"]})
    ] = Field(description="How many negatives each positive has.")
    alpha: float = Field(description="Power of the popularity by which negatives are drawn.")
    dynamic: bool = Field(description="Whether the hardest of some candidates is the negative.")
    candidate_num: Annotated[
        int,
        Field(ge=0, le=MOST_NEGATIVES),
        Rule(*[f"a whole number between 0 and {MOST_NEGATIVES}"] * 2),
    ] = Field(description="Number of these candidates.")


class RecBoleOptions(Options):
    """Options of RecBole that every run has."""

    model: Name = Field(description="A method or a model.")
    dataset: Text | None = Field(description="Name of the dataset.")
    config_file: _AnyText = Field(
        description="RecBole's option; this package reads config_files instead."
    )

    gpu_id: Annotated[Any, Rule(type="str", check=_gpus, shape={"type": ["string", "integer"]})] = (
        Field(description="The GPUs that can be used, as 0 or 0,1.")
    )
    use_gpu: bool = Field(description="Whether a GPU is used if there is one.")
    worker: Workers = Field(description="Processes that load data.")
    seed: Annotated[
        int,
        Field(ge=0, lt=2**32),
        Rule("must be at least 0 and below 2**32", whole=WHOLE_EXPECTED, range="[0, 2**32)"),
    ] = Field(description="Seed of every random number.")
    state: Annotated[Any, word("debug", "info", "warning", "error", "critical")] = Field(
        description="Level of the log."
    )
    reproducibility: bool = Field(
        description="Whether CUDA is set to give the same numbers in each run."
    )
    data_path: Annotated[
        Text, Rule(kind="the folder that holds the dataset's folder is expected")
    ] = Field(description="Folder that holds the dataset's folder.")
    checkpoint_dir: _AnyText = Field(
        description="RecBole's option; the files of a run go into run_dir."
    )
    show_progress: bool = Field(description="Whether progress bars are shown.")
    save_dataset: Annotated[
        Any, Rule(type="bool", check=_unused, shape={"enum": [False, None]})
    ] = Field(description="RecBole's pickles, which are not written.")
    dataset_save_path: Annotated[
        Any, Rule(type="None", check=_unused, shape={"enum": [None, ""]})
    ] = Field(description="RecBole's pickles, which are not read.")
    save_dataloaders: Annotated[
        Any, Rule(type="bool", check=_unused, shape={"enum": [False, None]})
    ] = Field(description="RecBole's pickles, which are not written.")
    dataloaders_save_path: Annotated[
        Any, Rule(type="None", check=_unused, shape={"enum": [None, ""]})
    ] = Field(description="RecBole's pickles, which are not read.")
    log_wandb: bool = Field(description="Whether results go to Weights & Biases.")
    wandb_project: _AnyText = Field(description="Project in Weights & Biases.")
    shuffle: bool = Field(description="Whether training rows are shuffled before each epoch.")

    epochs: NotBelow0 = Field(description="Largest number of epochs.")
    train_batch_size: Above0 = Field(description="Rows of a training batch.")
    learner: Annotated[
        Any, word("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam", "row_adam")
    ] = Field(description="The optimiser; row_adam is Adam on the rows of a batch, for BPR.")
    learning_rate: LearningRate = Field(description="Learning rate.")
    train_neg_sample_args: Mapped = Field(
        description="How negatives of training are drawn; ~ for none."
    )
    eval_step: NotBelow0 = Field(
        description="Epochs between two evaluations on validation; 0 for none."
    )
    stopping_step: NotBelow0 = Field(
        description="Number of evaluations without an improvement after which training stops."
    )
    clip_grad_norm: Annotated[
        Any, Rule(type="dict or None", check=_clipping, shape={"type": ["object", "null"]})
    ] = Field(description="Largest norm of the gradient, as {max_norm: 5}; ~ for none.")
    weight_decay: NotNegative = Field(description="L2 of the optimiser.")
    loss_decimal_place: Decimals = Field(description="Decimals of the loss in the log.")
    require_pow: bool = Field(
        description="Whether the L2 regularisation of embeddings uses squared norms."
    )
    enable_amp: bool = Field(description="Whether training is in mixed precision.")
    enable_scaler: bool = Field(description="Whether the loss is scaled under mixed precision.")
    transform: _AnyText = Field(description="Transformation of each batch of sequences.")
    save_step: int | None = Field(description="Epochs between two files of a pretraining.")
    pretrain_epochs: int | None = Field(
        description="Epochs of pretraining, for models that have one."
    )

    eval_args: dict[str, Any] = Field(
        description="How data are split, and what held-out items are ranked among."
    )
    repeatable: bool = Field(description="Whether items that a user has may be recommended again.")
    metrics: Annotated[
        Any, Rule(type="list of str", check=_metrics, shape={"type": ["array", "string"]})
    ] = Field(description="The metrics that are computed; see docs/metrics.md.")
    topk: Annotated[
        Any, Rule(type="list of int", check=_topk, shape={"type": ["array", "integer"]})
    ] = Field(description="Lengths of the lists that are measured.")
    valid_metric: str = Field(
        description="The metric that chooses the epoch, one of metrics, as NDCG@10."
    )
    valid_metric_bigger: bool = Field(
        description="RecBole's option; the metric itself says whether larger is better."
    )
    metric_decimal_place: Decimals = Field(description="Decimals of a metric.")

    field_separator: Annotated[
        str, Rule(type="str", check=_separator, shape={"type": "string", "minLength": 1})
    ] = Field(description="What separates the columns of an atomic file.")
    seq_separator: Annotated[
        str, Rule(type="str", check=_separator, shape={"type": "string", "minLength": 1})
    ] = Field(description="What separates the words of a sequence.")
    USER_ID_FIELD: _AnyText = Field(description="Column of the users.")
    ITEM_ID_FIELD: _AnyText = Field(description="Column of the items.")
    RATING_FIELD: _AnyText = Field(description="Column of the ratings.")
    TIME_FIELD: _AnyText = Field(description="Column of the times.")
    seq_len: Mapped = Field(description="Longest sequence of each column of sequences.")
    LABEL_FIELD: _AnyText = Field(description="Column of the labels.")
    threshold: Annotated[
        Mapped, Rule(type="dict or None", check=_threshold, shape={"type": ["object", "null"]})
    ] = Field(description="Column and number from which on a row's label is 1, as {rating: 4}.")
    NEG_PREFIX: _AnyText = Field(description="Prefix of the names of columns of negatives.")
    numerical_features: _Names = Field(description="Columns of numbers that are embedded.")
    load_col: Mapped = Field(description="Columns that are loaded, by file; ~ for all.")
    unload_col: Mapped = Field(description="Columns that are not loaded, by file.")
    unused_col: Mapped = Field(description="Columns that are loaded for filters only, by file.")
    additional_feat_suffix: _Names = Field(
        description="Endings of more atomic files to load, without the dot."
    )
    rm_dup_inter: Annotated[Any, word("first", "last", "none")] = Field(
        description="Which of several interactions of the same user and item is kept; ~ keeps all."
    )
    val_interval: Mapped = Field(
        description="Rows that are kept, by column: an interval such as [3,inf), or values."
    )
    filter_inter_by_user_or_item: bool = Field(
        description="Whether interactions of users and items that are filtered out are removed too."
    )
    user_inter_num_interval: Interval = Field(
        description="How many interactions a user must have, as [5,inf)."
    )
    item_inter_num_interval: Interval = Field(
        description="How many interactions an item must have, as [5,inf)."
    )
    alias_of_user_id: _Names = Field(description="Other columns that hold ids of users.")
    alias_of_item_id: _Names = Field(description="Other columns that hold ids of items.")
    alias_of_entity_id: _Names = Field(description="Other columns that hold ids of entities.")
    alias_of_relation_id: _Names = Field(description="Other columns that hold ids of relations.")
    preload_weight: Mapped = Field(
        description="Columns of pretrained vectors, each with its column of ids."
    )
    normalize_field: _Names = Field(description="Columns of numbers to scale to [0, 1].")
    normalize_all: bool | None = Field(
        description="Whether all columns of numbers are scaled to [0, 1]."
    )
    discretization: Mapped = Field(description="Columns of numbers to divide into classes.")
    convert_token_to_onehot: bool | None = Field(description="RecBole's option for decision trees.")
    token_num_threshold: int | None = Field(description="RecBole's option for decision trees.")
    encoding: _AnyText = Field(description="Encoding of the atomic files.")
    ITEM_LIST_LENGTH_FIELD: _AnyText = Field(description="Column of the lengths of histories.")
    LIST_SUFFIX: _AnyText = Field(description="Suffix of the names of columns of histories.")
    MAX_ITEM_LIST_LENGTH: Width = Field(description="Longest history of a sequential model.")
    POSITION_FIELD: _AnyText = Field(description="Column of the positions in a history.")
    HEAD_ENTITY_ID_FIELD: _AnyText = Field(description="Column of the triplets' heads.")
    TAIL_ENTITY_ID_FIELD: _AnyText = Field(description="Column of the triplets' tails.")
    RELATION_ID_FIELD: _AnyText = Field(description="Column of the triplets' relations.")
    ENTITY_ID_FIELD: _AnyText = Field(description="Column of the items' entities.")
    kg_reverse_r: bool = Field(description="Whether each relation has its reverse.")
    entity_kg_num_interval: Interval = Field(description="How many triplets an entity must have.")
    relation_kg_num_interval: Interval = Field(
        description="How many triplets a relation must have."
    )
    benchmark_filename: Annotated[
        Any, Rule(type="list of str or None", check=_three_names, shape={"type": ["array", "null"]})
    ] = Field(description="Suffixes of files that are already split: [train, valid, test].")


class RecBoleModelOptions(Options):
    """Options of RecBole's models whose range is known; each has the default of its model."""

    embedding_size: Width = Field(description="Length of an embedding.")
    reg_weight: NotNegative = Field(description="Weight of the model's L2.")
    k: Above0 = Field(description="Number of neighbours.")
    shrink: NotNegative = Field(description="Shrinkage of the similarities.")
    teacher: Annotated[Literal["CrossNet", "CIN"], Rule("one of CrossNet, CIN")] = Field(
        description="The network that is distilled."
    )  # KD_DAGFM evaluates it
    dropout_prob: Dropout = Field(description="Share of the numbers that dropout sets to 0.")
    attn_dropout_prob: Dropout = Field(description="The same, in attention.")
    hidden_dropout_prob: Dropout = Field(description="The same, in hidden layers.")


# How RecBole's mappings are checked inside.
NESTED: dict[str, type[Options]] = {
    "eval_args": EvalArgs,
    "train_neg_sample_args": NegativeSampling,
}
