"""Run folders of tables: a run that is there is read or continued, if it is the one asked for."""

import sys
from pathlib import Path
from typing import Any, Mapping

from recbole_enhance.config import Config
from recbole_enhance.quick_start import resume_run, run_recbole_enhance
from recbole_enhance.run_folder import CONFIG, changed_options, recorded_options


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
    for key, old, new in changed_options(path, recorded_options(Config(config_dict=options))):
        sys.exit(f"{path}: was run with {key}={old}, and {key}={new} is asked; take another --out")
    resume_run(path, quiet=True)
