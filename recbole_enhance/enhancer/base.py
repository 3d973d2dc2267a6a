"""The contract of a method: at most a trainer mix-in and a wrapper of the backbone's class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recbole_enhance.options.schema import Options


@dataclass(frozen=True)
class Enhancer:
    """A paper's method on top of a RecBole model.

    Attributes:
        name: As in ``--model=NAME``; its YAML is ``properties/enhancer/NAME.yaml``.
        paper: Title and identifier, for the run's report.
        trainer: Mix-in over :class:`~recbole_enhance.training.trainer.EnhancedTrainer`, or None.
        wrap: Makes a RecBole model class from the backbone's class, or None.
        options: Its options; their defaults stand in its YAML.
        check: Called as ``check(config)`` before any data are read, with RecBole's ``MODEL_TYPE``
            and ``MODEL_INPUT_TYPE`` and the backbone's class ``config.model_class`` resolved;
            raises :class:`~recbole_enhance.options.errors.OptionError` with the reason and the
            backbones that do work. Options have their types and ranges.
        adapt: Makes the class that RecBole shall take the backbone for, before ``MODEL_TYPE`` and
            all that follows from it are read off the class; or None.
        prepare: Called as ``prepare(config, dataset)`` with RecBole's dataset before it is split;
            or None.
    """

    name: str
    paper: str
    check: Callable[[Any], None]
    options: type[Options] = Options
    trainer: type | None = None
    wrap: Callable[[type], type] | None = None
    adapt: Callable[[type], type] | None = None
    prepare: Callable[[Any, Any], None] | None = None
