"""Vectors of users' columns."""

import torch
from torch import Tensor, nn


class UserProfile(nn.Module):
    """Vectors of the users' columns: :math:`P_f[u_f]`, means for columns of several tokens.

    Args:
        columns: Column name -> (tokens of each user, number of tokens).
        size: d.
    """

    def __init__(self, columns: dict[str, tuple[Tensor, int]], size: int) -> None:
        super().__init__()
        self.names = list(columns)
        tables = [nn.Embedding(n, size) for _, n in columns.values()]
        for table in tables:
            nn.init.normal_(table.weight, std=size**-0.5)
        self.tables = nn.ModuleList(tables)
        for number, (tokens, _) in enumerate(columns.values()):
            self.register_buffer(f"tokens{number}", tokens, persistent=False)

    def forward(self, users: Tensor) -> Tensor:
        """Look users up. Shape: ``(batch, columns, d)``."""
        vectors = []
        for number, table in enumerate(self.tables):  # a handful of columns
            tokens = getattr(self, f"tokens{number}")[users]
            vector = table(tokens)
            if tokens.dim() == 2:
                present = (tokens > 0).unsqueeze(-1).to(vector.dtype)
                vector = (vector * present).sum(1) / present.sum(1).clamp(min=1)
            vectors.append(vector)
        return torch.stack(vectors, dim=1)
