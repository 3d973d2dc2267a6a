"""How messages of a run stand in its log."""

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
