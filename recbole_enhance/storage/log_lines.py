"""How messages of a run stand in its log, and names of others in a terminal."""

import logging
import re

from recbole_enhance.options.read import printable


class OneLine(logging.Formatter):
    """Writes a message on one line, so that a name in it cannot forge a second message.

    RecBole colours its messages; a file wants none. Some of them have no place for a value.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        try:
            record.getMessage()
        except TypeError:  # ract.py:76
            record.msg = " ".join(map(str, (record.msg, *(record.args or ()))))
            record.args = None
        return printable(re.sub(r"\x1b\[[0-9;]*m", "", super().format(record)))


def show(text: str) -> None:
    """Print lines with names from data, whose control characters a terminal must not obey."""
    print("\n".join(map(printable, text.split("\n"))))
