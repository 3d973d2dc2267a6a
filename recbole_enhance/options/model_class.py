"""What a model's class says of itself, and how a class of the user's is named and found."""

import contextlib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender

from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import nearest

_SCRIPT = "__main__:"  # where Python puts what a script or a notebook defines


def sources(model_class: Any) -> Iterator[tuple[str, str]]:
    """Modules that a model's class comes from, with their text."""
    for cls in model_class.__mro__:
        if cls.__module__.startswith("torch") or cls is object:
            continue
        with contextlib.suppress(OSError, TypeError, KeyError):  # of a notebook or a shell
            yield cls.__module__, inspect.getsource(sys.modules[cls.__module__])


def options_read_by(model_class: Any) -> set[str]:
    """Options that a model's module looks up, also those its YAML forgets."""
    names: set[str] = set()
    for _, source in sources(model_class):
        names |= set(re.findall(r"""config\[\s*["'](\w+)["']\s*\]""", source))
    for cls in model_class.__mro__:
        if class_path(cls).startswith(_SCRIPT):  # a notebook has no text: take every word
            methods = (value for value in vars(cls).values() if inspect.isfunction(value))
            words = (word for method in methods for word in method.__code__.co_consts)
            names |= {word for word in words if isinstance(word, str) and word.isidentifier()}
    return names


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, AbstractRecommender)


def checked_class(option: str, model_class: type) -> type:
    """Refuse a class that is no model.

    Raises:
        ValueError: Naming the option and the class.
    """
    if not _is_model(model_class):
        raise OptionError(option, class_path(model_class), "no class of a RecBole model")
    return model_class


def class_path(model_class: type) -> str:
    """Name a class so that :func:`import_class` finds it: ``module:Class``.

    Example:
        >>> from recbole.model.general_recommender.bpr import BPR
        >>> class_path(BPR)
        'recbole.model.general_recommender.bpr:BPR'
    """
    return f"{model_class.__module__}:{model_class.__qualname__}"


def import_class(option: str, path: str) -> type:
    """Import a model that the user has named himself, on his command line or from Python.

    Never call this with what a file says: importing a module runs its code.

    Args:
        option: ``model`` or ``backbone``, for the message.
        path: ``module:Class``.

    Raises:
        ValueError: If it cannot be imported or is no model.

    Example:
        >>> import_class("model", "recbole.model.general_recommender.bpr:BPR").__name__
        'BPR'
    """
    module_name, _, names = path.partition(":")
    if path.startswith(_SCRIPT):
        raise OptionError(
            option,
            path,
            "a class of a script or notebook cannot be imported; move it into a module, or "
            "hand the class over from Python",
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module fails with
        kind = type(error).__name__
        raise OptionError(
            option, path, f"{module_name} cannot be imported ({kind}: {error})"
        ) from error
    try:
        found = functools.reduce(getattr, names.split("."), module)
    except AttributeError:
        found = None  # type: ignore[assignment]
    if not _is_model(found):
        models = [name for name, thing in vars(module).items() if _is_model(thing)]
        raise OptionError(
            option, path, f"{module_name} has no RecBole model {names}{nearest(names, models)}"
        )
    return found  # type: ignore[return-value]


def same_class(recorded: str, given: Any) -> bool:
    """Whether a class is the one that a run folder names.

    One that was defined in a script may have moved into a module since.

    Args:
        recorded: ``module:Class``, or the plain name of a model of RecBole or of this package.
        given: The class, or its name in the same form.
    """
    if ":" not in recorded and isinstance(given, type):
        ours = given.__module__.startswith(("recbole.", "recbole_enhance."))
        return ours and given.__name__ == recorded
    path = given if isinstance(given, str) else class_path(given)
    moved = recorded.startswith(_SCRIPT) and recorded[len(_SCRIPT) :] == path.partition(":")[2]
    return path == recorded or moved


def how_to_name(option: str, recorded: str) -> str:
    """Tell how to hand a class of the user's over to a run folder that names it."""
    if recorded.startswith(_SCRIPT):
        return f"model_class={recorded[len(_SCRIPT) :]} from Python (a script defined it)"
    return f"--{option}={recorded}, or model_class= from Python"
