"""The settings of a trial."""

from typing import Any, Dict, List, Mapping, Optional, Tuple

from recbole_enhance.config import Config


def split_files(options: Mapping[str, Any]) -> Tuple[List[str], Dict[str, Any]]:
    """Part the names of files, text or a list, from the options."""
    rest = dict(options)
    files = rest.pop("config_files", None) or []
    if isinstance(files, str):
        files = files.replace(",", " ").split()
    return [str(name) for name in files], rest


def make_config(options: Mapping[str, Any], changed: Optional[Mapping[str, Any]] = None) -> Config:
    """The settings of a run that shows nothing.

    Args:
        options: Those of the user, ``config_files`` among them.
        changed: What a trial has instead.
    """
    files, rest = split_files(options)
    silent = {"quiet": True, "show_progress": False}
    return Config(config_file_list=files, config_dict={**rest, **(changed or {}), **silent})
