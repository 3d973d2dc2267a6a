"""Seconds of training, evaluation and steps of methods on the GPU and on the CPU, and peak memory.

The data are synthetic, long-tailed, seeded, of gowalla's size after filtering. Each case is
assembled once a device; a device's turns are timed after one that is not. GPU work is waited for.
"""

import argparse
import functools
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_enhance.experiment.assembly import Run, assemble
from recbole_enhance.experiment.config import Config

USERS, ITEMS, PAIRS, BATCH = 30_000, 41_000, 1_000_000, 2048
QUICK = (600, 400, 12_000)
_CPU_STEPS = 4  # enough where a step takes a second
CASES: dict[str, dict[str, Any]] = {
    "BPR": {"model": "BPR"},
    "LightGCN": {"model": "LightGCN"},
    "SASRec": {"model": "SASRec", "eval_args.split": {"LS": "valid_and_test"}},
    "dvr_step": {"model": "DVR", "backbone": "LightGCN"},
    "rvrec_step": {"model": "RVRec", "backbone": "BPR"},
    "iacn_step": {"model": "IaCN", "backbone": "SASRec"},
}
EVALUATED = ("BPR", "LightGCN", "SASRec")


def write_data(folder: Path, users: int, items: int, pairs: int, seed: int = 2020) -> None:
    """Write pairs of users and items, both by a power law, with times."""
    rng = np.random.default_rng(seed)
    columns = []
    for n in (users, items):
        weights = np.arange(1, n + 1) ** -0.6
        columns.append(rng.choice(n, pairs, p=weights / weights.sum()))
    keys = np.unique(columns[0].astype(np.int64) * items + columns[1])
    rng.shuffle(keys)
    (folder / "made").mkdir()
    with open(folder / "made" / "made.inter", "w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        file.writelines(f"u{k // items}\ti{k % items}\t{n}\n" for n, k in enumerate(keys.tolist()))


def built(device: str, data_path: str, options: dict[str, Any], batch: int) -> Run:
    """Data, model and trainer of a case on a device."""
    config = Config(
        config_dict={
            "dataset": "made",
            "data_path": data_path,
            "epochs": 1,
            "train_batch_size": batch,
            "use_gpu": device == "cuda",
            "show_progress": False,
            "metrics": ["Recall", "NDCG", "GiniIndex", "ItemCoverage"],
            "valid_metric": "NDCG@10",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            **options,
        }
    )
    config["checkpoint_dir"] = "."
    return assemble(config)


def seconds_of(turn: Callable[[], Any], device: str, warm: bool = True) -> float:
    """Seconds of the faster of two turns on the GPU, of one on the CPU.

    Args:
        turn: What is timed.
        device: Where.
        warm: Whether a turn before is not timed.
    """
    found = []
    for _ in range(2 if device == "cuda" else 1):
        if warm:
            turn()
            warm = False
        start = time.perf_counter()
        turn()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def measure(case: str, device: str, data_path: str, steps: int, batch: int) -> dict[str, float]:
    """Seconds of a step and of an evaluation, and peak memory on the GPU."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run = built(device, data_path, CASES[case], batch)
    trainer = run.trainer
    trainer.log_epoch = dict  # of an epoch, not of a step
    trainer._valid_epoch = lambda *_, **__: (0.0, {})  # the test is evaluated below
    # Two batches, so that a method has what it makes when its training begins.
    trainer.fit(_Loader(run.train_data, 2), run.valid_data, show_progress=False)
    number = steps if device == "cuda" else min(steps, _CPU_STEPS)
    batches = list(itertools.islice(run.train_data, number))
    epoch = functools.partial(trainer._train_epoch, batches, 1)
    found = {"step": seconds_of(epoch, device) / len(batches)}
    if case in EVALUATED:
        evaluate = functools.partial(trainer.evaluate, run.test_data, load_best_model=False)
        found["evaluation"] = seconds_of(evaluate, device, warm=device == "cuda")
    if device == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return found


class _Loader:
    """The first batches of a loader, under its face."""

    def __init__(self, loader: Any, number: int) -> None:
        self.loader, self.number = loader, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Any:
        return itertools.islice(self.loader, self.number)

    def __len__(self) -> int:
        return self.number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", nargs=2, default=["cuda", "cpu"], help="that and its peer")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=270, help="no case begins after these")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--quick", action="store_true", help="small data, two steps")
    args = parser.parse_args()
    begin, size = time.monotonic(), QUICK if args.quick else (USERS, ITEMS, PAIRS)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), *size)
        for case in args.cases:
            if time.monotonic() - begin > args.seconds:
                print(f"{case}: no time left")
                continue
            size = (2, 128) if args.quick else (args.steps, BATCH)
            ours, peer = (measure(case, device, folder, *size) for device in args.devices)
            words = [f"benchmark=gpu case={case} step_ms={1000 * ours['step']:.2f}"]
            words.append(f"step_over_cpu={ours['step'] / peer['step']:.3f}")
            if "evaluation" in ours:
                ratio = ours["evaluation"] / peer["evaluation"]
                words.append(f"evaluation_over_cpu={ratio:.3f}")
            words.append(f"peak_gpu_mb={ours.get('peak_mb', 0):.0f}")
            print(" ".join(words), flush=True)


if __name__ == "__main__":
    main()
