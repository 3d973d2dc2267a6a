"""How CPU seconds and memory grow with the interactions: RecBole, and ours.

Data are made here, seeded: 50 interactions for a user in the mean and 200 for an item, both with
long tails. So users and items grow with the interactions, and a full evaluation with the pairs of
both; its exponent is of the pairs, all others are of the interactions. Batches are as many at all
sizes, as steps and what one costs (a graph product, Adam over all rows) would both grow with a
batch of one size, and an epoch with their square; a million interactions have RecBole's default of
2048. Each case is a process of its own, which reads the data first; its peak is that of what is
timed, the data included.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data import create_dataset as recbole_create_dataset
from recbole.data import data_preparation
from recbole.trainer import Trainer
from recbole.utils import init_seed
from turns import parser, settings

from recbole_enhance.compat import mends
from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.data.importing import import_data
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.storage import resources
from recbole_enhance.testing.made_runs import make_run

NAME = "scale"
OPTIONS: dict[str, Any] = {
    "dataset": NAME,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user"},
    "metrics": ["Recall", "NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "embedding_size": 64,
    "item_category_field": None,
}
MODELS: dict[str, dict[str, Any]] = {
    "bpr": {"model": "BPR"},
    "evaluation": {"model": "BPR"},
    "dvr": {"model": "DVR", "backbone": "BPR", "dvr_reward": "ndcg@10"},
    "rvrec": {"model": "RVRec", "backbone": "BPR"},
    "lightgcn": {"model": "LightGCN"},
}
# RecBole has no import, no methods and no boards.
OURS = ("import", "load", *MODELS, "board")
RECBOLES = ("load", *(model for model in MODELS if model not in ("dvr", "rvrec")))
MOST_USERS = 100_000  # of an evaluation
EXTRAPOLATED = 100_000_000
ROWS_OF_A_BATCH = 2048 / 1_000_000  # of the interactions
LATE = 10  # number of an epoch in which DVR has begun to weigh
MAX_EXPONENT, MAX_FILES = 1.1, 3


def long_tailed(rows: int, seed: int = 0) -> pd.DataFrame:
    """Different pairs of users and items, with times. Columns: user, item, timestamp."""
    n_users, n_items = max(500, rows // 50), max(400, rows // 200)
    random = np.random.default_rng(seed)
    activity = random.lognormal(0, 1, n_users)
    popularity = 1 / (10 + np.arange(n_items)) ** 0.8
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < rows:
        missing = int(1.1 * (rows - len(keys))) + 100
        users = np.searchsorted(np.cumsum(activity) / activity.sum(), random.random(missing))
        items = np.searchsorted(np.cumsum(popularity) / popularity.sum(), random.random(missing))
        pairs = users.clip(max=n_users - 1) * np.int64(n_items) + items.clip(max=n_items - 1)
        keys = np.unique(np.concatenate([keys, pairs]))
    keys = random.permutation(keys)[:rows]
    times = 1_500_000_000 + random.integers(0, 10**8, rows)
    return pd.DataFrame({"user": keys // n_items, "item": keys % n_items, "timestamp": times})


def write(folder: Path, rows: int) -> None:
    """Write a log, and the dataset that it makes."""
    log = long_tailed(rows)
    log.to_csv(folder / "log.csv", index=False)
    log.columns = ["user_id:token", "item_id:token", "timestamp:float"]
    (folder / NAME).mkdir()
    log.to_csv(folder / NAME / f"{NAME}.inter", sep="\t", index=False)


# ---- a case ------------------------------------------------------------------------------------


def measured(do: Callable[[], Any], what: str) -> Any:
    """Do it, and print CPU seconds and the peak of memory meanwhile."""
    resources.reset_peak()
    start = time.process_time()
    found = do()
    seconds = time.process_time() - start
    print(json.dumps({"what": what, "seconds": seconds, "peak_mb": resources.peak_mb()}))
    return found


def work(who: str, what: str, folder: Path) -> None:
    """One case, once."""
    if what == "import":
        columns = {"user": "user", "item": "item", "time": "timestamp"}
        out = folder / "imported"
        measured(lambda: import_data(folder / "log.csv", name="new", out=out, **columns), what)
    elif what == "board":
        board_page(folder)
    elif what == "load":
        config = settings(1, model="BPR", data_path=str(folder), data_cache="never", **OPTIONS)
        init_seed(config["seed"], config["reproducibility"])
        plain = who == "RecBole"
        create = recbole_create_dataset if plain else create_dataset
        dataset = measured(lambda: create(config), "load")
        prepare = data_preparation if plain else prepare_data
        measured(lambda: prepare(config, dataset), "split")
    else:
        _warm_up()
        rows = sum(1 for _ in (folder / "log.csv").open("rb")) - 1
        options = {**OPTIONS, **MODELS[what], "data_path": str(folder)}
        options["data_cache"] = str(folder / "cache")
        options["train_batch_size"] = max(1, int(rows * ROWS_OF_A_BATCH))
        config = settings(1, **options)
        train, valid, test, trainer = _recboles(config) if who == "RecBole" else _ours(config)
        if what == "evaluation":
            users = min(MOST_USERS, len(test.uid_list))
            test.uid_list, test.sample_size = test.uid_list[:users], users
            trainer.eval_collector.data_collect(train)
            measured(lambda: trainer.evaluate(test, load_best_model=False), what)
        else:
            if who == "ours":
                trainer.fit(train, valid)  # no epoch: a method prepares
            measured(lambda: trainer._train_epoch(train, LATE), what)


def _warm_up() -> None:
    """Take a step, so that what torch imports for the first one counts for no size of data."""
    number = torch.nn.Parameter(torch.ones(1))
    number.sum().backward()
    torch.optim.Adam([number], fused=True).step()


def _ours(config: Any) -> tuple[Any, Any, Any, Any]:
    run = assemble(config)
    return run.train_data, run.valid_data, run.test_data, run.trainer


def _recboles(config: Any) -> tuple[Any, Any, Any, Any]:
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, recbole_create_dataset(config))
    model = config.model_class(config, train._dataset)
    with mends.redirect_tensorboard():
        trainer = Trainer(config, model)
    return train, valid, test, trainer


def board_page(folder: Path) -> None:
    """Build the pages of a board of two rows and two seeds, whose users are those of the data."""
    n_users = pd.read_csv(folder / "log.csv", usecols=["user"])["user"].nunique()
    random = np.random.default_rng(0)
    for label in ("BPR", "LightGCN"):
        for seed in (1, 2):
            users = {"recall@10": random.random(n_users).round(4), "ild@10": random.random(n_users)}
            make_run(folder / "board", label, seed, users=users)
    measured(lambda: build_board(folder / "board"), "board")


# ---- all cases -----------------------------------------------------------------------------------


def run_case(who: str, what: str, folder: Path, limit: float) -> list[dict[str, Any]]:
    """Run a case in its own process; an empty list if it fails or does not end."""
    words = [f"--worker={who}:{what}", f"--folder={folder}"]
    try:
        done = subprocess.run(
            [sys.executable, __file__, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        print(f"{who}, {what}: not done in {limit:g} s", file=sys.stderr)
        return []
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        print(f"{who}, {what}: {last}", file=sys.stderr)
        return []
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def fitted(sizes: list[float], values: list[float]) -> float | None:
    """The exponent of growth, by least squares of logarithms; None of fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)[0])


def pairs(rows: int) -> float:
    """Pairs of an evaluation."""
    return min(MOST_USERS, max(500, rows // 50)) * max(400, rows // 200)


def report(found: dict[tuple[str, str], dict[int, dict[str, float]]], mb: dict[int, float]) -> None:
    """Print the table, the last lines, and what is to be expected of 100 M."""
    print(
        "\n| who | what | " + " | ".join(f"{rows:,} rows: s, MB" for rows in mb) + " | exponent |"
    )
    print("|---" * (3 + len(mb)) + "|")
    lines, peaks = [], {}
    for (who, what), by_rows in found.items():
        size = pairs if what == "evaluation" else float
        sizes = [size(rows) for rows in by_rows]
        exponent = fitted(sizes, [case["seconds"] for case in by_rows.values()])
        growth = "-" if exponent is None else f"{exponent:.2f}"
        cells = (
            f"{by_rows[rows]['seconds']:.2f}, {by_rows[rows]['peak_mb']:.0f}"
            if rows in by_rows
            else "-"
            for rows in mb
        )
        print(f"| {who} | {what} | " + " | ".join(cells) + f" | {growth} |")
        if who != "ours":
            continue
        for rows, case in by_rows.items():
            lines.append(_line(rows, what, case["seconds"], case["peak_mb"], growth))
        if exponent is None:
            continue
        last = max(by_rows)
        times = size(EXTRAPOLATED) / size(last)
        ends = [by_rows[rows]["peak_mb"] for rows in (min(by_rows), last)]
        slope = (ends[1] - ends[0]) / (last - min(by_rows))  # of a line, as memory has a constant
        peaks[what] = ends[1] + slope * (EXTRAPOLATED - last)
        seconds = by_rows[last]["seconds"] * times**exponent
        lines.append(_line(EXTRAPOLATED, what, seconds, peaks[what], growth) + " extrapolated")
    _tell_targets(found, mb)
    _tell_what_breaks(peaks)
    print("\n".join(["", *lines]))


def _line(rows: int, what: str, seconds: float, peak_mb: float, exponent: str) -> str:
    return (
        f"benchmark=scale rows={rows} what={what} seconds={seconds:.2f} peak_mb={peak_mb:.0f} "
        f"exponent={exponent}"
    )


def _tell_targets(
    found: dict[tuple[str, str], dict[int, dict[str, float]]], mb: dict[int, float]
) -> None:
    load = found.get(("ours", "load"), {})
    if len(load) > 1:
        first, last = min(load), max(load)
        more = load[last]["peak_mb"] - load[first]["peak_mb"]
        times = more / (mb[last] - mb[first])
        kept = "kept" if times <= MAX_FILES else "missed"
        print(f"\nmemory of loading: {times:.1f} of the file; target ({MAX_FILES}): {kept}")
    steep = [
        what
        for (who, what), by_rows in found.items()
        if who == "ours" and what != "evaluation" and len(by_rows) > 1
        if fitted([*by_rows], [case["seconds"] for case in by_rows.values()]) > MAX_EXPONENT
    ]
    verdict = f"missed by {', '.join(steep)}" if steep else "kept"
    print(f"time linear in the interactions; target (exponent {MAX_EXPONENT}): {verdict}")


def _tell_what_breaks(peaks: dict[str, float]) -> None:
    """Say which step asks for more memory than there is, the first in the order of a run."""
    import psutil

    there = psutil.virtual_memory().total / 2**20
    beyond = [(what, mb) for what, mb in peaks.items() if mb > there]
    if not peaks:
        return
    if beyond:
        what, mb = beyond[0]
        print(
            f"{EXTRAPOLATED:,} rows: breaks first at {what}, which needs {mb / 1024:.0f} GB where "
            f"this machine has {there / 1024:.0f}"
        )
    else:
        print(f"{EXTRAPOLATED:,} rows: fit into the {there / 1024:.0f} GB of this machine")


def main() -> None:
    options = parser(__doc__, "10,000 and 40,000 rows, a few cases", hidden=["worker", "folder"])
    options.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    options.add_argument("--what", nargs="+", choices=OURS, default=list(OURS))
    options.add_argument("--recbole_rows", type=int, default=1_000_000, help="RecBole's most")
    options.add_argument("--limit", type=float, default=3600, help="seconds of a case")
    options.add_argument("--seconds", type=float, default=1e9, help="after them no case begins")
    args = options.parse_args()
    if args.worker:
        logging.disable(logging.WARNING)
        work(*args.worker.split(":"), Path(args.folder))
        return
    if args.quick:
        args.rows, args.what, args.recbole_rows = [10_000, 40_000], ["load", "bpr"], 0
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    mb, end = {}, time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as folder:
        places = {rows: Path(folder, str(rows)) for rows in args.rows}
        for rows, place in places.items():
            place.mkdir()
            write(place, rows)
            mb[rows] = (place / NAME / f"{NAME}.inter").stat().st_size / 2**20
            print(f"{rows:,} rows: {mb[rows]:.1f} MB", file=sys.stderr)
        cases = [("ours", what, rows) for rows in args.rows for what in args.what]
        plain = [rows for rows in args.rows if rows <= args.recbole_rows]
        cases += [
            ("RecBole", what, rows) for rows in plain for what in RECBOLES if what in args.what
        ]
        cases.sort(key=lambda case: case[1:] == ("lightgcn", max(args.rows)))  # the longest, last
        for who, what, rows in cases:
            left = end - time.monotonic()
            limit = min(args.limit, left)
            for case in run_case(who, what, places[rows], limit) if left > 0 else ():
                print(f"{who}, {rows:,} rows: {json.dumps(case)}", file=sys.stderr)
                found.setdefault((who, case.pop("what")), {})[rows] = case
    report(found, mb)


if __name__ == "__main__":
    sys.exit(main())
