"""Time of a training step with IaCN against the same backbone's, and of a prediction.

A step is the trainer's own, over batches fetched beforehand: forward, backward, optimiser. What
IaCN measures once an epoch (two more backward passes) is left out. The prediction is the
backbone's alone, so its ratio says only what the fused table costs. One thread by default, and its
CPU time.
"""

import argparse
import sys
import time
from dataclasses import replace

import torch
from turns import choose_dataset, first_batches, measure, parser, serve, settings, workers

from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.training.trainer import EnhancedTrainer

BATCH, STEPS = 1024, 10
CASES = ("plain", "IaCN")
MAX_RATIO = {"DIN": 1.2, "DIEN": 1.2, "SASRec": 1.3, "WideDeep": None}


def work(case: str, backbone: str, dataset: str, data_path: str, threads: int, length: int) -> None:
    """One case: steps or predictions for each line on stdin."""
    config = settings(
        threads,
        model="IaCN",
        backbone=backbone,
        dataset=dataset,
        data_path=data_path,
        train_batch_size=BATCH,
        MAX_ITEM_LIST_LENGTH=length,
    )
    if case == "plain":
        config.method = replace(config.method, wrap=None, trainer=None)
    run = assemble(config)
    batches = first_batches(run.train_data, STEPS)
    trainer, model = run.trainer, run.trainer.model

    def steps() -> None:
        # Past IaCN's own method, which also measures gradients, at one batch of an epoch: of ten
        # steps here that would be a tenth.
        EnhancedTrainer._train_epoch(trainer, batches, 0)

    steps()  # warm-up

    @torch.no_grad()
    def predict() -> None:
        model.eval()
        for batch in batches:
            model.predict(batch)

    def turn(what: str) -> int:
        if what == "predict":
            predict()
        else:
            steps()
        return len(batches)

    parameters = sum(p.numel() for p in model.parameters())
    about = {"rows": len(run.train_data._dataset), "parameters": parameters}
    serve(turn, about, time.process_time if threads == 1 else time.perf_counter)


def compare(backbone: str, dataset: str, args: argparse.Namespace) -> str:
    """Measure one backbone, print its table, and return its last line."""
    words = {"backbone": backbone, "dataset": dataset, "length": args.length}
    with workers(__file__, CASES, args, **words) as found:
        rounds = measure(list(found.values()), "step", args.rounds, args.seconds)
        measure(list(found.values()), "predict", args.rounds, args.seconds / 4)
    plain, ours = found.values()
    ratios = {what: ours.fastest(what) / plain.fastest(what) for what in ("step", "predict")}
    print(
        f"\n{backbone} on {dataset}: {plain.about['rows']:,} training rows, batch {BATCH:,}, "
        f"histories of {args.length}, {plain.about['threads']} threads, {rounds} rounds of "
        f"{STEPS} steps\n"
    )
    print(
        "| case | step, s: median | fastest | ratio | predict, s: fastest | ratio "
        "| parameters | peak, MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for worker in found.values():
        cells = [f"{worker.median('step'):.4f}"]
        for what in ("step", "predict"):
            cells += [
                f"{worker.fastest(what):.4f}",
                f"{worker.fastest(what) / plain.fastest(what):.2f}",
            ]
        print(
            f"| {worker.case} | {' | '.join(cells)} | {worker.about['parameters']:,} "
            f"| {worker.peak_mb:.0f} |"
        )
    limit = MAX_RATIO[backbone]
    if limit is not None:
        kept = "kept" if ratios["step"] <= limit else "missed"
        print(f"\ntarget ({limit:g} times the backbone's step): {kept}")
    return (
        f"benchmark=iacn_step backbone={backbone} ratio={ratios['step']:.2f} "
        f"predict_ratio={ratios['predict']:.2f}"
    )


def main() -> None:
    hidden = ["dataset", "backbone"]
    options = parser(__doc__, "WideDeep on ml-100k, a few seconds", 12, 60, CASES, hidden)
    options.add_argument("--backbones", nargs="+", default=list(MAX_RATIO), choices=list(MAX_RATIO))
    options.add_argument("--length", type=int, default=20, help="of histories")
    args = options.parse_args()
    if args.worker:
        work(args.worker, args.backbone, args.dataset, args.data_path, args.threads, args.length)
        return
    dataset = choose_dataset(args.data_path, "ml-100k" if args.quick else "amazon-beauty")
    if args.quick:
        args.backbones, args.seconds = ["WideDeep"], 4
    lines = [compare(backbone, dataset, args) for backbone in args.backbones]
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    sys.exit(main())
