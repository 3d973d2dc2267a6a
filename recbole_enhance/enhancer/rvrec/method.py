r"""RVRec: probabilistic embeddings and Shapley-weighted histories over a product of embeddings.

Reference:
    Yunqi Mi et al. "A Plug-and-play Model-agnostic Embedding Enhancement Approach for Explainable
    Recommendation." in IEEE Transactions on Multimedia 2025 (arXiv 2509.03130).

PEO turns the backbone's embeddings into Gaussians, whose means are what scores. MSVR adds to a
score what the user's history says of the item, by weights that the item asks for (``item_query``),
or that Shapley values of coalitions give for the user's own vector (``prototypes``).
docs/papers/rvrec.md numbers the equations, and says which of them the paper has and which are
reconstruction.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor
from torch.nn.functional import embedding

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.rvrec.embedding_tables import (
    ADAPTERS,
    find_adapter,
    is_native,
    takes_item_query,
)
from recbole_enhance.enhancer.rvrec.histories import (
    Chains,
    Histories,
    gaps,
    recency,
    unique_ids,
    younger,
)
from recbole_enhance.enhancer.rvrec.item_query import (
    history_scores,
    scores_of_all,
    scores_of_candidates,
    scores_of_pairs,
)
from recbole_enhance.enhancer.rvrec.network import Enhanced, RVRecNetwork
from recbole_enhance.enhancer.rvrec.options import RVRecOptions
from recbole_enhance.enhancer.rvrec.ranking import FirstStage, candidates, put_first
from recbole_enhance.enhancer.rvrec.trainer import RVRecTrainer
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.random_state import seeded

if TYPE_CHECKING:  # what ProbabilisticShapley is mixed in front of
    from recbole.model.abstract_recommender import GeneralRecommender as _Backbone
else:
    _Backbone = object

logger = logging.getLogger("recbole_enhance")
FILE_ORDER = "file_order"
_CHUNK = 1024  # users whose rows are made at once for inference
_STAGED = 128  # the same of two stages, which go over the scores several times: they fit a cache


class ProbabilisticShapley(_Backbone):
    """Mixed in front of a backbone's class: enhances its tables, adds the two losses."""

    _scoring: tuple[Tensor, Tensor] | None
    _first_stage: FirstStage | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)  # the backbone as it is, with its own initialisation
        self.adapter = find_adapter(config.model_class)
        self._forget()
        with seeded(config["seed"]), torch.no_grad():
            size = self.adapter.base(self)[0].shape[1]  # NGCF's is no option
            if dataset.time_field not in dataset.inter_feat:
                logger.warning(
                    "%s: no column %s is loaded; histories are in the order of the file",
                    dataset.dataset_name,
                    dataset.time_field,
                )
            self.rvrec = RVRecNetwork(config, size, Histories.of_parts([dataset], FILE_ORDER))
        self.rvrec_on = config["rvrec_peo"] or config["rvrec_msvr"]
        self.candidates = config["rvrec_candidates"]
        self.propagated = config["rvrec_propagated"]
        self.to(config["device"])

    # ---- training --------------------------------------------------------------------------

    def backbone_loss(self, interaction: Any) -> Any:
        """The backbone's own loss."""
        return super().calculate_loss(interaction)

    def calculate_loss(self, interaction: Any) -> Any:
        """The backbone's losses of the enhanced tables, then the contrastive and the gates'."""
        self._forget()
        if not self.rvrec_on:
            return self.backbone_loss(interaction)
        if self.rvrec.item_query:
            return self._item_query_loss(interaction)
        U0, I0, *rest = self.adapter.base(self)
        users, positive = interaction[self.USER_ID], interaction[self.ITEM_ID]
        has_negative = self.NEG_ITEM_ID in interaction
        negative = (interaction[self.NEG_ITEM_ID],) if has_negative else ()
        rows, user_at = unique_ids(self.n_users, users)
        user = user_at.index_select(0, users)
        chains = self.rvrec.histories.last(rows, self.rvrec.longest)
        chains = without_pairs(chains, user, positive, self.n_items)
        place = None
        if self.adapter.compact:
            ids, place = unique_ids(self.n_items, positive, *negative, chains.item)
            I0 = embedding(ids, I0)
        x = self.rvrec.means(self.rvrec.items, I0)
        e = embedding(rows, U0)
        enhanced = self.rvrec.enhance(e, x, chains, place, learns=True)
        at = [positive, *negative]
        if place is not None:
            at = [place.index_select(0, item) for item in at]
        local = (user, *at)
        losses = self._recommendation(interaction, U0, x, rows, enhanced, local, tuple(rest))
        if self.rvrec.users is not None and self.rvrec.contrast_weight > 0:
            contrast = self.rvrec.contrast(e, I0, local, positive, user_at, rows)
            losses += (self.rvrec.contrast_weight * contrast,)
        if enhanced.weighted is not None and enhanced.weighted.loss is not None:
            losses += (enhanced.weighted.loss,)
        return losses if len(losses) > 1 else losses[0]

    def _item_query_loss(self, interaction: Any) -> Any:
        """The same where histories are asked by the items that are scored."""
        network = self.rvrec
        U0, I0, *rest = self.adapter.base(self)
        enhanced = network.means(network.users, U0), network.means(network.items, I0)
        scoring = self.adapter.head(self, *enhanced)
        users, positive = interaction[self.USER_ID], interaction[self.ITEM_ID]
        history, there = network.histories.last_without(users, network.longest, positive)
        alpha, beta = network.scalars
        prior = recency(gaps(there), network.decay) if network.decay else None
        rows = self.history_items(scoring[1])

        def added(items: Tensor) -> Tensor:
            return alpha * history_scores(history, there, items, rows, beta, prior)

        losses = self.adapter.loss(self, scoring, interaction, enhanced, tuple(rest), added)
        losses = losses if isinstance(losses, tuple) else (losses,)
        if network.users is not None and network.contrast_weight > 0:
            chosen, user_at = unique_ids(self.n_users, users)
            names = (self.ITEM_ID, self.NEG_ITEM_ID)
            local = (user_at[users], *(interaction[name] for name in names if name in interaction))
            e = embedding(chosen, U0)
            contrast = network.contrast(e, I0, local, positive, user_at, chosen)
            losses += (network.contrast_weight * contrast,)
        return losses if len(losses) > 1 else losses[0]

    def history_items(self, scored: Tensor) -> Tensor:
        """Rows of items by which they ask histories.

        Args:
            scored: The table of items that is multiplied. Shape: ``(n_items, d)``.

        Returns:
            Shape: ``(n_items, any)``.
        """
        return scored if self.propagated else self.adapter.history_items(self, scored)

    def _recommendation(
        self,
        interaction: Any,
        table: Tensor,
        x: Tensor,
        rows: Tensor,
        enhanced: Enhanced,
        local: tuple[Tensor, ...],
        rest: tuple[Any, ...],
    ) -> tuple[Any, ...]:
        """The backbone's losses, as a tuple."""
        if self.adapter.compact:
            names = (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID)
            batch, users = Interaction(dict(zip(names, local))), enhanced.out
        else:  # rows of users outside the batch stay the backbone's
            batch, users = interaction, table.index_copy(0, rows, enhanced.out)
        scoring = self.adapter.head(self, users, x)
        losses = self.adapter.loss(self, scoring, batch, (users, x), rest)
        return losses if isinstance(losses, tuple) else (losses,)

    # ---- inference -------------------------------------------------------------------------

    def histories_known(self, parts: Sequence[Any]) -> Histories | None:
        """What lists are ranked by where some parts of the data are known.

        Args:
            parts: RecBole's built datasets, the training part first.

        Returns:
            None if there are no histories (``rvrec_msvr``).
        """
        if self.rvrec.alpha is None:
            return None
        return Histories.of_parts(parts, FILE_ORDER).to(self.device)

    @contextlib.contextmanager
    def reading(self, histories: Histories | None) -> Iterator[None]:
        """Rank by other histories than those of training.

        Args:
            histories: Of the same users; None for those of training.
        """
        network = self.rvrec
        before, network.read = network.read, histories or network.histories
        self._forget_users(before)
        try:
            yield
        finally:
            used, network.read = network.read, before
            self._forget_users(used)

    def _forget_users(self, before: Histories) -> None:
        """Drop rows of users that were made of other histories."""
        if not self.rvrec.item_query and self.rvrec.read is not before:
            self._scoring = None

    def predict(self, interaction: Any) -> Tensor:
        """Scores of pairs. Shape: ``(batch,)``."""
        if not self.rvrec_on:
            return super().predict(interaction)
        U, I = self.scoring_tables()
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        scores = (U[users] * I[items]).sum(dim=1)
        if self.rvrec.item_query:
            scores = scores + self.added_to_pairs(users, items.unsqueeze(0))[0]
        return scores

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items. Shape: ``(batch * n_items,)``."""
        if not self.rvrec_on:
            return super().full_sort_predict(interaction)
        U, I = self.scoring_tables()
        users = interaction[self.USER_ID]
        if not self.rvrec.item_query:
            return (U[users] @ I.T).view(-1)
        scores = I.new_empty(len(users), len(I))
        at_once = _STAGED if self.candidates else _CHUNK
        for part, out in zip(users.split(at_once), scores.split(at_once)):
            self._item_query_scores(part, out)
        return scores.view(-1)

    @torch.no_grad()
    def _item_query_scores(self, users: Tensor, scores: Tensor) -> None:
        """Fill in scores of all items by the item query: exact, or of two stages.

        Args:
            users: Shape: ``(users,)``.
            scores: Shape: ``(users, n_items)``.
        """
        network, (U, I) = self.rvrec, self.scoring_tables()
        alpha, beta = network.scalars
        chains = network.read.last(users, network.longest)
        prior = recency(chains.ages, network.decay)
        asked = self.history_items(I)
        if not self.candidates:
            torch.mm(U[users], I.T, out=scores)
            scores += scores_of_all(chains, asked, beta, prior).mul_(alpha)
            return
        if self._first_stage is None:
            self._first_stage = FirstStage(I, asked, alpha, beta)
        stage = self._first_stage
        stage.scores(U[users], chains, scores, prior)
        if beta != 0:
            known = network.read.last(users, self.n_items)
            chosen, largest = candidates(scores, known, self.candidates)
            history = network.read.last_without(users, network.longest)
            rows = (None if asked is I else I), stage.rows
            prior = recency(younger(history[1]), network.decay)
            exact = scores_of_candidates(U[users], *history, chosen, *rows, alpha, beta, prior)
            put_first(scores, chosen, exact, largest)

    def added_to_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """What histories add to the scores of items, by the item query.

        Args:
            users: Shape: ``(rows,)``.
            items: Shape: ``(any, rows)``.

        Returns:
            Shape: as ``items``.
        """
        alpha, beta = self.rvrec.scalars
        history, there = self.rvrec.read.last_without(users, self.rvrec.longest)
        table = self.history_items(self.scoring_tables()[1])
        prior = recency(younger(there), self.rvrec.decay)
        return alpha.detach() * scores_of_pairs(history, there, items, table, beta, prior)

    @torch.no_grad()
    def scoring_tables(self) -> tuple[Tensor, Tensor]:
        """The two tables that are multiplied, made once after each change of the parameters."""
        if self._scoring is None:
            U0, I0, *_ = self.adapter.base(self)
            x = self.rvrec.means(self.rvrec.items, I0)
            if self.rvrec.item_query:
                rows = self.rvrec.means(self.rvrec.users, U0)
            else:
                users = torch.arange(self.n_users, device=U0.device)
                rows = torch.cat(
                    [self.enhanced_users(part, U0, x).out for part in users.split(_CHUNK)]
                )
            self._scoring = self.adapter.head(self, rows, x)
        return self._scoring

    def enhanced_users(self, users: Tensor, table: Tensor, x: Tensor) -> Enhanced:
        """Rows of users with the history that is read.

        Args:
            users: Shape: ``(users,)``.
            table: The backbone's table of users.
            x: Means of all items.
        """
        chains = self.rvrec.read.last(users, self.rvrec.longest)
        return self.rvrec.enhance(embedding(users, table), x, chains, None, learns=False)

    def _forget(self) -> None:
        """Drop what was made of the parameters, which are to change."""
        self._scoring = None
        self._first_stage = None

    def train(self, mode: bool = True) -> Any:
        """As torch's; forgets the tables."""
        self._forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's; forgets the tables."""
        self._forget()
        return super().load_state_dict(*args, **kwargs)

    def load_other_parameter(self, para: Any) -> None:
        """As RecBole's; forgets the tables."""
        self._forget()
        super().load_other_parameter(para)


def without_pairs(chains: Chains, row: Tensor, item: Tensor, n_items: int) -> Chains:
    """Take a batch's positives out of the histories that are to predict them.

    Args:
        chains: Histories.
        row: Chain of each pair. Shape: ``(pairs,)``.
        item: Shape: ``(pairs,)``.
        n_items: Number of item ids.
    """
    pairs = (row * n_items + item).sort().values
    keys = chains.row * n_items + chains.item
    at = torch.searchsorted(pairs, keys).clamp(max=len(pairs) - 1)
    return chains.without(pairs.index_select(0, at) == keys)


def wrap(backbone: type) -> type:
    """Make the RVRec model of a backbone; its name stays, which RecBole looks things up by."""
    members = {"__module__": backbone.__module__, "__doc__": backbone.__doc__}
    return type(backbone.__name__, (ProbabilisticShapley, backbone), members)


def prepare(config: Any, dataset: Any) -> None:
    """Number the rows of data without times, before a split shuffles them.

    Args:
        config: The run's settings.
        dataset: RecBole's, not built yet.
    """
    if dataset.time_field not in dataset.inter_feat:
        dataset.set_field_property(FILE_ORDER, FeatureType.FLOAT, FeatureSource.INTERACTION, 1)
        dataset.inter_feat[FILE_ORDER] = range(len(dataset.inter_feat))


def backbones() -> list[str]:
    """Names of the backbones that work."""
    return [*ADAPTERS, *(name for name in MODELS if is_native(load_model(name)))]


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    if find_adapter(config.model_class) is None:
        raise OptionError(
            "backbone",
            config.model_class.__name__,
            "its score is no product of a user's and an item's row of two tables that can be "
            f"reached; backbones that work: {', '.join(backbones())}",
        )
    if config["rvrec_query"] == "item" and config["rvrec_msvr"]:
        if config["rvrec_coalitions"] == "learned":
            raise OptionError(
                "rvrec_coalitions", "learned", "must be rule or random with rvrec_query=item"
            )
        if not takes_item_query(config.model_class):
            raise OptionError(
                "rvrec_query",
                "item",
                f"enhancer_loss of {config.model_class.__name__} takes no added scores (added=None,"
                " see docs/papers/rvrec.md); rvrec_query=user needs none",
            )
    elif config["rvrec_msvr"] and config["rvrec_coalitions"] == "rule":
        raise OptionError(
            "rvrec_coalitions", "rule", "must be learned or random with rvrec_query=user"
        )
    if config["rvrec_decay"] and not (config["rvrec_msvr"] and config["rvrec_query"] == "item"):
        raise OptionError(
            "rvrec_decay",
            config["rvrec_decay"],
            "must be 0 without histories that items ask (rvrec_query=item, rvrec_msvr=True)",
        )
    moves_means = config["rvrec_mean_head"] or config["rvrec_contrast_weight"] > 0
    if config["rvrec_peo"] and not moves_means:
        logger.warning(
            "rvrec_contrast_weight=%g: without rvrec_mean_head nothing is left of PEO",
            config["rvrec_contrast_weight"],
        )


def _notes(config: Any) -> list[str]:
    """A line where decay is given and the held-out items are not the latest."""
    if not config["rvrec_decay"] or config["eval_args"]["order"] == "TO":
        return []
    return [
        f"rvrec_decay={config['rvrec_decay']:g}: eval_args.order={config['eval_args']['order']} "
        "holds out items of any age, so the newest say no more of them than others"
    ]


RVRec = Enhancer(
    name="RVRec",
    paper="A Plug-and-play Model-agnostic Embedding Enhancement Approach for Explainable "
    "Recommendation (arXiv 2509.03130)",
    options=RVRecOptions,
    check=check,
    trainer=RVRecTrainer,
    wrap=wrap,
    prepare=prepare,
    notes=_notes,
)
