"""What ``import recbole_enhance`` offers, and the former places of it."""

import subprocess
import sys

import pytest

import recbole_enhance


def test_each_name_of_the_face_is_there():
    for name in recbole_enhance.__all__:
        assert getattr(recbole_enhance, name) is not None
        assert name in dir(recbole_enhance)


def test_importing_it_imports_nothing_large():
    code = (
        "import sys, recbole_enhance; print([m for m in ('torch', 'recbole') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_room_never_takes_the_place_of_a_function():
    """Importing a package sets its name on its parent: a room called run would hide run()."""
    code = (
        "import importlib, pkgutil, recbole_enhance as face;"
        "rooms = [m.name for m in pkgutil.iter_modules(face.__path__)];"
        "print(sorted(set(rooms) & set(face.__all__)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'ruun'"):
        _ = recbole_enhance.ruun


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [
        ("recbole_enhance.quick_start", "run_recbole_enhance", "run"),
        ("recbole_enhance.quick_start", "load_run", "load_run"),
        ("recbole_enhance.leaderboard.build", "build", "build_board"),
    ],
)
def test_a_former_place_works_and_warns(module, name, now):
    code = (
        f"import warnings; warnings.simplefilter('error', DeprecationWarning)\n"
        f"try:\n    import {module}\nexcept DeprecationWarning as warning: print(warning)\n"
        f"warnings.simplefilter('ignore')\nimport {module}, recbole_enhance\n"
        f"print({module}.{name} is recbole_enhance.{now})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    warned, same = done.stdout.splitlines()
    assert f"{module} is now" in warned
    assert same == "True"
