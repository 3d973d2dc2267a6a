"""CPU seconds and memory of models that RecBole learns or ranks slowly: RecBole's code, and ours.

ItemKNN and EASE are built, and NeuMF ranks all items for some users; the same scores come out. Each
case is a process of its own, since memory is counted at its peak.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed
from turns import choose_dataset, parser, settings

from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.storage import resources
from recbole_enhance.training.trainer import make_trainer

MODELS = {"itemknn": "ItemKNN", "ease": "EASE", "neumf": "NeuMF"}
EQUAL = 2e-6  # of the largest score: float32 rounds RecBole's EASE by as much
MOST_MATRICES, MOST_SECONDS = 1.2, 60  # EASE's memory; NeuMF's ranking of amazon-beauty
ALWAYS = {"load_col": {"inter": ["user_id", "item_id"]}, "item_category_field": None}


def work(args: argparse.Namespace) -> None:
    """One case, once: print what it took, and write some scores to a file."""
    name, who = args.worker.split(":")
    config = settings(
        1,
        model=MODELS[name],
        dataset=args.dataset,
        data_path=args.data_path,
        fast=who == "ours",
        **ALWAYS,
    )
    init_seed(config["seed"], reproducibility=True)
    train, _, test = prepare_data(config, create_dataset(config))
    dataset, n_users = train._dataset, len(test.uid_list)
    resources.reset_peak()
    before, start = resources.peak_mb(), time.process_time()
    torch.manual_seed(0)
    model = config.model_class(config, dataset).eval()
    seconds, peak = time.process_time() - start, resources.peak_mb() - before
    scores = torch.cat([*_scores(config, model, test, args.users if name == "neumf" else 20)])
    if name == "neumf":
        start = time.process_time()
        scores = torch.cat([*_scores(config, model, test, args.users)])
        seconds = (time.process_time() - start) * n_users / len(scores)
        peak = resources.peak_mb() - before
    np.save(args.out, scores[:20].numpy())
    matrix = dataset.item_num**2 * 4 / 2**20
    told = {"seconds": seconds, "peak": peak, "matrices": peak / matrix, "users": n_users}
    print(json.dumps({**told, "items": dataset.item_num}))


@torch.no_grad()
def _scores(config: Any, model: Any, test: Any, number: int) -> Any:
    trainer = make_trainer(config, model, None)
    trainer.tot_item_num = model.n_items
    trainer.item_tensor = test._dataset.get_item_feature()
    for users in test.uid_list[:number].split(test.step):
        rows = Interaction({config["USER_ID_FIELD"]: users})
        yield trainer._full_sort_batch_eval((rows, None, None, None))[1].clone()


def compare(name: str, dataset: str, args: argparse.Namespace) -> str:
    """Measure both, print a table, and return the last line."""
    told, scores = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for who in ("RecBole", "ours"):
            out = Path(folder, f"{who}.npy")
            words = [f"--worker={name}:{who}", f"--dataset={dataset}", f"--out={out}"]
            words += [f"--data_path={args.data_path}", f"--users={args.users}"]
            done = subprocess.run(
                [sys.executable, __file__, *words], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"case {name} of {who} failed:\n{done.stderr}")
            told[who], scores[who] = json.loads(done.stdout.splitlines()[-1]), np.load(out)
    finite = np.isfinite(scores["RecBole"])
    apart = np.abs(scores["ours"] - scores["RecBole"])[finite].max()
    equal = apart <= EQUAL * max(1, np.abs(scores["RecBole"][finite]).max())
    ours = told["ours"]
    print(
        f"\n{MODELS[name]} on {dataset}: {ours['users']:,} users, {ours['items'] - 1:,} items; "
        f"scores {'equal' if equal else 'DIFFER'}, at most {apart:.1e} apart\n"
    )
    print("| case | CPU s | peak, MB |\n|---|---|---|")
    for who, case in told.items():
        print(f"| {who} | {case['seconds']:.2f} | {case['peak']:.0f} |")
    ratio = ours["seconds"] / told["RecBole"]["seconds"]
    if name == "neumf":
        if dataset == "amazon-beauty":
            kept = "kept" if equal and ours["seconds"] <= MOST_SECONDS else "missed"
            print(f"\ntarget ({MOST_SECONDS} s): {kept}")
        return (
            f"benchmark=neumf_ranking dataset={dataset} seconds={ours['seconds']:.2f} "
            f"seconds_ratio={ratio:.3f}"
        )
    line = f"benchmark={name} dataset={dataset} ratio={ratio:.3f}"
    if name == "itemknn":
        return line
    if dataset == "amazon-beauty":  # where the matrix is large beside what else there is
        kept = "kept" if equal and ours["matrices"] <= MOST_MATRICES else "missed"
        print(f"\ntarget ({MOST_MATRICES} matrices): {kept}")
    return f"{line} peak_matrices={ours['matrices']:.2f}"


def main() -> None:
    """Measure all models on all datasets."""
    options = parser(__doc__, "ml-100k", hidden=["worker", "dataset", "out"])
    options.add_argument("--datasets", nargs="+", default=["ml-100k", "amazon-beauty"])
    options.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    options.add_argument("--users", type=int, default=200, help="that NeuMF ranks for")
    args = options.parse_args()
    if args.worker:
        work(args)
        return
    if args.quick:
        args.datasets, args.users = ["ml-100k"], 50
    datasets = dict.fromkeys(choose_dataset(args.data_path, name) for name in args.datasets)
    lines = [compare(name, dataset, args) for dataset in datasets for name in args.models]
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    sys.exit(main())
