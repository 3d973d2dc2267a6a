"""Reading and writing files of a run folder, which may come from an untrusted source.

Links are not followed, and what is not a regular file (a FIFO, a device, a socket) is refused at
once. Reading has a size limit, also after unpacking. A file is written completely or
not at all.
"""

import contextlib
import errno
import io
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.options.read import one_line, parse_yaml

MAX_TEXT = 2**28  # bytes of a file that is read whole
# Bytes of an unpacked table: real ones grow some five times, and a bomb a thousand times.
MAX_SMALL_TABLE, MAX_GROWTH, MAX_TABLE = 2**26, 100, 2**34
MAX_DIGITS = 19  # of a whole number in JSON: as many as 64 bits have
_CHUNK = 2**20
_LINK = "is a link, and links in a run folder are not followed"
_NO_FILE = "is not a regular file"


def open_file(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, and nothing else.

    Args:
        path: The file. The caller checks its folder, see :func:`refuse_links`.
        flags: As :func:`os.open` takes them.

    Returns:
        A descriptor.

    Raises:
        RunFolderError: If it is a link, a FIFO, a socket, a device or a folder.
        OSError: If it cannot be opened.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP or os.path.islink(path):
            raise RunFolderError(path, _LINK) from error
        if error.errno in (errno.ENXIO, errno.EISDIR):  # a FIFO nobody reads, a socket; a folder
            raise RunFolderError(path, _NO_FILE) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunFolderError(path, _NO_FILE)
    return descriptor


def is_file(path: str | Path) -> bool:
    """Whether there is a regular file, which is no link.

    Raises:
        RunFolderError: If there is something else, as :func:`open_file` would say.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(mode):
        raise RunFolderError(path, _LINK if stat.S_ISLNK(mode) else _NO_FILE)
    return True


def refuse_links(root: str | Path, path: str | Path) -> None:
    """Refuse a path below a folder if a part of it is a link.

    Args:
        root: The folder that the user named, which may be a link itself.
        path: The path below it; parts that do not exist yet are accepted.

    Raises:
        RunFolderError: Naming the link.
    """
    place = Path(root)
    for part in Path(path).relative_to(root).parts:
        place /= part
        if place.is_symlink():
            raise RunFolderError(place, _LINK)


# ---- reading -----------------------------------------------------------------------------------


def read_bytes(path: str | Path, limit: int = MAX_TEXT) -> bytes:
    """Read a file whole.

    Raises:
        RunFolderError: If it is missing, no regular file, or larger than the limit.
    """
    with open_reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise RunFolderError(path, f"is too large: {size:,} bytes; the limit is {limit:,}")
        content: bytes = file.read()
    return content


@contextlib.contextmanager
def open_reading(path: str | Path) -> Iterator[Any]:
    """Open a file for reading, in binary.

    Raises:
        RunFolderError: If it is missing or no regular file.
    """
    try:
        descriptor = open_file(path)
    except FileNotFoundError:
        raise RunFolderError(path, "no such file") from None
    with open(descriptor, "rb") as file:
        yield file


def read_text(path: str | Path, limit: int = MAX_TEXT) -> str:
    """Read a text in UTF-8; else as :func:`read_bytes`.

    Raises:
        RunFolderError: As there, and if it is no text.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RunFolderError(path, f"not text in UTF-8 ({error.reason})") from error


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of a run folder, as :func:`~recbole_enhance.options.read.load_yaml` does.

    Raises:
        InputError: If it is missing, no regular file, no YAML, or no mapping.
    """
    return parse_yaml(read_text(path), path)


def read_json(path: str | Path) -> Any:
    """Read a JSON file; ``NaN`` and infinities become None.

    Raises:
        RunFolderError: If it is missing, no regular file or no JSON, or holds a number beyond
            64 bits.
    """
    try:
        return json.loads(
            read_text(path),
            parse_constant=lambda _: None,
            parse_int=_whole_number,
            parse_float=_number,
        )
    except RunFolderError:
        raise
    except (ValueError, RecursionError) as error:
        raise RunFolderError(path, f"not JSON ({one_line(error)})") from error


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a number that is too large, {text[:40]}")
    return number


def read_gzip(path: str | Path) -> io.BytesIO:
    """Unpack a gzipped table, up to a limit that no table of ours reaches.

    Returns:
        What :func:`pandas.read_csv` reads.

    Raises:
        RunFolderError: If it is missing, no regular file, no gzip, cut off, or unpacks to far more
            than its size.
    """
    content = io.BytesIO()
    with open_reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        limit = min(max(MAX_SMALL_TABLE, MAX_GROWTH * size), MAX_TABLE)
        unpack = zlib.decompressobj(wbits=31)  # 31: gzip
        try:
            while block := unpack.unconsumed_tail or file.read(_CHUNK):
                content.write(unpack.decompress(block, _CHUNK))
                if content.tell() > limit:
                    problem = f"unpacks to more than the limit of {limit:,} bytes"
                    raise RunFolderError(path, problem)
                if unpack.eof:
                    break
        except zlib.error as error:
            raise RunFolderError(path, f"not gzip ({one_line(error)})") from error
        if not unpack.eof:
            raise RunFolderError(path, "not gzip (it is cut off)")
    content.seek(0)
    return content


# ---- writing -----------------------------------------------------------------------------------


def write_whole(path: Path, content: bytes | memoryview, durable: bool = False) -> None:
    """Write a file completely or not at all.

    Args:
        path: The file. What is there is replaced, a link by a file.
        content: All of it.
        durable: Whether it also survives a power failure; this waits for the disk.

    Raises:
        OSError: If it cannot be written, with the file's own name.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        temporary.unlink(missing_ok=True)  # of a killed process with the same id
        with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Let new names in a folder survive a power failure, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(name: str) -> str:
    """What :func:`write_whole` calls a file until it is complete."""
    return f".{name}.{os.getpid()}.tmp"


def is_left_over(path: Path) -> bool:
    """Whether a file's name is that of one which a killed process was writing.

    Example:
        >>> is_left_over(Path("run/.config.yaml.4242.tmp")), is_left_over(Path("run/mine.tmp"))
        (True, False)
    """
    return path.match(".*.tmp")
