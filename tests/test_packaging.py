"""A wheel must hold every subpackage and every YAML, and find them where it is installed."""

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import recbole_enhance

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that the tree stays clean."""
    import shutil

    source = tmp_path_factory.mktemp("source") / "tree"
    skip = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=skip)
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(source),
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_whole_tree(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "recbole_enhance").rglob("*.py")}
    yaml = {
        f"recbole_enhance/{p.relative_to(ROOT)}"
        for folder in ("properties", "dataset_configs")
        for p in (ROOT / folder).rglob("*.yaml")
    }
    templates = {
        str(p.relative_to(ROOT))
        for room in ("explanation", "leaderboard")
        for p in (ROOT / "recbole_enhance" / room / "templates").iterdir()
    }
    assert modules
    assert yaml
    assert templates
    assert modules | yaml | templates <= inside
    assert "recbole_enhance/data/public.yaml" in inside
    assert "recbole_enhance/py.typed" in inside  # else type checkers take every name for Any


def test_an_installed_wheel_finds_its_yaml(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import recbole_enhance, sys; from recbole_enhance.cli.program import main;"
        "print(recbole_enhance.__file__);"
        "sys.exit(main(['config', 'show', '--model=DVR', '--dataset=ml-100k', '--origin']))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith(str(tmp_path / "site"))
    assert "dvr_gamma = 1000.0  # enhancer/DVR.yaml" in shown
    code = code.replace("--model=DVR", "--model=RER")
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "rer_eps = 0.5  # enhancer/RER.yaml" in shown
    assert "cf_steps = 150  # model/CER.yaml" in shown
    assert "item_category_field = class  # dataset_configs/ml-100k.yaml" in shown


def test_setup_cfg_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    packages = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for p in (ROOT / "recbole_enhance").rglob("__init__.py")
    }
    folders = {
        ".".join(("recbole_enhance", *p.parent.relative_to(ROOT).parts))
        for folder in ("properties", "dataset_configs")
        for p in (ROOT / folder).rglob("*.yaml")
    }
    assert listed == packages | folders


def test_an_installed_wheel_tells_what_is_missing_on_python_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import sys; from recbole_enhance.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*words):
        return subprocess.run(
            [sys.executable, "-S", "-c", code, *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
        )

    told = run("doctor")
    assert told.returncode == 2, told.stderr
    (line,) = [line for line in told.stdout.splitlines() if " && " in line]
    assert "'torch>=2.0'" in line
    assert "'optuna>=4.9'" in line  # of an extra, from the metadata
    assert "pytest" not in line
    assert line.endswith("pip install --no-deps recbole==1.2.1")
    assert run("--version").stdout.strip() == recbole_enhance.__version__


def test_changelog_and_citation_carry_the_version_and_one_date():
    version = recbole_enhance.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (date,) = re.findall(rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)$", changelog, re.M)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], str(citation["date-released"])) == (version, date)


def test_forms_for_issues_are_what_they_should_be():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 3
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        if form.stem == "config":
            continue
        assert {"name", "description", "body"} <= set(content)
        ids = [field["id"] for field in content["body"]]
        assert len(set(ids)) == len(ids)
        assert all(field["attributes"]["label"] for field in content["body"])
