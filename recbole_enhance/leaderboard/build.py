"""The former place of :func:`recbole_enhance.leaderboard.board.build_board`, for one release."""

import warnings

from recbole_enhance.leaderboard.board import build_board as build

__all__ = ["build"]
warnings.warn(
    "recbole_enhance.leaderboard.build is now recbole_enhance.leaderboard.board; "
    "build is recbole_enhance.build_board",
    DeprecationWarning,
    stacklevel=2,
)
