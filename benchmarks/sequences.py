"""Histories of sequential models: building them, and training on them, in CPU seconds.

Building: RecBole's loop, and ours. Each case is a process of its own, since memory is counted at
its peak. The columns are the same to the last bit (tests/data/test_sequences.py).

Training: a step on one row per target, as RecBole trains, and on windows (option ``packed_step``),
in turns in one process. With ``packed_step=1`` the loss is the same
(tests/training/test_packing.py).
"""

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from recbole.data import create_dataset as recbole_create_dataset
from recbole.utils import init_seed
from turns import assembled, choose_dataset

from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.experiment.config import Config
from recbole_enhance.training.packing import pack
from recbole_enhance.training.trainer import make_trainer

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


def training(dataset: str, data_path: str, model: str, steps: list[int], rounds: int) -> str:
    """Print CPU seconds of a step in each case; give the last line.

    Args:
        dataset: Its name.
        data_path: Folder of the datasets.
        model: A causal one.
        steps: ``packed_step`` of the cases; one row per target is 0, and comes first.
        rounds: Steps of each; the median is taken.
    """
    run = assembled(
        1,
        model=model,
        dataset=dataset,
        data_path=data_path,
        train_neg_sample_args=None,
        variant="next-item",
    )
    loaders = {step: copy.copy(run.train_data) for step in steps}
    models = {step: copy.deepcopy(run.trainer.model) for step in steps}
    one_step: dict[int, Callable[[], None]] = {}
    for step in steps:
        loaders[step].generator = torch.Generator().manual_seed(0)
        read = pack(models[step], loaders[step], step)
        if step and read != "windows":
            raise SystemExit(f"{model} does not read windows")
        trainer = make_trainer(run.config, models[step], None)
        one_step[step] = stepping(loaders[step], models[step].train(), trainer.optimizer)
    seconds: dict[int, list[float]] = {step: [] for step in steps}
    for number in range(rounds + 1):
        for step in steps:
            start = time.process_time()
            one_step[step]()
            if number:  # the first one warms up
                seconds[step].append(time.process_time() - start)
    median = {step: statistics.median(times) for step, times in seconds.items()}
    for step, time_of_step in median.items():
        case = f"windows, packed_step={step}" if step else "one row per target"
        epoch = time_of_step * len(run.train_data)
        ratio = median[0] / time_of_step
        print(f"| {dataset} | {model} | {case} | {time_of_step:.2f} | {epoch:.0f} | {ratio:.1f} |")
    return (
        f"benchmark=sequences_packed dataset={dataset} model={model} "
        f"speedup={median[0] / median[steps[-1]]:.1f}"
    )


def stepping(loader: Any, model: Any, optimizer: Any) -> Callable[[], None]:
    """What takes one training step of an epoch."""
    batches = iter(loader)

    def step() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--models", nargs="+", default=["SASRec", "DIEN"])
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--lengths", nargs="+", type=int, default=[20, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="ml-100k, two rounds")
    parser.add_argument("--what", nargs="+", default=["building", "training"])
    parser.add_argument("--packed", nargs="+", default=["ml-100k", "amazon-beauty"])
    parser.add_argument("--packed_models", nargs="+", default=["SASRec", "GRU4Rec"])
    parser.add_argument("--packed_steps", nargs="+", type=int, default=[0, 1, 10])
    parser.add_argument("--packed_rounds", type=int, default=3)
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.models[0], args.dataset, args.data_path, args.lengths[0])
        return
    if args.quick:
        args.dataset, args.models, args.lengths, args.rounds = "ml-100k", ["SASRec"], [20], 2
        args.packed, args.packed_models = ["ml-100k"], ["GRU4Rec"]
        args.packed_steps, args.packed_rounds = [0, 10], 1
    last = []
    if "building" in args.what:
        last += building(args)
    if "training" in args.what:
        print("\n| dataset | model | case | s: a step | s: an epoch | speed-up |")
        print("|---|---|---|---|---|---|")
        for dataset in dict.fromkeys(choose_dataset(args.data_path, d) for d in args.packed):
            for model in args.packed_models:
                cases = (args.packed_steps, args.packed_rounds)
                last.append(training(dataset, args.data_path, model, *cases))
    print("\n".join(["", *last]))


def building(args: argparse.Namespace) -> list[str]:
    """Print what building takes; give the last lines."""
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
    return last


if __name__ == "__main__":
    sys.exit(main())
