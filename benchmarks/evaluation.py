"""Time and memory of a full-ranking evaluation: RecBole's trainer, ours, and what it cannot avoid.

Cases, each evaluating BPR of 64 numbers on all test users, with RecBole's default metrics at 10
and 20: RecBole as it comes (4,096 pairs of user and item per step, so one user), RecBole with as
many pairs as 512 MB hold, ours, and the floor: the product of the tables and the top-k, in our
batches, and nothing else. Peak memory is of the whole process, with the data it has read.
"""

import argparse
import sys
from typing import Any

import torch
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import init_seed
from turns import choose_dataset, measure, parser, serve, settings, workers

from recbole_enhance.compat import mends
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.training.trainer import make_trainer

CASES = ("recbole", "recbole_512mb", "ours", "floor")
TITLES = ("RecBole, as it comes", "RecBole, eval_batch_size of 512 MB", "ours", "product and top-k")
PAIRS = {"recbole": 4096, "recbole_512mb": 2**29 // 16}  # per step
METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision"]
MIN_SPEEDUP, MAX_OVER_FLOOR = 8.0, 1.5  # on amazon-beauty
MAX_MB = 1500  # on gowalla


def work(case: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: evaluate once for each line on stdin."""
    config = settings(
        threads,
        model="BPR",
        dataset=dataset,
        data_path=data_path,
        embedding_size=64,
        metrics=METRICS,
        topk=[10, 20],
        valid_metric="MRR@10",
        item_category_field=None,
        load_col={"inter": ["user_id", "item_id"]},
        eval_batch_size=PAIRS.get(case),
    )
    init_seed(config["seed"], config["reproducibility"])
    plain = case.startswith("recbole")
    prepare = data_preparation if plain else prepare_data
    train_data, _, test_data = prepare(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model = config.model_class(config, train_data._dataset)
    if plain:
        with mends.redirect_tensorboard():
            trainer = Trainer(config, model)
    else:
        trainer = make_trainer(config, model, None)
    trainer.eval_collector.data_collect(train_data)
    about: dict[str, Any] = {"users": len(test_data.uid_list), "items": model.n_items}

    @torch.no_grad()
    def floor() -> None:
        users, items = model.user_embedding.weight, model.item_embedding.weight
        for index in test_data.uid_list.split(test_data.step):
            (users[index] @ items.T).topk(20, dim=1)

    def turn(_: str) -> int:
        if case == "floor":
            floor()
        else:
            trainer.evaluate(test_data, load_best_model=False)
        return 1

    if case != "floor":
        result = trainer.evaluate(test_data, load_best_model=False)
        about["result"] = {name: float(value) for name, value in result.items()}
    serve(turn, about)


def compare(dataset: str, args: argparse.Namespace) -> str:
    """Measure one dataset, print its table, and return its last line."""
    with workers(__file__, CASES, args, dataset=dataset) as found:
        slow, *rest = found.values()
        rounds = measure([slow], "", args.rounds, args.seconds, at_least=1)
        rounds = f"{rounds} of RecBole as it comes, {measure(rest, '', args.rounds, args.seconds)}"
    results = [worker.about["result"] for worker in (slow, *rest[:2])]
    same = results[0] == results[1] == results[2]
    about, ours = slow.about, rest[1]
    print(
        f"\n{dataset}: {about['users']:,} test users, {about['items'] - 1:,} items, "
        f"{about['threads']} threads, {rounds} rounds of the others; "
        f"metrics {'equal' if same else 'DIFFER'}\n"
    )
    print("| case | s: median | fastest | ratio to ours | peak, MB |")
    print("|---|---|---|---|---|")
    for worker, title in zip(found.values(), TITLES):
        ratio = worker.fastest("") / ours.fastest("")
        print(
            f"| {title} | {worker.median(''):.2f} | {worker.fastest(''):.2f} | {ratio:.2f} "
            f"| {worker.peak_mb:.0f} |"
        )
    speedup = slow.fastest("") / ours.fastest("")
    over_floor = ours.fastest("") / rest[2].fastest("")
    if dataset == "amazon-beauty":
        kept = same and speedup >= MIN_SPEEDUP and over_floor <= MAX_OVER_FLOOR
        print(
            f"\ntarget ({MIN_SPEEDUP:g} times faster, {MAX_OVER_FLOOR:g} times the floor): "
            f"{'kept' if kept else 'missed'}"
        )
    if dataset == "gowalla":
        kept = same and ours.peak_mb <= MAX_MB
        print(f"\ntarget ({MAX_MB:,} MB): {'kept' if kept else 'missed'}")
    return (
        f"benchmark=evaluation dataset={dataset} speedup={speedup:.2f} "
        f"over_floor={over_floor:.2f} peak_mb={ours.peak_mb:.0f}"
    )


def main() -> None:
    """Measure all datasets that are there."""
    options = parser(__doc__, "ml-100k, a few seconds", 10, 120, CASES, ["dataset"])
    options.add_argument("--datasets", nargs="+", default=["ml-100k", "amazon-beauty", "gowalla"])
    args = options.parse_args()
    if args.worker:
        work(args.worker, args.dataset, args.data_path, args.threads)
        return
    if args.quick:
        args.datasets, args.seconds = ["ml-100k"], 5
    datasets = [choose_dataset(args.data_path, name) for name in args.datasets]
    lines = [compare(dataset, args) for dataset in dict.fromkeys(datasets)]
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    sys.exit(main())
