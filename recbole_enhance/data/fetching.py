"""Files from the network: fetched once, continued after a break, checked, unpacked with care."""

import logging
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from recbole_enhance.compat.needs import line_for
from recbole_enhance.data.atomic import file_sha256
from recbole_enhance.options.errors import DataError, InputError
from recbole_enhance.options.read import one_line

_BLOCK = 1 << 20
# What a damaged or an encrypted archive raises.
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
)
_PIECE = 1 << 16  # bytes that are lost at most when a connection breaks
_SECONDS = 30  # after which a connection without data is closed
_RATIO = 150  # unpacked bytes for a packed one; tables of numbers have 5 to 20
_LEAST = 1 << 26  # bytes that are unpacked whatever the ratio


def fetch(
    address: str, known: str | None, cache: Path | None, quiet: bool = False
) -> tuple[Path, str]:
    """Get a file, or find it where it was put before.

    If a connection breaks, what was received is kept, and the next call continues from there.

    Args:
        address: Where it is, ``http`` or ``https``.
        known: Its hash, as ``md5:...`` or ``sha256:...``; None checks nothing.
        cache: Folder of the files that were fetched; None is the user's cache.
        quiet: Whether there is no progress bar.

    Returns:
        The file, and its SHA-256.

    Raises:
        InputError: If it cannot be fetched, or is another file than it should be; that one is
            removed.
    """
    try:
        import pooch
        import requests
    except ImportError:
        raise InputError(f"data get needs pooch: {line_for('data')}") from None
    cache = cache or Path(pooch.os_cache("recbole_enhance"))
    name = PurePosixPath(address.partition("?")[0]).name
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        path = pooch.retrieve(
            address, known, fname=name, path=cache, downloader=_Continued(cache / name, quiet)
        )
    except ValueError as error:
        if "hash" not in str(error):
            raise
        problem = "has another hash than expected, and was removed"
        raise InputError(f"{address}: {problem} ({one_line(error)})") from error
    except (requests.RequestException, OSError) as error:
        reason = "no answer" if isinstance(error, requests.Timeout) else one_line(error)
        if "Max retries exceeded" in reason:
            reason = "no connection"
        raise InputError(
            f"{address}: cannot be downloaded ({reason}); the same command continues from what was "
            "downloaded; --archive=FILE uses a file that you have"
        ) from error
    return Path(path), file_sha256(Path(path))


class _Continued:
    """Downloads for pooch, from where the last try stopped, if the file is still the same."""

    def __init__(self, target: Path, quiet: bool) -> None:
        self.part = target.with_name(f"{target.name}.part")
        self.mark = target.with_name(f"{target.name}.part.etag")
        self.quiet = quiet

    def __call__(self, url: str, output_file: Any, _pooch: Any, check_only: bool = False) -> None:
        import requests
        from tqdm import tqdm

        have = self.part.stat().st_size if self.part.exists() and self.mark.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.mark.read_text()}
        with requests.get(url, stream=True, timeout=_SECONDS, headers=headers) as answer:
            if answer.status_code == 416:  # more than there is: another file
                self._forget()
                raise requests.RequestException("the file there has changed: try again")
            answer.raise_for_status()
            have = have if answer.status_code == 206 else 0
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            self._forget(keep_part=bool(have))
            if mark and not mark.startswith("W/"):  # a weak one does not identify the bytes
                self.mark.write_text(mark)
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            form = {"unit": "B", "unit_scale": True, "disable": self.quiet}
            with (
                self.part.open("ab") as file,
                tqdm(total=total, initial=have, desc=self.part.stem, **form) as bar,
            ):
                for block in answer.iter_content(_PIECE):
                    file.write(block)
                    bar.update(len(block))
        size = self.part.stat().st_size
        if total is not None and size != total:
            raise requests.RequestException(f"{size:,} of {total:,} bytes came")
        shutil.move(self.part, output_file)
        self._forget()

    def _forget(self, keep_part: bool = False) -> None:
        self.mark.unlink(missing_ok=True)
        if not keep_part:
            self.part.unlink(missing_ok=True)


def unpack(archive: Path, members: dict[str, Path]) -> None:
    """Take files out of an archive, or copy the one file that it is.

    Args:
        archive: A ``.zip``, ``.tar``, ``.tar.gz``, ``.tgz``, ``.gz``, a plain file, or a folder.
        members: Name within the archive -> where it goes; of a single file the name is empty.

    Raises:
        DataError: If a name leads out of the archive, one is missing, or one is larger than what is
            packed can be (a bomb); nothing is left then.
    """
    try:
        _unpack(archive, members)
    except _BROKEN as error:
        _remove(members)
        raise DataError(archive, f"cannot be unpacked ({one_line(error)})") from error
    except BaseException:
        _remove(members)
        raise


def _remove(members: dict[str, Path]) -> None:
    for path in members.values():
        path.unlink(missing_ok=True)


def _unpack(archive: Path, members: dict[str, Path]) -> None:
    if archive.is_dir():
        for member, target in members.items():
            found = archive / PurePosixPath(member).name
            if not found.is_file():
                raise DataError(archive, f"there is no file {found.name} in it")
            shutil.copyfile(found, target)
        return
    limit = max(_LEAST, _RATIO * archive.stat().st_size)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            names = {name: name for name in packed.namelist()}
            _take(archive, names, packed.open, members, limit)
    elif archive.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(archive) as tar:
            entries = {entry.name: entry for entry in tar if entry.isfile()}
            _take(archive, entries, tar.extractfile, members, limit)
    else:
        import gzip

        if list(members) != [""]:
            wanted = ", ".join(members)
            raise DataError(archive, f"an archive or a folder with {wanted} is expected")
        opened: Any = gzip.open if archive.suffix == ".gz" else open
        target = members[""]
        with opened(archive, "rb") as file:
            _copy(archive, file, target, limit)


def _take(
    archive: Path,
    names: dict[str, Any],
    opened: Callable[[Any], Any],
    members: dict[str, Path],
    limit: int,
) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise DataError(archive, f"holds {name!r}, which leads out of it: not unpacked")
    for member, target in members.items():
        if not member and len(names) == 1:
            (member,) = names
        if member not in names:
            there = ", ".join(list(names)[:10])
            raise DataError(archive, f"there is no file {member} in it, but {there}")
        with opened(names[member]) as file:
            limit -= _copy(archive, file, target, limit)


def _copy(archive: Path, file: Any, target: Path, limit: int) -> int:
    done = 0
    with target.open("wb") as out:
        while block := file.read(_BLOCK):
            done += len(block)
            if done > limit:
                problem = f"unpacks to more than {_RATIO} times its size: not unpacked"
                raise DataError(archive, problem)
            out.write(block)
    return done
