"""The settings of a trial."""

from typing import Any, Mapping, Optional

from recbole_enhance.config import Config
from recbole_enhance.options import split_files

PRUNERS = ("median", "none")


def make_config(options: Mapping[str, Any], changed: Optional[Mapping[str, Any]] = None) -> Config:
    """The settings of a run that shows nothing.

    Args:
        options: Those of the user, ``config_files`` among them.
        changed: What a trial has instead.
    """
    files, rest = split_files(options)
    silent = {"quiet": True, "show_progress": False}
    return Config(config_file_list=files, config_dict={**rest, **(changed or {}), **silent})
