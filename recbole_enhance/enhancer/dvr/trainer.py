"""DVR's bilevel training: the backbone on valued samples, the valuator on the reward.

Equation numbers are those of docs/papers/dvr.md.
"""

from typing import Any

import torch
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from recbole_enhance.data.rows import ROW_ID, number_rows
from recbole_enhance.enhancer.dvr.policy import Action, select, soften, standardize
from recbole_enhance.enhancer.dvr.reward import Reward
from recbole_enhance.options.errors import OptionError
from recbole_enhance.shapley.harsanyi import ContentHarsanyiNet, HarsanyiOutput, SlotHarsanyiNet
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.losses import make_weighable
from recbole_enhance.training.trainer import EnhancedTrainer

# A value's running mean forgets: the network that gave the early ones is long gone.
_SLOWEST_FORGETTING = 0.1
_HIDDEN = 64  # width of the sample encoder


class SampleEncoder(nn.Module):
    """From what the backbone knows of a sample to the player's vector (Eq. 5.4).

    Args:
        n_inputs: Length of :math:`e_m`.
        n_hidden: Width of the hidden layer.
        n_outputs: k, numbers per player; 1 in the paper's text.
    """

    def __init__(self, n_inputs: int, n_hidden: int, n_outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_inputs, n_hidden)  # W_1, b_1
        self.output = nn.Linear(n_hidden, n_outputs)  # W_2, b_2

    def forward(self, e: Tensor) -> Tensor:
        """Encode samples ``(batch, n_inputs)`` to ``(batch, n_outputs)``, in (-1, 1)."""
        return torch.tanh(self.output(torch.relu(self.hidden(e))))  # Eq. (5.4)


class DVRTrainer(EnhancedTrainer):
    """Trains a backbone on valued samples, and the valuator on the reward.

    One random generator of its own draws selections and users, so the backbone's random numbers are
    those of a plain run.
    """

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.network = config["dvr_network"]
        self.weighting = config["dvr_weighting"]
        self.normalization = config["dvr_normalization"]
        self.exploration = config["dvr_exploration"]
        self.eps = config["dvr_eps"]
        self.update_interval = config["dvr_update_interval"]
        self.reward_users = config["dvr_reward_users"]
        self.baseline_momentum = config["dvr_baseline_momentum"]
        self.warmup_epochs = config["dvr_warmup_epochs"]
        fit_rate, policy_rate = config["dvr_learning_rate"], config["dvr_policy_learning_rate"]

        self.user_tables, self.item_tables = embedding_tables(model)
        self.pairwise = config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE
        self.criterion = make_weighable(model)
        self.encoder, self.valuator = self._build_valuator(config)
        parameters = [*self.encoder.parameters(), *self.valuator.parameters()]
        self.valuator_parameters = parameters
        # Two optimisers: Adam's step has the size of the rate whatever the gradient's, so neither
        # objective drowns the other. The paper adds both losses (5.9).
        self.fit_optimizer = self._build_valuator_optimizer(fit_rate)
        self.policy_optimizer = self._build_valuator_optimizer(policy_rate)
        explores = self.weighting == "sample" or self.exploration > 0
        self.has_policy = policy_rate > 0 and explores
        self.has_fit = fit_rate > 0

        self.reward: Reward | None = None
        self.performance_scale = 0.0  # running mean square of the batch's performance
        self.reward_mean, self.reward_square = 0.0, 0.0  # running moments, b and std
        self.n_rewards = 0
        self.score_steps = 0
        self.score = [torch.zeros_like(p) for p in parameters]  # sum of grad log pi
        self.values = torch.zeros(0)
        self.probabilities = torch.zeros(0)
        self.seen = torch.zeros(0, dtype=torch.long)

    # ---- building --------------------------------------------------------------------------

    def _build_valuator(self, config: Any) -> tuple[nn.Module, nn.Module]:
        width = sum(t.embedding_dim for t in self.user_tables)
        width += sum(t.embedding_dim for t in self.item_tables) * (2 if self.pairwise else 1)
        width += (not self.pairwise) + 1  # a pointwise sample has a label; all have their loss
        shape = (
            config["dvr_units"],
            config["dvr_blocks"],
            config["dvr_act_ratio"],
            config["dvr_gamma"],
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            encoder = SampleEncoder(width, _HIDDEN, config["dvr_sample_dim"])
        net: nn.Module
        if self.network == "slot":
            negatives = config["train_neg_sample_args"]["sample_num"]  # or the word "none"
            smallest = 1 + negatives if isinstance(negatives, int) else 1
            slots = max(config["train_batch_size"], smallest)  # RecBole's largest batch
            dim = config["dvr_sample_dim"]
            net = SlotHarsanyiNet(slots, dim, *shape, self.generator)
        else:
            net = ContentHarsanyiNet(config["dvr_sample_dim"], *shape, self.generator)
        return encoder.to(self.device), net.to(self.device)

    def _build_valuator_optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        return self._build_optimizer(
            params=self.valuator_parameters,
            learner="adam",
            learning_rate=learning_rate,
            weight_decay=0.0,
        )

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; needs validation data, which the reward is measured on."""
        n = number_rows(train_data)
        self.values, self.probabilities = torch.zeros(n), torch.zeros(n)
        self.seen = torch.zeros(n, dtype=torch.long)
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
        self._totals: dict[str, list[float]] = {}
        self._gradient_sum, self._gradient_squares = torch.zeros(()), 0.0
        return super()._train_epoch(train_data, epoch_idx, self._weighted_loss, show_progress)

    def log_epoch(self) -> dict[str, float]:
        """Means over the epoch's batches; of the rewards also their spread and the policy's SNR."""
        row = {name: sum(v) / len(v) for name, v in sorted(self._totals.items())}
        n = len(self._totals.get("dvr_reward", []))
        if n > 1:
            row["dvr_reward_std"] = float(torch.tensor(self._totals["dvr_reward"]).std())
            # Squared length of the mean gradient over the variance; noise gives 1 / (n - 1).
            mean = float((self._gradient_sum / n).square().sum())
            row["dvr_gradient_snr"] = mean / max(self._gradient_squares / n - mean, 1e-30)
        return row

    def _weighted_loss(self, interaction: Any) -> Any:
        """The backbone's loss with each sample weighted by its value."""
        if self.score_steps == self.update_interval:
            self._reinforce()
        self._batch = interaction
        self.criterion.weigh = self._weigh
        try:
            return self.model.calculate_loss(interaction)
        finally:
            self.criterion.weigh = None  # the reward's own loss is not weighted

    def _weigh(self, losses: Tensor) -> Tensor | None:
        """Value the batch, learn from it, and give the losses their weights."""
        if losses.shape != self._batch[self.config["USER_ID_FIELD"]].shape:
            raise OptionError(
                "backbone",
                self.config["model"],
                f"{tuple(losses.shape)} losses for {len(self._batch)} samples",
            )
        with torch.enable_grad():
            out = self.valuator(self.encoder(self._features(self._batch, losses)))
            action = self._act(out.values)
        self._learn(out, action, losses)
        self._record(out.values.detach(), action.w, losses)
        return None if self.warming_up else action.weights

    def _features(self, batch: Any, losses: Tensor) -> Tensor:
        """e_m = [p_u; q_i; q_j], or [p_u; q_i; label], detached, and the loss."""
        user, item = batch[self.config["USER_ID_FIELD"]], batch[self.config["ITEM_ID_FIELD"]]
        parts = [table.weight.detach()[user] for table in self.user_tables]
        parts += [table.weight.detach()[item] for table in self.item_tables]
        if self.pairwise:
            negative = batch[self.config["NEG_PREFIX"] + self.config["ITEM_ID_FIELD"]]
            parts += [table.weight.detach()[negative] for table in self.item_tables]
        else:
            parts.append(batch[self.config["LABEL_FIELD"]].unsqueeze(1))
        parts.append(standardize(losses).unsqueeze(1))  # on one scale from first epoch to last
        return torch.cat(parts, dim=1).float()

    def _act(self, values: Tensor) -> Action:
        if self.weighting == "sample":
            return select(values, self.normalization, self.eps, self.generator)
        return soften(values, self.normalization, self.eps, self.exploration, self.generator)

    def _learn(self, out: HarsanyiOutput, action: Action, losses: Tensor) -> None:
        """Add to the score of the policy, and take a step towards the outcome (5.7)."""
        # In warm-up the weights are 1: no reward is owed to the action.
        policy = self.has_policy and not self.warming_up
        if policy and action.log_pi is not None:
            # Now, with the parameters that drew the action: the fit below changes them.
            gradients = torch.autograd.grad(
                action.log_pi,
                self.valuator_parameters,
                retain_graph=self.has_fit,
                allow_unused=True,
            )
            for total, gradient in zip(self.score, gradients):
                if gradient is not None:
                    total += gradient
        self.score_steps += policy
        if not self.has_fit:
            return
        performance = -losses.mean()  # Figure 2's negative loss; a useful sample has a high value
        old, new = self.performance_scale, performance.item() ** 2
        self.performance_scale = 0.99 * old + 0.01 * new if old else new
        fit = (out.prediction - performance / self._scale()).square()  # Eq. (5.7)
        self.fit_optimizer.zero_grad()
        fit.backward()
        self.fit_optimizer.step()
        self._log("dvr_fit_error", fit.item())

    def _scale(self) -> float:
        """Running root mean square of the performance: outcomes are O(1) to the network."""
        return self.performance_scale**0.5 or 1.0

    def _reinforce(self) -> None:
        """Measure the reward of the last steps and move the policy (5.11, 5.13)."""
        assert self.reward is not None  # fit has made it
        reward = self.reward(self.model, self.reward_users, self.generator)
        advantage = self._advantage(reward)
        self._log("dvr_reward", reward)
        if advantage is not None:
            for parameter, score in zip(self.valuator_parameters, self.score):
                parameter.grad = score * (-advantage / self.score_steps)  # ascent
            flat = torch.cat([s.flatten() for s in self.score]) * (-advantage / self.score_steps)
            self._gradient_sum = self._gradient_sum.to(flat) + flat
            self._gradient_squares += float(flat.square().sum())
            self.policy_optimizer.step()
        for score in self.score:
            score.zero_()
        self.score_steps = 0

    def _advantage(self, reward: float) -> float | None:
        """(R - b) / std with running b and std; None for the first reward, which has neither."""
        first = self.n_rewards == 0
        change = 0.0 if first else reward - self.reward_mean
        self.n_rewards += 1
        keep = min(self.baseline_momentum, 1 - 1 / self.n_rewards)
        self.reward_mean += (1 - keep) * (change if not first else reward)
        spread = max(self.baseline_momentum, 0.9)  # one difference says little about the spread
        spread = min(spread, 1 - 1 / max(self.n_rewards - 1, 1))
        self.reward_square += (1 - spread) * (change**2 - self.reward_square)
        return None if first or self.reward_square == 0 else change / self.reward_square**0.5

    def _record(self, values: Tensor, w: Tensor, losses: Tensor) -> None:
        """Keep each interaction's value in units of the mean loss, and the batch's statistics."""
        self._log("dvr_cosine", float(cosine_similarity(values, -losses, dim=0)))  # Figure 2
        self._log("dvr_weight_std", float(w.std(correction=0)))
        rows = self._batch[ROW_ID].cpu()
        values, w = (values * len(values) * self._scale()).cpu(), w.cpu()
        if not self.pairwise:  # a negative shares the row of its positive
            positive = self._batch[self.config["LABEL_FIELD"]].cpu() > 0.5
            rows, values, w = rows[positive], values[positive], w[positive]
        rows, place, times = rows.unique(return_inverse=True, return_counts=True)
        self.seen[rows] += times  # more than once with several negatives per positive
        rate = (times / self.seen[rows]).clamp(min=_SLOWEST_FORGETTING)
        for mean, new in ((self.values, values), (self.probabilities, w)):
            now = torch.zeros(len(rows)).index_add_(0, place, new) / times
            mean[rows] += rate * (now - mean[rows])

    def _log(self, name: str, value: float) -> None:
        self._totals.setdefault(name, []).append(value)

    # ---- files -----------------------------------------------------------------------------

    def method_state(self) -> dict[str, Any]:
        """Valuator, policy and values; optimisers and generator are the base class's."""
        return {
            "encoder": self.encoder.state_dict(),
            "valuator": self.valuator.state_dict(),
            "score": self.score,
            **{name: getattr(self, name) for name in _PLAIN_STATE},
        }

    def load_method_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`method_state` gave."""
        self.encoder.load_state_dict(state["encoder"])
        self.valuator.load_state_dict(state["valuator"])
        for mine, saved in zip(self.score, state["score"]):
            mine.copy_(saved)
        for name in _PLAIN_STATE:
            value = state[name]
            setattr(self, name, value.cpu() if isinstance(value, Tensor) else value)

    def write_results(self, folder: RunFolder) -> None:
        """Write ``values.csv.gz``: one row per training interaction, in the user's own tokens."""
        dataset = self._train_data._dataset
        tokens = [
            dataset.id2token(field, dataset.inter_feat[field].numpy())
            for field in (dataset.uid_field, dataset.iid_field)
        ]
        numbers = [
            [f"{x:.6g}" for x in column.tolist()] for column in (self.values, self.probabilities)
        ]
        header = [
            dataset.uid_field,
            dataset.iid_field,
            "value",
            "selection_probability",
            "times_seen",
        ]
        folder.write_csv_gz("values.csv.gz", header, [*tokens, *numbers, self.seen.tolist()])


_PLAIN_STATE = (
    "performance_scale",
    "reward_mean",
    "reward_square",
    "n_rewards",
    "score_steps",
    "values",
    "probabilities",
    "seen",
)


def embedding_tables(model: Any) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
    """Find the tables of users and of items, in the order of definition.

    Args:
        model: A general recommender.

    Raises:
        ValueError: If either is missing.
    """
    tables = [(name.lower(), m) for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    users = [m for name, m in tables if "user" in name and m.num_embeddings == model.n_users]
    items = [m for name, m in tables if "item" in name and m.num_embeddings == model.n_items]
    if not users or not items:
        raise OptionError(
            "backbone", type(model).__name__, "DVR needs embedding tables of users and of items"
        )
    return users, items
