"""Every command of the README, copied letter by letter."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.S)
COMMANDS = [
    re.sub(r"\s+#.*", "", line)
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
]
OUTPUT = {
    "make": "pip install -c constraints.txt",
    "run_recbole_enhance.py": "run folder: runs/",
    "config": "# enhancer/DVR.yaml",
    "list": "LightGCN",
    "doctor": "recbole",
}


def call(words, cwd):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 9
    assert {command.split()[0] for command in COMMANDS} == {"make", "python", "recbole-enhance"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_do_what_they_say(command, tmp_path):
    program, *words = shlex.split(command)
    if program == "make":  # running it would install what this test runs in
        result = call(["make", "-n", "-B", "-C", str(ROOT), *words], tmp_path)
        words = ["make"]
    else:
        if "../shared/dataset" in command:
            data = ROOT.parent / "shared" / "dataset"
            if not data.is_dir():
                pytest.skip("needs amazon-beauty in ../shared/dataset, beside the checkout")
            words = [word.replace("../shared/dataset", str(data)) for word in words]
        entry = [sys.executable, str(ROOT / "run_recbole_enhance.py")]
        result = call([*entry, *(words if program == "recbole-enhance" else words[1:])], tmp_path)
    assert result.returncode == 0, result.stderr
    assert OUTPUT[words[0]] in result.stdout


def test_the_python_example_runs(tmp_path):
    (code,) = [block for language, block in BLOCKS if language == "python"]
    check = "assert dict(run.trainer.evaluate(run.test_data)) == result['test_result']"
    result = call([sys.executable, "-c", f"{code}\n{check}"], tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_console_script_is_the_same_program():
    from importlib import metadata

    scripts = metadata.entry_points(group="console_scripts")
    for script in [s for s in scripts if s.name == "recbole-enhance"]:
        assert script.value == "recbole_enhance.cli:main"
    assert "recbole-enhance = recbole_enhance.cli:main" in (ROOT / "setup.cfg").read_text()


def test_links_inside_the_readme_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_every_method_of_the_table_is_in_the_readme_and_has_a_page():
    from recbole_enhance.enhancer import ENHANCERS

    for name in ENHANCERS:
        assert f"| {name} |" in README
        assert (ROOT / "docs" / "papers" / f"{name.lower()}.md").is_file()
