"""The command line, a file per verb; its function is ``main``, as ``recbole-enhance`` calls it."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "main":  # not imported before it is asked for
        from recbole_enhance.cli.program import main

        return main
    raise AttributeError(f"module {__name__} has no attribute {name}")
