"""All metrics of what was collected, and the users' own values behind their means."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.collector import DataStruct
from torch import Tensor

from recbole_enhance.metric.base import UserMetric
from recbole_enhance.options import launched
from recbole_enhance.storage import processes


class EnhancedEvaluator(Evaluator):
    """RecBole's evaluator; results are plain floats, and the users' own values are kept.

    A metric of users' lists takes its mean of them in a method of its own: RecBole's in
    ``topk_result``, ours in ``per_user``. Both are watched, so that nothing is computed twice.

    Attributes:
        data: What the last result was computed from.
        per_user: ``recall@10`` and so on -> values of each row behind the last result's means, not
            rounded, NaN where a row has none, for every metric that has them. Shape: ``(rows,)``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.data: DataStruct | None = None
        self.per_user: dict[str, np.ndarray] = {}
        for name, metric in self.metric_class.items():
            if isinstance(metric, TopkMetric):
                metric.topk_result = partial(self._keep_matrix, metric.topk_result)
            elif isinstance(metric, UserMetric):
                keep = partial(self._keep_column, metric.per_user, name)
                metric.per_user = keep  # type: ignore[method-assign]

    def evaluate(self, dataobject: DataStruct) -> dict[str, float]:
        """Compute all metrics; keys and rounding are RecBole's.

        Of several processes the first does, which has all rows, and the others get its result.
        """
        if processes.together() and not launched.is_first():
            return processes.share()
        self.data, self.per_user = dataobject, {}
        result = {name: float(value) for name, value in super().evaluate(dataobject).items()}
        return processes.share(result)

    def _keep_matrix(
        self, result_of: Callable[..., dict], name: str, value: np.ndarray
    ) -> dict[str, Any]:
        """Keep the columns of interest of the values of one of RecBole's metrics.

        Args:
            result_of: The metric's own step.
            name: Of the metric.
            value: Shape: ``(rows, max(topk))``.
        """
        # Copies, as a view would keep the whole matrix.
        self.per_user |= {f"{name}@{k}": value[:, k - 1].copy() for k in self.config["topk"]}
        return result_of(name, value)

    def _keep_column(
        self, values_of: Callable[[Any, int], Tensor], name: str, data: Any, k: int
    ) -> Tensor:
        values = values_of(data, k)
        self.per_user[f"{name}@{k}"] = values.numpy()
        return values
