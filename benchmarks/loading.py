"""CPU seconds and memory of reading and splitting a dataset: RecBole, and ours.

Each case is a process of its own, since memory is counted at its peak.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from recbole.data import create_dataset as recbole_create_dataset
from recbole.utils import init_seed
from turns import choose_dataset

from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.experiment.config import Config

CASES = {"RecBole": recbole_create_dataset, "ours": create_dataset}
TARGET = 0.7  # of RecBole's seconds


def work(case: str, dataset: str, data_path: str) -> None:
    """One case, once: print what it took."""
    torch.set_num_threads(1)
    config = Config(config_dict={"model": "BPR", "dataset": dataset, "data_path": data_path})
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], config["reproducibility"])
    start = time.process_time()  # CPU seconds: a busy machine hits one case more than the other
    made = CASES[case](config)
    read = time.process_time()
    parts = made.build()
    split = time.process_time()
    scale = (1 if sys.platform == "darwin" else 1024) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    rows = [len(part) for part in parts]
    print(json.dumps({"read": read - start, "split": split - read, "peak": peak, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", nargs="+", default=["amazon-beauty", "gowalla"])
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="ml-100k, two rounds")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.datasets[0], args.data_path)
        return
    if args.quick:
        args.datasets, args.rounds = ["ml-100k"], 2
    last = []
    print("| dataset | case | rows | reading, s | splitting, s | peak, MB |")
    print("|---|---|---|---|---|---|")
    for name in args.datasets:
        dataset = choose_dataset(args.data_path, name)
        found = {case: [] for case in CASES}
        for _ in range(args.rounds):
            for case in CASES:
                command = [
                    sys.executable,
                    __file__,
                    f"--worker={case}",
                    f"--datasets={dataset}",
                    f"--data_path={args.data_path}",
                ]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[case].append(json.loads(out.splitlines()[-1]))
        assert len({str(run["rows"]) for runs in found.values() for run in runs}) == 1
        best = {
            case: min(runs, key=lambda run: run["read"] + run["split"])
            for case, runs in found.items()
        }
        for case, run in best.items():
            print(
                f"| {dataset} | {case} | {sum(run['rows']):,} | {run['read']:.2f} "
                f"| {run['split']:.2f} | {run['peak']:.0f} |"
            )
        seconds = {case: run["read"] + run["split"] for case, run in best.items()}
        ratio = seconds["ours"] / seconds["RecBole"]
        kept = "kept" if ratio <= TARGET else "missed"
        last.append(
            f"benchmark=loading dataset={dataset} seconds_ratio={ratio:.2f} "
            f"peak_ratio={best['ours']['peak'] / best['RecBole']['peak']:.2f} "
            f"target={TARGET} {kept}"
        )
    print("\n".join(["", *last]))


if __name__ == "__main__":
    sys.exit(main())
