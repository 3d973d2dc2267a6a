"""Which backbone the options name, and which method over it, if any."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from recbole_enhance.compat import mends
from recbole_enhance.enhancer import enhancer_names, load_enhancer, recorded_name
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.experiment.names import (
    class_name,
    get_model_class,
    is_method,
    refuse_shared_name,
    refuse_taken_name,
)
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.options.model_class import (
    checked_class,
    how_to_name,
    import_own,
    is_model,
    named_file,
)
from recbole_enhance.options.read import Layer


@dataclass(frozen=True)
class Pair:
    """A backbone, and the method over it or None.

    Attributes:
        model_class: Class of the backbone, as the method adapts it.
        model_name: Its name for ``config.yaml``.
        option: What names it: ``model``, or ``backbone`` under a method.
        method: The method.
        method_name: Its name for ``config.yaml``, empty without one.
        defaults: Its layer of options.
    """

    model_class: Any
    model_name: str
    option: str
    method: Enhancer | None = None
    method_name: str = ""
    defaults: Layer = ("", {})

    @property
    def own_class(self) -> tuple[str, str] | None:
        """Where the class is the user's, the option that names it and its ``module:Class``."""
        return (self.option, self.model_name) if ":" in self.model_name else None

    @property
    def own_method(self) -> str | None:
        """Where the method is the user's, its ``module:Name``."""
        return self.method_name if ":" in self.method_name else None


def find_pair(layers: Sequence[Layer], n_files: int, model: Any = None) -> Pair:
    """Find what the options ``model``, which is required, and ``backbone`` name.

    Args:
        layers: What the user says, lowest priority first.
        n_files: How many of them are files, which never name code of the user's.
        model: The argument of this name from Python, which has the last word.

    Raises:
        InputError: If there is no such model or method, or it cannot be used.
    """
    return _Finder(layers, n_files).pair(model)


class _Finder:
    """Looks options up in layers."""

    def __init__(self, layers: Sequence[Layer], n_files: int) -> None:
        self.layers, self.n_files = layers, n_files

    def pair(self, model: Any) -> Pair:
        model, newer = (model, len(self.layers)) if model else self.last("model")
        backbone, older = self.last("backbone")
        method, method_name = self.find_method(model, newer)
        option, place, defaults = "model", newer, ("", {})  # type: tuple[str, int, Layer]
        if method is not None:
            defaults = method.default_options()
            option, place, model = "backbone", older, backbone or defaults[1].get("backbone")
            if not model:
                raise InputError(f"--backbone=NAME is missing: {method.name} has no default")
        elif backbone not in (None, model) and not self.is_of_another_run(older, newer):
            names = ", ".join(sorted(enhancer_names().values()))
            raise OptionError("backbone", backbone, f"{model} is not a method; methods are {names}")
        model_class, model_name = self.find_class(option, model, place)
        if model_class.type == ModelType.DECISIONTREE:
            allowed = "decision trees have no training to enhance"
            raise OptionError(option, model_class.__name__, allowed)
        for name, missing in mends.missing_packages(model_class.__name__).items():
            raise OptionError(option, name, f"needs pip install {' '.join(missing)}")
        if method is not None and method.adapt is not None:
            model_class = method.adapt(model_class)
        return Pair(model_class, model_name, option, method, method_name, defaults)

    def last(self, option: str) -> tuple[Any, int]:
        """Value of an option in the last layer that has it, and that layer's number."""
        for number, (_, options) in reversed(list(enumerate(self.layers))):
            if options.get(option):
                return options[option], number
        return None, -1

    def is_of_another_run(self, older: int, newer: int) -> bool:
        """Whether a file names model and backbone, and a later layer names another model."""
        return older < min(newer, self.n_files) and "model" in self.layers[older][1]

    def find_method(self, model: Any, place: int) -> tuple[Enhancer | None, str]:
        """The method that ``model`` names, or None; and its name for ``config.yaml``."""
        method = None
        if isinstance(model, Enhancer):
            method = model
        elif isinstance(model, str) and ":" in model:
            self.refuse_code_in_files("model", model, place)
            found = import_own("model", model, {"RecBole model": is_model, "method": is_method})
            method = found if is_method(found) else None
        elif isinstance(model, str):
            refuse_shared_name("model", model)
            name = enhancer_names().get(model.lower())
            method = load_enhancer(name) if name else None
        if method is None:
            return None, ""
        recorded = recorded_name(method)
        if ":" in recorded:
            refuse_taken_name(method.name, recorded)
            recorded = model if isinstance(model, str) else recorded
        return method, recorded

    def refuse_code_in_files(self, option: str, model: str, place: int) -> None:
        """Refuse ``module:Name`` unless the command line or Python says it."""
        if 0 <= place < self.n_files:
            origin, options = self.layers[place]
            over = options.get("backbone", model) != model
            argument = "method" if option == "model" and over else "model_class"
            raise OptionError(
                option,
                model,
                f"{origin} names your own code, and files never import code; "
                f"say {how_to_name(option, model, argument)}",
            )

    def find_class(self, option: str, model: Any, place: int) -> tuple[Any, str]:
        """The backbone's class, and its name for ``config.yaml``."""
        if isinstance(model, type):
            return checked_class(option, model), class_name(model)
        if isinstance(model, (dict, list, Enhancer)):
            raise OptionError(option, model, "a name or a class is expected")
        if ":" not in str(model):
            refuse_shared_name(option, str(model))
            try:
                model_class = get_model_class(str(model), option)
            except OptionError as error:
                files = [origin for origin, _ in self.layers[: self.n_files]]
                error.allowed += named_file(str(model), [".", *(Path(f).parent for f in files)])
                raise
            return model_class, model_class.__name__
        self.refuse_code_in_files(option, str(model), place)
        return import_own(option, str(model), {"RecBole model": is_model}), str(model)
