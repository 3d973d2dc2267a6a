"""What must be installed, told by Python alone."""

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from recbole_enhance.compat import doctor, mends, needs

ROOT = Path(__file__).parents[2]


def run_bare(*words):
    """Run with Python alone: without ``site`` there are no installed packages."""
    command = [sys.executable, "-S", "-E", "run_recbole_enhance.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_module_says_what_is_missing_as_the_script_does():
    command = [sys.executable, "-S", "-E", "-m", "recbole_enhance", "doctor"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (2, run_bare("doctor").stdout, "")


def test_doctor_runs_on_python_alone_and_prints_the_line_that_completes_an_install():
    told = run_bare("doctor")

    assert told.returncode == 2
    assert told.stderr == ""
    (line,) = [line for line in told.stdout.splitlines() if " && " in line]
    packages, alone = (shlex.split(part) for part in line.split(" && "))
    pip = [sys.executable, "-m", "pip", "install"]
    assert packages[:6] == [*pip, "-c", "constraints.txt"]
    assert "torch>=2.0" in packages
    assert "optuna>=4.9" in packages  # an extra
    assert "ray" not in line
    assert alone == [*pip, "--no-deps", "recbole==1.2.1", "-e", "."]
    assert "extra-index-url ADDRESS" in told.stdout or sys.platform != "linux"
    assert "RecBole does not work here: missing: recbole, torch" in told.stdout


def test_any_other_verb_names_doctor_where_nothing_is_installed():
    told = run_bare("list")

    assert told.returncode == 2
    assert re.fullmatch(
        r"recbole-enhance: error: No module named '\w+'; `recbole-enhance doctor` says what to "
        r"install\n",
        told.stderr,
    )


def test_nothing_is_missing_where_the_tests_run():
    assert needs.completion() is None
    assert [need for need in needs.needs(["test"]) if not need.met()] == []


def test_the_line_names_only_what_is_missing(monkeypatch):
    version = importlib.metadata.version

    def without(name):
        if name in ("recbole", "optuna"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.chdir(ROOT)
    python = shlex.quote(sys.executable)
    assert needs.completion() == (
        f"{python} -m pip install -c constraints.txt 'optuna>=4.9' && "
        f"{python} -m pip install --no-deps recbole==1.2.1"
    )
    assert needs.completion([]) == f"{python} -m pip install --no-deps recbole==1.2.1"
    assert "tune         tuning                                lacks optuna" in doctor.report()


def test_an_extra_has_a_line_of_its_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    python = shlex.quote(sys.executable)
    expected = f"{python} -m pip install -c constraints.txt 'optuna>=4.9'"
    assert needs.line_for("tune") == expected
    assert "hnswlib" in needs.line_for("index")
    monkeypatch.setattr(needs.Need, "met", lambda need: False)
    completing = needs.completion()
    assert "optuna" in completing
    assert "hnswlib" not in completing  # it is built from source


def test_an_old_version_is_missing(monkeypatch, capsys):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.7.4" if name == "pydantic" else version(name)
    )

    assert doctor.main() == 2
    assert "missing: pydantic>=2.8 (installed is 2.7.4)" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["0.9", "1.26", "1.26.0", "2.1", "2.10.1", "3.0"])
@pytest.mark.parametrize("versions", [">=1.26", ">=2.1,<3", "==2.1", "<3", "!=0.9", ""])
def test_versions_compare_as_packaging_says(monkeypatch, version, versions):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert needs.Need("x", "", versions).met() == (version in SpecifierSet(versions))


@pytest.mark.parametrize("python", [(3, 10), (3, 11), (3, 12), (3, 14)])
def test_reads_setup_cfg_as_pip_reads_the_metadata(monkeypatch, python):
    """The metadata are those of the installed package, which may be older than setup.cfg."""
    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
    lines = importlib.metadata.requires("pandas")
    extras = importlib.metadata.metadata("pandas").get_all("Provides-Extra")
    for line in lines:
        environment = {"python_version": ".".join(map(str, python)), "extra": ""}
        marker = Requirement(line).marker
        for extra in ["", *extras]:
            expected = marker is None or marker.evaluate({**environment, "extra": extra})
            assert needs._applies(line, extra) == expected, (line, extra)
        read = needs._read(line)
        assert (read.name, SpecifierSet(read.versions)) == (
            Requirement(line).name,
            Requirement(line).specifier,
        )


def test_only_pip_on_old_pythons_takes_recbole_with_its_ray():
    general = [
        line for line in (ROOT / "setup.cfg").read_text().splitlines() if "recbole==" in line
    ]
    assert '    recbole==1.2.1; python_version < "3.12"' in general
    assert mends.RECBOLE_VERSION == needs.RECBOLE_VERSION


def test_the_needs_hold_what_recbole_needs_but_for_ray():
    """RecBole is installed without its requirements, so ours must hold them."""
    ours = {need.name.lower() for need in needs.needs()}
    theirs = {
        re.match(r"[\w.-]+", line).group().lower()
        for line in importlib.metadata.requires("recbole")
        if "extra" not in line
    }
    assert theirs - ours == {"ray"}


def test_the_makefile_asks_for_the_same():
    words = [sys.executable, "-m", "recbole_enhance.compat.needs", "test"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "torch>=2.0\n" in listed
    assert "pytest>=8\n" in listed
    assert "dask[distributed]>=2024.1\n" in listed
    assert "recbole" not in listed


def test_an_unknown_extra_is_refused():
    with pytest.raises(ValueError, match=r"extra=tests: allowed are leaderboard, "):
        needs.needs(["tests"])


# A Python that knows its version, and how to make an environment of itself.
STUB = """#!/bin/sh
[ "$1" = -c ] && echo {version}
[ "$2" = venv ] && mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg"
exit 0
"""


def test_make_with_another_python_makes_the_environment_anew(tmp_path):
    def install(version):
        (tmp_path / version).write_text(STUB.format(version=version))
        (tmp_path / version).chmod(0o755)
        words = [f"PYTHON={tmp_path / version}", f"VENV={tmp_path / 'env'}"]
        subprocess.run(["make", "-C", str(ROOT), "install", *words], check=True)
        return (tmp_path / "env/bin/python").read_text()

    assert "3.12" in install("3.12")
    (tmp_path / "env/mine").write_text("")
    assert "3.12" in install("3.12")
    assert (tmp_path / "env/mine").exists()
    words = [f"PYTHON={tmp_path / 'missing'}", f"VENV={tmp_path / 'env'}"]
    missing = subprocess.run(["make", "-C", str(ROOT), "install", *words], capture_output=True)
    assert missing.returncode != 0
    assert (tmp_path / "env/mine").exists()
    assert "3.11" in install("3.11")
    assert not (tmp_path / "env/mine").exists()


@pytest.mark.skipif(os.name == "nt", reason="make")
def test_make_keeps_pip_from_cuda_unless_asked():
    def pip(*words):
        make = ["make", "-n", "-B", "-C", str(ROOT), "install", *words]
        environment = {k: v for k, v in os.environ.items() if k not in ("TORCH", "INDEX", "VENV")}
        told = subprocess.run(make, capture_output=True, text=True, check=True, env=environment)
        return next(line for line in told.stdout.splitlines() if "needs.txt ||" in line)

    assert " -c constraints.txt -r .venv/needs.txt" in pip()
    assert " --extra-index-url X -c constraints.txt " in pip("INDEX=X")
    assert " -c constraints-cuda.txt -r .venv-cuda/needs.txt" in pip("TORCH=cuda")
    pins = (ROOT / "constraints.txt").read_text()
    assert re.search(r'^torch==[\d.]+\+cpu; sys_platform == "linux" and ', pins, re.MULTILINE)
