"""DVR's bilevel training: of the backbone on weighted samples, of the weights by the reward.

Equation numbers are those of docs/papers/dvr.md.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from recbole_enhance.data.rows import ROW_ID, number_rows
from recbole_enhance.enhancer.dvr.estimator import HarsanyiEstimator
from recbole_enhance.enhancer.dvr.policy import Weighting
from recbole_enhance.enhancer.dvr.record import ValueRecord
from recbole_enhance.enhancer.dvr.reinforce import Reinforce
from recbole_enhance.enhancer.dvr.reward import Reward
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.losses import make_weighable
from recbole_enhance.training.trainer import EnhancedTrainer


class HarsanyiTrainer(EnhancedTrainer):
    """Trains a backbone on weighted samples, and the network that values them by the reward.

    One random generator of its own draws selections and users, so the backbone's random numbers are
    those of a plain run.

    Attributes:
        estimator: Gives the samples of a batch their values.
        weighting: Makes weights of values.
        policy: Moves the estimator by the reward.
        reward: Measures the backbone.
        record: Keeps the values of the run.
    """

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.update_interval = config["dvr_update_interval"]
        self.reward_users = config["dvr_reward_users"]
        self.warmup_epochs = config["dvr_warmup_epochs"]
        fit_rate, policy_rate = config["dvr_learning_rate"], config["dvr_policy_learning_rate"]
        self.estimator = HarsanyiEstimator(config, model, self.generator)
        self.weighting = Weighting(config, self.generator)
        self.criterion = make_weighable(model)
        # Two optimisers: Adam's step has the size of the rate whatever the gradient's, so neither
        # objective drowns the other. The paper adds both losses (5.9).
        self.fit_optimizer = self._optimizer_of_estimator(fit_rate)
        self.policy_optimizer = self._optimizer_of_estimator(policy_rate)
        self.policy = Reinforce(
            self.estimator.parameters, self.policy_optimizer, config["dvr_baseline_momentum"]
        )
        self.has_policy = policy_rate > 0 and self.weighting.explores
        self.has_fit = fit_rate > 0
        self.reward: Reward | None = None
        self.record = ValueRecord(0)

    def _optimizer_of_estimator(self, learning_rate: float) -> torch.optim.Optimizer:
        return self._build_optimizer(
            params=self.estimator.parameters,
            learner="adam",
            learning_rate=learning_rate,
            weight_decay=0.0,
        )

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; needs validation data, which the reward is measured on."""
        steps = self.epochs * len(train_data)
        if 0 < steps <= self.update_interval:
            raise OptionError(
                "dvr_update_interval",
                self.update_interval,
                f"must be below the {steps} steps of the run, or the values are never learnt",
            )
        self.record = ValueRecord(number_rows(train_data))
        self.item_tensor = train_data._dataset.get_item_feature().to(self.device)
        self.tot_item_num = train_data._dataset.item_num
        # Validation only: the reference's reward reads a sample of the test users.
        self.reward = Reward(
            self.config["dvr_reward"],
            self.config,
            [train_data._dataset],
            valid_data and valid_data._dataset,
            self._full_sort_batch_eval,
        )
        return super().fit(train_data, valid_data, *args, **kwargs)

    # ---- one epoch, one batch --------------------------------------------------------------

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        self.warming_up = epoch_idx < self.warmup_epochs
        self.policy.begin_epoch()
        return super()._train_epoch(train_data, epoch_idx, self._weighted_loss, show_progress)

    def log_epoch(self) -> dict[str, float]:
        """Spread of the epoch's rewards, and the policy's SNR."""
        return self.policy.statistics()

    def _weighted_loss(self, interaction: Any) -> Any:
        """The backbone's loss with each sample weighted by its value."""
        if self.policy.steps == self.update_interval:
            assert self.reward is not None  # fit has made it
            reward = self.reward(self.model, self.reward_users, self.generator)
            self.log("dvr_reward", reward)
            self.policy.move(reward)
        self.criterion.weigh = lambda losses: self._weigh(interaction, losses)
        try:
            return self.model.calculate_loss(interaction)
        finally:
            self.criterion.weigh = None  # the reward's own loss is not weighted

    def _weigh(self, batch: Any, losses: Tensor) -> Tensor | None:
        """Value the batch, learn from it, and give the losses their weights."""
        if losses.shape != batch[self.config["USER_ID_FIELD"]].shape:
            raise OptionError(
                "backbone",
                self.config["model"],
                f"one loss per sample is needed; it has {tuple(losses.shape)} for {len(batch)}",
            )
        with torch.enable_grad():
            out = self.estimator(batch, losses)
            action = self.weighting(out.values)
        # In warm-up the weights are 1, so no action has earned the reward.
        if self.has_policy and not self.warming_up:
            assert action.log_pi is not None  # the weighting explores
            # Now, with the parameters that drew the action: the fit below changes them.
            self.policy.add(action.log_pi, retain_graph=self.has_fit)
        if self.has_fit:
            self.log("dvr_fit_error", self.estimator.fit(out, losses, self.fit_optimizer))
        self._record(batch, out.values.detach(), action.w, losses)
        return None if self.warming_up else action.weights

    def _record(self, batch: Any, values: Tensor, w: Tensor, losses: Tensor) -> None:
        """Keep each interaction's value in units of the mean loss, and the batch's statistics."""
        self.log("dvr_cosine", float(cosine_similarity(values, -losses, dim=0)))  # Figure 2
        self.log("dvr_weight_std", float(w.std(correction=0)))
        rows = batch[ROW_ID].cpu()
        values, w = (values * len(values) * self.estimator.scale()).cpu(), w.cpu()
        if not self.estimator.features.pairwise:  # a negative shares the row of its positive
            positive = batch[self.config["LABEL_FIELD"]].cpu() > 0.5
            rows, values, w = rows[positive], values[positive], w[positive]
        self.record.add(rows, values, w)

    # ---- files -----------------------------------------------------------------------------

    def method_state(self) -> dict[str, Any]:
        """Estimator, policy and values; optimisers and generator are the base class's."""
        return {**self.estimator.state(), **self.policy.state(), **self.record.state()}

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""
        for part in (self.estimator, self.policy, self.record):
            part.load_state(state)

    def write_results(self, folder: RunFolder) -> None:
        """Write ``values.csv.gz``."""
        self.record.write(folder, self._train_data._dataset)
