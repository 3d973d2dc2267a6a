"""Losses of a model at other parameters, with everything put back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Displaced:
    """Moves parameters inside a ``with`` block, and puts them back after it.

    They come back bit for bit: adding a step and taking it off again would leave rounding errors.
    Buffers come back too, since batch normalisation counts each pass.

    Args:
        parameters: What moves.
        buffers: What must not change.

    Example:
        >>> p = torch.nn.Parameter(torch.tensor([0.1]))
        >>> with Displaced([p], []) as displaced:
        ...     displaced.by(2.0, [torch.tensor([1.0])])
        ...     p.item() > 2
        True
        >>> p.item() == torch.tensor(0.1).item()
        True
    """

    def __init__(self, parameters: Sequence[Tensor], buffers: Iterable[Tensor]) -> None:
        self._parameters = list(parameters)
        # Kept from step to step: fresh memory of this size costs more than what is done with it.
        self._elsewhere = [torch.empty_like(p.detach()) for p in parameters]
        self._buffers = list(buffers)
        self._home: list[Tensor] = []
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}  # that were changed, and what they were
        self._kept: list[Tensor] = []

    def __enter__(self) -> "Displaced":
        self._home = [p.data for p in self._parameters]
        self._kept = [b.clone() for b in self._buffers]
        return self

    def by(self, step: float, direction: Sequence[Tensor]) -> None:
        """Set the parameters to what they were plus ``step`` times ``direction``.

        Args:
            step: Any number.
            direction: One part for each parameter; a sparse one is coalesced and moves its rows.
        """
        self._go_home()
        for place, (p, home, d) in enumerate(zip(self._parameters, self._home, direction)):
            if d.is_sparse:
                rows = d.indices()[0]
                before = home.index_select(0, rows)
                self._rows[place] = rows, before
                home.index_copy_(0, rows, before.add(d.values(), alpha=step))
            else:
                p.data = torch.add(home, d, alpha=step, out=self._elsewhere[place])

    def _go_home(self) -> None:
        for p, home in zip(self._parameters, self._home):
            p.data = home
        for place, (rows, before) in self._rows.items():
            self._home[place].index_copy_(0, rows, before)
        self._rows.clear()

    def __exit__(self, *error: Any) -> None:
        self._go_home()
        for buffer, kept in zip(self._buffers, self._kept):
            buffer.copy_(kept)
        self._home = []


@contextmanager
def sparse_gradients(tables: Sequence[nn.Embedding]) -> Iterator[None]:
    """Let look-ups in tables have sparse gradients inside a ``with`` block.

    Where a loss reads a table by look-ups alone, its dense gradient is mostly the zeros that are
    written first. Where it reads the whole table too, the gradient is dense as ever.
    """
    for table in tables:
        table.sparse = True
    try:
        yield
    finally:
        for table in tables:
            table.sparse = False


def length(vector: Sequence[Tensor]) -> float:
    """Euclidean length of a vector in parts.

    Example:
        >>> length([torch.tensor([3.0]), torch.tensor([[0.0, 4.0]]).to_sparse()])
        5.0
    """
    parts = [part.values() if part.is_sparse else part for part in vector]
    return torch.stack([part.norm() for part in parts]).norm().item()


def probe(direction: Sequence[Tensor]) -> float:
    """Step along a direction for central differences: 0.03 over its length in float32.

    Rounding falls with the step, and what the differences leave out grows with its square, so the
    best step is of the order of the cube root of the precision. Smooth models (BPR, LightGCN) would
    like 0.1, those with kinks (NGCF, NeuMF) 0.003.

    Args:
        direction: In parts; of length 0 gives step 1, where all differences are 0.

    Example:
        >>> round(probe([torch.tensor([2.0])]), 3)
        0.015
    """
    size = length(direction)
    return 6 * torch.finfo(direction[0].dtype).eps ** (1 / 3) / size if size > 0 else 1.0


def gradients_of(loss: Tensor, parameters: Sequence[Tensor], **kwargs: Any) -> list[Tensor]:
    """Gradient in each parameter; zeros where the loss does not depend on it."""
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True, **kwargs)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)]


class Functional(nn.Module):
    """A loss of a model as a module, so that it can be taken at other parameters.

    Args:
        model: Its parameters are called ``model.NAME``.
        loss: From a batch to a number, by the model.
    """

    def __init__(self, model: nn.Module, loss: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        """The loss. Shape: ``()``."""
        return self._loss(batch)
