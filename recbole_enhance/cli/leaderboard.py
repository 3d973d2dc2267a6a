"""The verb ``leaderboard``: run a board, or build its pages."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_enhance.options.read import nearest, parse_argv, parse_flag

_HOW = "leaderboard run SPEC.yaml, leaderboard run --models=... or leaderboard build DIR"


def main(words: Sequence[str]) -> int:
    """Do what the words after ``leaderboard`` say.

    Args:
        words: ``run`` or ``build``, a file or folder, and options.

    Returns:
        Exit status: 0, or 1 if some cells failed.

    Raises:
        ValueError: If the words or what they name cannot be used; nothing is written then.
    """
    action, *rest = list(words) or [""]
    if action not in ("run", "build"):
        raise ValueError(f"leaderboard {action}: {_HOW}{nearest(action, ['run', 'build'])}")
    places: list[str] = []
    while rest and not rest[0].startswith("-"):
        places.append(rest.pop(0))
    options = parse_argv(rest)
    quiet = parse_flag("quiet", options.pop("quiet", "false"))
    if len(places) > 1:
        raise ValueError(f"leaderboard {action} {' '.join(places)}: one file or folder: {_HOW}")
    if action == "build":
        return _build(places, options, quiet)
    if not places and not options:
        raise ValueError(f"leaderboard run: {_HOW}")
    from recbole_enhance.leaderboard.run import run_board
    from recbole_enhance.leaderboard.spec import read_board

    if ":" in options.get("models", ""):  # maybe a class in a module of the user's folder
        sys.path.insert(0, os.getcwd())
    return run_board(read_board(places[0] if places else None, options), quiet)


def _build(places: list[str], options: dict, quiet: bool) -> int:
    from recbole_enhance.leaderboard.board import build_board

    if not places:
        raise ValueError("leaderboard build DIR: the folder is missing")
    plotly = options.pop("plotly", None)
    for key in options:
        raise ValueError(f"leaderboard build: --{key}: the options are --plotly and --quiet")
    folder = Path(places[0])
    if not folder.is_dir():
        raise ValueError(f"leaderboard build {folder}: no such folder")
    written = build_board(folder, quiet, plotly)
    if not quiet:
        print("\n".join(map(str, written)))
    return 0
