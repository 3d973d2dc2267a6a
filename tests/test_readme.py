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
    [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]
    for language, block in BLOCKS
    if language == "bash"
]
# Those of a block that names run folders build on one another.
STORIES = [block for block in COMMANDS if any("--run_dir=" in line for line in block)]
ALONE = [line for block in COMMANDS if block not in STORIES for line in block]
OUTPUT = {
    "make": "-c constraints.txt",
    "run_recbole_enhance.py": "run folder: runs/",
    "config": "# enhancer/DVR.yaml",
    "list": "LightGCN",
    "tune": "2 trials: ",
    "leaderboard": "DVR-BPR",
    "doctor": "recbole",
    "explain": "explanations: runs/defended/explanations.jsonl",
    "attack": "plot: runs/vanilla/attack.html",
}


def call(words, cwd):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_readme_has_commands():
    commands = [line for block in COMMANDS for line in block]
    assert len(commands) >= 10
    assert len(README.splitlines()) < 100  # a screen and a half; the rest is in docs/
    assert len(STORIES) == 1
    assert {command.split()[0] for command in commands} == {"make", "python", "recbole-enhance"}


def do(command, folder):
    """Run a command of the README in a folder, and see that it says what it should."""
    program, *words = shlex.split(command)
    if program == "make":  # running it would install what this test runs in
        result = call(["make", "-n", "-B", "-C", str(ROOT), *words], folder)
        words = ["make"]
    else:
        if "../shared/dataset" in command:
            data = ROOT.parent / "shared" / "dataset"
            if not data.is_dir():
                pytest.skip("needs amazon-beauty in ../shared/dataset, beside the checkout")
            words = [word.replace("../shared/dataset", str(data)) for word in words]
        entry = [sys.executable, str(ROOT / "run_recbole_enhance.py")]
        result = call([*entry, *(words if program == "recbole-enhance" else words[1:])], folder)
    assert result.returncode == 0, result.stderr
    assert OUTPUT[words[0]] in result.stdout


@pytest.mark.parametrize("command", ALONE)
def test_commands_do_what_they_say(command, tmp_path):
    do(command, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", STORIES, ids=" and ".join)
def test_commands_that_build_on_one_another_do_what_they_say(block, tmp_path):
    for command in block:
        do(command, tmp_path)


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


def test_every_method_is_in_the_readme():
    from recbole_enhance.enhancer import ENHANCERS

    for name in ENHANCERS:
        assert f"[{name}](docs/papers/{name.lower()}.md)" in README
