"""Options of RVRec: what each must be, and how that is said."""

from typing import Annotated, Literal

from pydantic import Field

from recbole_enhance.options.schema import (
    Count,
    Name,
    NotNegative,
    Number0,
    Options,
    Positive,
    Width,
)


class RVRecOptions(Options):
    """Options of RVRec; defaults are in its YAML."""

    backbone: Name = Field(
        description="Model whose score is a product of a user's and an item's row, as BPR or "
        "LightGCN."
    )
    rvrec_peo: bool = Field(
        description="Probability-based embeddings; False leaves the backbone's own, for the "
        'ablation "MSVR only".'
    )
    rvrec_msvr: bool = Field(
        description='Shapley-weighted prototypes of histories; False for the ablation "PEO '
        'only". Without both it is the backbone, bit for bit.'
    )
    rvrec_mean_head: bool = Field(
        description="Whether PEO moves the means by a network too, as the paper's Eq. 2; it "
        "slows training down and costs accuracy (docs/papers/rvrec.md)."
    )
    rvrec_hidden: Width = Field(description="Width of the layers of PEO's heads.")
    rvrec_sigma_floor: Positive = Field(description="Smallest standard deviation of an embedding.")
    rvrec_contrast_weight: NotNegative = Field(
        description="Weight of the contrastive loss on negative Wasserstein distances; 0 with "
        'rvrec_mean_head is the parameter-matched control "PEO without its loss".'
    )
    rvrec_contrast_temperature: Positive = Field(
        description="Its temperature; what is right depends on the embeddings' size and norm."
    )
    rvrec_contrast_negatives: Number0 = Field(
        description="Items of the batch that each user's positive is contrasted with; 0 leaves "
        "the sampled negative only."
    )
    rvrec_query: Literal["item", "user"] = Field(
        description="What asks a history for its weights: 'item', the item that is scored "
        "(attention by cosine), or 'user', the user's own vector, the paper's reading."
    )
    rvrec_alpha_start: float | None = Field(
        description="Weight of histories at the start; 0 starts as the backbone, bit for bit. ~ is "
        "3, or 0 where half of the users have more than 20 training items."
    )
    rvrec_beta_start: float = Field(
        description="Sharpness of the item query at the start; 0 is the plain mean."
    )
    rvrec_scalar_learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        description="Learning rate of alpha and beta; ~ takes learning_rate. Where "
        "rvrec_alpha_start=~ is 0, a tenth of it."
    )
    rvrec_propagated: bool = Field(
        description="Whether items ask histories by their rows after a graph model's propagation, "
        "which already hold something of the item to be predicted; False takes those before it."
    )
    rvrec_candidates: Number0 = Field(
        description="Items per user that the item query ranks, chosen by a cheaper score; all "
        "others follow in that order. 0 ranks all items exactly."
    )
    rvrec_history: Count = Field(description="Last items of a user that are players, H.")
    rvrec_decay: Annotated[float, Field(ge=0)] | None = Field(
        description="By how much the item query's logit of a player falls with each item between "
        "it and what is predicted; 0 forgets nothing. ~ is 0.3 where rows are split by time "
        "(eval_args.order=TO), or 0."
    )
    rvrec_kappa: NotNegative = Field(
        description="Smoothing of the game's mean; 0 is the plain mean."
    )
    rvrec_weights: Literal["shapley", "uniform"] = Field(
        description="Weights of the prototype: 'shapley' or 'uniform' (the plain mean, an "
        "ablation)."
    )
    rvrec_temperature: Positive = Field(
        description="Temperature of the weights; a large one makes the plain mean."
    )
    rvrec_coalitions: Literal["learned", "random", "rule"] = Field(
        description="Gates between neighbours: 'learned' (rvrec_query=user), 'rule' (open where "
        "their centred cosine is above 0.5, rvrec_query=item), or 'random' (one coin per pair of "
        "items, an ablation). With the item query they group what is explained, and move no score."
    )
    rvrec_gate_mode: Literal["exact", "sampled", "hard"] = Field(
        description="Expectation over partitions: 'exact', 'sampled' as in the paper, or 'hard' "
        "(one partition, p > 0.5; the fastest)."
    )
    rvrec_partitions: Annotated[int, Field(ge=2, le=1000)] = Field(
        description="Partitions drawn per step where rvrec_gate_mode is sampled."
    )
    rvrec_gate_objective: Literal["squared", "shapley", "removal", "agreement"] = Field(
        description="What gates maximise per coalition: 'squared' (Shapley value of centred "
        "contributions, squared), 'shapley', 'removal', or 'agreement' (sum of contributions, "
        "squared: joins neighbours of one sign)."
    )
    rvrec_gate_weight: NotNegative = Field(
        description="Weight of the gates' objective; 0 leaves the gates to the recommendation loss."
    )
