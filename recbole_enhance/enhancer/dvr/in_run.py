"""DVR in closed form: a sample's value is the change of a metric by its part of a step."""

from typing import Any

import torch
from recbole.utils import InputType
from torch import Tensor

from recbole_enhance.data.loaders import CandidateLoader, FullRankingLoader
from recbole_enhance.data.rows import ROW_ID, number_rows, random_part
from recbole_enhance.enhancer.dvr.record import ValueSums
from recbole_enhance.enhancer.dvr.utility import (
    Gradient,
    ListUtility,
    LossUtility,
    Utility,
    parts_of,
)
from recbole_enhance.metric import ranking
from recbole_enhance.options.errors import OptionError
from recbole_enhance.shapley.in_run import odd_weights, step_sizes, values_from_slopes
from recbole_enhance.storage.random_state import kept_random_state
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.forward_mode import DirectionalLoss
from recbole_enhance.training.losses import make_weighable
from recbole_enhance.training.perturbation import random_signs
from recbole_enhance.training.trainer import EnhancedTrainer

JUDGES = 0.5  # of the validation interactions
_PLAIN_EPOCHS = 2  # without weights: nearly random embeddings do not tell the value of a sample

# Where the option is not given, by (whether the gradient is added, whether accuracy is rewarded).
_STRENGTHS = {(False, True): 0.2, (False, False): 0.05, (True, True): 0.04, (True, False): 0.02}


class InRunTrainer(EnhancedTrainer):
    r"""Trains a backbone on samples that are weighed by their in-run Shapley values.

    Attributes:
        loss: The backbone's loss with each sample's slope.
        utility: What is maximised, a metric or a loss on some interactions. These are called its
            judges; they are validation interactions, or training interactions.
        gradient: Of the utility, by the parameter's name, as the last judges saw it.
        direction: The step that raises the utility most, :math:`\eta H \nabla U`, by the
            parameter's name; empty until the optimiser has made a step.
        record: The values of the run.
    """

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.adds_gradient = config["dvr_weighting"] == "direct"
        self.strength = self._strength()
        self.refresh_steps = config["dvr_refresh_steps"]
        self.loss = DirectionalLoss(model, make_weighable(model))
        self.utility: Utility | None = None
        self.gradient: Gradient = {}
        self.direction: Gradient = {}
        self._signs: Gradient = {}
        self.record = ValueSums(0)

    def _strength(self) -> float:
        """The option's value, or a default, which is larger for rewards of accuracy."""
        given = self.config["dvr_strength"]
        if given is not None:
            return float(given)
        names = {"loss"}
        if self.config["dvr_utility"] == "validation":
            names = {part.name for part in parts_of(self.config["dvr_reward"])}
        accuracy = names <= {"loss", *ranking.ACCURACY}
        return _STRENGTHS[self.adds_gradient, accuracy]

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; one part of the validation data are the judges, the other selects the epoch."""
        n, training = number_rows(train_data), train_data._dataset
        self.record = ValueSums(n)
        self.item_tensor = training.get_item_feature().to(self.device)
        self.tot_item_num = training.item_num
        self.validation = {"judges": 0, "selects": len(valid_data._dataset) if valid_data else 0}
        if self.config["dvr_utility"] == "leave_one_out":
            self.utility = LossUtility(self.config, self.loss.criterion, training, [training])
        else:
            judges, valid_data = self._part(training, valid_data)
            # Judges that are trained on must not be masked in their own lists.
            known = training.moved.training if hasattr(training, "moved") else training
            self.utility = self._utility_of_validation(known, judges)
        hook = self.optimizer.register_step_pre_hook(lambda *_: self._add_gradient())
        try:
            return super().fit(train_data, valid_data, *args, **kwargs)
        finally:
            hook.remove()

    def _part(self, training: Any, valid_data: Any) -> tuple[Any, Any]:
        """The judges, and a loader of the interactions that select.

        Judges that are trained on (``train_on_validation``) are apart already. With strength 0 the
        values move nothing, and all interactions select, unless ``dvr_judges`` is given.
        """
        if hasattr(training, "moved"):
            judging = training.moved.added
            self.validation["judges"] = len(judging)
            return judging, valid_data
        if not valid_data or len(valid_data._dataset) < 2:
            raise OptionError(
                "dvr_utility",
                self.config["dvr_utility"],
                f"needs two validation interactions, eval_args.split="
                f"{self.config['eval_args']['split']} leaves less; leave_one_out needs none",
            )
        held_out = valid_data._dataset
        rows, share = held_out.inter_feat, self.config["dvr_judges"]
        judges = random_part(len(rows), JUDGES if share is None else share, self.config["seed"])
        if not judges.any():
            why = f"is less than one of {len(rows)} validation interactions"
            raise OptionError("dvr_judges", share, why)
        judging = held_out.copy(rows[judges])
        self.validation["judges"] = len(judging)
        if self.strength == 0 and share is None:
            return judging, valid_data
        selecting = held_out.copy(rows[~judges])
        self.validation["selects"] = len(selecting)
        if isinstance(valid_data, FullRankingLoader):
            loader = FullRankingLoader(self.config, selecting, [training, judging])
        elif isinstance(valid_data, CandidateLoader):
            loader = CandidateLoader(self.config, selecting, [training, judging], "valid")
        else:
            sampler = valid_data._sampler
            loader = type(valid_data)(self.config, selecting, sampler, shuffle=False)
        return judging, loader

    def _utility_of_validation(self, training: Any, judges: Any) -> Utility:
        parts = parts_of(self.config["dvr_reward"])
        if parts[0].name != "loss":
            return ListUtility(parts, self.config, training, judges, self._full_sort_batch_eval)
        return LossUtility(self.config, self.loss.criterion, judges, [training, judges])

    # ---- one epoch, one batch --------------------------------------------------------------

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        self._steps = 0
        self._weighs = self.strength > 0 and epoch_idx >= _PLAIN_EPOCHS
        return super()._train_epoch(train_data, epoch_idx, self._valued_loss, show_progress)

    def _valued_loss(self, batch: Any) -> Any:
        """The backbone's loss, each sample weighed by its value."""
        if self._steps % self.refresh_steps == 0:
            self._refresh()
        self._steps += 1
        if not self.direction:
            return self.model.calculate_loss(batch)
        own = self._own_part(batch)
        return self.loss.along(
            self.direction, batch, lambda losses, slopes: self._weigh(batch, losses, slopes + own)
        )

    def _own_part(self, batch: Any) -> Tensor | float:
        r"""The part of each sample's slope that is its own as a judge, for ``leave_one_out``.

        :math:`\langle g_m, \eta H g'_m \rangle` with the gradient :math:`g'_m` that the sample's
        interaction gave to the utility; estimated by the product of both slopes along
        :math:`\sqrt{\eta H} z` with random signs z, of which it is the mean.
        """
        if not self._signs:
            return 0.0
        assert isinstance(self.utility, LossUtility)
        judge, share = self.utility.own_batch(batch[ROW_ID].cpu())
        with kept_random_state():
            slopes = self.loss.slopes(self._signs, batch)
            own = self.loss.slopes(self._signs, judge).view(-1, len(slopes)).sum(0)
        return share.to(own) * slopes * own

    def _refresh(self) -> None:
        """Draw judges, and find the direction that raises the utility."""
        sizes = step_sizes(self.optimizer)
        if not sizes:  # Adam has no scale before its first step
            return
        assert self.utility is not None  # fit has made it
        self.model.eval()
        with kept_random_state():
            self.gradient, utility = self.utility.gradient(self.model, self.generator)
        self.model.train()
        named = dict(self.model.named_parameters())
        self.direction = {
            name: sizes[named[name]] * gradient
            for name, gradient in self.gradient.items()
            if named[name] in sizes
        }
        if self.config["dvr_utility"] == "leave_one_out":
            self._refresh_signs()
        self.log("dvr_utility", utility)

    def _refresh_signs(self) -> None:
        sizes, named = step_sizes(self.optimizer), dict(self.model.named_parameters())
        self._signs = {
            name: sizes[named[name]] ** 0.5 * random_signs(v.shape, 1.0, self.generator).to(v)
            for name, v in self.direction.items()
        }

    def _weigh(self, batch: Any, losses: Tensor, slopes: Tensor) -> Tensor | None:
        """Value the batch, and give the losses their weights."""
        if losses.shape != batch[self.config["USER_ID_FIELD"]].shape:
            raise OptionError(
                "backbone",
                self.config["model"],
                f"one loss per sample is needed; it has {tuple(losses.shape)} for {len(batch)}",
            )
        values = values_from_slopes(slopes)
        rows = batch[ROW_ID].cpu()
        self.log("dvr_gain", values.sum())
        if self.config["MODEL_INPUT_TYPE"] != InputType.PAIRWISE:
            # A negative shares the row of its positive.
            positive = batch[self.config["LABEL_FIELD"]].cpu() > 0.5
            self.record.add(rows[positive], values.cpu()[positive], losses.cpu()[positive])
        else:
            self.record.add(rows, values.cpu(), losses.cpu())
        if not self._weighs or self.adds_gradient:
            return None
        weights = odd_weights(values, self.strength)
        self.log("dvr_weight_std", weights.std(correction=0))
        return weights

    def _add_gradient(self) -> None:
        """Add the utility's gradient to the loss's, at ``dvr_strength`` times its norm."""
        if not (self.adds_gradient and self._weighs and self.gradient):
            return
        named = dict(self.model.named_parameters())
        own = [p.grad for p in named.values() if p.grad is not None]
        length = torch.nn.utils.get_total_norm(list(self.gradient.values()))
        if length == 0:
            return
        scale = -self.strength * torch.nn.utils.get_total_norm(own) / length  # uphill
        for name, gradient in self.gradient.items():
            if named[name].grad is not None:
                named[name].grad.add_(scale * gradient)

    # ---- files -----------------------------------------------------------------------------

    def method_state(self) -> dict[str, Any]:
        """The values; the direction is found anew in each epoch."""
        return self.record.state()

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""
        self.record.load_state(state)

    def report(self) -> dict[str, Any]:
        """How the validation data were split."""
        return {"dvr_validation": self.validation}

    def write_results(self, folder: RunFolder) -> None:
        """Write ``values.csv.gz``."""
        self.record.write(folder, self._train_data._dataset, self.config["dvr_amortise"])
