"""Every command and the Python of docs/recommend.md."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from recbole_enhance.cli.program import main

PAGE = (Path(__file__).parents[2] / "docs" / "recommend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.S)


def test_the_page_does_what_it_says(capsys):
    without_index = importlib.util.find_spec("hnswlib") is None
    commands = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
    assert len(commands) >= 14
    for command in commands:
        if command.startswith("printf "):
            subprocess.run(command, shell=True, check=True)
            continue
        if without_index and "--index" in command:
            continue
        program, *words = shlex.split(command)
        assert program == "recbole-enhance"
        assert main(words) == 0, capsys.readouterr().err
    assert {p.name for p in Path().iterdir()} >= {
        "recs.csv",
        "recs.jsonl",
        "bpr.npz",
        "bpr.parquet",
    }
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    made = {}
    exec(compile(code, "docs/recommend.md", "exec"), made)
    assert (len(made["lists"]), len(made["new"]), len(made["near"])) == (10, 5, 5)
    if without_index:
        pytest.skip("hnswlib (extra index) is not installed: all but --index was run")
    assert Path("bpr.hnsw").is_file()
