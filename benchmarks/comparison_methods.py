"""Time of a training step with each method that DVR is compared with, against a BPR step.

A step is a batch of the fast loop with all that it takes: the loader's draws, forward, backward and
optimiser, averaged over whole epochs; what a method does once an epoch (PRIS's clusters) is in it.
PRIS has five negatives per positive, so it is compared with BPR on as many triplets; its ratio to
BPR with one negative is printed too. On one thread, the default, seconds are of the CPU, so that
other jobs disturb less. A method that is not in the tree yet is left out.
"""

import argparse
import itertools
import sys
import time
from typing import Any

import torch
from turns import assembled, choose_dataset, measure, parser, serve, workers

from recbole_enhance.enhancer import ENHANCERS

BATCH, NEGATIVES = 2048, 5
# RecBole counts triplets in a batch, PRIS positives.
MANY = {"train_neg_sample_args": {"sample_num": NEGATIVES}, "train_batch_size": BATCH * NEGATIVES}
PRIS = {"model": "PRIS", "pris_negatives": NEGATIVES}
# Case -> the method's options, the case that it is compared with, how much longer it may take.
CASES: dict[str, dict[str, Any]] = {
    "BPR": {},
    "BPR-5": {"options": MANY},
    "AOBPR": {"options": {"model": "AOBPR", "aobpr_warmup_epochs": 0}, "target": 2.0},
    "WBPR": {"options": {"model": "WBPR"}, "target": 1.5},
    "PRIS": {"options": PRIS, "to": "BPR-5", "target": 1.5},
    "PRIS-cluster": {
        "options": {**PRIS, "pris_proposal": "cluster-popular"},
        "to": "BPR-5",
        "target": 1.5,
    },
    "TCE": {"options": {"model": "TCE", "tce_gradual": 0}, "target": 1.2},
    "RCE": {"options": {"model": "RCE"}, "target": 1.2},
    "TIL-UI": {
        "options": {"model": "TIL", "til_mode": "ui", "til_warmup_epochs": 0},
        "target": 4.0,
    },
    "TIL-MI": {
        "options": {"model": "TIL", "til_mode": "mi", "til_warmup_epochs": 0},
        "target": 4.0,
    },
}
QUICK = ("BPR", "BPR-5", "WBPR", "PRIS", "TCE")


def here(names: list[str]) -> list[str]:
    """The cases whose method is in the tree."""
    methods = {name: CASES[name].get("options", {}).get("model") for name in names}
    return [name for name, method in methods.items() if method is None or method in ENHANCERS]


def work(case: str, backbone: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: an epoch for each line on stdin."""
    options = {
        "model": backbone,
        "dataset": dataset,
        "data_path": data_path,
        "embedding_size": 64,
        "train_batch_size": BATCH,
        **CASES[case].get("options", {}),
    }
    if options["model"] != backbone:
        options["backbone"] = backbone
    run = assembled(threads, **options)
    run.trainer.fit(run.train_data, run.valid_data)  # no epoch: builds what needs the data
    epoch = itertools.count(1)  # PRIS clusters from the second epoch on

    def turn(_: str) -> int:
        run.trainer._train_epoch(run.train_data, next(epoch))
        return len(run.train_data)

    turn("")  # warm-up
    about = {"rows": len(run.train_data._dataset), "steps": len(run.train_data)}
    one = torch.get_num_threads() == 1
    serve(turn, about, time.process_time if one else time.perf_counter)


def compare(backbone: str, dataset: str, args: argparse.Namespace) -> list[str]:
    """Measure the methods over one backbone, print their table, and return their last lines."""
    cases = here([case for case in CASES if case in args.methods or case.startswith("BPR")])
    with workers(__file__, cases, args, backbone=backbone, dataset=dataset) as found:
        rounds = measure(list(found.values()), "epoch", args.rounds, args.seconds)
    about = found["BPR"].about
    clock = "CPU seconds of one thread" if about["threads"] == 1 else "seconds"
    print(
        f"\n{backbone} on {dataset}: {about['rows']:,} training rows, {BATCH:,} positives a "
        f"step, {about['steps']} steps an epoch, 64 numbers, "
        f"{clock}, {rounds} rounds of an epoch each\n"
    )
    print(
        "| case | step, s: median | fastest | to BPR | compared with | ratio | target | peak, MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    lines = []
    for case, worker in found.items():
        to, target = CASES[case].get("to", "BPR"), CASES[case].get("target")
        fastest = worker.fastest("epoch")
        ratio = fastest / found[to].fastest("epoch")
        kept = "-" if target is None else f"{target:g}: {'kept' if ratio <= target else 'missed'}"
        print(
            f"| {case} | {worker.median('epoch'):.4f} | {fastest:.4f} "
            f"| {fastest / found['BPR'].fastest('epoch'):.2f} | {to} | {ratio:.2f} | {kept} "
            f"| {worker.peak_mb:.0f} |"
        )
        if target is not None:
            lines.append(
                f"benchmark=comparison_methods method={case} backbone={backbone} ratio={ratio:.2f}"
            )
    return lines


def main() -> None:
    hidden = ["dataset", "backbone"]
    options = parser(__doc__, "some over BPR on ml-100k", 10, 120, CASES, hidden)
    options.add_argument("--backbones", nargs="+", default=["BPR", "LightGCN"])
    options.add_argument("--methods", nargs="+", default=list(CASES), choices=list(CASES))
    args = options.parse_args()
    if args.worker:
        work(args.worker, args.backbone, args.dataset, args.data_path, args.threads)
        return
    dataset = choose_dataset(args.data_path, "ml-100k" if args.quick else "amazon-beauty")
    if args.quick:
        args.backbones, args.methods, args.seconds = ["BPR"], list(QUICK), 6
    lines = [line for b in args.backbones for line in compare(b, dataset, args)]
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    sys.exit(main())
