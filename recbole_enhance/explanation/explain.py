"""Explain a run; the kind of explanation depends on its method or model."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from recbole_enhance.experiment.quick_start import finished_run
from recbole_enhance.options.errors import InputError, UnknownOptionError
from recbole_enhance.options.model_class import import_own, is_model
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
# For a model class of the user, if it has features; and for whatever else scores items.
_OF_FEATURES = "recbole_enhance.explanation.features"
_OF_ANY = "recbole_enhance.explanation.reasons"
_COMMON = ("run_dir", "model_class", "method", "quiet")


def explain(
    run_dir: str | Path,
    model_class: str | type | None = None,
    method: Any = None,
    quiet: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Explain a run, write the explanations into its folder and print them.

    Args:
        run_dir: Folder of the run.
        model_class: If the run is of a class of your own: the class or ``module:Class``.
        method: If it is of a method of your own: the Enhancer or ``module:Name``.
        quiet: Print nothing.
        **options: Options of :func:`.features.explain` (CER, EFM), :func:`.capsules.explain`
            (IaCN), :func:`.coalitions.explain` (RVRec) or :func:`.reasons.explain` (all others).

    Returns:
        The explanations, as these functions return them.

    Raises:
        InputError: If there is no run, its model cannot be explained, or an option is unknown.
    """
    folder = finished_run(run_dir)
    options_of_run = read_settings(folder.path / CONFIG)
    names = [str(options_of_run.get(key)) for key in ("model", "backbone")]
    explainer = importlib.import_module(_module_of(names[0], names[1], model_class)).explain
    parameters = inspect.signature(explainer).parameters
    if method is not None and "method" not in parameters:
        raise InputError(f"model={method}: {run_dir} is a run of {names[0]}")
    allowed = [name for name in parameters if name not in _COMMON]
    for key in options:
        if key not in allowed:
            hint = nearest(key, allowed) or f"; options are {', '.join(allowed)}"
            problem = f"unknown option of an explanation of {names[0]}{hint}"
            raise UnknownOptionError(f"--{key}", problem)
    own = {} if method is None else {"method": method}
    return explainer(folder.path, model_class=model_class, quiet=quiet, **own, **options)


def _module_of(model: str, backbone: str, model_class: str | type | None) -> str:
    """Where the function is that explains a run.

    Args:
        model: Of the run: its method, or its model.
        backbone: Its model.
        model_class: As of :func:`explain`.
    """
    if model != backbone and ":" in model:  # a method of the user
        return _OF_ANY
    known = [EXPLAINERS[name] for name in (model, backbone) if name in EXPLAINERS]
    if known:
        return known[0]
    if ":" in backbone and model_class is not None:
        from recbole_enhance.model.feature_aware import FeatureAwareRecommender

        if isinstance(model_class, str):
            model_class = import_own("backbone", model_class, {"a RecBole model": is_model})
        if issubclass(model_class, FeatureAwareRecommender):  # type: ignore[arg-type]
            return _OF_FEATURES
    return _OF_ANY
