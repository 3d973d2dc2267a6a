"""Workflow files ask for no more than they need, and run only what is pinned."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()


def test_there_are_the_three():
    assert [file.stem for file in FILES] == ["docs", "release", "test"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_reads_only_and_its_actions_are_pinned(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for job in jobs(file):
        writes = {key for key, value in job.get("permissions", {}).items() if value == "write"}
        assert writes <= {"pages", "id-token"}
        assert job["timeout-minutes"] <= 180
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            # What somebody else may name, a branch or a title, never becomes part of a command.
            assert "${{" not in step.get("run", "")


def test_what_they_make_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for file in FILES:
        for target in re.findall(r"run: make (\S+)", file.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (file.name, target)


def test_every_python_that_is_supported_is_tested():
    from recbole_enhance.compat import needs

    test = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    tested = test["jobs"]["test"]["strategy"]["matrix"]["python"]
    (first, oldest), (_, newest) = needs.PYTHONS
    assert tested == [f"{first}.{minor}" for minor in range(oldest, newest + 1)]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"SUPPORTED := {' '.join(reversed(tested))}\n" in makefile
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert [v for v in tested if f"Python :: {v}\n" in setup] == tested
