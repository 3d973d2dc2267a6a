r"""TIL: triplet importance learning.

Reference:
    Haolun Wu et al. "Adapting Triplet Importance of Implicit Feedback for Personalized
    Recommendation." in CIKM 2022.
Reference code:
    https://github.com/haolun-wu/TIL

A small network weighs the triplets (user, positive, negative) of a batch. One step ahead of the
weighted loss, the unweighted loss says which weights would have helped, and the network follows its
gradient. docs/papers/til.md lists what differs from the release, and why.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.enhancer.til.importance import Side, lookahead_objective
from recbole_enhance.enhancer.til.lookahead import (
    Displaced,
    Functional,
    gradients_of,
    length,
    probe,
    sparse_gradients,
)
from recbole_enhance.enhancer.til.outer import Triplets
from recbole_enhance.enhancer.til.weights import TripletWeights
from recbole_enhance.enhancer.triplets import check_triplets, pairwise
from recbole_enhance.model.embeddings import names_of_weights, user_and_item_tables
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import (
    Count,
    Name,
    NotNegative,
    Number0,
    Options,
    Positive,
)
from recbole_enhance.storage.random_state import RandomState, kept_random_state
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.losses import Weigh, make_weighable
from recbole_enhance.training.trainer import EnhancedTrainer


@dataclass
class _Step:
    """What a lookahead needs of the weighted loss before it.

    Attributes:
        batch: Its triplets.
        noise: Random states before it, so that all passes see the same dropout; None where the
            backbone drew nothing.
        weights: With their graph in Phi. Shape: ``(batch,)``.
        known: Gradients, if they were found with it.
    """

    batch: Any
    noise: RandomState | None
    weights: Tensor
    known: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None

    def repeat_noise(self) -> None:
        """Let the next pass draw what the weighted loss drew."""
        if self.noise is not None:
            self.noise.restore()

    def kept_noise(self) -> AbstractContextManager[None]:
        """Leave the random states as they are found."""
        return nullcontext() if self.noise is None else kept_random_state()


class TILTrainer(EnhancedTrainer):
    """Trains a backbone on weighted triplets, and the weights by a lookahead.

    The lookahead begins where the backbone's gradient is known, before its optimiser steps: what
    it needs of the weighted loss is there already. Weights are those that gave the gradient.
    """

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.released, self.outer = config["til_released"], config["til_outer"]
        self.alpha, self.hypergradient = config["til_alpha"], config["til_hypergradient"]
        self.warmup_epochs = config["til_warmup_epochs"]
        users, items = user_and_item_tables(model, "TIL")
        self.weights = TripletWeights(config, users[0], items[0], self.generator)
        self.tables = [*users, *items]
        self.names = names_of_weights(model, self.tables)
        if config["til_lookahead"] == "all":
            self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        parameters = dict(model.named_parameters())
        self.looked = [parameters[name] for name in self.names]
        self.displaced = Displaced(self.looked, model.buffers())
        self.criterion = make_weighable(model)
        self.weight_optimizer = self._build_optimizer(
            params=list(self.weights.net.parameters()),
            learner="adam",
            learning_rate=config["til_learning_rate"],
            weight_decay=0.0,
        )
        # Not above: RecBole would warn that the backbone's reg_weight decays the same parameters.
        self.weight_optimizer.param_groups[0]["weight_decay"] = config["til_weight_decay"]
        self.optimizer.register_step_pre_hook(self._before_step)
        self._functional = Functional(model, self._outer_loss)
        self._step: _Step | None = None
        self._range: tuple[Tensor, Tensor] | None = None  # of the epoch's weights

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; validation data are read for ``til_outer: valid`` only."""
        train, prefix = train_data._dataset, self.config["NEG_PREFIX"]
        self.weights.read_histories(train)
        if self.outer == "fresh":
            self.triplets = Triplets(train, [train], prefix)
        elif self.outer == "valid":
            if not valid_data or not len(valid_data._dataset):
                needs = "needs validation interactions, eval_args.split leaves none"
                raise OptionError("til_outer", "valid", needs)
            valid = valid_data._dataset
            self.triplets = Triplets(valid, [train, valid], prefix)
        return super().fit(train_data, valid_data, *args, **kwargs)

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        self._range = None
        if epoch_idx >= self.warmup_epochs:
            self.weights.find_centres(epoch_idx - self.warmup_epochs)
            self._loss_of = loss_func or self.model.calculate_loss
            loss_func = self._weighted_loss
        return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)

    # ---- one batch -------------------------------------------------------------------------

    def _weighted_loss(self, batch: Any) -> Any:
        """The backbone's loss with each triplet weighted; its gradient starts the lookahead."""
        noise = RandomState.now()
        found: list[Tensor] = []

        def weigh(losses: Tensor) -> Tensor:
            if losses.shape != batch[self.config["USER_ID_FIELD"]].shape or found:
                raise OptionError(
                    "backbone", self.config["model"], "TIL needs one loss of each triplet, once"
                )
            found.append(self.weights(batch, self.released))
            keep = self.released or self.hypergradient == "double"
            return found[0] if keep else found[0].detach()

        losses = self._loss_under(weigh, batch)
        self._step = _Step(batch, None if noise.is_now() else noise, found[0])
        if self.hypergradient == "double":
            self._step.known = self._differentiate_twice(losses, self._step)
        return losses

    def _loss_under(self, weigh: Weigh, batch: Any) -> Any:
        """The backbone's loss; ``weigh`` sees the losses of the triplets."""
        self.criterion.weigh = weigh
        try:
            return self._loss_of(batch)
        finally:
            self.criterion.weigh = None

    def _before_step(self, *_: Any) -> None:
        """Move the weights' network, then let the backbone's optimiser step."""
        if self._step is None:
            return
        gradients, extra = self._step.known or self._central_differences(self._step)
        for parameter, gradient in zip(self.weights.net.parameters(), gradients):
            parameter.grad = gradient
        self.weight_optimizer.step()
        self.weight_optimizer.zero_grad()
        if self.released:  # the release's outer backward pass also adds to the tables' gradient
            for parameter, gradient in zip(self.looked, extra):
                before = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = before + gradient
        self._log_step(self._step.weights.detach(), gradients)
        self._step = None

    def _outer_batch(self, step: _Step) -> Any:
        if self.outer == "same":
            return step.batch
        return self.triplets.draw(len(step.batch), self.generator).to(self.device)

    def _outer_loss(self, batch: Any) -> Tensor:
        """Mean unweighted loss, without the backbone's other terms."""
        kept: list[Tensor] = []
        hook = self.criterion.register_forward_hook(lambda *call: kept.append(call[-1]))
        try:
            self._loss_of(batch)
        finally:
            hook.remove()
        return kept[0]

    @torch.no_grad()
    def _side(self, step: _Step) -> Side:
        """Losses of the batch where the parameters stand, and its weights."""
        kept: list[Tensor] = []
        step.repeat_noise()
        self._loss_under(kept.append, step.batch)
        return Side(kept[0], self.weights(step.batch, False) if self.released else step.weights)

    def _central_differences(self, step: _Step) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Gradient of the outer loss in Phi, and in what the lookahead moves.

        Of the latter, the part that flows through the lookahead's own gradient is left out: it has
        a factor alpha.
        """
        with self.displaced as displaced, step.kept_noise():
            gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.looked]
            displaced.by(-self.alpha, gradient)  # Theta' = Theta - alpha grad L_in
            outer = self._outer_batch(step)
            step.repeat_noise()
            # Where most rows are looked up, sorting them costs more than zeros.
            large = [table for table in self.tables if table.num_embeddings > len(outer)]
            with sparse_gradients(large):
                v = gradients_of(self._outer_loss(outer), self.looked)
            v = [part.coalesce() if part.is_sparse else part for part in v]
            eps = probe(v)
            displaced.by(eps, v)
            plus = self._side(step)
            displaced.by(-eps, v)
            minus = self._side(step)
        objective = lookahead_objective(plus, minus, self.alpha, eps)
        return torch.autograd.grad(objective, list(self.weights.net.parameters())), v

    def _differentiate_twice(
        self, losses: Any, step: _Step
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """As :meth:`_central_differences`, by a backward pass through the lookahead's gradient."""
        loss: Any = sum(losses) if isinstance(losses, tuple) else losses
        gradient = gradients_of(loss, self.looked, create_graph=True)
        ahead = {
            f"model.{name}": p - self.alpha * g
            for name, p, g in zip(self.names, self.looked, gradient)
        }
        ahead |= {f"model.{name}": b.clone() for name, b in self.model.named_buffers()}
        outer = self._outer_batch(step)
        with step.kept_noise():
            step.repeat_noise()
            value = torch.func.functional_call(self._functional, ahead, (outer,))
        phi = list(self.weights.net.parameters())
        found = gradients_of(value, [*phi, *self.looked], retain_graph=True)
        return found[: len(phi)], found[len(phi) :]

    # ---- reports and files -----------------------------------------------------------------

    def _log_step(self, weights: Tensor, gradients: Sequence[Tensor]) -> None:
        self.log("til_weight_mean", weights.mean())
        self.log("til_gradient", torch.tensor(length(gradients)))
        least, most = weights.aminmax()
        if self._range is not None:
            least = torch.minimum(least, self._range[0])
            most = torch.maximum(most, self._range[1])
        self._range = least, most

    def log_epoch(self) -> dict[str, float]:
        """Least and largest weight."""
        if self._range is None:
            return {}
        least, most = self._range
        return {"til_weight_min": least.item(), "til_weight_max": most.item()}

    def method_state(self) -> dict[str, Any]:
        """Network and clusters; its optimiser and the generator are the base class's."""
        return self.weights.state()

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""
        self.weights.load_state(state)


# Option -> what it must be, and how that is said.
class TILOptions(Options):
    """Options of TIL; defaults are in its YAML."""

    backbone: Name = Field(description="RecBole model whose training triplets are weighted.")
    til_mode: Literal["ui", "mi"] = Field(
        description="What a triplet is compared with: 'ui' (the mean of the user's items, unified "
        "interest) or 'mi' (the clusters of its items, multi-interest)."
    )
    til_outer: Literal["same", "fresh", "valid"] = Field(
        description="Data of the outer loss: 'same' (the batch itself, as in the authors' code), "
        "'fresh' (new triplets of the training part) or 'valid' (held-out validation "
        "labels; report such results separately)."
    )
    til_lookahead: Literal["emb", "all"] = Field(
        description="Parameters that move in the lookahead: 'emb' (tables of users and items, as "
        "in the authors' code) or 'all'."
    )
    til_hypergradient: Literal["central", "double"] = Field(
        description="How the lookahead is differentiated: 'central' (differences of two forward "
        "passes; any backbone) or 'double' (a second backward pass)."
    )
    til_released: bool = Field(
        description="Train like the authors' code, which adds the outer gradient to that of the "
        "backbone and lets gradients flow through the states."
    )
    til_weights: Literal["raw", "clip", "norm"] = Field(
        description="How the network's outputs become weights: 'raw', 'clip' (into [0, 5]) or "
        "'norm' (to mean 1)."
    )
    til_alpha: NotNegative = Field(
        description="Learning rate of the lookahead, for a mean loss: 0.001, the value of the "
        "authors' code for a summed loss, times the batch size."
    )
    til_clusters: Count = Field(description="Number of clusters of items under 'mi'.")
    til_refit_epochs: Count = Field(description="Epochs between two clusterings.")
    til_warmup_epochs: Number0 = Field(
        description="Number of epochs of plain training before triplets are weighted."
    )
    til_learning_rate: Positive = Field(description="Learning rate of the network of the weights.")
    til_weight_decay: NotNegative = Field(
        description="L2 decay of the network of the weights, for a mean loss: 0.1, the value of "
        "the authors' code for a summed loss (in matrix factorisation; 0 in graph "
        "models), divided by the batch size."
    )


def check(config: Any) -> None:
    """Refuse options and backbones that cannot work, before any data are read."""
    check_triplets(config)
    if config["enable_scaler"]:
        raise OptionError(
            "enable_scaler", True, "must be False, as TIL steps along the gradient itself"
        )


TIL = Enhancer(
    name="TIL",
    paper="Adapting Triplet Importance of Implicit Feedback for Personalized Recommendation "
    "(arXiv 2208.01709)",
    options=TILOptions,
    begins="til_warmup_epochs",
    check=check,
    trainer=TILTrainer,
    adapt=pairwise,
)
