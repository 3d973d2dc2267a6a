"""Options of every run that this package adds to RecBole's; defaults are in overall.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field

from recbole_enhance.options.limits import MOST, MOST_PAIRS
from recbole_enhance.options.recbole import WHOLE_EXPECTED
from recbole_enhance.options.schema import Name, Options, Rate, Rule, Share, Text, refusal, word

TRACKERS = ("mlflow", "wandb", "tensorboard", "codecarbon")
ACTIVITY = "activity"  # the field of option group_fields that is no column of .user
_BETWEEN = "a number between 0 and 1 is expected"
_InnerShare = Annotated[float, Field(gt=0, lt=1), Rule(_BETWEEN, kind=_BETWEEN)]


def _group_fields(fields: Any) -> Any:
    listed = isinstance(fields, list) and all(isinstance(field, str) for field in fields)
    if fields is not None and not (listed and fields):
        raise refusal(f"a list of user columns, or {ACTIVITY}, or ~")
    return fields


def _trackers(names: Any) -> Any:
    names = [names] if isinstance(names, str) else names
    if names is not None and not (
        isinstance(names, list) and set(map(str, names)) <= set(TRACKERS)
    ):
        raise refusal(f"a list of {', '.join(TRACKERS)}, or ~")
    return names


class GeneralOptions(Options):
    """What ``properties/overall.yaml`` holds."""

    backbone: Name = Field(
        description="RecBole model under the method; ~ is the default of the method."
    )
    variant: Name = Field(
        description="Named variant of the dataset's protocol, from dataset_configs/<dataset>.yaml."
    )
    item_category_field: Text | None = Field(
        description="Item column that holds categories; diversity metrics need it."
    )
    interaction_weight_field: Text | None = Field(
        description="Column of weights in the training loss: of the interactions or of the items; "
        "numbers, or lists whose lengths are the weights. Weights are divided by their mean."
    )
    train_on_validation: Rate = Field(
        description="Share of the validation interactions, drawn at random, that is added to "
        "training; the others select the epoch."
    )
    data_cache: Text | None = Field(
        description="Folder that keeps data as they were read and split, for the next run; ~ is "
        "recbole_enhance/tables in the user's cache, never keeps nothing."
    )
    run_dir: Text | None = Field(
        description="Folder of the run; ~ makes runs/<dataset>/<label>/<seed>-<hash>."
    )
    quiet: bool = Field(description="Print nothing but errors.")
    log_tensorboard: bool = Field(description="Write TensorBoard events into the run folder.")
    track: Annotated[
        Any,
        Rule(
            type="list of str or None",
            check=_trackers,
            range=f"[{', '.join(TRACKERS)}]",
            shape={"type": ["array", "null"], "items": {"enum": list(TRACKERS)}},
        ),
    ] = Field(description="Trackers that get the options, epochs and results of the run.")
    eval_batch_size: Annotated[
        int | None,
        Field(gt=0, le=MOST_PAIRS),
        Rule(
            f"must be above 0 and at most {MOST_PAIRS}", kind=WHOLE_EXPECTED, whole=WHOLE_EXPECTED
        ),
    ] = Field(
        description="As in RecBole; ~ fills eval_memory_mb in full ranking, and is RecBole's 4096 "
        "otherwise."
    )
    eval_memory_mb: Annotated[float, Field(gt=0)] = Field(
        description="Memory for one batch of full-ranking scores; on a CPU, smaller batches are "
        "used because they are faster."
    )
    mask_history: bool = Field(
        description="Whether a sequential model must not recommend what the user already has; a "
        "general one never does."
    )
    read_known: bool = Field(
        description="Whether models that compute scores from a user's history (RVRec, item-based "
        "ones, autoencoders) read all that is known of the user when they rank: in the test, the "
        "validation items too. Sequential models always do; other models cannot."
    )
    rerank: Literal["coverage", "mmr", "calibrated", "popularity"] | None = Field(
        description="Re-rank each user's best 100 items: coverage and mmr spread the categories, "
        "calibrated follows those of the history, popularity prefers less popular items."
    )
    rerank_lambda: Share | None = Field(
        description="Weight of re-ranking, from 0 to 1; the score has the rest. ~ is 0.2."
    )
    save_recs: bool = Field(
        description="Write recs.csv.gz: each test user's list with scores and hits."
    )
    save_candidates: bool = Field(
        description="Write candidates.csv.gz: the candidates of each held-out item (uniN, popN)."
    )
    eval_candidates_file: Text | None = Field(
        description="File of candidates for uniN and popN, written by save_candidates; ~ draws "
        "them by seed."
    )
    fast: bool = Field(
        description="Train with vectorised loaders, fused optimisers and compressed graphs; False "
        "draws RecBole's own random numbers."
    )
    packed_step: Annotated[
        int, Field(ge=0, le=MOST), Rule(f"a whole number between 0 and {MOST} is expected")
    ] = Field(
        description="With fast, a causal sequential model reads a history once for all its "
        "targets. Beyond MAX_ITEM_LIST_LENGTH items, packed_step targets share a window, and the "
        "first see up to packed_step - 1 items fewer. 1 is exact; 0 uses one row per target."
    )
    closed_form: bool = Field(
        description="With fast on a CPU, BPR, also under WBPR and AOBPR, computes its gradient in "
        "closed form and not by autograd. It is faster and equal but for rounding; a method over "
        "BPR at its neutral setting then is no longer equal to it to the last bit."
    )
    group_fields: Annotated[
        Any,
        Rule(
            type="list of str or None",
            check=_group_fields,
            shape={"type": ["array", "null"], "items": {"type": "string"}, "minItems": 1},
        ),
    ] = Field(
        description="User columns whose groups the fairness metrics compare; activity means "
        "groups by length of history."
    )
    group_metric: Annotated[Any, word("recall", "ndcg", "map", "hit", "precision", "mrr")] = Field(
        description="Metric of accuracy that GroupGap and GroupMAD compare."
    )
    activity_groups: Annotated[
        int, Field(ge=2, le=MOST), Rule(f"a whole number between 2 and {MOST} is expected")
    ] = Field(
        description="Number of activity groups, which are quantiles of the number of training "
        "interactions."
    )
    item_head_share: _InnerShare = Field(
        description="The head is the fewest items that have this share of the training "
        "interactions; the other items are the long tail."
    )
    calibration_alpha: _InnerShare = Field(description="Smoothing of Calibration.")
    score_link: Annotated[Literal["sigmoid", "identity"], Rule("one of sigmoid, identity")] = Field(
        description="How a score becomes a probability for DifferentialFairness."
    )
    tail_ratio: Annotated[float, Field(gt=0), Rule(*["a number above 0 is expected"] * 2)] = Field(
        description="RecBole's option of TailPercentage: up to 1, the share of items that are "
        "tail; above 1, the largest number of interactions of a tail item."
    )
