"""Explain a run; the kind of explanation depends on its method or model."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from recbole_enhance.experiment.quick_start import finished_run
from recbole_enhance.options.errors import RunFolderError, UnknownOptionError
from recbole_enhance.options.read import nearest
from recbole_enhance.storage.files import read_settings
from recbole_enhance.storage.run_folder import CONFIG

# Method of the run, or its model -> the module whose explain() explains it.
EXPLAINERS: dict[str, str] = {
    "IaCN": "recbole_enhance.explanation.capsules",
    "RVRec": "recbole_enhance.explanation.coalitions",
    "CER": "recbole_enhance.explanation.features",
    "EFM": "recbole_enhance.explanation.features",
}
_OF_OWN = (
    "recbole_enhance.explanation.features"  # for a model class of the user, if it can be explained
)
_COMMON = ("run_dir", "model_class", "quiet")


def explain(
    run_dir: str | Path,
    model_class: str | type | None = None,
    quiet: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Explain a run, write the explanations into its folder and print them.

    Args:
        run_dir: Folder of the run.
        model_class: If the run is of a class of your own: the class or ``module:Class``.
        quiet: Print nothing.
        **options: Options of :func:`.features.explain` (CER, EFM), :func:`.capsules.explain`
            (IaCN) or :func:`.coalitions.explain` (RVRec).

    Returns:
        The explanations, as these functions return them.

    Raises:
        InputError: If there is no run, runs of its kind cannot be explained, or an option is
            unknown.
    """
    folder = finished_run(run_dir)
    options_of_run = read_settings(folder.path / CONFIG)
    names = [str(options_of_run.get(key)) for key in ("model", "backbone")]
    known = [EXPLAINERS[name] for name in names if name in EXPLAINERS]
    if names[0] != names[1] and ":" in names[0]:  # a method of the user
        known = []
    elif not known and ":" in names[1]:
        known = [_OF_OWN]
    if not known:
        raise RunFolderError(
            folder.path,
            f"a run of {names[0]}, and what can be explained are runs of {', '.join(EXPLAINERS)}",
        )
    explainer = importlib.import_module(known[0]).explain
    allowed = [name for name in inspect.signature(explainer).parameters if name not in _COMMON]
    for key in options:
        if key not in allowed:
            hint = nearest(key, allowed) or f"; options are {', '.join(allowed)}"
            problem = f"unknown option of an explanation of {names[0]}{hint}"
            raise UnknownOptionError(f"--{key}", problem)
    return explainer(folder.path, model_class=model_class, quiet=quiet, **options)
