"""RVRec against its backbones, also by how much history a user has; tables into results/.

One process, one thread, one cell after the other, most wanted first. Each cell is a run folder
below --out; finished ones are read, so that an interrupted table continues, and the tables are
written anew after each cell. Both arms have the same data, epochs and patience; the learning rate
of each arm is chosen on validation with the first seed from the same grid, and ablations take
RVRec's. The epoch is chosen on validation too; test is read of that epoch, once.
"""

import argparse
import csv
import gzip
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from run_folders import run_or_read
from scipy import stats

from recbole_enhance.options.read import load_yaml, parse_value
from recbole_enhance.storage.run_folder import CONFIG, HISTORY, METRICS, RunFolder

PLAIN, FULL = "backbone", "RVRec"
ABLATIONS = {
    "PEO only": {"rvrec_msvr": False},
    "MSVR only": {"rvrec_peo": False},
    "uniform weights": {"rvrec_weights": "uniform"},
    "gates by agreement": {"rvrec_gate_objective": "agreement"},
    "random coalitions": {"rvrec_coalitions": "random"},
    "mean head": {"rvrec_mean_head": True},
    "PEO without its loss": {"rvrec_mean_head": True, "rvrec_contrast_weight": 0.0},
}
EXTRA = {"hard": {"rvrec_gate_mode": "hard"}, "sampled": {"rvrec_gate_mode": "sampled"}}
ARMS = {PLAIN: {}, FULL: {}, **ABLATIONS, **EXTRA}
OPTIONS = {"ProtoMF": {}, "TransGNN": {}}
WATCHED = (
    "rvrec_sigma_user",
    "rvrec_sigma_item",
    "rvrec_sigma_user_degree",
    "rvrec_alpha",
    "rvrec_gate_moved",
    "rvrec_coalition_size",
)
NOTE = """Test, mean ± standard deviation over seeds. In brackets the change against the same
backbone, and p of a paired t-test over seeds (few seeds: little power). Learning rate of backbone
and RVRec chosen on validation with the first seed from {rates}; ablations take RVRec's."""
DENSITY_NOTE = """Test {metric} by the number of interactions that a user has in the data; each
user's value is his mean over the seeds, the change is paired over users: mean, 95 % interval and
p of a t-test. Buckets are quartiles, merged where a number of interactions is common."""


def tuned(arm):
    return arm in (PLAIN, FULL)


def folder_of(cell, args):
    backbone, arm, rate, seed = cell
    words = [backbone, arm, str(rate), str(seed)]
    return Path(args.out, protocol_of(args), "-".join(words).replace(" ", "_"))


def protocol_of(args):
    return "_".join(filter(None, (args.dataset, args.variant)))


def finished(cell, args):
    return (folder_of(cell, args) / METRICS).is_file()


def run_cell(cell, args):
    """Run one cell, or read it if it is there."""
    backbone, arm, rate, seed = cell
    path = folder_of(cell, args)
    options = {
        "model": backbone if arm == PLAIN else "RVRec",
        "dataset": args.dataset,
        "seed": seed,
        "epochs": args.epochs,
        "eval_step": args.eval_step,
        "stopping_step": args.stopping_step,
        "learning_rate": rate,
        "train_batch_size": args.batch,
        **OPTIONS.get(backbone, {}),
        **ARMS[arm],
        **args.options,
    }
    if arm != PLAIN:
        options["backbone"] = backbone
    if args.variant:
        options["variant"] = args.variant
    if args.data_path and args.dataset != "ml-100k":
        options["data_path"] = args.data_path
    start = time.perf_counter()
    known = finished(cell, args)
    run_or_read(path, options)
    report = RunFolder.open(path).read_json(METRICS)
    with open(path / HISTORY, encoding="utf-8") as file:
        last = list(csv.DictReader(file))[report["best_epoch"]]
    if not known:
        print(
            f"{path.name}: valid {report['best_valid_score']:.4f}, best epoch "
            f"{report['best_epoch']} of {report['epochs_run']}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    return {
        "backbone": backbone,
        "arm": arm,
        "learning_rate": rate,
        "seed": seed,
        "valid": report["best_valid_score"],
        **{name: report["test_result"][name] for name in args.metrics},
        "best_epoch": report["best_epoch"],
        "epochs_run": report["epochs_run"],
        "seconds_per_epoch": report["train_seconds_per_epoch"],
        "parameters": report["parameters"],
        **{name: last.get(name, "") for name in WATCHED},
    }


def best_rate(rows, backbone, arm, args):
    """The learning rate with the best validation of the first seed; None before all are run."""
    arm = arm if tuned(arm) else FULL
    found = {
        row["learning_rate"]: row["valid"]
        for row in rows
        if (row["backbone"], row["arm"], row["seed"]) == (backbone, arm, args.seeds[0])
    }
    complete = set(found) >= set(args.learning_rates)
    return max(found, key=found.get) if complete else None


def wanted(rows, args):
    """Cells in the order in which they are run; those of a rate not chosen yet are None."""
    pairs = [(b, arm) for arm in (PLAIN, FULL) for b in args.backbones]
    for backbone in args.backbones:
        for arm in (PLAIN, FULL):
            for rate in args.learning_rates:
                yield backbone, arm, rate, args.seeds[0]
    for seed in args.seeds[1:]:
        for backbone, arm in pairs:
            yield backbone, arm, best_rate(rows, backbone, arm, args), seed
    for seed in args.seeds:
        for arm in args.arms:
            for backbone in args.ablated:
                yield backbone, arm, best_rate(rows, backbone, arm, args), seed


def chosen(rows, backbone, arm, args):
    """Seed -> row, of the chosen learning rate."""
    rate = best_rate(rows, backbone, arm, args)
    return {
        row["seed"]: row
        for row in rows
        if (row["backbone"], row["arm"], row["learning_rate"]) == (backbone, arm, rate)
    }


def cell_text(mine, plain, metric):
    values = [row[metric] for row in mine.values()]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    text = f"{statistics.mean(values):.4f}{spread}"
    pairs = [(mine[s][metric], plain[s][metric]) for s in mine if s in plain]
    if mine is plain or not pairs:
        return text
    change = 100 * (sum(a for a, _ in pairs) / max(sum(b for _, b in pairs), 1e-12) - 1)
    same = len(pairs) < 2 or len({a - b for a, b in pairs}) == 1
    p = "" if same else f", p={stats.ttest_rel(*zip(*pairs)).pvalue:.2f}"
    return f"{text} ({change:+.1f} %{p})"


def main_table(rows, args):
    lines = [
        f"| backbone | row | seeds | rate | {' | '.join(args.metrics)} | s/epoch | "
        "sigma user, item | alpha | gates moved | coalition size |",
        "|---" * (9 + len(args.metrics)) + "|",
    ]
    for backbone in args.backbones:
        plain = chosen(rows, backbone, PLAIN, args)
        for arm in (PLAIN, FULL, *args.arms):
            mine = plain if arm == PLAIN else chosen(rows, backbone, arm, args)
            if not mine:
                continue
            one = next(iter(mine.values()))
            cost = statistics.mean(row["seconds_per_epoch"] for row in mine.values())

            def told(*names, mine=mine):
                means = [[float(r[n]) for r in mine.values() if r[n] != ""] for n in names]
                return ", ".join(f"{statistics.mean(m):.3f}" for m in means if m) or "-"

            cells = [cell_text(mine, plain, metric) for metric in args.metrics]
            watched = [
                told(*WATCHED[:2]),
                told("rvrec_alpha"),
                told("rvrec_gate_moved"),
                told("rvrec_coalition_size"),
            ]
            lines.append(
                f"| {backbone} | {arm} | {len(mine)} | {one['learning_rate']} | "
                f"{' | '.join(cells)} | {cost:.1f} | {' | '.join(watched)} |"
            )
    return lines


def interactions(args):
    """Interactions of each user in the data, after the run's own filters are off: raw counts."""
    cell = next(c for c in map(tuple, args.done) if finished(c, args))
    options = load_yaml(folder_of(cell, args) / CONFIG)
    path = Path(options["data_path"])
    folder = path / args.dataset if (path / args.dataset).is_dir() else path
    file = pd.read_csv(folder / f"{args.dataset}.inter", sep="\t", dtype=str)
    column = next(name for name in file.columns if name.startswith(options["USER_ID_FIELD"] + ":"))
    return file[column].value_counts()


def per_user(cells, metric, args):
    """Each user's mean over cells."""
    frames = []
    for cell in cells:
        with gzip.open(folder_of(cell, args) / "per_user.csv.gz", "rt", encoding="utf-8") as file:
            frame = pd.read_csv(file, dtype={0: str})
        frames.append(frame.set_index(frame.columns[0])[metric])
    return pd.concat(frames, axis=1).mean(axis=1)


def density_table(rows, args):
    metric = args.valid_metric
    lines = [
        "| backbone | row | interactions | users | backbone alone | row | change | 95 % | p |",
        "|---" * 9 + "|",
    ]
    counts = None
    for backbone in args.backbones:
        plain = chosen(rows, backbone, PLAIN, args)
        for arm in (FULL, *args.arms):
            mine = chosen(rows, backbone, arm, args)
            seeds = [seed for seed in mine if seed in plain]
            if not seeds:
                continue
            counts = interactions(args) if counts is None else counts
            values = [
                per_user([(backbone, a, r[s]["learning_rate"], s) for s in seeds], metric, args)
                for a, r in ((PLAIN, plain), (arm, mine))
            ]
            both = pd.concat(values, axis=1, keys=["plain", "mine"], join="inner")
            n = counts.reindex(both.index)
            buckets = pd.qcut(n, 4, labels=False, duplicates="drop")
            for bucket in [*sorted(buckets.unique()), None]:
                inside = both if bucket is None else both[buckets == bucket]
                sizes = n if bucket is None else n[buckets == bucket]
                change = inside["mine"] - inside["plain"]
                half = 1.96 * change.std() / max(len(change), 1) ** 0.5
                p = stats.ttest_1samp(change, 0).pvalue if change.std() > 0 else np.nan
                span = "all" if bucket is None else f"{sizes.min()}-{sizes.max()}"
                lines.append(
                    f"| {backbone} | {arm} | {span} | {len(inside)} | {inside['plain'].mean():.4f} "
                    f"| {inside['mine'].mean():.4f} | {change.mean():+.4f} | "
                    f"{change.mean() - half:+.4f} to {change.mean() + half:+.4f} | {p:.3f} |"
                )
    return lines


def command(args):
    """The command line that makes the tables, without the machine's own folders."""
    words = ["python benchmarks/rvrec_table.py", f"--dataset={args.dataset}"]
    numbers = ("epochs", "eval_step", "stopping_step", "batch")
    words += [f"--{name}={getattr(args, name)}" for name in numbers]
    if args.variant:
        words.append(f"--variant={args.variant}")
    for name in ("backbones", "learning_rates", "seeds", "ablated"):
        words.append(f"--{name} {' '.join(map(str, getattr(args, name)))}")
    return " ".join([*words, *(f"--{key}={value}" for key, value in args.options.items())])


def write(rows, missing, args):
    """Write the tables and the rows they are made of."""
    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    name = f"rvrec_{protocol_of(args)}"
    with open(results / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lost = [""]
    if missing:
        lost += [f"Not run for want of time: {'; '.join(missing)}.", ""]
    note = NOTE.format(rates=" and ".join(map(str, args.learning_rates)))
    for suffix, title, text, lines in (
        ("", "RVRec against its backbone", note, main_table(rows, args)),
        (
            "_density",
            "RVRec by density of the history",
            DENSITY_NOTE.format(metric=args.valid_metric),
            density_table(rows, args),
        ),
    ):
        text = [
            f"# {title} on {args.dataset}",
            "",
            f"`{command(args)}`",
            "",
            text,
            "",
            *lines,
            *lost,
        ]
        Path(results, f"{name}{suffix}.md").write_text("\n".join(text), encoding="utf-8")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--variant", default="")
    parser.add_argument("--backbones", nargs="+", default=["BPR", "LightGCN"])
    parser.add_argument("--ablated", nargs="*", default=["BPR"], help="backbones with ablations")
    parser.add_argument("--arms", nargs="*", default=list(ABLATIONS), choices=list(ARMS)[2:])
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[0.001, 0.003])
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--eval_step", type=int, default=2)
    parser.add_argument("--stopping_step", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--metrics", nargs="+", default=["recall@20", "ndcg@20"])
    parser.add_argument("--valid_metric", default="ndcg@20", help="of the table by density")
    parser.add_argument("--minutes", type=float, default=0, help="start no cell after; 0: no limit")
    parser.add_argument("--quick", action="store_true", help="ml-100k, one seed, two epochs")
    parser.add_argument("--out", default="runs/rvrec_table", help="run folders")
    parser.add_argument("--results", default="results", help="where the tables go")
    args, extra = parser.parse_known_args()
    if args.quick:
        args.dataset, args.backbones, args.arms = "ml-100k", ["BPR"], []
        args.seeds, args.epochs, args.learning_rates = args.seeds[:1], 2, args.learning_rates[:1]
    args.options = {}
    for word in extra:
        key, _, text = word.lstrip("-").partition("=")
        args.options[key] = parse_value(key, text)
    return args


def main():
    args = arguments()
    torch.set_num_threads(1)
    start, rows, args.done = time.perf_counter(), [], []
    while True:
        cells = list(wanted(rows, args))
        late = args.minutes and time.perf_counter() - start > 60 * args.minutes
        cell = next(
            (
                c
                for c in cells
                if c[2] is not None and c not in args.done and not (late and not finished(c, args))
            ),
            None,
        )
        if cell is None:
            break
        rows.append(run_cell(cell, args))
        args.done.append(cell)
        missing = [
            " ".join(map(str, c[:2])) + f" seed {c[3]}"
            for c in wanted(rows, args)
            if c not in args.done
        ]
        write(rows, missing, args)
    print(f"benchmark=rvrec_table dataset={args.dataset} cells={len(rows)} of={len(cells)}")


if __name__ == "__main__":
    sys.exit(main())
