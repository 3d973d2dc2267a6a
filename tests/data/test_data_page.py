"""Every command of docs/data.md, in a folder with the tables that it names."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.data.public_sets import public_sets

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M)
LINES = [
    line
    for _, block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("recbole-enhance ")
]


def tables():
    rng = np.random.default_rng(1)
    customers = [f"{n:03d}" for n in range(1, 41)]
    skus = [f"s{n}" for n in range(1, 61)]
    log = pd.DataFrame(
        {
            "customer": rng.choice(customers, 1500),
            "sku": rng.choice(skus, 1500),
            "ts": pd.to_datetime(rng.integers(1_600_000_000, 1_700_000_000, 1500), unit="s"),
            "stars": rng.integers(1, 6, 1500),
        }
    )
    genres = ["Home & Garden|Toys", "Toys"] * 30
    items = pd.DataFrame({"sku": skus, "name": [f'"{s}", new' for s in skus], "genres": genres})
    users = pd.DataFrame({"customer": customers, "country": ["NL", "BE"] * 20, "age": range(40)})
    return {"log": log, "items": items, "users": users}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, table in tables().items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page(folder, capsys):
    done = []
    for line in LINES:
        words = shlex.split(line)[1:]
        if words[:2] == ["data", "get"] and "--list" not in words:  # there is no network here
            entry = public_sets()[words[2]]
            assert "--with-items" not in words or entry.more_items
            continue
        more = ["--epochs=1"] if words[0] == "run" else []
        assert main([*words, *more]) == 0, capsys.readouterr().err
        done.append(words[0])
    out = capsys.readouterr().out
    assert done == ["data", "run", "data", "data", "data"]
    assert "shop.item: sku -> item_id:token, name -> title:token, genres -> genres:token_seq" in out
    assert "run folder: runs/shop/BPR/" in out
    assert "ml-1m" in out


def test_the_python_of_the_page(folder):
    (code,) = [block for language, block in BLOCKS if language == "python"]
    frames = tables()
    scope = {"frame": frames["log"], "items": frames["items"]}
    exec(code, scope)
    assert scope["made"].interactions == 1500
    assert (Path(scope["result"]["run_dir"]) / "dataset").is_dir()
