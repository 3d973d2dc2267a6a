"""CPU seconds and memory of building the histories of sequential models: RecBole's loop, and ours.

Each case is a process of its own, since memory is counted at its peak. The columns are the same to
the last bit (tests/data/test_sequences.py).
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


def work(case: str, model: str, dataset: str, data_path: str, length: int) -> None:
    """One case, once: print what it took."""
    torch.set_num_threads(1)  # several wait for each other on a busy machine, at full CPU
    config = Config(
        config_dict={
            "model": model,
            "dataset": dataset,
            "data_path": data_path,
            "MAX_ITEM_LIST_LENGTH": length,
            "show_progress": False,
        }
    )
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], config["reproducibility"])
    built = CASES[case](config)
    scale = (1 if sys.platform == "darwin" else 1024) / 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    start = time.process_time()  # CPU seconds: a busy machine hits one case more than the other
    built._change_feat_format()
    seconds = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    columns = built.inter_feat.interaction.values()
    held = sum(c.numel() * c.element_size() for c in columns) / 2**20
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak": after,
                "more": after - before,
                "held": held,
                "rows": len(built.inter_feat),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--models", nargs="+", default=["SASRec", "DIEN"])
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--lengths", nargs="+", type=int, default=[20, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="ml-100k, two rounds")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.models[0], args.dataset, args.data_path, args.lengths[0])
        return
    if args.quick:
        args.dataset, args.models, args.lengths, args.rounds = "ml-100k", ["SASRec"], [20], 2
    dataset = choose_dataset(args.data_path, args.dataset)
    last = []
    print(
        "| model | length | case | rows | s: fastest | peak, MB | above the data before, MB "
        "| held, MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for model in args.models:
        for length in args.lengths:
            found = {case: [] for case in CASES}
            for _ in range(args.rounds):
                for case in CASES:
                    command = [
                        sys.executable,
                        __file__,
                        f"--worker={case}",
                        f"--models={model}",
                        f"--dataset={dataset}",
                        f"--data_path={args.data_path}",
                        f"--lengths={length}",
                    ]
                    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    found[case].append(json.loads(out.splitlines()[-1]))
            best = {case: min(runs, key=lambda run: run["seconds"]) for case, runs in found.items()}
            for case, run in best.items():
                print(
                    f"| {model} | {length} | {case} | {run['rows']:,} | {run['seconds']:.2f} "
                    f"| {run['peak']:.0f} | {run['more']:.0f} | {run['held']:.0f} |"
                )
            speedup = best["RecBole"]["seconds"] / best["ours"]["seconds"]
            memory = best["ours"]["more"] / max(best["RecBole"]["more"], 1)
            last.append(
                f"benchmark=sequences dataset={dataset} model={model} length={length} "
                f"speedup={speedup:.1f} memory_ratio={memory:.2f}"
            )
    print("\n".join(["", *last]))


if __name__ == "__main__":
    sys.exit(main())
