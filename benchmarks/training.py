"""Time and memory of a training epoch: RecBole's trainer and loader, ours, and plain PyTorch.

The floor is the same model written down in a few lines of PyTorch: negatives of an epoch in one
vectorised draw, slices of tensors, a fused Adam, and for LightGCN one product in compressed rows
per layer and direction. Only BPR and LightGCN have one.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_trainer, init_seed
from torch import Tensor
from torch.nn.functional import logsigmoid
from turns import choose_dataset, measure, parser, serve, settings, workers

from recbole_enhance.compat import mends
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.data.negatives import uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.training.acceleration import CompressedGraph
from recbole_enhance.training.trainer import make_trainer

CASES = ("recbole", "ours", "floor")
TITLES = {"recbole": "RecBole", "ours": "ours", "floor": "plain PyTorch"}
FLOORS = ("BPR", "LightGCN")
MIN_SPEEDUP = {"BPR": 2.5, "LightGCN": 1.5}  # on amazon-beauty
BATCH = 2048


def floor(model: Any, dataset: Any, layers: int) -> Callable[[], None]:
    """An epoch of plain PyTorch.

    Args:
        model: RecBole's, whose tables are trained.
        dataset: The training part.
        layers: Of LightGCN; 0 for BPR.
    """
    user_table, item_table = model.user_embedding.weight, model.item_embedding.weight
    users, items = dataset.inter_feat["user_id"], dataset.inter_feat["item_id"]
    used, generator = UserLists.of_datasets([dataset]), torch.Generator().manual_seed(0)
    graph = CompressedGraph(model.norm_adj_matrix) if layers else None
    optimizer = torch.optim.Adam([user_table, item_table], lr=0.001, fused=True)

    def tables() -> list[Tensor]:
        if not layers:
            return [user_table, item_table]
        propagated = [torch.cat([user_table, item_table])]
        for _ in range(layers):
            propagated.append(torch.sparse.mm(graph, propagated[-1]))
        return (sum(propagated) / (layers + 1)).split([len(user_table), len(item_table)])

    def epoch() -> None:
        negatives = uniform_outside(used, users, generator)
        for index in torch.randperm(len(users), generator=generator).split(BATCH):
            u, i, j = users[index], items[index], negatives[index]
            user, item = tables()
            x = (user[u] * (item[i] - item[j])).sum(1)
            loss = -logsigmoid(x).mean()
            if layers:
                own = (user_table[u], item_table[i], item_table[j])
                loss = loss + model.reg_weight * sum(e.square().sum() for e in own) / len(u)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def work(case: str, name: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: an epoch for each line on stdin."""
    config = settings(
        threads,
        model=name,
        dataset=dataset,
        data_path=data_path,
        embedding_size=64,
        train_batch_size=BATCH,
        fast=case != "recbole",
    )
    init_seed(config["seed"], config["reproducibility"])
    prepare = data_preparation if case == "recbole" else prepare_data
    train_data, _, _ = prepare(config, create_dataset(config))
    model = config.model_class(config, train_data._dataset)
    if case == "recbole":
        kind = get_trainer(config["MODEL_TYPE"], name)
        with mends.redirect_tensorboard():
            trainer: Trainer = kind(config, model)
    else:
        trainer = make_trainer(config, model, None)

    def epoch() -> None:
        trainer._train_epoch(train_data, 0)

    if case == "floor":
        epoch = floor(model, train_data._dataset, config["n_layers"] if name == "LightGCN" else 0)

    def turn(_: str) -> int:
        epoch()
        return 1

    turn("")  # warm-up
    serve(turn, {"rows": len(train_data._dataset), "steps": len(train_data)})


def compare(dataset: str, model: str, args: argparse.Namespace) -> str:
    """Measure one model on one dataset, print its table, and return its last line."""
    cases = [case for case in CASES if case != "floor" or model in FLOORS]
    with workers(__file__, cases, args, dataset=dataset, model=model) as found:
        rounds = measure(list(found.values()), "", args.rounds, args.seconds)
    about, ours = found["ours"].about, found["ours"].fastest("")
    print(
        f"\n{model} on {dataset}: {about['rows']:,} training rows in {about['steps']} steps, "
        f"{about['threads']} threads, {rounds} epochs each\n"
    )
    print("| case | s: median | fastest | ratio to ours | peak, MB |")
    print("|---|---|---|---|---|")
    for case, worker in found.items():
        print(
            f"| {TITLES[case]} | {worker.median(''):.2f} | {worker.fastest(''):.2f} "
            f"| {worker.fastest('') / ours:.2f} | {worker.peak_mb:.0f} |"
        )
    speedup = found["recbole"].fastest("") / ours
    over = f"{ours / found['floor'].fastest(''):.2f}" if "floor" in found else "-"
    if dataset == "amazon-beauty" and model in MIN_SPEEDUP:
        kept = speedup >= MIN_SPEEDUP[model]
        print(f"\ntarget ({MIN_SPEEDUP[model]:g} times faster): {'kept' if kept else 'missed'}")
    return (
        f"benchmark=training dataset={dataset} model={model} "
        f"speedup={speedup:.2f} over_floor={over}"
    )


def main() -> None:
    """Measure all models on all datasets that are there."""
    hidden = ["dataset", "model"]
    options = parser(__doc__, "BPR on ml-100k, a few seconds", 6, 120, CASES, hidden)
    options.add_argument("--datasets", nargs="+", default=["ml-100k", "amazon-beauty", "gowalla"])
    options.add_argument("--models", nargs="+", default=["BPR", "LightGCN"])
    args = options.parse_args()
    if args.worker:
        work(args.worker, args.model, args.dataset, args.data_path, args.threads)
        return
    if args.quick:
        args.datasets, args.models, args.seconds = ["ml-100k"], ["BPR"], 5
    datasets = dict.fromkeys(choose_dataset(args.data_path, name) for name in args.datasets)
    lines = [compare(dataset, model, args) for dataset in datasets for model in args.models]
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    sys.exit(main())
