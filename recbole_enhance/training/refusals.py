"""Errors of a training step, told as what they are: options that do not fit, or a divergence."""

import contextlib
import re
import traceback
from collections.abc import Iterator
from typing import Any

from recbole_enhance.options.errors import InputError, NotFiniteError, OptionError
from recbole_enhance.options.read import one_line
from recbole_enhance.storage.tensor_files import out_of_memory

_PRECISION = re.compile(r"dtype|scalar type|BFloat16|HalfTensor|Half\b|same type", re.I)


@contextlib.contextmanager
def told_as_refusal(config: Any) -> Iterator[None]:
    """Name the options where a model of RecBole's falls over them in a batch.

    Args:
        config: The run's settings.
    """
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        if config["enable_amp"] and _PRECISION.search(reason):
            why = f"{config['label']} has an operation without mixed precision ({reason})"
            raise OptionError("enable_amp", True, f"must be False: {why}") from error
        names = [
            frame.f_globals.get("__name__", "")
            for frame, _ in traceback.walk_tb(error.__traceback__)
        ]
        ours = [name for name in names if name.startswith(("recbole.", "recbole_enhance."))]
        if not ours[-1].startswith("recbole.model."):  # a fault of the program, or a user's class
            raise
        what = f"model={config['model']} cannot be trained with these options"
        raise InputError(f"{what}: {reason}") from error


@contextlib.contextmanager
def overflow_told() -> Iterator[None]:
    """Say as of any other divergence that a number is beyond what torch's float32 holds."""
    try:
        yield
    except RuntimeError as error:
        if "without overflow" not in str(error):
            raise
        raise NotFiniteError("a step is infinite") from None
