"""A process that runs cells one after another, each as if nothing else ran in the process."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

_ONE_AT_A_TIME = threading.Lock()  # RecBole's and torch's state is the process's
_watched: set[int] = set()
_WATCH_SECONDS = 0.5


@contextlib.contextmanager
def worker_process(threads: int, driver: int | None) -> Iterator[None]:
    """Run the block with so many threads, silent, and measured for itself.

    Random states need no care here: every run seeds them before it reads data and again before it
    builds a model.

    Args:
        threads: Of torch and of the numerical libraries.
        driver: Process on this machine that waits for the result: without it, this one ends too.
    """
    from recbole_enhance.compat import mends
    from recbole_enhance.storage import resources

    if driver is not None and driver != os.getpid():
        _end_with(driver)
    with _ONE_AT_A_TIME, _silent(), resources.limited_threads(threads):
        mends.apply()
        resources.reset_peak()
        yield


def _end_with(driver: int) -> None:
    """Leave Ctrl-C to the driver, and end when the driver ends."""
    if driver in _watched:
        return
    _watched.add(driver)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="driver").start()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Leave the terminal to the board; the run's own messages are in ``run.log``."""
    handlers = list(logging.getLogger("recbole_enhance").handlers)
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels):
            handler.setLevel(level)
