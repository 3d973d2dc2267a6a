"""The former place of :mod:`recbole_enhance.experiment.quick_start`, for one release."""

import warnings

from recbole_enhance.experiment.assembly import Run
from recbole_enhance.experiment.quick_start import (
    load_run,
    objective_function,
    resume_run,
    run_recbole_enhance,
)

__all__ = ["Run", "load_run", "objective_function", "resume_run", "run_recbole_enhance"]
warnings.warn(
    "recbole_enhance.quick_start is now recbole_enhance.experiment.quick_start; "
    "recbole_enhance itself has run, resume and load_run",
    DeprecationWarning,
    stacklevel=2,
)
