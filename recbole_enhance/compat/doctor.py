import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Sequence

import recbole_enhance

# What RecBole and this package import; names as pip knows them.
_PACKAGES = (
    "recbole",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "pyyaml",
    "tqdm",
    "tensorboard",
    "colorlog",
    "colorama",
    "texttable",
    "tabulate",
    "plotly",
    "psutil",
    "setuptools",
)
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
    parts = [_table(("package", "version"), _versions())]
    # A broken package may fail with any of these while it is imported.
    try:
        parts += [f"device: {_device()}", _mends(), _models()]
        for name in _CORE:
            importlib.import_module(f"recbole.{name}")
    except (ImportError, AttributeError, ValueError, OSError) as error:
        reason = f"RecBole does not work here: {type(error).__name__}: {error}"
        return "\n\n".join([*parts, reason]), False
    return "\n\n".join([*parts, "RecBole works here."]), True


def _versions() -> list[tuple[str, str]]:
    rows = [
        ("python", platform.python_version()),
        ("recbole_enhance", recbole_enhance.__version__),
    ]
    for name in _PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((name, "not installed"))
    return rows


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
