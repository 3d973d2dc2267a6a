"""What ``--model`` and ``--backbone`` can name: RecBole's, ours, and what packages register."""

import contextlib
import importlib
import pkgutil
from pathlib import Path
from typing import Any

from recbole_enhance.enhancer import ENHANCERS, enhancer_names, load_enhancer
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.options import packages
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.model_class import class_path, is_model
from recbole_enhance.options.read import nearest

_SUBMODULES = ("general", "context_aware", "sequential", "knowledge_aware", "exlib")


def recbole_models() -> dict[str, tuple[str, str]]:
    """List RecBole's models: lower-case name -> (name, module)."""
    import recbole.model as package

    spelling = {path.stem.lower(): path.stem for path in recbole_properties("model").glob("*.yaml")}
    models = {}
    for family in _SUBMODULES:
        folder = Path(package.__path__[0]) / f"{family}_recommender"
        for module in pkgutil.iter_modules([str(folder)]):
            name = spelling.get(module.name, module.name.capitalize())
            models[module.name] = (name, f"recbole.model.{family}_recommender.{module.name}")
    return models


def get_model_class(name: str, option: str = "model") -> Any:
    """Find a backbone's class by its name, whatever the case.

    Args:
        name: The name.
        option: The option that says it, for the message.

    Raises:
        OptionError: If there is no such model, a package it needs is missing, or the package that
            registers it is broken.
    """
    ours = {spelled.lower(): spelled for spelled in MODELS}
    if name.lower() in ours:
        return load_model(ours[name.lower()])
    models = recbole_models()
    if name.lower() not in models:
        return _registered_model(name, option, [spelled for spelled, _ in models.values()])
    spelled, module = models[name.lower()]
    try:
        return getattr(importlib.import_module(module), spelled)
    except ImportError as error:
        raise OptionError(
            option, spelled, f"needs the package {error.name}, which is missing"
        ) from error


def _registered_model(name: str, option: str, recboles: list[str]) -> Any:
    """The model that another package registers."""
    others = packages.registered(packages.MODELS)
    if name.lower() not in others:
        registered = (entries[0].name for entries in others.values())
        known = [*recboles, *MODELS, *registered, *enhancer_names().values()]
        raise OptionError(
            option,
            name,
            f"unknown model{nearest(name, known)} (`recbole-enhance list` shows all of them)",
        )
    entry = others[name.lower()][0]
    found = entry.load(option)
    if not is_model(found):
        raise entry.broken(option, "is not a class of a RecBole model")
    if found.__name__ != entry.name:
        raise entry.broken(option, f"calls itself {found.__name__}")
    return found


def refuse_shared_name(option: str, name: str) -> None:
    """Refuse a name that a package has registered, and another package has, too.

    Args:
        option: ``model`` or ``backbone``.
        name: Of a method or a model, whatever the case.

    Raises:
        OptionError: Naming the packages.
    """
    groups = (packages.registered(group) for group in (packages.ENHANCERS, packages.MODELS))
    owners = [entry.package for group in groups for entry in group.get(name.lower(), ())]
    if owners:
        if name.lower() in {spelled.lower() for spelled in (*ENHANCERS, *MODELS)}:
            owners.insert(0, "recbole_enhance")
        if name.lower() in recbole_models():
            owners.insert(0, "recbole")
    if len(owners) > 1:
        raise OptionError(
            option,
            name,
            f"{' and '.join(owners)} each define this name; uninstall one of them, or rename it",
        )


def class_name(model_class: type) -> str:
    """What a run folder calls a class: its name if a package has it, else ``module:Class``."""
    with contextlib.suppress(ValueError):
        if get_model_class(model_class.__name__) is model_class:
            return model_class.__name__
    return class_path(model_class)


def recbole_properties(folder: str) -> Path:
    """A folder of RecBole's own option files."""
    import recbole

    return Path(recbole.__file__).parent / "properties" / folder


def refuse_taken_name(name: str, path: str) -> None:
    """Refuse a method of the user's that is called as a model is.

    Args:
        name: The method's.
        path: Its ``module:Name``.

    Raises:
        OptionError: Naming the two.
    """
    models = {*recbole_models(), *(model.lower() for model in MODELS)}
    if name.lower() in {*models, *packages.registered(packages.MODELS)}:
        raise OptionError("model", path, f"there is a model {name} too; rename this method")


def is_method(thing: Any) -> bool:
    """Whether a thing is a method."""
    return isinstance(thing, Enhancer)


# ---- to show them ------------------------------------------------------------------------------


def list_methods() -> list[tuple[str, str]]:
    """Name of each method, and its paper; of those that packages register also the package."""
    lines = [(name, load_enhancer(name).paper) for name in ENHANCERS]
    for entries in packages.registered(packages.ENHANCERS).values():
        for entry in entries:
            try:
                refuse_shared_name("model", entry.name)
                about = load_enhancer(entry.name).paper
            except ValueError as error:
                about = f"cannot be used: {error}"
            lines.append((entry.name, f"{about} [{entry.package}]"))
    return lines


def list_models() -> dict[str, list[str]]:
    """Names of models by family; those that packages register by package."""
    families: dict[str, list[str]] = {"ours": list(MODELS)}
    for spelled, module in recbole_models().values():
        families.setdefault(module.split(".")[2].replace("_recommender", ""), []).append(spelled)
    families = {family: sorted(names) for family, names in families.items()}
    for entries in packages.registered(packages.MODELS).values():
        for entry in entries:
            try:
                refuse_shared_name("model", entry.name)
                get_model_class(entry.name)
                about = entry.name
            except ValueError as error:
                about = f"{entry.name} cannot be used: {error}"
            families.setdefault(f"[{entry.package}]", []).append(about)
    return families


def model_families() -> dict[str, str]:
    """Model, in lower case -> general, sequential, context, knowledge, or ours."""
    families = {
        name: module.split(".")[2].replace("_aware", "").replace("_recommender", "")
        for name, (_, module) in recbole_models().items()
    }
    return {**families, **{name.lower(): "ours" for name in MODELS}}
