"""What must be installed, and the one line that installs what is not; needs Python alone."""

from __future__ import annotations

import configparser
import importlib.metadata
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

RECBOLE_VERSION = "1.2.1"
PYTHONS = ((3, 10), (3, 14))  # the oldest and the newest that are tested

# Extras that a user may want, and what for; the others serve those who change this package.
EXTRAS = {
    "leaderboard": "boards",
    "tune": "tuning",
    "distributed": "Dask clusters",
    "data": "tables of your own, public data sets",
    "index": "indexes of vectors (C++ compiler)",
    "mlflow": "track=mlflow",
    "wandb": "track=wandb",
    "carbon": "track=codecarbon",
}
_COMPLETED = ("leaderboard", "tune", "distributed", "data")  # by the doctor's line
_PACKAGE = "recbole_enhance"
_ROOT = Path(__file__).parents[2]  # the checkout, if this is one
_NAME = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*\(?([^;()]*)\)?\s*(?:;.*)?$"
)
_MARKER = re.compile(r"""\(?\s*(\w+)\s*(==|!=|>=|<=|<|>)\s*["']([^"']*)["']\s*\)?$""")


class Need(NamedTuple):
    """A package that something needs.

    Attributes:
        name: As pip knows it.
        extras: Its extras, as ``[binary]``, or nothing.
        versions: Accepted versions, for example ``>=2.1,<3``; nothing for any.
    """

    name: str
    extras: str
    versions: str

    def __str__(self) -> str:
        return f"{self.name}{self.extras}{self.versions}"

    def installed(self) -> str | None:
        """The version that is installed; None for none."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def met(self) -> bool:
        """Whether an accepted version is installed."""
        version = self.installed()
        return version is not None and all(
            _compare(version, *clause) for clause in _clauses(self.versions)
        )


def needs(extras: Iterable[str] = ()) -> list[Need]:
    """What this package needs on this Python: RecBole, what RecBole imports, and extras.

    Args:
        extras: Names of extras of setup.cfg, whose packages are added.

    Returns:
        Each package once, in the order of setup.cfg; RecBole is the first.

    Raises:
        ValueError: If there is no such extra.
    """
    general, by_extra = _declared()
    wanted = list(general)
    todo, seen = list(extras), set()
    while todo:
        extra = todo.pop(0)
        if extra in seen:
            continue
        if extra not in by_extra:
            raise ValueError(f"extra={extra}: allowed are {', '.join(by_extra)}")
        seen.add(extra)
        for line in by_extra[extra]:
            name, of, _ = _read(line)
            if name.replace("-", "_") == _PACKAGE:  # an extra that holds others
                todo += of.strip("[]").replace(" ", "").split(",")
            else:
                wanted.append(line)
    read = {"recbole": Need("recbole", "", f"=={RECBOLE_VERSION}")}
    for line in wanted:
        need = _read(line)
        read.setdefault(need.name.lower(), need)
    return list(read.values())


def completion(extras: Iterable[str] = _COMPLETED) -> str | None:
    """The one line for a shell that installs what is missing.

    RecBole comes without its own requirements: one of them is a version of ray that has no wheel
    for Python above 3.11 and that this package never imports.

    Args:
        extras: Extras to complete, too.

    Returns:
        The line; None if nothing is missing.
    """
    missing = [need for need in needs(extras) if not need.met()]
    alone = [str(need) for need in missing if need.name == "recbole"]
    checkout = (_ROOT / "setup.cfg").is_file()
    if checkout and missing and not _is_installed():
        alone += ["-e", _here(_ROOT)]
    others = [str(need) for need in missing if need.name != "recbole"]
    commands = []
    if others:
        commands.append(_pip([*_constrained(), *others]))
    if alone:
        commands.append(_pip(["--no-deps", *alone]))
    return " && ".join(commands) or None


def line_for(extra: str) -> str:
    """The line for a shell that installs the packages of an extra."""
    core = set(needs())
    return _pip([*_constrained(), *(str(need) for need in needs([extra]) if need not in core)])


def _constrained() -> list[str]:
    """Words that keep pip to the versions of a checkout's constraints.txt."""
    checkout = (_ROOT / "setup.cfg").is_file()
    return ["-c", _here(_ROOT / "constraints.txt")] if checkout else []


def _is_installed() -> bool:
    """Whether this package is installed; what a build left in the checkout does not count."""
    found = importlib.metadata.distributions(name=_PACKAGE)
    return any(Path(str(one.locate_file(""))).resolve() != _ROOT for one in found)


def python_is_supported() -> bool:
    """Whether this Python is one of those that this package is tested with."""
    return PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]


def _here(path: Path) -> str:
    folder = Path.cwd()
    return str(path.relative_to(folder) if folder == _ROOT else path)


def _pip(words: Sequence[str]) -> str:
    python = sys.executable or "python3"
    return " ".join(map(shlex.quote, [python, "-m", "pip", "install", *words]))


def _declared() -> tuple[list[str], dict[str, list[str]]]:
    """The requirements of setup.cfg in a checkout, or of the installed package's metadata."""
    if (_ROOT / "setup.cfg").is_file():
        setup = configparser.ConfigParser(interpolation=None)
        setup.read(_ROOT / "setup.cfg", encoding="utf-8")
        general = _lines(setup["options"]["install_requires"])
        by_extra = {k: _lines(v) for k, v in setup["options.extras_require"].items()}
        return [line for line in general if _applies(line)], by_extra
    metadata = importlib.metadata.metadata(_PACKAGE)
    names = metadata.get_all("Provides-Extra") or []
    lines = metadata.get_all("Requires-Dist") or []
    general = [line for line in lines if _applies(line)]
    return general, {
        name: [line for line in lines if line not in general and _applies(line, name)]
        for name in names
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read(line: str) -> Need:
    match = _NAME.match(line)
    assert match, line
    name, extras, versions = match.groups()
    return Need(name, f"[{extras}]" if extras else "", versions.replace(" ", ""))


def _applies(line: str, extra: str = "") -> bool:
    """Whether the marker of a requirement holds here; those of setup.cfg are joined by "and"."""
    here = {
        "extra": extra,
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
    }
    marker = line.partition(";")[2].strip()
    for part in marker.split(" and ") if marker else ():
        match = _MARKER.match(part.strip())
        assert match, line
        name, sign, value = match.groups()
        if name == "python_version":
            holds = _compare(here[name], sign, value)
        else:
            holds = (here[name] == value) == (sign == "==")
        if not holds:
            return False
    return True


def _clauses(versions: str) -> list[tuple[str, str]]:
    found = re.findall(r"(==|!=|>=|<=|<|>)\s*([^,\s]+)", versions)
    return [(sign, version) for sign, version in found]


def _compare(version: str, sign: str, other: str) -> bool:
    """Compare the numbers of two versions, as far as both or with zeros for those that lack."""
    a, b = _numbers(version), _numbers(other)
    width = max(len(a), len(b))
    a, b = a + [0] * (width - len(a)), b + [0] * (width - len(b))
    return {
        "==": a == b,
        "!=": a != b,
        ">=": a >= b,
        "<=": a <= b,
        "<": a < b,
        ">": a > b,
    }[sign]


def _numbers(version: str) -> list[int]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    return [int(part) for part in release.group().split(".")] if release else [0]


if __name__ == "__main__":  # for the Makefile: what to install, a line each, without RecBole
    for need in needs(sys.argv[1:]):
        if need.name != "recbole":
            print(need)
