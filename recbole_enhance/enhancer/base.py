"""What a method is: at most a trainer mix-in and a wrapper of the backbone's class."""

import copy
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_enhance.options.errors import InputError
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import Layer, load_yaml
from recbole_enhance.options.schema import Options


@dataclass(frozen=True)
class Enhancer:
    """A paper's method on top of a RecBole model.

    Attributes:
        name: As in ``--model=NAME``; letters and digits. The name of each option of the method
            begins with it in lower case, followed by ``_``.
        paper: Title and identifier of the paper, for the run's report.
        trainer: Mix-in over :class:`~recbole_enhance.training.trainer.EnhancedTrainer`, or None.
        wrap: Makes a RecBole model class from the backbone's class, or None.
        options: Class of its options; their defaults are in its YAML.
        check: Called as ``check(config)`` before any data are read, with RecBole's ``MODEL_TYPE``
            and ``MODEL_INPUT_TYPE`` and the backbone's class ``config.model_class`` resolved;
            raises :class:`~recbole_enhance.options.errors.OptionError` with the reason and the
            backbones that do work. Types and ranges of options have been checked before.
        adapt: Makes the class that RecBole uses as the backbone, before it reads ``MODEL_TYPE``
            and all that follows from it off the class; or None.
        choose: Called as ``choose(config)`` for the trainer where options decide which; or None.
        prepare: Called as ``prepare(config, dataset)`` with RecBole's dataset before it is split;
            or None.
        in_search: Called as ``in_search(config)`` for options that all trials of a search have, so
            that their validation scores can be compared; or None.
        defaults: Default of each option, and of ``backbone``: a YAML file
            (``Path(__file__).with_suffix(".yaml")``) or a mapping. An option that is missing there
            has the default of its field in ``options``. None takes
            ``properties/enhancer/NAME.yaml``, which the methods of this package use.
        begins: The option that says after how many epochs the method begins to act, or None if it
            acts from the first step on; or ``begins(config)``, which gives one of these. A run of
            no more epochs than that is refused.
        notes: Called as ``notes(config)`` when a run begins, for what its user should know, such as
            options that others make useless: lines, perhaps none; or None.
        by_parts: Whether several processes may each take a part of a batch: the loss is the mean
            over the batch's rows, and what is drawn is drawn for the whole batch.
        by_rows: Whether ``learner=row_adam`` may train it: the loss looks at the backbone's
            tables through ``calculate_loss`` only, at the rows of the batch.
    """

    name: str
    paper: str
    check: Callable[[Any], None]
    options: type[Options] = Options
    trainer: type | None = None
    wrap: Callable[[type], type] | None = None
    adapt: Callable[[type], type] | None = None
    prepare: Callable[[Any, Any], None] | None = None
    choose: Callable[[Any], type] | None = None
    in_search: Callable[[Any], Mapping[str, Any]] | None = None
    defaults: Mapping[str, Any] | str | Path | None = None
    begins: str | Callable[[Any], str | None] | None = None
    notes: Callable[[Any], list[str]] | None = None
    by_parts: bool = False
    by_rows: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name):  # it becomes part of folders' names
            raise InputError(f"Enhancer name={self.name!r}: letters and digits are expected")

    @property
    def path(self) -> str:
        """Where the method is defined, as ``module:Name``; its parts show in which module."""
        parts = (self.trainer, self.wrap, self.adapt, self.prepare, self.options, self.check)
        modules = [sys.modules[part.__module__] for part in parts if part is not None]
        for module in modules:
            for name, value in vars(module).items():
                if isinstance(value, Enhancer) and value == self:
                    return f"{module.__name__}:{name}"
        return f"{modules[0].__name__}:{self.name}"

    @property
    def options_file(self) -> Path | None:
        """The YAML file with the defaults of the options, or None if there is none."""
        if self.defaults is not None:
            return None if isinstance(self.defaults, Mapping) else Path(self.defaults)
        ours = resource_dir("properties") / "enhancer" / f"{self.name}.yaml"
        return ours if ours.is_file() else None

    def default_options(self) -> Layer:
        """Read the defaults of the options.

        Returns:
            Where they come from, for messages, and the defaults.

        Raises:
            InputError: If the file cannot be read, or an option lacks the method's prefix.
        """
        fields = self.options.model_fields.items()
        options = {key: field.get_default() for key, field in fields if not field.is_required()}
        origin, path = f"defaults of {self.name}", self.options_file
        if isinstance(self.defaults, Mapping):
            options |= copy.deepcopy(dict(self.defaults))
        elif path is not None:
            origin = f"{path.parent.name}/{path.name}"
            options |= load_yaml(path)
        prefix = f"{self.name.lower()}_"
        for key in options:
            if key != "backbone" and not key.startswith(prefix):
                raise InputError(f"{origin}: {key}: options of {self.name} begin with {prefix}")
        return origin, options

    def start_option(self, config: Any) -> str | None:
        """The option that says after how many epochs the method begins to act, if there is one."""
        return self.begins(config) if callable(self.begins) else self.begins

    def trainer_for(self, config: Any) -> type | None:
        """The trainer mix-in under these options, or None."""
        return self.trainer if self.choose is None else self.choose(config)
