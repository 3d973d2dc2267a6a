"""Batches of an evaluation, and which of them each of several processes takes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_enhance.options import launched
from recbole_enhance.storage.processes import own_share


class Blocks:
    """A loader whose batches do not depend on each other.

    Attributes:
        step: Rows of a batch.
        in_parts: Whether each of several processes takes only some consecutive batches.
    """

    step: int
    in_parts = False

    def blocks(self, n_rows: int) -> Sequence[Tensor]:
        """Numbers of rows, by batches; the batches are those of one process. Shape: ``(step,)``."""
        whole = torch.arange(n_rows).split(self.step)
        rank, size = (launched.rank(), launched.size()) if self.in_parts else (0, 1)
        return whole[own_share(len(whole), rank, size)]
