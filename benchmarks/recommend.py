"""Time and memory of lists for all users of a run, in a file, against what they cannot avoid.

Cases: BPR of 64 numbers recommends 100 items to every user of the data, whatever the user has left
out, into a Parquet file; and the floor, the product of the two tables and the top 100, in our
batches, and nothing else. Peak memory is of the whole process, with the data it has read.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from turns import assembled, choose_dataset, measure, parser, serve, workers

from recbole_enhance.data.loaders import rows_in_memory
from recbole_enhance.recommendation.recommend import recommend

CASES = ("ours", "floor")
TITLES = ("recommend, to Parquet", "product and top-k")
K = 100
MAX_OVER_FLOOR, MAX_MB = 1.5, 600  # on amazon-beauty


def work(case: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: list all users once for each line on stdin."""
    run = assembled(
        threads,
        model="BPR",
        dataset=dataset,
        data_path=data_path,
        embedding_size=64,
        topk=[10],
        valid_metric="NDCG@10",
        item_category_field=None,
        load_col={"inter": ["user_id", "item_id"]},
    )
    model = run.trainer.model.eval()
    step = rows_in_memory(run.config, model.n_items)
    out = Path(tempfile.mkdtemp(), "recs.parquet")

    @torch.no_grad()
    def floor() -> None:
        users, items = model.user_embedding.weight, model.item_embedding.weight
        for index in torch.arange(1, model.n_users).split(step):
            (users[index] @ items.T).topk(K, dim=1)

    def turn(_: str) -> int:
        floor() if case == "floor" else recommend(run, k=K, titles=None, out=out)
        return 1

    turn("")
    serve(turn, {"users": model.n_users - 1, "items": model.n_items - 1})


def compare(dataset: str, args: argparse.Namespace) -> str:
    """Measure, print the table, and return its last line."""
    with workers(__file__, CASES, args, dataset=dataset) as found:
        rounds = measure(list(found.values()), "", args.rounds, args.seconds)
    ours, floor = found.values()
    print(
        f"\n{dataset}: {ours.about['users']:,} users, {ours.about['items']:,} items, top {K}, "
        f"{ours.about['threads']} threads, {rounds} rounds\n"
    )
    print("| case | s: median | fastest | peak, MB |")
    print("|---|---|---|---|")
    for worker, title in zip(found.values(), TITLES):
        print(
            f"| {title} | {worker.median(''):.2f} | {worker.fastest(''):.2f} "
            f"| {worker.peak_mb:.0f} |"
        )
    over_floor = ours.fastest("") / floor.fastest("")
    if dataset == "amazon-beauty":
        kept = over_floor <= MAX_OVER_FLOOR and ours.peak_mb < MAX_MB
        print(
            f"\ntarget ({MAX_OVER_FLOOR:g} times the floor, {MAX_MB} MB): "
            f"{'kept' if kept else 'missed'}"
        )
    return f"benchmark=recommend over_floor={over_floor:.2f} peak_mb={ours.peak_mb:.0f}"


def main() -> None:
    """Measure amazon-beauty, or ml-100k."""
    args = parser(__doc__, "ml-100k, a few seconds", 10, 120, CASES, ["dataset"]).parse_args()
    if args.worker:
        work(args.worker, args.dataset, args.data_path, args.threads)
        return
    if args.quick:
        args.seconds = 5
    dataset = choose_dataset(args.data_path, "ml-100k" if args.quick else "amazon-beauty")
    print(compare(dataset, args))


if __name__ == "__main__":
    sys.exit(main())
