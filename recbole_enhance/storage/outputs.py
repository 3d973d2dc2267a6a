"""Files and folders that a user asks for: refused before any work is done for them."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from recbole_enhance.compat.needs import line_for
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.files import temporary_name


def output_file(option: str, path: str | Path, endings: Sequence[str] = ()) -> Path:
    """Refuse a file that cannot be written. An empty file is written beside it, and removed.

    Args:
        option: The option that names the file, for the message.
        path: The file. If there is one, it stays as it is.
        endings: What its name may end in, such as ``.csv``; empty if anything is allowed.

    Returns:
        The path.

    Raises:
        OptionError: If the name has another ending, the folder does not exist or cannot be written
            to, the path is a folder or a device, or pyarrow is missing for a ``.parquet`` file.
    """
    path = Path(path)
    if endings and path.suffix not in endings:
        known = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
        raise OptionError(option, path, f"a name that ends in {known} is expected")
    if not path.parent.is_dir():
        raise OptionError(option, path, f"there is no folder {path.parent}")
    if os.path.exists(path) and not os.path.isfile(path):  # Path's raise for a name too long
        found = "is a folder" if os.path.isdir(path) else "is not a regular file"
        raise OptionError(option, path, f"{found}, and the name of a file is expected")
    trial = path.with_name(temporary_name(path.name))
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise _unwritable(option, path, error) from error
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise OptionError(option, path, f"needs pyarrow: {line_for('data')}")
    return path


def make_output_folder(option: str, path: Path) -> None:
    """Make a folder, and its parents, unless it exists.

    Args:
        option: The option that names the folder, for the message.
        path: The folder.

    Raises:
        OptionError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(option, path, error) from error


def _unwritable(option: str, path: Path, error: OSError) -> OptionError:
    return OptionError(option, path, f"cannot be written ({error.strerror})")
