"""Methods from papers that improve, explain and harden RecBole recommenders.

Submodules are imported only when a name is used::

    import recbole_enhance as rbe

    result = rbe.run(model="DVR", dataset="ml-100k", config_dict={"epochs": 3})
    finished = rbe.load_run(result["run_dir"])
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Public name -> module, and the name in that module.
_FACE = {
    "run": ("recbole_enhance.experiment.quick_start", "run_recbole_enhance"),
    "resume": ("recbole_enhance.experiment.quick_start", "resume_run"),
    "load_run": ("recbole_enhance.experiment.quick_start", "load_run"),
    "import_data": ("recbole_enhance.data.importing", "import_data"),
    "get_data": ("recbole_enhance.data.public_sets", "get_data"),
    "tune": ("recbole_enhance.tuning.tune", "tune"),
    "evaluate": ("recbole_enhance.experiment.judge", "evaluate_lists"),
    "build_board": ("recbole_enhance.leaderboard.board", "build_board"),
    "values": ("recbole_enhance.explanation.values", "rank_values"),
    "recommend": ("recbole_enhance.recommendation.recommend", "recommend"),
    "similar_items": ("recbole_enhance.recommendation.similar", "similar_items"),
    "Callback": ("recbole_enhance.experiment.trackers", "Callback"),
    "Config": ("recbole_enhance.experiment.config", "Config"),
}
__all__ = [
    "Callback",
    "Config",
    "__version__",
    "build_board",
    "evaluate",
    "get_data",
    "import_data",
    "load_run",
    "recommend",
    "resume",
    "run",
    "similar_items",
    "tune",
    "values",
]

if TYPE_CHECKING:
    from recbole_enhance.data.importing import import_data
    from recbole_enhance.data.public_sets import get_data
    from recbole_enhance.experiment.config import Config
    from recbole_enhance.experiment.judge import evaluate_lists as evaluate
    from recbole_enhance.experiment.quick_start import load_run
    from recbole_enhance.experiment.quick_start import resume_run as resume
    from recbole_enhance.experiment.quick_start import run_recbole_enhance as run
    from recbole_enhance.experiment.trackers import Callback
    from recbole_enhance.explanation.values import rank_values as values
    from recbole_enhance.leaderboard.board import build_board
    from recbole_enhance.recommendation.recommend import recommend
    from recbole_enhance.recommendation.similar import similar_items
    from recbole_enhance.tuning.tune import tune


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, original = _FACE[name]
    return getattr(importlib.import_module(module), original)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
