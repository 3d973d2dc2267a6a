"""What a model's class says of itself, and how users' own classes are named and found."""

import contextlib
import functools
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender

from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import nearest, one_line, printable

_LOOKED_UP = re.compile(r"""config\[\s*["'](\w+)["']\s*\]""")
_MOST_FILES, _MOST_TEXT = 500, 2**20
_SCRIPT = "__main__:"  # where Python puts what a script or a notebook defines


def sources(model_class: Any) -> Iterator[tuple[str, str]]:
    """Modules that a model's class comes from, with their text."""
    ancestors = (cls for cls in model_class.__mro__ if cls is not object)
    modules = (cls.__module__ for cls in ancestors)
    return _texts(name for name in modules if not name.startswith("torch"))


def _texts(modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in modules:
        with contextlib.suppress(OSError, TypeError, KeyError):  # of a notebook or a shell
            yield name, inspect.getsource(sys.modules[name])


def own_code(classes: Iterable[Any], modules: Iterable[str] = ()) -> dict[str, str]:
    """Fingerprint the code that users have written themselves, or that other packages have.

    Of a script only the classes count, since the rest of it may say what is to be run.

    Args:
        classes: Of a run: its model's, and its method's trainer.
        modules: More modules, such as that of the method.

    Returns:
        Module -> SHA-256 of its text in hexadecimal, for all that has a text and is not of
        RecBole's or of this package.
    """
    known = {"recbole", "recbole_enhance", "torch", *sys.stdlib_module_names}
    ancestors = {cls: None for given in classes for cls in given.__mro__}
    names = sorted({*modules, *(cls.__module__ for cls in ancestors)})
    texts = dict(_texts(name for name in names if name.partition(".")[0] not in known))
    own = [cls for cls in ancestors if class_path(cls).startswith(_SCRIPT)]
    if own:
        with contextlib.suppress(OSError, TypeError):
            texts[own[0].__module__] = "\n".join(map(inspect.getsource, own))
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def options_read_by(model_class: Any) -> set[str]:
    """Options that a model's module looks up, also those its YAML forgets."""
    names: set[str] = set()
    for _, source in sources(model_class):
        names |= set(_LOOKED_UP.findall(source))
    for cls in model_class.__mro__:
        if class_path(cls).startswith(_SCRIPT):  # a notebook has no text: take every word
            methods = (value for value in vars(cls).values() if inspect.isfunction(value))
            words = (word for method in methods for word in method.__code__.co_consts)
            names |= {word for word in words if isinstance(word, str) and word.isidentifier()}
    return names


def options_without_value(model_class: Any, values: Mapping[str, Any]) -> list[str]:
    """Options that a user's class reads and that have no value; RecBole would give None.

    Args:
        model_class: The class.
        values: All options of the run.
    """
    read: set[str] = set()
    for module, source in sources(model_class):
        if module != AbstractRecommender.__module__:  # which works without
            read |= set(_LOOKED_UP.findall(source))
    return sorted(read - set(values))


def named_file(name: str, folders: Iterable[Any]) -> str:
    """Look for a file beside the user's own that defines the class that a name may mean.

    The files are read as text; nothing is imported.

    Args:
        name: Name of an unknown model.
        folders: Where to look.

    Returns:
        A hint for the end of a message; empty if there is no such file.
    """
    for folder in dict.fromkeys(Path(folder).resolve() for folder in folders):
        for file in sorted(folder.glob("*.py"))[:_MOST_FILES]:
            if not file.stem.isidentifier() or not file.is_file():
                continue
            with contextlib.suppress(OSError), file.open(encoding="utf-8", errors="replace") as f:
                text = f.read(_MOST_TEXT)
                for found in re.findall(r"^class (\w+)\b", text, re.MULTILINE):
                    if found.lower() == name.lower():
                        there = "" if folder == Path.cwd() else f" in {printable(str(folder))}"
                        return f"; {file.name} has it: say {file.stem}:{found}{there}"
    return ""


def is_model(thing: Any) -> bool:
    """Whether a thing is the class of a RecBole model."""
    return isinstance(thing, type) and issubclass(thing, AbstractRecommender)


def checked_class(option: str, model_class: type) -> type:
    """Refuse a class that is no model.

    Raises:
        OptionError: Naming the option and the class.
    """
    if not is_model(model_class):
        raise OptionError(option, class_path(model_class), "not a class of a RecBole model")
    return model_class


def class_path(model_class: type) -> str:
    """Name a class so that :func:`import_class` finds it: ``module:Class``.

    Example:
        >>> from recbole.model.general_recommender.bpr import BPR
        >>> class_path(BPR)
        'recbole.model.general_recommender.bpr:BPR'
    """
    return f"{model_class.__module__}:{model_class.__qualname__}"


def import_own(option: str, path: str, kinds: Mapping[str, Callable[[Any], bool]]) -> Any:
    """Import what users have named themselves, on their command line or from Python.

    Never call this with what a file says: importing a module runs its code.

    Args:
        option: ``model`` or ``backbone``, for the message.
        path: ``module:Name``.
        kinds: What is taken, in words -> whether a thing is that. One of them must hold.

    Raises:
        OptionError: If it cannot be imported or is nothing of the kind.

    Example:
        >>> path = "recbole.model.general_recommender.bpr:BPR"
        >>> import_own("model", path, {"RecBole model": is_model}).__name__
        'BPR'
    """
    module_name, _, names = path.partition(":")
    if path.startswith(_SCRIPT):
        raise OptionError(
            option,
            path,
            "a class of a script or notebook cannot be imported; move it into a module, or "
            "pass the class from Python",
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module fails with
        reason = one_line(f"{type(error).__name__}: {error}")
        raise OptionError(option, path, f"{module_name} cannot be imported ({reason})") from error

    def fits(thing: Any) -> bool:
        return any(holds(thing) for holds in kinds.values())

    try:
        found = functools.reduce(getattr, names.split("."), module)
    except AttributeError:
        found = None
    if not fits(found):
        near = nearest(names, [name for name, thing in vars(module).items() if fits(thing)])
        raise OptionError(option, path, f"{module_name} has no {' or '.join(kinds)} {names}{near}")
    return found


def same_code(recorded: str, given: str) -> bool:
    """Whether a name is the one in a run folder.

    What was defined in a script may have moved into a module since.

    Args:
        recorded: ``module:Name``, or the plain name of what a package has.
        given: In the same form.
    """
    moved = recorded.startswith(_SCRIPT) and recorded[len(_SCRIPT) :] == given.partition(":")[2]
    return given == recorded or moved


def how_to_name(option: str, recorded: str, argument: str = "model_class") -> str:
    """Tell how to hand over what a run folder names and users have defined.

    Args:
        option: ``model`` or ``backbone``.
        recorded: ``module:Name``.
        argument: What it is called from Python: ``model_class``, or ``method``.
    """
    if recorded.startswith(_SCRIPT):
        return f"{argument}={recorded[len(_SCRIPT) :]} from Python (a script defined it)"
    return f"--{option}={recorded}, or {argument}= from Python"
