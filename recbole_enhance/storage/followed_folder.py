"""The run folder of the processes that only compute: they read it, and never write."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_enhance.options import launched
from recbole_enhance.storage import processes
from recbole_enhance.storage.run_folder import RunFolder


class FollowedFolder(RunFolder):
    """A run folder that the first process of the run writes.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, fresh=False)

    def lock(self, option: str) -> None:
        """Nothing: the first process has the lock."""

    def write_bytes(self, name: str, content: bytes | memoryview) -> None:
        """Nothing: the first process writes."""

    def save_tensors(self, name: str, content: Mapping[str, Any]) -> None:
        """Nothing: the first process writes."""

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """Send what others log nowhere, while the block runs."""
        silence, root = logging.NullHandler(), logging.getLogger()
        root.addHandler(silence)
        try:
            yield
        finally:
            root.removeHandler(silence)


def create_for_all(config: Any) -> RunFolder:
    """Make the folder of a new run, by the first of its processes; see ``RunFolder.create``."""
    folder = RunFolder.create(config) if launched.is_first() else None
    path = processes.share(str(folder.path) if folder else None)
    return folder or FollowedFolder(Path(path))


def open_for_all(path: str | Path) -> RunFolder:
    """Open the folder of an earlier run, which all processes must see; see ``RunFolder.open``."""
    folder = RunFolder.open(path)
    return folder if launched.is_first() else FollowedFolder(folder.path)
