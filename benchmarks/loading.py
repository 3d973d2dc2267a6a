"""CPU seconds and memory of reading and splitting a dataset: RecBole, and ours.

Each case is a process of its own, since memory is counted at its peak. With ``--rows``, synthetic
interactions are read and the last two of each user held out, by RecTools and polars too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from loading_peers import peak_mb
from recbole.data import create_dataset as recbole_create_dataset
from recbole.utils import init_seed
from turns import choose_dataset

from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.experiment.assembly import load_data
from recbole_enhance.experiment.config import Config

CASES = {"RecBole": recbole_create_dataset, "ours": create_dataset}
READY = "ready"  # ours, with loaders that are ready
PEERS = ("rectools", "polars")
TARGET = 0.7  # of RecBole's seconds
OVER_RECTOOLS, OVER_RECBOLE, AGAIN = 2.0, 1 / 6, 0.1
MOST_FILES = 3  # memory of the files' bytes
LAST_TWO = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {
        "split": {"LS": "valid_and_test"},
        "order": "TO",
        "group_by": "user",
        "mode": "full",
    },
}


def write_long_tailed(rows: int, folder: Path) -> Path:
    """Write interactions of which few users and items have most, seeded; their file."""
    generator = np.random.default_rng(0)

    def ids(n: int, exponent: float) -> np.ndarray:
        weights = np.arange(1, n + 1) ** -exponent
        drawn = np.searchsorted(weights.cumsum() / weights.sum(), generator.random(rows))
        return generator.permutation(n)[drawn.clip(max=n - 1)]

    table = {
        "user_id:token": ids(max(rows // 40, 20), 0.7),
        "item_id:token": ids(max(rows // 100, 20), 0.8),
        "rating:float": generator.integers(1, 6, rows),
        "timestamp:float": generator.integers(1_300_000_000, 1_700_000_000, rows),
    }
    path = folder / f"{folder.name}.inter"
    folder.mkdir()
    pd.DataFrame(table).to_csv(path, sep="\t", index=False)
    return path


def work(case: str, dataset: str, data_path: str, last_two: bool, cache: str) -> None:
    """One case, once: print what it took."""
    torch.set_num_threads(1)
    options: dict[str, Any] = {"model": "BPR", "dataset": dataset, "data_path": data_path}
    options["data_cache"] = cache
    config = Config(config_dict={**options, **(LAST_TWO if last_two else {})})
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], config["reproducibility"])
    at_start = peak_mb()
    start = time.process_time()  # CPU seconds: a busy machine hits one case more than the other
    if case == READY:
        loaders = load_data(config)
        read, parts = time.process_time(), [loader._dataset for loader in loaders]
    else:
        made = CASES[case](config)
        read = time.process_time()
        parts = made.build()
    took = {"read": read - start, "split": time.process_time() - read, "start": at_start}
    took |= {"command": time.process_time(), "peak": peak_mb()}
    print(json.dumps({**took, "rows": [len(part) for part in parts]}))


def run(command: list[str]) -> dict[str, Any]:
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def turns(
    dataset: str, data_path: str, rounds: int, last_two: bool, plain: bool = True
) -> dict[str, dict[str, Any]]:
    """Run our case and, if asked, RecBole's in turns; the fastest of each."""
    command = [sys.executable, __file__, f"--datasets={dataset}", f"--data_path={data_path}"]
    command += ["--last_two"] if last_two else []
    cases = [case for case in CASES if plain or case != "RecBole"]
    found: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            found[case].append(run([*command, f"--worker={case}"]))
    assert len({str(run["rows"]) for runs in found.values() for run in runs}) == 1
    return {
        case: min(runs, key=lambda run: run["read"] + run["split"]) for case, runs in found.items()
    }


def print_rows(dataset: str, best: dict[str, dict[str, Any]]) -> None:
    for case, took in best.items():
        print(
            f"| {dataset} | {case} | {sum(took['rows']):,} | {took['read']:.2f} "
            f"| {took['split']:.2f} | {took['peak']:.0f} |"
        )


def on_dataset(name: str, args: argparse.Namespace) -> str:
    dataset = choose_dataset(args.data_path, name)
    best = turns(dataset, args.data_path, args.rounds, last_two=False)
    print_rows(dataset, best)
    seconds = {case: took["read"] + took["split"] for case, took in best.items()}
    ratio = seconds["ours"] / seconds["RecBole"]
    return (
        f"benchmark=loading dataset={dataset} seconds_ratio={ratio:.2f} "
        f"peak_ratio={best['ours']['peak'] / best['RecBole']['peak']:.2f} "
        f"target={TARGET} {'kept' if ratio <= TARGET else 'missed'}"
    )


def ready(dataset: str, data_path: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Ours until loaders are ready: nothing kept, then with what a run before has kept."""
    command = [sys.executable, __file__, f"--datasets={dataset}", f"--data_path={data_path}"]
    command += ["--last_two", f"--worker={READY}"]
    kept = [*command, f"--cache={Path(data_path, 'cache')}"]
    run(kept)
    found: dict[str, list[dict[str, Any]]] = {"ours, ready": [], "ours, ready again": []}
    for _ in range(rounds):
        found["ours, ready"].append(run(command))
        found["ours, ready again"].append(run(kept))
    return {case: min(runs, key=lambda run: run["read"]) for case, runs in found.items()}


def on_rows(rows: int, args: argparse.Namespace) -> str:
    """Compare on synthetic interactions, with the peers that there are."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_long_tailed(rows, Path(folder, f"synthetic-{rows}"))
        best = turns(path.stem, folder, args.rounds, last_two=True, plain=rows <= args.recbole_rows)
        best |= ready(path.stem, folder, args.rounds)
        print_rows(path.stem, best)
        peers = {}
        for peer in PEERS:
            command = [args.peers, str(Path(__file__).with_name("loading_peers.py")), peer]
            runs = [run([*command, str(path)]) for _ in range(args.rounds)]
            if "missing" in runs[0]:
                print(f"{peer} is left out: {runs[0]['missing']} (--peers=PYTHON)")
                continue
            peers[peer] = took = min(runs, key=lambda run: run["seconds"])
            # RecTools tests the only row of a user, who is trained on here.
            assert sum(took["rows"]) == sum(best["ours"]["rows"])
            seconds, peak = took["seconds"], took["peak"]
            print(f"| {path.stem} | {peer} | {rows:,} | {seconds:.2f} | | {peak:.0f} |")
        size = path.stat().st_size / 2**20
    ours = best["ours"]["read"] + best["ours"]["split"]
    over = {peer: ours / took["seconds"] for peer, took in peers.items()}
    if "RecBole" in best:
        over["recbole"] = ours / (best["RecBole"]["read"] + best["RecBole"]["split"])
    first, again = best["ours, ready"], best["ours, ready again"]
    over_first = again["read"] / first["read"]
    more = max(took["peak"] - took["start"] for case, took in best.items() if case != "RecBole")
    kept = {
        f"over_recbole <= {OVER_RECBOLE:.3f}": over.get("recbole", 0) <= OVER_RECBOLE,
        f"over_rectools <= {OVER_RECTOOLS}": over.get("rectools", 0) <= OVER_RECTOOLS,
        f"again_over_first <= {AGAIN}": over_first <= AGAIN,
        f"memory of {MOST_FILES} files": more <= MOST_FILES * size,
    }
    print(
        f"{rows:,} rows: " + ", ".join(f"{k}: {'kept' if v else 'missed'}" for k, v in kept.items())
    )
    told = " ".join(
        f"over_{who}={over[who]:.3f}" if who in over else f"over_{who}=skipped"
        for who in ("rectools", "polars", "recbole")
    )
    return (
        f"benchmark=loading rows={rows} {told} again_over_first={over_first:.3f} "
        f"command_again_over_first={again['command'] / first['command']:.2f} "
        f"peak_mb={first['peak']:.0f} import_mb={first['start']:.0f} file_mb={size:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", nargs="*", default=["amazon-beauty", "gowalla"])
    parser.add_argument("--rows", nargs="*", type=int, default=[1_000_000], help="synthetic ones")
    parser.add_argument("--peers", default=sys.executable, help="a Python with rectools, polars")
    parser.add_argument("--recbole_rows", type=int, default=1_000_000, help="RecBole's most")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="10,000 rows, ml-100k, one round")
    parser.add_argument("--worker", choices=[*CASES, READY], help=argparse.SUPPRESS)
    parser.add_argument("--cache", default="never", help=argparse.SUPPRESS)
    parser.add_argument("--last_two", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.datasets[0], args.data_path, args.last_two, args.cache)
        return
    if args.quick:
        args.datasets, args.rows, args.rounds = ["ml-100k"], [10_000], 1
    print("| dataset | case | rows | reading, s | splitting, s | peak, MB |")
    print("|---|---|---|---|---|---|")
    last = [on_rows(rows, args) for rows in args.rows]
    last += [on_dataset(name, args) for name in args.datasets]
    print("\n".join(["", *last]))


if __name__ == "__main__":
    sys.exit(main())
