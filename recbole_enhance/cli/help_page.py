"""Write the help of every verb into docs/command_line.md."""

import contextlib
import io
import os
import re
from pathlib import Path

from recbole_enhance.cli.program import main

PAGE = Path("docs", "command_line.md")
_BLOCK = re.compile(r"(?<=^### )([^\n]*)(\n\n```\n)(.*?)(?=```)", re.S | re.M)


def with_help(text: str) -> str:
    """The page with the help that the program gives today, a hundred columns wide."""
    return _BLOCK.sub(lambda block: f"{block[1]}{block[2]}{_help(block[1])}", text)


def _help(verb: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        main([*verb.split(), "--help"])
    return output.getvalue()


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    PAGE.write_text(with_help(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
