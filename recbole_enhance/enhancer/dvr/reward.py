"""Any evaluation metric on a sample of users, as a number to be maximised."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import recbole.evaluator.register as recbole_metrics
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor

from recbole_enhance.data.loaders import FullRankingLoader
from recbole_enhance.data.negatives import uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.evaluation.collector import EnhancedCollector
from recbole_enhance.metric.name import Metric
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.schema import is_number, refusal

Scores = Callable[[tuple[Any, Any, Tensor, Tensor]], tuple[Any, Tensor, Tensor, Tensor]]
# The DVR paper's names of metrics.
LOSS = Metric("loss")
_SHORT = {"cc": "categorycoverage", "gini": "giniindex"}


def read_reward(text: Any) -> Metric:
    """Read a reward's name, ``loss`` or ``metric@k``, for the option ``dvr_reward``.

    Args:
        text: The name, whatever the case; the paper's short names are allowed.

    Raises:
        PydanticCustomError: If there is no such ranking metric, or k is missing.

    Example:
        >>> read_reward("NDCG@20")
        Metric(name='ndcg', k=20)
    """
    if isinstance(text, Metric):
        return text
    metric = Metric.parse(text)
    metric = Metric(_SHORT.get(metric.name, metric.name), metric.k)
    ranked = [
        name
        for name, kind in recbole_metrics.metric_types.items()
        if kind.name == "RANKING" and name != "gauc"
    ]
    if metric != LOSS and (metric.name not in ranked or not metric.k):
        allowed = ", ".join(sorted({*_SHORT, *ranked}))
        raise refusal(f"loss, or NAME@K with NAME one of {allowed}")
    return metric


def read_rewards(reward: Any) -> Any:
    """Read the option ``dvr_reward``: one metric, or weights by metric.

    Args:
        reward: A name, as for :func:`read_reward`, or a mapping from names to weights.

    Returns:
        The metric, or a mapping from full names to weights.

    Raises:
        PydanticCustomError: As there; if a weight is not above 0, or ``loss`` is one of several.

    Example:
        >>> read_rewards({"NDCG@20": 1, "gini@20": 0.3})
        {'ndcg@20': 1.0, 'giniindex@20': 0.3}
    """
    if not isinstance(reward, Mapping):
        return read_reward(reward)
    weights = {str(read_reward(text)): weight for text, weight in reward.items()}
    if not weights or not all(is_number(w) and w > 0 for w in weights.values()):
        raise refusal("weights above 0 by metric are expected")
    if len(weights) > 1 and str(LOSS) in weights:
        raise refusal("loss cannot be combined with metrics")
    return {text: float(weight) for text, weight in weights.items()}


class Reward:
    """Measures a model on users' held-out interactions.

    Args:
        metric: What is measured.
        config: The run's settings.
        known: Splits whose items are not ranked again: training for validation, both for test.
        held_out: The split whose items are the positives.
        score: RecBole's ``Trainer._full_sort_batch_eval``.

    Raises:
        OptionError: If nothing is held out.
        ValueError: If categories are needed and not loaded.
    """

    def __init__(
        self, metric: Metric, config: Any, known: Sequence[Any], held_out: Any, score: Scores
    ) -> None:
        self.metric = metric
        if held_out is None or len(held_out) == 0:
            raise OptionError(
                "dvr_reward", metric, "needs validation interactions, eval_args.split leaves none"
            )
        self.config, self.score = config, score
        self.uid, self.iid = held_out.uid_field, held_out.iid_field
        self.ranking = FullRankingLoader(config, held_out, known)
        self.users = self.ranking.positives.counts.nonzero().squeeze(1)
        # For negatives, what the users have in no split that is known here.
        self.used = UserLists.of_datasets([*known, held_out])
        self.collector = None if metric == LOSS else self._collector(known[0])

    @torch.no_grad()
    def __call__(self, model: Any, n_users: int, generator: torch.Generator) -> float:
        """Measure the model.

        Args:
            model: The recommender; it is in training mode again afterwards.
            n_users: How many users are drawn; all if there are fewer.
            generator: Source of randomness.

        Returns:
            The mean over the users, signed so that larger is better.
        """
        drawn = torch.randperm(len(self.users), generator=generator)[:n_users]
        users = self.users[drawn]
        model.eval()
        try:
            if self.metric == LOSS:
                return -self._loss(model, users, generator)
            value = self._metric(model, users)
        finally:
            model.train()
        return -value if self.metric.name in recbole_metrics.smaller_metrics else value

    def _loss(self, model: Any, users: Tensor, generator: torch.Generator) -> float:
        """Training loss on the users' validation items, with fresh uniform negatives."""
        rows, items = self.ranking.positives.of(users)
        users = users[rows]
        negatives = uniform_outside(self.used, users, generator)
        if self.config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE:
            batch = {
                self.uid: users,
                self.iid: items,
                f"{self.config['NEG_PREFIX']}{self.iid}": negatives,
            }
        else:
            label = torch.cat([torch.ones(len(users)), torch.zeros(len(users))])
            batch = {
                self.uid: users.repeat(2),
                self.iid: torch.cat([items, negatives]),
                self.config["LABEL_FIELD"]: label,
            }
        losses = model.calculate_loss(Interaction(batch).to(self.config["device"]))
        return float(sum(losses) if isinstance(losses, tuple) else losses)

    def _metric(self, model: Any, users: Tensor) -> float:
        """Rank all items but the known ones, batch by batch."""
        assert self.collector is not None
        for chunk in users.split(self.ranking.step):
            interaction, scores, rows, items = self.score(self.ranking.users(chunk))
            self.collector.eval_batch_collect(scores, interaction, rows, items)
        self.collector.model_collect(model)
        metric = recbole_metrics.metrics_dict[self.metric.name](self.collector.config)
        result = metric.calculate_metric(self.collector.get_data_struct())
        return float(result[str(self.metric)])

    def _collector(self, training: Any) -> EnhancedCollector:
        """A collector for one metric at one k, without rounding."""
        settings = _Settings(self.config.final_config_dict)
        settings.update(metrics=[self.metric.name], topk=[self.metric.k])
        settings.update(metric_decimal_place=12, rerank=None)
        collector = EnhancedCollector(settings)
        collector.data_collect(SimpleNamespace(dataset=training, _dataset=training))
        return collector


class _Settings(dict[str, Any]):
    """A dictionary that gives None for an option that is not there, as Config does."""

    def __missing__(self, key: str) -> None:
        return None
