"""The verb ``explain``: what there is to say depends on the method or model of the run."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from recbole_enhance.options.read import load_yaml
from recbole_enhance.storage.run_folder import CONFIG

# Method of the run, or its model -> the module whose main(words) explains it.
EXPLAINERS: dict[str, str] = {
    "IaCN": "recbole_enhance.explanation.capsules",
    "RVRec": "recbole_enhance.explanation.coalitions",
    "CER": "recbole_enhance.explanation.features",
    "EFM": "recbole_enhance.explanation.features",
}


def main(words: Sequence[str]) -> int:
    """Explain a run.

    Args:
        words: The run's folder and options, see ``recbole-enhance --help``.

    Raises:
        ValueError: If there is no run, or nothing explains runs of its kind.
    """
    folder = next((Path(w) for w in words if not w.startswith("--")), None)
    if folder is None or not (folder / CONFIG).is_file():
        raise ValueError(f"explain {folder or 'RUN_DIR'}: the folder of a finished run is expected")
    options = load_yaml(folder / CONFIG)
    names = [str(options.get(key)) for key in ("model", "backbone")]
    known = [name for name in names if name in EXPLAINERS]
    if not known:
        raise ValueError(
            f"{folder}: a run of {names[0]}, and what can be explained are runs of "
            f"{', '.join(EXPLAINERS)}"
        )
    return importlib.import_module(EXPLAINERS[known[0]]).main(words)
