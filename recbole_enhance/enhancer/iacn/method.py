r"""IaCN: interest capsules as an auxiliary task.

Reference:
    Amit Kumar Jaiswal and Yu Xiong. "A Model-Agnostic Framework for Recommendation via
    Interest-aware Item Embeddings." in RecSys 2023 (arXiv 2308.09202).

Every item's vector is [main ; aux]. The backbone reads both parts. An auxiliary task routes the
aux parts of a history to interest capsules and asks them about the item in question; delta shares
the aux part's gradient between the two. Prediction is the backbone's alone.
docs/papers/iacn.md numbers the equations, and lists what differs from the paper, and why.
"""

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from recbole.utils import ModelType
from torch import Tensor, nn
from torch.nn import functional

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.iacn.capsules import (
    Routed,
    attend_to_items,
    label_aware,
    label_aware_score,
    route,
    sampled_cross_entropy,
)
from recbole_enhance.enhancer.iacn.fused import (
    SharedRows,
    find_item_table,
    fuse,
)
from recbole_enhance.enhancer.iacn.over_sequences import over_sequences
from recbole_enhance.enhancer.iacn.user_profile import UserProfile, user_profile
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import (
    Few,
    InnerShare,
    Name,
    NotNegative,
    Options,
    Share,
)
from recbole_enhance.storage.random_state import seeded
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.trainer import EnhancedTrainer

if TYPE_CHECKING:  # what InterestAware is mixed in front of
    from recbole.model.abstract_recommender import AbstractRecommender as _Backbone
else:
    _Backbone = object

_NEGATIVES = 100  # items that a batch draws for the sampled softmax
# Models with one table of items; tests run them all, and docs/papers/iacn.md shows what they gave.
BACKBONES = (
    "DIN",
    "DIEN",
    "WideDeep",
    "BERT4Rec",
    "CORE",
    "Caser",
    "FDSA",
    "FEARec",
    "FOSSIL",
    "GCSAN",
    "GRU4Rec",
    "GRU4RecF",
    "HGN",
    "HRM",
    "LightSANs",
    "NARM",
    "NPE",
    "NextItNet",
    "RepeatNet",
    "SASRec",
    "SASRecF",
    "SHAN",
    "SINE",
    "SRGNN",
    "STAMP",
    "TransRec",
    "AFM",
    "AutoInt",
    "DCN",
    "DCNV2",
    "DSSM",
    "DeepFM",
    "EulerNet",
    "FM",
    "FNN",
    "FiGNN",
    "FwFM",
    "NFM",
    "PNN",
    "xDeepFM",
)
_WHY_NOT = {
    "FFM": "its item vectors are one table per field",
    "LR": "it has no item vectors",
    "FPMC": "it has four tables, two of them of items",
    "S3Rec": "it trains in two stages",
}


class InterestNetwork(nn.Module):
    """From a history's interest vectors to capsules; all that IaCN adds to a backbone.

    Args:
        config: The run's settings.
        n_items: Number of item ids, padding included.
        size: d.
        profile: The users' columns, or None.
    """

    item_logits: Tensor

    def __init__(self, config: Any, n_items: int, size: int, profile: UserProfile | None) -> None:
        super().__init__()
        self.K, self.size = config["iacn_capsules"], size
        self.iterations = config["iacn_iterations"]
        self.adaptive = config["iacn_adaptive_k"]
        self.stop_gradient = config["iacn_stop_gradient"]
        self.routing = config["iacn_routing"]
        self.power, self.hard = config["iacn_attention_power"], config["iacn_hard_attention"]
        self.concatenates = config["iacn_profile"] == "concat"
        self.profile = profile
        self.generator: torch.Generator | None = None  # the trainer's, whose state is saved
        self.seed = config["seed"]

        per_capsule = config["iacn_map"] == "per_capsule"
        maps = self.K if per_capsule else 1
        self.map = nn.Parameter(torch.randn(maps, size, size) * size**-0.5)  # S
        extra = len(profile.names) if profile is not None and not self.concatenates else 0
        if config["iacn_interest"] == "attention":
            self.queries = nn.Parameter(torch.randn(self.K, size) * size**-0.5)
        elif self.routing == "item":
            logits = torch.randn(n_items + extra, self.K)
            self.register_buffer("item_logits", logits)
        if profile is not None and self.concatenates:
            width = size * (1 + len(profile.names))
            self.mix = nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, size))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "generator": None}  # older torch cannot copy one

    def forward(self, a: Tensor, history: Tensor, users: Tensor) -> Routed:
        """Route histories.

        Args:
            a: Interest vectors of the items. Shape: ``(batch, L, d)``.
            history: Item ids, 0 for padding. Shape: ``(batch, L)``.
            users: Shape: ``(batch,)``.
        """
        a, mask = a.float(), history > 0
        profile = self.profile(users) if self.profile is not None else None
        if profile is not None and not self.concatenates:
            a = torch.cat([a, profile], dim=1)
            present = torch.ones(profile.shape[:2], dtype=torch.bool, device=mask.device)
            mask = torch.cat([mask, present], dim=1)
        if hasattr(self, "queries"):
            routed = attend_to_items(a, self.map[0], mask, self.queries)
        else:
            routed = route(
                a,
                self.map,
                mask,
                self._logits(history, mask),
                self.iterations,
                self.adaptive,
                self.stop_gradient,
            )
        if profile is not None and self.concatenates:
            p = profile.flatten(1).unsqueeze(1).expand(-1, self.K, -1)
            mixed = self.mix(torch.cat([routed.capsules, p], dim=-1))  # Eq. (10)
            routed = routed._replace(capsules=mixed * routed.used.unsqueeze(-1))
        return routed

    def _logits(self, history: Tensor, mask: Tensor) -> Tensor:
        """Routing logits at the start, b. Shape: ``(batch, L, K)``."""
        shape = (*mask.shape, self.K)
        if self.routing == "zeros":
            return torch.zeros(shape, device=history.device)
        if self.routing == "normal":
            if self.generator is None:
                self.generator = torch.Generator().manual_seed(self.seed)
            drawn = torch.randn(shape, generator=self.generator)
            return drawn.to(history.device)
        logits = functional.embedding(history, self.item_logits)
        extra = mask.shape[1] - history.shape[1]
        if extra:
            own = self.item_logits[-extra:].expand(len(history), -1, -1)
            logits = torch.cat([logits, own], dim=1)
        return logits

    def ask(self, routed: Routed, query: Tensor) -> tuple[Tensor, Tensor]:
        """Let items ask the capsules: the user's vector for each, and who answered."""
        return label_aware(routed.capsules, routed.used, query, self.power, self.hard)

    def score(self, routed: Routed, query: Tensor) -> Tensor:
        """What items get that ask the capsules of histories, the histories in turn again and again.

        Args:
            routed: Of some histories.
            query: Shape: ``(times * histories, d)``.

        Returns:
            Shape: ``(times * histories,)``.
        """
        n = len(routed.capsules)
        by_history = query.view(-1, n, self.size).transpose(0, 1)
        y = label_aware_score(routed.capsules, routed.used, by_history, self.power, self.hard)
        return y.T.flatten()


class InterestAware(_Backbone):
    """Mixed in front of a backbone's class: fuses its item table, adds the auxiliary loss."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)  # the backbone as it is, with its own initialisation
        self.other_parameter_name: list[str] = []  # DIN's holds its tables: loading would part them
        self._iacn_fields = {
            "user": config["USER_ID_FIELD"],
            "item": config["ITEM_ID_FIELD"],
            "history": config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"],
            "negative": config["NEG_PREFIX"] + config["ITEM_ID_FIELD"],
            "label": None if config["loss_type"] == "CE" else config["LABEL_FIELD"],
        }
        self.iacn_delta, self.iacn_lambda = config["iacn_delta"], config["iacn_lambda"]
        self.iacn_loss = config["iacn_loss"]
        negatives = config["train_neg_sample_args"]
        drawn = negatives["distribution"] != "none" and negatives["sample_num"] != "none"
        self._iacn_times = 1 + negatives["sample_num"] if drawn else 1
        n_items = dataset.num(config["ITEM_ID_FIELD"])
        table, first_row = find_item_table(self, config["ITEM_ID_FIELD"])
        share, scale = config["iacn_aux_share"], config["iacn_aux_init_scale"]
        size = min(max(1, round(share * table.embedding_dim)), table.embedding_dim - 1)
        if size < 1:
            raise OptionError(
                "backbone",
                type(self).__name__,
                "IaCN divides item vectors of at least 2 numbers, and these have "
                f"{table.embedding_dim}",
            )
        self.iacn_table = [fuse(table, size, first_row, n_items, float(self.iacn_delta))]
        self._share_history(config)
        # IaCN's own numbers: the backbone's random states stay those of a plain run.
        generator = torch.Generator().manual_seed(config["seed"])
        if scale > 0:
            self.iacn_table[0].draw_interests(scale * size**-0.5, generator)
        with seeded(config["seed"]):
            profile = user_profile(config, dataset, size)
            self.iacn = InterestNetwork(config, n_items, size, profile)
        self.to(config["device"])

    def _share_history(self, config: Any) -> None:
        """Let a pooled history read the candidates' rows."""
        pooled = getattr(self, "token_seq_field_names", [])
        if config["iacn_pooled_history"] and self._iacn_fields["history"] in pooled:
            place = pooled.index(self._iacn_fields["history"])
            self.token_seq_embedding_table[place] = SharedRows(self.iacn_table[0])

    def calculate_loss(self, interaction: Any) -> Any:
        """The backbone's losses, then lambda times the auxiliary one (Eq. 14)."""
        losses = super().calculate_loss(interaction)
        if self.iacn_lambda == 0:
            return losses
        losses = losses if isinstance(losses, tuple) else (losses,)
        return (*losses, self.iacn_lambda * self.interest_loss(interaction))

    def interests(self, interaction: Any) -> Routed:
        """Capsules of the batch's histories."""
        history, users = self._histories(interaction)
        routed = self.iacn(self.iacn_table[0].interests(history), history, users)
        return _again(routed, len(interaction[self._iacn_fields["item"]]) // len(history))

    def _histories(self, interaction: Any) -> tuple[Tensor, Tensor]:
        """Histories and their users; negatives after all positives have those of the positives."""
        history = interaction[self._iacn_fields["history"]]
        users = interaction[self._iacn_fields["user"]]
        times, n = self._iacn_times, len(history)
        labelled = self._iacn_fields["label"] in interaction
        if self.training and labelled and times > 1 and n % times == 0:
            return history[: n // times], users[: n // times]
        return history, users

    def interest_loss(self, interaction: Any) -> Tensor:
        """The auxiliary loss that fits what the batch holds (Eqs. 11-13)."""
        fields, table = self._iacn_fields, self.iacn_table[0]
        items, (history, users) = interaction[fields["item"]], self._histories(interaction)
        wanted = [history, items]
        pairwise = fields["negative"] in interaction and self.iacn_loss != "sampled_softmax"
        if pairwise:
            wanted.append(interaction[fields["negative"]])
        a, *queries = table.interests_of(*wanted)
        routed, query = self.iacn(a, history, users), queries[0].float()
        labelled = fields["label"] is not None and fields["label"] in interaction
        if self.iacn_loss == "sampled_softmax":
            rows = interaction[fields["label"]] > 0 if labelled else None
            routed = _again(routed, len(items) // len(history))
            return self._sampled_softmax(routed, items, query, rows)
        if pairwise:
            other = queries[1].float()
            difference = self.iacn.score(routed, other) - self.iacn.score(routed, query)
            return functional.softplus(difference).mean()  # Eq. (12)
        if labelled:
            return functional.binary_cross_entropy_with_logits(
                self.iacn.score(routed, query), interaction[fields["label"]].float()
            )  # Eq. (11)
        user, _ = self.iacn.ask(routed, query)
        return functional.cross_entropy(user @ table.all_interests().float().T, items)  # Eq. (13)

    def _sampled_softmax(
        self, routed: Routed, items: Tensor, query: Tensor, rows: Tensor | None
    ) -> Tensor:
        user, _ = self.iacn.ask(routed, query)
        if rows is not None:
            user, query, items = user[rows], query[rows], items[rows]
        if self.iacn.generator is None:
            self.iacn.generator = torch.Generator().manual_seed(self.iacn.seed)
        table = self.iacn_table[0]
        drawn = torch.randint(1, table.n_items, (_NEGATIVES,), generator=self.iacn.generator).to(
            items.device
        )
        hits = items.unsqueeze(1) == drawn
        return sampled_cross_entropy(user, query, table.interests(drawn).float(), hits)


def _again(routed: Routed, times: int) -> Routed:
    """The same histories so many times, one after all others."""
    if times == 1:
        return routed
    return Routed(*(part.repeat(times, *[1] * (part.dim() - 1)) for part in routed))


class IaCNTrainer(EnhancedTrainer):
    """Measures, once an epoch, whose gradient moves the auxiliary parts."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        model.iacn.generator = self.generator
        self.norms: tuple[float, float] | None = None

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        self.norms = None
        return super()._train_epoch(train_data, epoch_idx, self._losses, show_progress)

    def _losses(self, interaction: Any) -> Any:
        losses = self.model.calculate_loss(interaction)
        if self.norms is None:
            parts = losses if isinstance(losses, tuple) else (losses,)
            auxiliary = parts[-1:] if self.model.iacn_lambda > 0 else ()
            main = parts[: len(parts) - len(auxiliary)]
            self.norms = (self._gradient_norm(main), self._gradient_norm(auxiliary))
        return losses

    def _gradient_norm(self, losses: tuple[Tensor, ...]) -> float:
        """Length of a loss's gradient in the auxiliary parts; draws no random number."""
        table = self.model.iacn_table[0]
        if not losses:
            return 0.0
        (gradient,) = torch.autograd.grad(
            torch.stack(losses).sum(), table.raw, retain_graph=True, allow_unused=True
        )
        if gradient is None:
            return 0.0
        last = table.first_row + table.n_items
        return gradient[table.first_row : last, -table.aux_size :].norm().item()

    def log_epoch(self) -> dict[str, float]:
        """Both gradients at the epoch's first batch, and auxiliary over main."""
        main, auxiliary = self.norms or (0.0, 0.0)
        ratio = auxiliary / main if main > 0 else float("inf" if auxiliary > 0 else "nan")
        return {
            "iacn_main_gradient": main,
            "iacn_aux_gradient": auxiliary,
            "iacn_gradient_ratio": ratio,
        }


def adapt(model_class: type) -> type:
    """Let context-aware backbones train on histories."""
    return over_sequences(model_class, "iacn_pooled_history")


def wrap(backbone: type) -> type:
    """Make the IaCN model of a backbone; its name stays, which RecBole looks things up by."""
    members = {"__module__": backbone.__module__, "__doc__": backbone.__doc__}
    return type(backbone.__name__, (InterestAware, backbone), members)


# Option -> what it must be, and how that is said.
class IaCNOptions(Options):
    """Options of IaCN; defaults are in its YAML."""

    backbone: Name = Field(
        description="RecBole model, sequential or context-aware, whose item table is shared "
        "with the capsules."
    )
    iacn_delta: Share = Field(
        description="Share of the backbone's gradient in the interest part of an item's vector; "
        "the auxiliary task gets the rest. 1 is the plain backbone."
    )
    iacn_lambda: NotNegative = Field(description="Weight of the auxiliary loss; 0 switches it off.")
    iacn_aux_share: InnerShare = Field(
        description="Share of the item vector's numbers that is its interest part."
    )
    iacn_aux_init_scale: NotNegative = Field(
        description="The interest part is initialised with standard deviation scale / sqrt(its "
        "size); 0 keeps the backbone's own initialisation. Large values harm the "
        "backbone (docs/papers/iacn.md)."
    )
    iacn_interest: Literal["capsules", "attention"] = Field(
        description="How a history becomes interests: 'capsules' (dynamic routing) or 'attention' "
        "(the same number of learned queries; an ablation)."
    )
    iacn_capsules: Few = Field(description="Largest number of interests per user, K.")
    iacn_iterations: Few = Field(description="Routing iterations, r.")
    iacn_adaptive_k: bool = Field(
        description="Whether a history of n items has at most log2(n) interests."
    )
    iacn_stop_gradient: bool = Field(
        description="Whether only the last routing iteration has a gradient, as in MIND and "
        "ComiRec."
    )
    iacn_routing: Literal["item", "normal", "zeros"] = Field(
        description="Initial logits of the routing: 'item' (normal numbers, one row for each "
        "item), 'normal' (drawn anew in each step, as in MIND) or 'zeros' (as in "
        "ComiRec; needs iacn_map=per_capsule)."
    )
    iacn_map: Literal["shared", "per_capsule"] = Field(
        description="Matrices that map items to capsules: 'shared' (one matrix, as in MIND) or "
        "'per_capsule' (one for each)."
    )
    iacn_attention_power: NotNegative = Field(
        description="Power of the scaled products in label-aware attention; 0 takes the mean of "
        "the capsules."
    )
    iacn_hard_attention: bool = Field(description="Whether attention uses only the best capsule.")
    iacn_profile: Literal["route", "concat", "none"] = Field(
        description="How columns of users are used: 'route' (routed together with the items), "
        "'concat' (concatenated to each capsule, as in MIND) or 'none'."
    )
    iacn_use_user_id: bool = Field(
        description="Whether the user id counts as one of these columns."
    )
    iacn_loss: Literal["auto", "sampled_softmax"] = Field(
        description="Auxiliary loss: 'auto' (BCE, BPR or cross entropy, depending on what the "
        "batch contains) or 'sampled_softmax' (as in MIND)."
    )
    iacn_pooled_history: bool = Field(
        description="Whether a context-aware backbone sees the mean of the history's item vectors."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    name = config.model_class.__name__
    own = not config.model_class.__module__.startswith("recbole.")
    fits = own and config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    if not fits and name not in BACKBONES:
        why = _WHY_NOT.get(name, "IaCN routes the history of one table of items, and was not tried")
        if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
            why = "it sees no sequence of items"
        raise OptionError("backbone", name, f"{why}; backbones that work: {', '.join(BACKBONES)}")
    routes = config["iacn_interest"] == "capsules"
    if routes and config["iacn_routing"] == "zeros" and config["iacn_map"] == "shared":
        raise OptionError(
            "iacn_routing",
            "zeros",
            "with iacn_map=shared all capsules are equal; choose item or normal, or "
            "iacn_map=per_capsule",
        )
    if not routes and config["iacn_map"] != "shared":
        raise OptionError("iacn_map", "per_capsule", "iacn_interest=attention has one map, shared")


IaCN = Enhancer(
    name="IaCN",
    paper="A Model-Agnostic Framework for Recommendation via Interest-aware Item Embeddings "
    "(arXiv 2308.09202)",
    options=IaCNOptions,
    check=check,
    trainer=IaCNTrainer,
    wrap=wrap,
    adapt=adapt,
)
