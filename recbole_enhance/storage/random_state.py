"""Save and restore the states of all random generators that a run draws from."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor


class RandomState(NamedTuple):
    """States of the generators of python, numpy and torch, and of torch generators by name.

    Attributes:
        python: Of the module ``random``.
        numpy: Of numpy's global generator.
        torch: Of torch's CPU generator.
        cuda: Of each CUDA device; empty where CUDA is not in use.
        named: Of further torch generators, by name.

    Example:
        >>> state = RandomState.now()
        >>> drawn = random.random()
        >>> state.restore()
        >>> random.random() == drawn
        True
    """

    python: tuple[Any, ...]
    numpy: Any
    torch: Tensor
    cuda: list[Tensor]
    named: dict[str, Tensor]

    @classmethod
    def now(cls, **generators: Generator) -> "RandomState":
        """The current states; those of the given generators by their names."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        named = {name: generator.get_state() for name, generator in generators.items()}
        numpy = np.random.get_state()
        return cls(random.getstate(), numpy, torch.get_rng_state(), cuda, named)

    def is_now(self) -> bool:
        """Whether nothing was drawn since; the named generators are not looked at."""
        now = RandomState.now()
        return (
            torch.equal(self.torch, now.torch)
            and self.python == now.python
            and all(np.array_equal(a, b) for a, b in zip(self.numpy, now.numpy))
            and all(torch.equal(a, b) for a, b in zip(self.cuda, now.cuda))
        )

    def restore(self, **generators: Generator) -> None:
        """Go back to these states, the given generators to those of their names."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        for name, generator in generators.items():
            generator.set_state(self.named[name])

    def to_plain(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        version, numbers, gauss = self.python
        return {
            "python": [version, list(numbers), gauss],
            "numpy": list(self.numpy),
            "torch": self.torch,
            "cuda": self.cuda,
            **self.named,
        }

    @classmethod
    def from_plain(cls, saved: Mapping[str, Any]) -> "RandomState":
        """Read what :meth:`to_plain` gave, wherever its tensors are; without CUDA drop its states.

        Raises:
            KeyError: If a state is missing.
        """
        named = {name: saved[name].cpu() for name in saved.keys() - set(cls._fields)}
        version, numbers, gauss = saved["python"]
        cuda = [state.cpu() for state in saved["cuda"] if torch.cuda.is_available()]
        python = (version, tuple(numbers), gauss)
        return cls(python, tuple(saved["numpy"]), saved["torch"].cpu(), cuda, named)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave all random states as they were found."""
    state = RandomState.now()
    try:
        yield
    finally:
        state.restore()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's CPU generator draw from a seed, and leave its state as it was found.

    What a method draws for its own network must not move the backbone's random numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
