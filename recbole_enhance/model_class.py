"""What a model's class says of itself."""

import contextlib
import inspect
import re
import sys
from typing import Any, Iterator, Set, Tuple


def sources(model_class: Any) -> Iterator[Tuple[str, str]]:
    """Modules that a model's class comes from, with their text."""
    for cls in model_class.__mro__:
        if cls.__module__.startswith("torch") or cls is object:
            continue
        with contextlib.suppress(OSError, TypeError, KeyError):  # of a notebook or a shell
            yield cls.__module__, inspect.getsource(sys.modules[cls.__module__])


def options_read_by(model_class: Any) -> Set[str]:
    """Options that a model's module looks up, also those its YAML forgets."""
    names: Set[str] = set()
    for _, source in sources(model_class):
        names |= set(re.findall(r"""config\[\s*["'](\w+)["']\s*\]""", source))
    return names
