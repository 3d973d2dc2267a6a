"""Seconds and memory of importing a log of interactions, against ``pandas.read_csv`` of the file.

Each case is a process of its own, since memory is counted at its peak. The log is made by a seed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

CASES = ("pandas", "ours")
TIME, MEMORY = 3.0, 3.0  # of pandas' seconds, of the file's size
_PIECE = 1_000_000


def make_log(path: Path, rows: int, seed: int) -> None:
    """A log of as many users as a tenth of its rows, with popular items."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, _PIECE):
        n = min(_PIECE, rows - start)
        frame = pd.DataFrame(
            {
                "customer": rng.integers(0, max(rows // 10, 1), n),
                "sku": (rng.random(n) ** 3 * max(rows // 100, 1)).astype(int),
                "stars": rng.integers(1, 6, n),
                "ts": rng.integers(1_500_000_000, 1_700_000_000, n),
            }
        )
        frame["customer"] = "user-" + frame["customer"].astype(str).str.zfill(8)
        frame["sku"] = "item-" + frame["sku"].astype(str)
        frame.to_csv(path, mode="a", header=start == 0, index=False)


def work(case: str, log: Path) -> None:
    """One case, once: print what it took."""
    start = time.process_time()  # CPU seconds: a busy machine hits one case more than the other
    if case == "pandas":
        rows = len(pd.read_csv(log))
    else:
        from recbole_enhance.data.importing import import_data

        with tempfile.TemporaryDirectory(dir=log.parent) as out:
            made = import_data(
                log, user="customer", item="sku", rating="stars", time="ts", name="log", out=out
            )
            rows = made.interactions
    seconds = time.process_time() - start
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20
    print(json.dumps({"seconds": seconds, "peak": peak, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="200,000 rows, once")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.log)
        return
    if args.quick:
        args.rows, args.rounds = 200_000, 1
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.csv")
        make_log(log, args.rows, args.seed)
        size = log.stat().st_size / 2**20
        found = {case: [] for case in CASES}
        for _ in range(args.rounds):
            for case in CASES:
                command = [sys.executable, __file__, f"--worker={case}", f"--log={log}"]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[case].append(json.loads(out.splitlines()[-1]))
    assert {run["rows"] for runs in found.values() for run in runs} == {args.rows}
    print(f"log of {args.rows:,} rows, {size:.0f} MB")
    print("| case | CPU seconds | peak, MB |")
    print("|---|---|---|")
    best = {case: min(runs, key=lambda run: run["seconds"]) for case, runs in found.items()}
    for case, run in best.items():
        print(f"| {case} | {run['seconds']:.1f} | {run['peak']:.0f} |")
    ratio = best["ours"]["seconds"] / best["pandas"]["seconds"]
    memory = best["ours"]["peak"] / size
    kept = "kept" if ratio <= TIME and memory <= MEMORY else "missed"
    print(
        f"benchmark=import rows={args.rows} time_ratio={ratio:.2f} memory_ratio={memory:.2f} "
        f"target={TIME:.0f} {kept}"
    )


if __name__ == "__main__":
    sys.exit(main())
