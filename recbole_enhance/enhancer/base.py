"""The contract of a method: at most a trainer mix-in and a wrapper of the backbone's class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Enhancer:
    """A paper's method on top of a RecBole model.

    Attributes:
        name: As in ``--model=NAME``; its YAML is ``properties/enhancer/NAME.yaml``.
        paper: Title and identifier, for the run's report.
        trainer: Mix-in over :class:`~recbole_enhance.training.trainer.EnhancedTrainer`, or None.
        wrap: Makes a RecBole model class from the backbone's class, or None.
        check: Called as ``check(config)`` before any data are read, with RecBole's ``MODEL_TYPE``
            and ``MODEL_INPUT_TYPE`` and the backbone's class ``config.model_class`` resolved;
            raises ``ValueError`` with the reason and the backbones that do work.
        adapt: Makes the class that RecBole shall take the backbone for, before ``MODEL_TYPE`` and
            all that follows from it are read off the class; or None.
        choose: Called as ``choose(config)`` for the trainer where options decide which; or None.
        prepare: Called as ``prepare(config, dataset)`` with RecBole's dataset before it is split;
            or None.
    """

    name: str
    paper: str
    check: Callable[[Any], None]
    trainer: type | None = None
    wrap: Callable[[type], type] | None = None
    adapt: Callable[[type], type] | None = None
    prepare: Callable[[Any, Any], None] | None = None
    choose: Callable[[Any], type] | None = None

    def trainer_for(self, config: Any) -> type | None:
        """The trainer mix-in under these options, or None."""
        return self.trainer if self.choose is None else self.choose(config)
