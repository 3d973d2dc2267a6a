"""Methods and models that other installed packages register, each by an entry point.

What is installed is read from the packages' metadata; nothing is imported until it is chosen.
"""

import functools
import importlib
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any, NamedTuple

from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import one_line

ENHANCERS, MODELS = "recbole_enhance.enhancers", "recbole_enhance.models"  # entry point groups


class Registered(NamedTuple):
    """An entry point.

    Attributes:
        name: What ``--model`` or ``--backbone`` calls it.
        path: Where it is, ``module:Object``.
        package: The package that registers it.
    """

    name: str
    path: str
    package: str

    def load(self, option: str) -> Any:
        """Import what is registered.

        Args:
            option: ``model`` or ``backbone``, for the message.

        Raises:
            OptionError: In one line, if it cannot be imported.
        """
        module, _, names = self.path.partition(":")
        try:
            return functools.reduce(getattr, names.split("."), importlib.import_module(module))
        except Exception as error:  # whatever the package fails with
            reason = one_line(f"{type(error).__name__}: {error}")
            raise self.broken(option, f"cannot be imported ({reason})") from error

    def broken(self, option: str, why: str) -> OptionError:
        """The refusal of what the package registers.

        Args:
            option: ``model`` or ``backbone``.
            why: What is wrong with it.
        """
        return OptionError(
            option, self.name, f"the package {self.package} registers {self.path}, which {why}"
        )


def registered(group: str) -> Mapping[str, tuple[Registered, ...]]:
    """What is registered in a group: name in lower case -> all who register it.

    Args:
        group: :data:`ENHANCERS` or :data:`MODELS`.
    """
    return _scan(group, tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _scan(group: str, _path: tuple[str, ...]) -> dict[str, tuple[Registered, ...]]:
    found: dict[str, tuple[Registered, ...]] = {}
    for entry in metadata.entry_points(group=group):
        package = entry.dist.metadata["Name"] if entry.dist else "unknown"
        new = Registered(entry.name, entry.value, package)
        found[entry.name.lower()] = (*found.get(entry.name.lower(), ()), new)
    return found
