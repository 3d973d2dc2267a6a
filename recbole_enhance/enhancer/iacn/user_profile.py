"""Vectors of users' columns."""

from typing import Any

import torch
from recbole.utils import FeatureType
from torch import Tensor, nn

from recbole_enhance.options.errors import OptionError


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


def user_profile(config: Any, dataset: Any, size: int) -> UserProfile | None:
    """Tables for the users' columns of tokens; None where there is none, or none is wanted."""
    if config["iacn_profile"] == "none":
        return None
    kinds = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
    columns = {}
    features = dataset.get_user_feature()
    for name in features.interaction:
        wanted = name != dataset.uid_field or config["iacn_use_user_id"]
        if wanted and dataset.field2type[name] in kinds:
            columns[name] = (features[name], dataset.num(name))
    if not columns and config["iacn_profile"] == "concat":
        raise OptionError(
            "iacn_profile",
            "concat",
            "no user columns of tokens are loaded; load_col.user names them, or "
            "iacn_use_user_id=True takes the user's id",
        )
    return UserProfile(columns, size) if columns else None
