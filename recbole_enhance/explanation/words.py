"""What the verbs ``attack`` and ``explain`` share: their words, and tables for the terminal."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_enhance.options.errors import OptionError, UnknownOptionError
from recbole_enhance.options.read import nearest, parse_argv, parse_value
from recbole_enhance.storage.run_folder import CONFIG, MODEL


def split_words(words: Sequence[str], defaults: Mapping[str, Any]) -> tuple[list[Path], dict]:
    """Split a verb's words into run folders and options.

    Args:
        words: After the verb: folders and ``--key=value``.
        defaults: Known options; the type of a default decides what a value must be. A tuple takes
            a comma-separated list; None takes whatever is written.

    Raises:
        ValueError: If an option is unknown or of the wrong kind, or a folder holds no run.
    """
    folders: list[Path] = []
    rest: list[str] = []
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        opens = before.startswith("--") and "=" not in before and before[2:] != "quiet"
        if word.startswith("--") or opens:
            rest.append(word)
        else:
            folders.append(Path(word))
    options = dict(defaults)
    for key, text in parse_argv(rest).items():
        if key not in defaults:
            raise ValueError(f"--{key}: unknown option{nearest(key, defaults)}")
        options[key] = _read(key, text, defaults[key])
    if not folders:
        raise ValueError("RUN_DIR is missing: the folder of a finished run, such as runs/...")
    for folder in folders:
        for name in (CONFIG, MODEL):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no finished run here ({name} is missing)")
    return folders, options


def one_folder(words: Sequence[str], defaults: Mapping[str, Any]) -> tuple[Path, dict]:
    """Split the words of ``explain``, see :func:`split_words`.

    Raises:
        ValueError: As there, and if there are several folders.
    """
    folders, options = split_words(words, defaults)
    if len(folders) > 1:
        raise ValueError(f"explain takes one RUN_DIR, not {len(folders)}")
    return folders[0], options


def _read(key: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise OptionError(key, text, "true or false is expected")
        return text == "true"
    if isinstance(default, tuple):
        return tuple(part for part in text.strip("[]").replace(" ", "").split(",") if part)
    if type(default) is int:
        value = parse_value(key, text)
        if type(value) is not int or value < 1:
            raise OptionError(key, text, "a whole number above 0 is expected")
        return value
    return text


def checked_options(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in defaults, and refuse unknown options and values of another kind than the default.

    Args:
        options: Given ones; a text stands for what it is on the command line.
        defaults: As for :func:`split_words`.

    Raises:
        InputError: Naming the option, the value and what is expected.
    """
    result = dict(defaults)
    for key, value in options.items():
        if key not in defaults:
            raise UnknownOptionError(str(key), f"unknown option{nearest(str(key), defaults)}")
        default = defaults[key]
        if isinstance(value, str):
            value = _read(key, value, default)
        elif isinstance(default, tuple) and isinstance(value, (list, tuple)):
            value = tuple(value)
        elif type(value) is not type(default) or (type(value) is int and value < 1):
            expected = "a whole number above 0" if type(default) is int else "another kind"
            raise OptionError(key, value, f"{expected} is expected")
        result[key] = value
    return result


def one_of(key: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuse a value that is not allowed.

    Raises:
        ValueError: Naming the option, the value and what is allowed.
    """
    if value not in allowed:
        raise OptionError(key, value, f"one of {', '.join(allowed)}")


def numbers(key: str, texts: Sequence[Any]) -> tuple[float, ...]:
    """Read a list of numbers of at least 0.

    Raises:
        ValueError: Naming the option and the value that is none.
    """
    values = []
    for text in texts:
        try:
            value = float(text)
        except (TypeError, ValueError):
            value = math.nan
        if not 0 <= value < math.inf:
            raise OptionError(key, text, "a number of at least 0 is expected")
        values.append(value)
    return tuple(values)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align a table: text to the left, numbers to the right with four places.

    Example:
        >>> print(table(["name", "f1"], [["clean", 0.5], ["params", None]]))
        name        f1
        clean   0.5000
        params       -
    """
    cells = [[_cell(value) for value in row] for row in rows]
    width = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    text = [not cells or isinstance(rows[0][i], str) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        parts = [c.ljust(w) if t else c.rjust(w) for c, w, t in zip(row, width, text)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
