"""CPU time until BPR reaches a validation NDCG@10: dense Adam, Adam by rows, and a compiled peer.

Each run is a process of its own on one thread. Its CPU time is that of its epochs; the evaluations
between them are not counted. ``--peer`` names a Python that has Cornac, whose compiled BPR learns
the same training rows one at a time; five of its epochs stand beside one of ours.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from turns import assembled, choose_dataset, parser

LEARNERS = ("adam", "row_adam")
K = 10


def work(args: argparse.Namespace) -> list[tuple[float, float]]:
    """CPU seconds and validation NDCG after each epoch of one run."""
    run = assembled(
        args.threads,
        model="BPR",
        dataset=args.dataset,
        data_path=args.data_path,
        embedding_size=64,
        learner=args.worker,
        learning_rate=args.rate,
        train_batch_size=args.batch,
        seed=args.seed,
        metrics=["NDCG"],
        topk=[K],
        valid_metric=f"NDCG@{K}",
        metric_decimal_place=6,
    )
    if args.rows:  # for the peer
        valid = run.valid_data.positives
        users = valid.counts.nonzero().squeeze(1)
        row, items = valid.of(users)
        train = run.train_data._dataset.inter_feat
        np.savez(args.rows, users=users[row], items=items, u=train["user_id"], i=train["item_id"])
    curve, spent = [], 0.0
    run.trainer.fit(run.train_data, run.valid_data)  # no epoch: it prepares
    for epoch in range(args.epochs):
        start = time.process_time()
        run.trainer._train_epoch(run.train_data, epoch)
        spent += time.process_time() - start
        curve.append((spent, run.trainer._valid_epoch(run.valid_data)[0]))
    return curve


PEER = """
import json, sys, time
import numpy as np
from cornac.data import Dataset
from cornac.models import BPR
data, rate, epochs, seed = np.load(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
u, i = data["u"], data["i"]
known = Dataset.from_uir(zip(u, i, np.ones(len(u))), seed=seed)
users = [known.uid_map[x] for x in data["users"]]
items = [known.iid_map.get(x, -1) for x in data["items"]]
held = np.zeros((known.num_users, known.num_items), dtype=bool)
n = np.zeros(known.num_users)
for a, b in zip(users, items):
    n[a] += 1
    if b >= 0:
        held[a, b] = True
gains = 1 / np.log2(np.arange(2, 12))
curve, spent, model = [], 0.0, None
for epoch in range(epochs):
    start = {} if model is None else {"U": model.u_factors, "V": model.i_factors, "Bi": model.i_biases}
    model = BPR(k=64, max_iter=5, learning_rate=rate, lambda_reg=0.01, num_threads=1, seed=seed + 5 * epoch, init_params=start)
    begin = time.process_time()
    model.fit(known)
    spent += time.process_time() - begin
    scores = model.u_factors @ model.i_factors.T + model.i_biases
    scores[known.csr_matrix.nonzero()] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :10]
    hit = np.take_along_axis(held, top, 1)
    best = np.cumsum(gains)[np.minimum(n, 10).astype(int) - 1]
    curve.append((spent, float(((hit * gains).sum(1) / best)[n > 0].mean())))
print(json.dumps(curve))
"""  # noqa: E501


def curve_of(command: Sequence[Any]) -> list[tuple[float, float]]:
    """Run a worker or the peer."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[:2]} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def seconds_to(curve: list[tuple[float, float]], target: float) -> float:
    """CPU seconds at the first epoch that reaches the target; infinite if none does."""
    return next((seconds for seconds, ndcg in curve if ndcg >= target), float("inf"))


def main() -> None:
    """Run all cases one after the other."""
    options = parser(__doc__, "ml-100k, two epochs, one seed", cases=LEARNERS, hidden=["rows"])
    options.add_argument("--dataset", default="ml-100k")
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--rate", type=float, default=0.005)
    options.add_argument("--batch", type=int, default=2048)
    options.add_argument("--to", type=float, help="NDCG@10; default: .98 of dense Adam's best")
    options.add_argument("--peer", help="a Python with Cornac")
    options.add_argument("--peer_rate", type=float, default=0.05)
    options.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.worker:
        print(json.dumps(work(args)))
        return
    if args.quick:
        args.dataset, args.epochs, args.seeds = "ml-100k", 2, 1
    args.dataset = choose_dataset(args.data_path, args.dataset)
    names = ("data_path", "threads", "dataset", "epochs", "rate", "batch")
    common = [f"--{name}={getattr(args, name)}" for name in names]
    curves: dict[str, list[Any]] = {name: [] for name in LEARNERS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            for name in LEARNERS[:: 1 if seed % 2 else -1]:
                rows = f"--rows={folder}/{seed}.npz"
                words = [sys.executable, __file__, f"--worker={name}", f"--seed={seed}", rows]
                curves[name].append(curve_of([*words, *common]))
            if args.peer:
                words = [f"{folder}/{seed}.npz", args.peer_rate, args.epochs, seed]
                curves.setdefault("Cornac", []).append(curve_of([args.peer, "-c", PEER, *words]))
    ndcg = {name: np.array(found)[:, :, 1] for name, found in curves.items()}
    print(
        f"\n{args.dataset}: BPR of 64 numbers, batch {args.batch:,}, rate {args.rate:g}"
        f"{f', of Cornac {args.peer_rate:g}' if args.peer else ''}; {args.seeds} seeds; "
        "validation NDCG@10, mean (standard deviation over seeds)"
        f"{'; five epochs of Cornac for each of ours' if args.peer else ''}\n"
    )
    print(f"| epoch | {' | '.join(curves)} | adam against row_adam, largest |")
    print(f"|---|{'---|' * len(curves)}---|")
    gaps = np.abs(ndcg["adam"] - ndcg["row_adam"]).max(0)
    for epoch in sorted({0, *range(4, args.epochs, 5), args.epochs - 1}):
        cells = [f"{v[:, epoch].mean():.4f} ({v[:, epoch].std():.4f})" for v in ndcg.values()]
        print(f"| {epoch + 1} | {' | '.join(cells)} | {gaps[epoch]:.4f} |")
    target = args.to or 0.98 * float(ndcg["adam"].max(1).mean())
    spent = {
        name: float(np.median([seconds_to(curve, target) for curve in found]))
        for name, found in curves.items()
    }
    epoch_seconds = {name: np.median(np.array(found)[:, -1, 0]) for name, found in curves.items()}
    print("\n| learner | CPU s to the target, median | CPU s of an epoch |\n|---|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {seconds:.2f} | {epoch_seconds[name] / args.epochs:.3f} |")
    over = spent["row_adam"] / spent.get("Cornac", float("inf"))
    peer = f" over_cornac={f'{over:.2f}' if over > 0 else '-'}" if args.peer else ""
    print(
        f"\nbenchmark=learners dataset={args.dataset} target={target:.4f} "
        f"over_dense={spent['row_adam'] / spent['adam']:.2f} "
        f"curve_gap={gaps.max():.4f} seed_std={ndcg['adam'].std(0).max():.4f}{peer}"
    )


if __name__ == "__main__":
    main()
