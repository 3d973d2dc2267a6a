"""Losses of a model at other parameters and under the same noise, with everything put back."""

import random
from typing import Any, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor


class Noise(NamedTuple):
    """States of the random generators that models draw from: dropout, sampled terms of a loss."""

    python: Tuple[Any, ...]
    numpy: Any
    torch: Tensor
    cuda: List[Tensor]

    @classmethod
    def now(cls) -> "Noise":
        """The present states."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def again(self) -> None:
        """Go back to these states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


class Displaced:
    """Parameters that stand elsewhere inside a ``with`` block.

    They come back as copies of what they were: adding a step and taking it off again would leave
    rounding errors. Buffers come back too, since batch normalisation counts each pass.

    Args:
        parameters: What moves, in place.
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
        self._moved = [p.detach() for p in parameters]
        self._kept = [b.detach() for b in buffers]
        self._saved: List[Tensor] = []

    def __enter__(self) -> "Displaced":
        self._saved = [t.clone() for t in (*self._moved, *self._kept)]
        return self

    def by(self, step: float, direction: Sequence[Tensor]) -> None:
        """Stand at what the parameters were plus ``step`` times ``direction``."""
        for p, saved, d in zip(self._moved, self._saved, direction):
            torch.add(saved, d, alpha=step, out=p)

    def __exit__(self, *error: Any) -> None:
        for tensor, saved in zip((*self._moved, *self._kept), self._saved):
            tensor.copy_(saved)


def length(vector: Sequence[Tensor]) -> float:
    """Euclidean length of a vector in parts.

    Example:
        >>> length([torch.tensor([3.0]), torch.tensor([4.0])])
        5.0
    """
    return torch.stack([part.norm() for part in vector]).norm().item()


def probe(direction: Sequence[Tensor]) -> float:
    """Step along a direction for central differences: 0.1 over its length in float32.

    Rounding falls with the step and curvature grows with its square, so the best one is of the
    order of the cube root of the precision. Of the steps tried on toys, 0.1 had the smallest
    error in float32.

    Args:
        direction: In parts; of length 0 gives step 1, where all differences are 0.

    Example:
        >>> round(probe([torch.tensor([2.0])]), 3)
        0.049
    """
    size = length(direction)
    return 20 * torch.finfo(direction[0].dtype).eps ** (1 / 3) / size if size > 0 else 1.0
