"""Run folders of tables: a run that is there is read or continued, if it is the one asked for."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import resume_run, run_recbole_enhance
from recbole_enhance.storage.run_folder import CONFIG, recorded_options, refuse_changed_options


def run_or_read(path: Path, options: Mapping[str, Any]) -> None:
    """Leave the finished run of some options in a folder.

    Args:
        path: The folder.
        options: Of the run; a folder that was run with others ends the program.
    """
    options = {**options, "run_dir": str(path), "quiet": True}
    if not (path / CONFIG).is_file():
        run_recbole_enhance(config_dict=options)
        return
    recorded = recorded_options(Config(config_dict=options))
    try:
        refuse_changed_options(path, recorded, "take another --out")
    except ValueError as error:
        sys.exit(str(error))
    resume_run(path, quiet=True)
