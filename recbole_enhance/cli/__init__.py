"""The command line, one file per verb; ``recbole-enhance`` calls :func:`main`.

This file needs no package, so that ``doctor`` can say what is missing before an installation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbole_enhance import __version__
from recbole_enhance.compat import needs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; ``doctor`` and ``version`` work before an installation, too.

    Args:
        argv: The words after the program's name; the process's own by default.

    Returns:
        Exit status, as :func:`recbole_enhance.cli.program.main`; 2 if a package is missing.
    """
    words = [*(sys.argv[1:] if argv is None else argv)]  # `list` may be the verb's module here
    if words in (["--version"], ["version"]):
        print(__version__)
        return 0
    try:
        from recbole_enhance.cli import program
    except (ImportError, SyntaxError, TypeError) as error:  # the last two: Python is too old
        if needs.python_is_supported() and not isinstance(error, ModuleNotFoundError):
            raise
        if words[:1] == ["doctor"]:
            from recbole_enhance.compat import doctor

            return doctor.main()
        return _incomplete(str(error))
    try:
        return program.main(words)
    except ModuleNotFoundError as error:
        if needs.completion(()) is None:  # nothing of ours is missing: a module of the user's
            raise
        return _incomplete(str(error))


def _incomplete(why: str) -> int:
    print(
        f"recbole-enhance: error: {why}; `recbole-enhance doctor` says what to install",
        file=sys.stderr,
    )
    return 2
