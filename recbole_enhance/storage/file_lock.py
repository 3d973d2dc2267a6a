"""A lock for one process at a time, which the kernel releases when the process ends."""

import fcntl
import logging
import os
from pathlib import Path
from typing import Any

from recbole_enhance.options.errors import InputError
from recbole_enhance.storage.files import open_file

logger = logging.getLogger("recbole_enhance")
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class LockedError(InputError):
    """Another process holds the lock."""


def lock_file(path: Path, what: str) -> Any:
    """Open a file and lock it until it is closed, or this process ends however it ends.

    Args:
        path: The file, made if it is not there.
        what: Option and value that led to it, for the message.

    Returns:
        The open file.

    Raises:
        LockedError: If another process holds it.
        InputError: If it cannot be written, or is a link or no regular file.
    """
    while True:
        try:
            file = open(open_file(path, _APPEND), "ab")  # noqa: SIM115  it stays open
        except OSError as error:
            raise InputError(f"{what}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise LockedError(f"{what}: another process is running in this folder") from None
        except OSError as error:  # some network file systems lock nothing
            logger.warning(
                "%s: cannot be locked (%s): see that no second process uses it",
                what,
                error.strerror,
            )
            return file
        # Between opening and locking, the process before may have removed its file.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()
