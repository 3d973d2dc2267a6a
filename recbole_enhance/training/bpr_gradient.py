r"""BPR's loss, with its gradient in closed form.

Of triplets (u, i, j) with the rows :math:`p_u` of the users' table and :math:`q_i, q_j` of the
items'

.. math:: L = -\frac 1 B \sum_b \ln (\gamma + \sigma(x_b)), \qquad x = p_u \cdot (q_i - q_j),
    \qquad c_b = \frac{\partial L}{\partial x_b}
    = -\frac{\sigma(x_b) (1 - \sigma(x_b))}{B (\gamma + \sigma(x_b))}

so that the gradient of :math:`p_u` is the sum of :math:`c (q_i - q_j)` over the triplets of u, and
that of an item the sum of :math:`c \, p_u` over the triplets where it is i, less that where it is
j. Each is one product with a sparse matrix. Autograd makes a gradient of each looked-up row, and
adds these to three whole tables one by one.
"""

from collections.abc import Callable
from typing import Any

import torch
from recbole.model.general_recommender.bpr import BPR
from recbole.model.loss import BPRLoss
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_enhance.storage.run_folder import logger
from recbole_enhance.training.acceleration import Rows

_METHODS = ("calculate_loss", "forward", "get_user_embedding", "get_item_embedding", "__call__")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_NUMBERS = 1 << 16  # of rows that are read at once: three such blocks fit a core's cache


class BPRGradient(torch.autograd.Function):
    """See the module; ``apply`` takes what :meth:`forward` takes, without ``ctx``."""

    @staticmethod
    def forward(
        ctx: Any,
        user_table: Tensor,
        item_table: Tensor,
        users: Tensor,
        items: Tensor,
        negatives: Tensor,
        gamma: float,
    ) -> Tensor:
        r"""The loss.

        Args:
            ctx: Of autograd.
            user_table: :math:`p`. Shape: ``(n_users, d)``.
            item_table: :math:`q`. Shape: ``(n_items, d)``.
            users: Ids u of the triplets. Shape: ``(B,)``.
            items: Ids i. Shape: ``(B,)``.
            negatives: Ids j. Shape: ``(B,)``.
            gamma: :math:`\gamma`.

        Returns:
            L. Shape: ``()``.
        """
        size, d = len(users), user_table.shape[1]
        step = max(1, _NUMBERS // d)
        scratch = user_table.new_empty(3, min(step, size), d)
        x = user_table.new_empty(size)
        for at in (slice(begin, begin + step) for begin in range(0, size, step)):
            p, q, other = scratch[:, : len(users[at])].unbind()
            torch.index_select(user_table, 0, users[at], out=p)
            torch.index_select(item_table, 0, items[at], out=q)
            torch.index_select(item_table, 0, negatives[at], out=other)
            torch.sum(q.sub_(other).mul_(p), 1, out=x[at])
        s = x.sigmoid_()
        inner = s + gamma
        slope = s.mul_(s - 1).div_(inner).div_(size)
        ctx.save_for_backward(users, items, negatives, user_table, item_table, slope)
        return inner.log_().mean().neg_()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both tables."""
        users, items, negatives, user_table, item_table, slope = ctx.saved_tensors
        # An entry for each triplet's item, and one for its negative.
        slope = slope * gradient
        slope, user, item = (
            torch.cat(both) for both in ((slope, -slope), (users, users), (items, negatives))
        )
        of_users = Rows.of(user, item, slope, len(user_table)).times(item_table)
        of_items = Rows.of(item, user, slope, len(item_table)).times(user_table)
        return of_users, of_items, None, None, None, None


def loss_of(model: Any, config: Any) -> Callable[[Any], Tensor] | None:
    """RecBole's loss of BPR by its closed form, for the tables that the model holds when called.

    Args:
        model: A recommender.
        config: The run's settings.

    Returns:
        What stands for ``calculate_loss``; None without option ``closed_form``, where
        ``calculate_loss`` may compute something else, and on GPUs and under mixed precision, where
        it was not measured.
    """
    asked = config["closed_form"] and config["fast"] and not config["enable_amp"]
    if not asked or not is_plain(model):
        return None

    def loss(batch: Any) -> Tensor:
        users, items, negatives = (
            batch[name] for name in (model.USER_ID, model.ITEM_ID, model.NEG_ITEM_ID)
        )
        tables = model.user_embedding.weight, model.item_embedding.weight
        return BPRGradient.apply(*tables, users, items, negatives, model.loss.gamma)

    return loss


def say_if_unused(model: Any, config: Any) -> None:
    """Warn that option ``closed_form`` changes nothing here, and why."""
    if not config["closed_form"] or loss_of(model, config) is not None:
        return
    if not config["fast"] or config["enable_amp"]:
        why = "it needs fast=True and enable_amp=False"
    else:
        why = "it is for RecBole's BPR, WBPR and AOBPR on a CPU"
    logger.warning("closed_form has no effect: %s", why)


def is_plain(model: Any) -> bool:
    """Whether a model's loss is RecBole's BPR's, with no hook, method or module of its own."""
    if not isinstance(model, BPR) or _is_changed(model, *_METHODS):
        return False
    if any(getattr(type(model), name) is not getattr(BPR, name) for name in _METHODS):
        return False
    tables = model.user_embedding, model.item_embedding
    if type(model.loss) is not BPRLoss or any(type(table) is not nn.Embedding for table in tables):
        return False
    if any(_is_changed(module, "forward") for module in (model.loss, *tables)):
        return False
    return all(
        table.padding_idx is None
        and table.max_norm is None
        and not (table.sparse or table.scale_grad_by_freq)
        and table.weight.device.type == "cpu"
        and table.weight.dtype in (torch.float32, torch.float64)
        for table in tables
    )


def _is_changed(module: nn.Module, *methods: str) -> bool:
    """Whether somebody listens to this module, or gave it a method of its own."""
    own = vars(module)
    return any(own.get(name) for name in _HOOKS) or any(name in own for name in methods)
