"""Cells of a board side by side against one after another, and pages from 200 run folders.

Each board is a command of its own, timed from its start to its end: starting Python twice more is
part of the price of ``--jobs=2``. A cell has one thread either way, and so the same numbers. The
run folders of the second half are copies of a few real ones with other seeds, options and values.
"""

import argparse
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from turns import choose_dataset

from recbole_enhance.options.read import load_yaml

ROOT = Path(__file__).parents[1]
MODELS = ["BPR", "LightGCN", "NeuMF"]  # times four seeds: 12 cells
COPIED = ["BPR", "DVR:BPR", "LightGCN", "DVR:LightGCN"]
BUILD = """
import sys, time
from pathlib import Path
from recbole_enhance.compat import mends
mends.apply()
from recbole_enhance.leaderboard.board import build_board
start = time.perf_counter()
build_board(Path(sys.argv[1]), True)
print(time.perf_counter() - start)
"""


def command(words: list[str]) -> float:
    """Seconds of a process; its error output ends the benchmark if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words], env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
    return float(done.stdout) if words[0] == "-c" else seconds


def board(out: Path, models: list[str], seeds: int, jobs: int, args: Any) -> float:
    """Seconds of a board of its own."""
    options = {
        "models": ",".join(models),
        "dataset": choose_dataset(args.data_path, args.dataset),
        "data_path": args.data_path,
        "seeds": seeds,
        "jobs": jobs,
        "epochs": args.epochs,
        "stopping_step": args.epochs,
        "out": out,
        "use_gpu": False,
        "threads": 1,
    }
    words = [f"--{key}={value}" for key, value in options.items()]
    program = str(ROOT / "run_recbole_enhance.py")
    return command([program, "leaderboard", "run", *words, "--quiet"])


def compare_jobs(folder: Path, args: Any) -> float:
    """Measure both ways in turn, print the table, and return how many times faster two jobs are."""
    best: dict[int, float] = {}
    for number in range(args.rounds):
        for jobs in (1, 2):
            seconds = board(folder / f"{jobs}-{number}", args.models, args.seeds, jobs, args)
            best[jobs] = min(seconds, best.get(jobs, np.inf))
            print(f"round {number + 1}: jobs={jobs}: {seconds:.1f} s", file=sys.stderr)
    cores = os.cpu_count() or 1
    print(
        f"\n{len(args.models) * args.seeds} cells of {args.epochs} epochs on {args.dataset}, "
        f"{cores} cores, fastest of {args.rounds}\n"
    )
    print("| jobs | s | times faster |\n|---|---|---|")
    for jobs, seconds in best.items():
        print(f"| {jobs} | {seconds:.1f} | {best[1] / seconds:.2f} |")
    return best[1] / best[2]


def multiply(source: Path, target: Path, number: int, seeds: int = 5) -> None:
    """Make ``number`` run folders of the few that are in ``source``, each with its own values."""
    generator = np.random.default_rng(0)
    finished = sorted(path.parent for path in (source / "cells").rglob("metrics.json"))
    origins = list({folder.parent: folder for folder in finished}.values())  # one of each row
    for place in range(number):
        row, seed = divmod(place, seeds)
        origin = origins[row % len(origins)]
        name = f"{origin.parent.name}-v{row // len(origins)}"
        folder = target / "cells" / origin.parents[1].name / name / str(2020 + seed)
        folder.mkdir(parents=True)
        copy_run(origin, folder, row // len(origins), 2020 + seed, generator)


def copy_run(
    origin: Path, folder: Path, version: int, seed: int, generator: np.random.Generator
) -> None:
    """Write what pages are made of, with noise on every value."""
    for name in ("env.json", "history.csv", "groups.csv"):
        if (origin / name).is_file():
            (folder / name).write_bytes((origin / name).read_bytes())
    options = {**load_yaml(origin / "config.yaml"), "seed": seed}
    options["learning_rate"] = 0.001 * (version + 1)
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    users = pd.read_csv(origin / "per_user.csv.gz", dtype={0: str}, index_col=0)
    noise = generator.normal(1, 0.1, users.shape)
    users = (users * noise).round(6)
    text = io.StringIO()
    users.to_csv(text)
    (folder / "per_user.csv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    report = json.loads((origin / "metrics.json").read_text())
    report["seed"] = seed
    for part in ("best_valid_result", "test_result"):
        report[part] = {
            key: round(value * generator.normal(1, 0.02), 4) for key, value in report[part].items()
        }
    (folder / "metrics.json").write_text(json.dumps(report))


def time_build(folder: Path, args: Any) -> float:
    """Seconds of the pages of 200 run folders, in a process of their own."""
    args.epochs = 2
    board(folder / "few", COPIED, 1, 1, args)
    multiply(folder / "few", folder / "many", args.folders)
    seconds = command(["-c", BUILD, str(folder / "many")])
    pages = [path for path in (folder / "many").iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in pages) / 2**20
    print(f"\n{args.folders} run folders: {len(pages)} pages of {size:.1f} MB in {seconds:.1f} s")
    return seconds


def main() -> None:
    """Measure both halves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folders", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    args = parser.parse_args()
    if args.quick:
        args.models, args.seeds, args.epochs, args.rounds = ["BPR"], 2, 1, 1
    with tempfile.TemporaryDirectory() as folder:
        speedup = compare_jobs(Path(folder), args)
        seconds = time_build(Path(folder), args)
    if not args.quick:
        print(f"\ntarget (1.6 times faster): {'kept' if speedup >= 1.6 else 'missed'}")
        if seconds is not None:
            print(f"target (10 s for 200 folders): {'kept' if seconds < 10 else 'missed'}")
    built = "-" if seconds is None else f"{seconds:.2f}"
    print(f"\nbenchmark=leaderboard jobs_speedup={speedup:.2f} build_s_{args.folders}={built}")


if __name__ == "__main__":
    main()
