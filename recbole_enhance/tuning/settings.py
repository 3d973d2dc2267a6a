"""The settings of a trial."""

from collections.abc import Mapping
from typing import Any

from recbole_enhance.experiment.config import Config, anonymous_dict
from recbole_enhance.options.read import split_files

PRUNERS = ("median", "none")


def make_config(options: Mapping[str, Any], changed: Mapping[str, Any] | None = None) -> Config:
    """The settings of a run that shows nothing.

    Args:
        options: Those of the user, ``config_files`` among them.
        changed: What a trial has instead.
    """
    files, rest = split_files(options)
    silent = {"quiet": True, "show_progress": False}
    with anonymous_dict():
        return Config(config_file_list=files, config_dict={**rest, **(changed or {}), **silent})
