"""Time of a training step with IaCN against the same backbone's, and of a prediction.

A step is the trainer's own, over batches fetched beforehand: forward, backward, optimiser. What
IaCN measures once an epoch (two more backward passes) is left out. The prediction is the
backbone's alone, so its ratio says only what the fused table costs.
"""

import argparse
import sys
from dataclasses import replace

import torch
from turns import Worker, choose_dataset, first_batches, measure, serve, settings

from recbole_enhance.experiment.quick_start import assemble
from recbole_enhance.training.trainer import EnhancedTrainer

BATCH, STEPS = 1024, 10
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
    serve(turn, {"rows": len(run.train_data._dataset), "parameters": parameters})


def compare(backbone: str, dataset: str, args: argparse.Namespace) -> str:
    """Measure one backbone, print its table, and return its last line."""
    common = [
        f"--backbone={backbone}",
        f"--dataset={dataset}",
        f"--data_path={args.data_path}",
        f"--threads={args.threads}",
        f"--length={args.length}",
    ]
    workers = [Worker(__file__, case, [f"--worker={case}", *common]) for case in ("plain", "IaCN")]
    for worker in workers:
        worker.wait()
    rounds = measure(workers, "step", args.rounds, args.seconds)
    measure(workers, "predict", args.rounds, args.seconds / 4)
    for worker in workers:
        worker.close()
    plain, ours = workers
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
    for worker in workers:
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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbones", nargs="+", default=list(MAX_RATIO), choices=list(MAX_RATIO))
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--threads", type=int, default=1, help="of torch; 0: its own choice")
    parser.add_argument("--length", type=int, default=20, help="of histories")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60, help="limit of the rounds of a case")
    parser.add_argument("--quick", action="store_true", help="WideDeep on ml-100k, a few seconds")
    parser.add_argument("--worker", choices=("plain", "IaCN"), help=argparse.SUPPRESS)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    parser.add_argument("--backbone", help=argparse.SUPPRESS)
    args = parser.parse_args()
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
