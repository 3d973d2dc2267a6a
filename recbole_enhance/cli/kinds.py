"""Kinds of options: each reads text of the command line, and plain values of a file."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from recbole_enhance.options import packages
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.limits import MOST, checked_count
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import parse_flag, parse_value, split_list

ORIGINS = "recbole_enhance.origins"  # in a context's meta: option -> the file that says it


class Kind(click.ParamType):
    """A kind of value.

    Args:
        metavar: What stands for a value in the help; the name of the kind by default.
    """

    name = "text"

    def __init__(self, metavar: str | None = None) -> None:
        self.metavar = metavar or self.name.upper()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a value.

        Raises:
            OptionError: If it is none of this kind.
        """
        option = str(param.name) if param else self.name
        try:
            return self.read(option, value)
        except OptionError as error:
            origin = ctx.meta.get(ORIGINS, {}).get(option) if ctx else None
            raise OptionError(error.option, error.value, error.allowed, origin) from None

    def read(self, option: str, value: Any) -> Any:
        """Read a value, which stays text here."""
        return str(value)


class YesNo(Kind):
    """``true``, ``yes``, ``on`` and their opposites; the option alone is ``true``."""

    name = "yes|no"

    def read(self, option: str, value: Any) -> bool:
        """Read yes or no."""
        return value if isinstance(value, bool) else parse_flag(option, str(value))


class Value(Kind):
    """A number or another YAML value; the function that takes it checks it."""

    name = "number"

    def read(self, option: str, value: Any) -> Any:
        """Read a YAML value."""
        return parse_value(option, value) if isinstance(value, str) else value


class Count(Value):
    """A whole number above 0."""

    name = "n"

    def read(self, option: str, value: Any) -> int:
        """Read a whole number above 0."""
        return checked_count(option, super().read(option, value), MOST)


class OneOf(Kind):
    """One of some words.

    Args:
        words: Those that are allowed.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__("|".join(words))
        self.words = tuple(words)

    def read(self, option: str, value: Any) -> str:
        """Read a word that is allowed."""
        if value not in self.words:
            raise OptionError(option, value, f"one of {', '.join(self.words)}")
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that begin with what was typed."""
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class List(Kind):
    """A list, as ``a,b`` or ``[a,b]``.

    Args:
        metavar: As of :class:`Kind`.
        of: The kind of each.
    """

    def __init__(self, metavar: str, of: Kind | None = None) -> None:
        super().__init__(metavar)
        self.of = of or Kind()

    def read(self, option: str, value: Any) -> tuple[Any, ...]:
        """Read a list; any other value becomes a list of one."""
        if isinstance(value, str):
            value = split_list(value)
        entries = value if isinstance(value, (list, tuple)) else [value]
        return tuple(self.of.read(option, entry) for entry in entries)


class NotNegative(Value):
    """A number of at least 0."""

    def read(self, option: str, value: Any) -> float:
        """Read a number of at least 0."""
        number = super().read(option, value)
        if type(number) not in (int, float) or not 0 <= number < math.inf:
            raise OptionError(option, value, "a number of at least 0 is expected")
        return float(number)


class Model(Kind):
    """Name of a method or model, or a class of the user's."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin with what was typed, whatever the case; nothing is imported for it."""
        folders, groups = [resource_dir("properties") / "model"], [packages.MODELS]
        if param.name == "model":
            folders.append(resource_dir("properties") / "enhancer")
            groups.append(packages.ENHANCERS)
        recbole = importlib.util.find_spec("recbole")
        if recbole is not None and recbole.origin:
            folders.append(Path(recbole.origin).parent / "properties" / "model")
        registered = [e[0].name for g in groups for e in packages.registered(g).values()]
        return _names(folders, incomplete, registered)


class Dataset(Kind):
    """Name of a dataset."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Datasets with bundled settings whose names begin with what was typed."""
        return _names([resource_dir("dataset_configs")], incomplete)


def _names(
    folders: Sequence[Path], incomplete: str, others: Sequence[str] = ()
) -> list[CompletionItem]:
    names = {*others, *(path.stem for folder in folders for path in folder.glob("*.yaml"))}
    begin = incomplete.lower()
    return [CompletionItem(name) for name in sorted(names) if name.lower().startswith(begin)]
