from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Sequence

import recbole_enhance
from recbole_enhance.compat import needs

_CORE = ("config", "data", "evaluator", "model", "trainer", "utils")


def main() -> int:
    """Print the state of this installation.

    Returns:
        0 if RecBole works here, 2 otherwise.
    """
    text, works = _examine()
    print(text)
    return 0 if works else 2


def report() -> str:
    """Describe this installation: versions, device, mends, models that cannot run.

    Returns:
        Plain text of a few tables; its last line says whether RecBole works here.
    """
    return _examine()[0]


def _examine() -> tuple[str, bool]:
    """The report, and whether RecBole works; needs no package."""
    parts = [_table(("package", "version"), _versions()), _extras()]
    reason = _lack()
    if reason is None:
        # A broken package may fail with any of these while it is imported.
        try:
            parts += [f"device: {_device()}", _mends(), _models()]
            for name in _CORE:
                importlib.import_module(f"recbole.{name}")
        except (ImportError, AttributeError, ValueError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
    parts += _to_complete()
    works = "RecBole works here." if reason is None else f"RecBole does not work here: {reason}"
    return "\n\n".join([*parts, works]), reason is None


def _lack() -> str | None:
    """Why nothing can be imported, or None."""
    if not needs.python_is_supported():
        oldest, newest = (".".join(map(str, version)) for version in needs.PYTHONS)
        return f"Python {platform.python_version()}; it needs Python {oldest} to {newest}"
    missing = [need for need in needs.needs() if not need.met()]
    if not missing:
        return None
    return "missing: " + ", ".join(_state(need) for need in missing)


def _state(need: needs.Need) -> str:
    version = need.installed()
    return need.name if version is None else f"{need} (installed is {version})"


def _versions() -> list[tuple[str, str]]:
    rows = [
        ("python", platform.python_version()),
        ("recbole_enhance", recbole_enhance.__version__),
    ]
    packages = [(need.name, need.installed() or "not installed") for need in needs.needs()]
    return rows + packages


def _extras() -> str:
    core = set(needs.needs())
    rows = []
    for extra, purpose in needs.EXTRAS.items():
        missing = [n for n in needs.needs([extra]) if n not in core and not n.met()]
        state = "lacks " + ", ".join(map(_state, missing)) if missing else "installed"
        rows.append((extra, purpose, state))
    return _table(("extra", "for", "state"), rows)


def _to_complete() -> list[str]:
    line = needs.completion() if needs.python_is_supported() else None
    if line is None:
        return []
    parts = [f"This line completes the install, with the extras:\n{line}"]
    if "torch" in line and sys.platform == "linux":
        parts.insert(
            0,
            "On Linux, torch brings gigabytes of CUDA libraries unless pip is told where "
            "PyTorch's\nCPU builds are. The page pytorch.org/get-started/locally shows their "
            "address for Linux,\nPip and CPU; add it to the line below: "
            "--extra-index-url ADDRESS",
        )
    return parts


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}"
    return "CPU only (torch finds no CUDA)"


def _mends() -> str:
    from recbole_enhance.compat import mends

    rows = [
        (mend.name, "mended" if mend.applied else "not needed", mend.symptom)
        for mend in mends.apply()
    ]
    return _table(("mend", "state", "without it"), rows)


def _models() -> str:
    from recbole_enhance.compat import mends

    missing = mends.missing_packages()
    if not missing:
        return "All RecBole models have the packages they need."
    rows = [(model, "pip install " + " ".join(pip)) for model, pip in missing.items()]
    return _table(("model that cannot run here", "until"), rows)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # Without tabulate: it may be the very package that is missing.
    widths = [max(map(len, column)) for column in zip(headers, *rows)]
    ruled = [headers, ["-" * width for width in widths], *rows]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths)) for row in ruled)
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
