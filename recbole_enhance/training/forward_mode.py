r"""How each sample's loss changes along one direction of all parameters, in the training step.

Forward-mode differentiation carries :math:`\\langle \\nabla \\ell_m, v \\rangle` of every sample
through the forward pass that training makes anyway: with the same dropout, for any backbone whose
loss is a function of its parameters, and without a gradient per sample. For matrix factorization
it is three more row gathers, for a graph backbone one more propagation.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from recbole_enhance.options.errors import InputError
from recbole_enhance.training.losses import WeightedLoss, reduce_losses

Weigh = Callable[[Tensor, Tensor], Tensor | None]
_PRODUCTS = (torch.sparse.mm, torch.mm, torch.matmul, Tensor.mm, Tensor.matmul, Tensor.__matmul__)


class DirectionalLoss(nn.Module):
    """A backbone's loss, with the slope of each sample's loss along a direction.

    Args:
        model: The backbone.
        criterion: Its loss module, made weighable.
    """

    def __init__(self, model: nn.Module, criterion: WeightedLoss) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self._has_graphs = any(
            isinstance(value, Tensor) and value.is_sparse
            for module in model.modules()
            for value in vars(module).values()
        )

    def forward(self, batch: Any) -> Any:
        """The backbone's own loss."""
        return self.model.calculate_loss(batch)  # type: ignore[operator]

    def along(self, direction: Mapping[str, Tensor], batch: Any, weigh: Weigh) -> Any:
        r"""Compute the loss, weighed by what the slopes say.

        Args:
            direction: :math:`v` by the parameter's name; a parameter without one has 0.
            batch: RecBole's training batch.
            weigh: Called with the losses and their slopes
                :math:`\langle \nabla \ell_m, v \rangle`, both detached and ``(batch,)``; returns
                weights of mean 1, or None for the plain mean, which is then that of the model
                bit for bit.

        Returns:
            What ``calculate_loss`` returns.

        Raises:
            InputError: If an operation of the backbone has no forward-mode derivative.
        """

        def combine(losses: Tensor, *scores: Tensor) -> Tensor | None:
            primal, slopes = forward_ad.unpack_dual(losses)
            slopes = torch.zeros_like(primal) if slopes is None else slopes.detach()
            level.close()  # what follows, as a penalty on embeddings, needs no slope
            weights = weigh(losses.detach(), slopes)
            return (
                None if weights is None else reduce_losses(self.criterion.module, weights * losses)
            )

        self.criterion.combine = combine
        try:
            with contextlib.ExitStack() as level:
                level.enter_context(forward_ad.dual_level())
                if self._has_graphs:
                    level.enter_context(_SparseProducts())
                duals = {
                    f"model.{name}": forward_ad.make_dual(parameter, direction[name])
                    for name, parameter in self.model.named_parameters()
                    if name in direction
                }
                return functional_call(self, duals, (batch,))
        except NotImplementedError as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"backbone={type(self.model).__name__}: no slope of one sample's loss: {reason}"
            ) from error
        finally:
            self.criterion.combine = None

    def slopes(self, direction: Mapping[str, Tensor], batch: Any) -> Tensor:
        """The slopes alone, in a pass of their own. Shape: ``(batch,)``; see :meth:`along`."""
        caught: list[Tensor] = []
        with torch.no_grad():
            self.along(direction, batch, lambda _, slopes: caught.append(slopes))
        return caught[0]


class _SparseProducts(TorchFunctionMode):
    """Gives products of a sparse and a dense matrix the forward derivative that torch lacks."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _PRODUCTS and len(args) == 2 and not kwargs:
            matrix, dense = args
            if isinstance(matrix, Tensor) and matrix.is_sparse and not matrix.requires_grad:
                return _SparseProduct.apply(matrix, dense)
        return func(*args, **(kwargs or {}))


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, dense: Tensor) -> Tensor:
        ctx.matrix = matrix
        return torch.sparse.mm(matrix, dense)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, torch.sparse.mm(ctx.matrix.t(), gradient)

    @staticmethod
    def jvp(ctx: Any, _: None, tangent: Tensor) -> Tensor:
        return torch.sparse.mm(ctx.matrix, tangent)
