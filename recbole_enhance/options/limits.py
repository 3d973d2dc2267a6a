"""Upper limits of options, so that a typo does not ask for more than any machine has."""

from typing import Any

from recbole_enhance.options.errors import OptionError

MOST = 1_000_000  # of anything that is counted: units, samples, clusters, trials
MOST_STEPS = 10_000_000  # of training: epochs and steps; rows of a batch
MOST_PAIRS = 10_000_000_000  # of users and items whose scores are in memory at one time: 40 GB
MOST_WIDE = 65536  # numbers in a row of a table or a layer
MOST_NEGATIVES = 10_000  # of a positive, in training
# Far more than helps, and few enough to work: with a million threads, torch ends by SIGSEGV.
MOST_THREADS = 1024
MOST_PROCESSES = 256


def checked_count(option: str, value: Any, most: int) -> int:
    """Take a whole number from 1 to a limit.

    Raises:
        OptionError: Naming the option, the value and the limit.

    Example:
        >>> checked_count("threads", 4, MOST_THREADS)
        4
        >>> checked_count("threads", 10**6, MOST_THREADS)
        Traceback (most recent call last):
        recbole_enhance.options.errors.OptionError: threads=1000000: at most 1024
    """
    if type(value) is not int or value < 1:
        raise OptionError(option, value, "a whole number above 0 is expected")
    if value > most:
        raise OptionError(option, value, f"at most {most}")
    return value
