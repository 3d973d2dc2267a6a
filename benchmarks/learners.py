"""CPU time until BPR reaches a validation NDCG@10: dense Adam, Adam by rows, and a compiled peer.

Each run is a process of its own on one thread. Its CPU time is that of its epochs; the evaluations
between them are not counted. Each learner is tried with all its batches and rates on seed 0, and
goes on to the other seeds with those that reached the target first. ``--peer`` names a Python that
has Cornac, whose compiled BPR learns the same training rows one at a time (regularisation .01).
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

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
        weight_decay=args.decay,
        closed_form=True,
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
    model = BPR(k=64, max_iter=1, learning_rate=rate, lambda_reg=0.01, num_threads=1, seed=seed + 100 * epoch, init_params=start)
    begin = time.process_time()
    model.fit(known)
    spent += time.process_time() - begin
    top = np.empty((known.num_users, 10), dtype=int)
    for rows in np.array_split(np.arange(known.num_users), 1 + known.num_users // 1000):
        scores = model.u_factors[rows] @ model.i_factors.T + model.i_biases
        scores[known.csr_matrix[rows].nonzero()] = -np.inf
        some = np.argpartition(-scores, 10, axis=1)[:, :10]
        by = np.argsort(-np.take_along_axis(scores, some, 1), axis=1)
        top[rows] = np.take_along_axis(some, by, 1)
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


def numbers(text: str) -> list[float]:
    """Numbers between commas."""
    return [float(word) for word in text.split(",")]


class Setting(NamedTuple):
    """What a learner is tried with; decay is ``weight_decay``, or Cornac's ``lambda_reg``."""

    batch: int
    rate: float
    decay: float

    def __str__(self) -> str:
        return f"{self.batch} | {self.rate:g} | {self.decay:g}"


class Race:
    """Runs of all learners on one dataset.

    Args:
        args: The command line.
        folder: Where the rows for the peer go.
    """

    def __init__(self, args: argparse.Namespace, folder: str) -> None:
        self.args, self.folder = args, folder
        self.tried = {
            name: [
                Setting(int(batch), rate, decay)
                for batch, rate, decay in itertools.product(
                    numbers(args.batches),
                    numbers(args.rates),
                    [0.0] if name == "row_adam" else numbers(args.decays),
                )
            ]
            for name in args.learners.split(",")
        }
        if args.peer:
            self.tried["Cornac"] = [Setting(1, rate, 0.01) for rate in numbers(args.peer_rates)]

    def curve(self, name: str, setting: Setting, seed: int) -> list[Any]:
        """One run."""
        args, (batch, rate, decay), rows = self.args, setting, f"{self.folder}/{seed}.npz"
        if name == "Cornac":
            words = [args.peer, "-c", PEER, rows, rate, args.peer_epochs, seed]
        else:
            names = ("data_path", "threads", "dataset", "epochs")
            words = [sys.executable, __file__, f"--worker={name}", f"--seed={seed}"]
            words += [f"--{n}={getattr(args, n)}" for n in names]
            words += [f"--batch={batch}", f"--rate={rate}", f"--decay={decay}", f"--rows={rows}"]
        print(f"seed {seed}: {name}, {setting}", file=sys.stderr)
        return curve_of(words)

    def choose(self) -> tuple[dict[str, Setting], float]:
        """What reaches the target first on seed 0, of each learner; and the target."""
        found = {
            (name, setting): self.curve(name, setting, 0)
            for name, settings in self.tried.items()
            for setting in settings
        }
        best = {key: max(ndcg for _, ndcg in curve) for key, curve in found.items()}
        target = self.args.to or 0.98 * max(v for (name, _), v in best.items() if name in LEARNERS)
        seconds = {key: seconds_to(curve, target) for key, curve in found.items()}
        print(f"\nSeed 0, CPU s to a validation NDCG@10 of {target:.4f}:\n")
        print("| learner | batch | rate | decay | s | epochs | best NDCG@10 |")
        print("|---|---|---|---|---|---|---|")
        for key, curve in found.items():
            name, setting = key
            epochs = next((n for n, (_, v) in enumerate(curve, 1) if v >= target), "-")
            print(f"| {name} | {setting} | {seconds[key]:.2f} | {epochs} | {best[key]:.4f} |")
        chosen = {
            name: min(settings, key=lambda setting, name=name: seconds[name, setting])
            for name, settings in self.tried.items()
        }
        return chosen, target


def main() -> None:
    """Run all cases one after the other."""
    options = parser(__doc__, "ml-100k, two epochs, one seed", cases=LEARNERS, hidden=["rows"])
    options.add_argument("--dataset", default="ml-100k")
    options.add_argument("--epochs", type=int, default=15)
    options.add_argument("--peer_epochs", type=int, default=40)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--learners", default=",".join(LEARNERS))
    options.add_argument("--batches", default="2048,4096,8192")
    options.add_argument("--rates", default=".005,.01,.02")
    options.add_argument("--decays", default="0,3e-5")
    options.add_argument("--to", type=float, help="NDCG@10; default: .98 of our best")
    options.add_argument("--peer", help="a Python with Cornac")
    options.add_argument("--peer_rates", default=".05,.1,.2")
    for name, kind in (("seed", int), ("batch", int), ("rate", float), ("decay", float)):
        options.add_argument(f"--{name}", type=kind, default=0, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.worker:
        print(json.dumps(work(args)))
        return
    if args.quick:
        args.dataset, args.epochs, args.peer_epochs, args.seeds = "ml-100k", 2, 2, 1
        args.batches, args.rates, args.peer_rates, args.to = "2048", ".005,.02", ".1", 0.01
        args.decays = "0"
    args.dataset = choose_dataset(args.data_path, args.dataset)
    with tempfile.TemporaryDirectory() as folder:
        race = Race(args, folder)
        chosen, target = race.choose()
        curves: dict[str, list[Any]] = {name: [] for name in chosen}
        for seed in range(1, args.seeds + 1):
            ours = [name for name in chosen if name in LEARNERS]
            others = [name for name in chosen if name not in ours]  # they read what ours wrote
            for name in (*ours[:: 1 if seed % 2 else -1], *others):
                curves[name].append(race.curve(name, chosen[name], seed))
    print(
        f"\n{args.dataset}: BPR of 64 numbers, {args.seeds} other seeds; CPU s, median, to a "
        f"validation NDCG@10 of {target:.4f}; best NDCG@10, mean (standard deviation)\n"
    )
    print("| learner | batch | rate | decay | s | epochs | s of an epoch | best NDCG@10 |")
    print("|---|---|---|---|---|---|---|---|")
    spent = {}
    for name, found in curves.items():
        best = [max(v for _, v in curve) for curve in found]
        spent[name] = float(np.median([seconds_to(curve, target) for curve in found]))
        epochs = np.median(
            [sum(s < seconds_to(curve, target) for s, _ in curve) + 1 for curve in found]
        )
        epoch = np.median([curve[-1][0] / len(curve) for curve in found])
        print(
            f"| {name} | {chosen[name]} | {spent[name]:.2f} | {epochs:g} | {epoch:.4f} | "
            f"{np.mean(best):.4f} ({np.std(best):.4f}) |"
        )
    over = [
        f"{name}_over_{other}={spent[name] / spent[other]:.2f}"
        for name, other in (("row_adam", "adam"), ("adam", "Cornac"), ("row_adam", "Cornac"))
        if name in spent and other in spent and spent[other] < float("inf")
    ]
    print(
        f"\nbenchmark=learners dataset={args.dataset} target={target:.4f} {' '.join(over).lower()}"
    )


if __name__ == "__main__":
    main()
