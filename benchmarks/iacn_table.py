"""IaCN against its backbones on the CTR protocol: tables of AUC into results/.

One process, one cell after the other, most wanted first. Each cell is a run folder below --out;
finished ones are read, so that an interrupted table continues, and all tables are written anew
after each cell. The epoch is chosen on validation AUC; test is read of that epoch, once.

The plain backbone is IaCN with delta 1, lambda 0 and the backbone's own start: tests show that
this is the backbone bit for bit, and context-aware models over sequences exist only so.
"""

import argparse
import csv
import statistics
import sys
import time
from pathlib import Path

import torch
from run_folders import run_or_read
from scipy import stats

from recbole_enhance.options.read import parse_value
from recbole_enhance.storage.run_folder import METRICS, RunFolder

ARMS = {
    "backbone": {"iacn_delta": 1.0, "iacn_lambda": 0.0, "iacn_aux_init_scale": 0.0},
    "same start": {"iacn_delta": 1.0, "iacn_lambda": 0.0},
    "IaCN": {},
}
OPTIONS = {
    "DIN": {"mlp_hidden_size": [64, 32]},
    "DIEN": {"mlp_hidden_size": [64, 32]},
    "WideDeep": {"iacn_pooled_history": True},
    # One small layer: RecBole's two of 64 take seven times as long.
    "SASRec": {
        "loss_type": "BPR",
        "hidden_size": 32,
        "inner_size": 64,
        "n_layers": 1,
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    },
}
DELTAS, LENGTHS, STARTS = (0.1, 0.5, 0.7, 0.9), (5, 10, 50), (0.0, 0.3, 1.0)
DEFAULT_START = 0.1  # properties/enhancer/IaCN.yaml
NOTE = """Test AUC, mean ± standard deviation over {seeds} seeds; p of a paired t-test over seeds
(few seeds: little power). One learning rate for every row, none is tuned; the epoch is chosen on
validation AUC. Protocol `ctr`: the last item of each user against one sampled item."""


def cells(seeds):
    """All cells, most wanted first: (table, backbone, arm, extra options, seed)."""

    def rows(table, backbone, extra, arms):
        return [(table, backbone, arm, extra) for arm in arms]

    parts = [rows("main", name, {}, ARMS) for name in ("DIN", "WideDeep", "SASRec", "DIEN")]
    attention = {"iacn_interest": "attention"}
    parts += [rows("interest", "WideDeep", attention, ["IaCN"])]
    parts += [
        [cell for d in DELTAS for cell in rows("delta", "WideDeep", {"iacn_delta": d}, ["IaCN"])]
    ]
    parts += [
        rows("length", "WideDeep", {"MAX_ITEM_LIST_LENGTH": n}, ["backbone", "IaCN"])
        for n in LENGTHS
    ]
    parts += [rows("interest", "DIN", attention, ["IaCN"])]
    wanted = [(*cell, seed) for part in parts for seed in seeds for cell in part]
    # What the default was chosen from, by validation: the first seed will do.
    wanted += [
        (*cell, seeds[0])
        for name in ("DIN", "WideDeep", "SASRec")
        for start in STARTS
        for cell in rows(
            "start",
            name,
            {"iacn_aux_init_scale": start},
            ["same start", "IaCN"] if start else ["IaCN"],
        )
    ]
    return wanted


def folder_of(cell, args):
    table, backbone, arm, extra, seed = cell
    words = [table, backbone, arm, *(f"{k}-{v}" for k, v in extra.items()), seed]
    return Path(args.out, args.dataset, "-".join(map(str, words)).replace(" ", "_"))


def run_cell(cell, args):
    """Run one cell, or read it if it is there."""
    table, backbone, arm, extra, seed = cell
    path = folder_of(cell, args)
    options = {
        "model": "IaCN",
        "backbone": backbone,
        "dataset": args.dataset,
        "variant": "ctr",
        "seed": seed,
        "epochs": args.epochs,
        "eval_step": 1,
        "stopping_step": args.stopping_step,
        "learning_rate": args.learning_rate,
        "train_batch_size": args.batch,
        "MAX_ITEM_LIST_LENGTH": args.length,
        **OPTIONS.get(backbone, {}),
        **ARMS[arm],
        **extra,
        **args.options,
    }
    if args.data_path and args.dataset != "ml-100k":
        options["data_path"] = args.data_path
    start = time.perf_counter()
    run_or_read(path, options)
    report = RunFolder.open(path).read_json(METRICS)
    with open(path / "history.csv", encoding="utf-8") as file:
        ratios = [float(row["iacn_gradient_ratio"] or "nan") for row in csv.DictReader(file)]
    print(
        f"{path.name}: valid {report['best_valid_score']:.4f}, best epoch "
        f"{report['best_epoch']} of {report['epochs_run']}, "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return {
        "table": table,
        "backbone": backbone,
        "arm": arm,
        "delta": options.get("iacn_delta", 0.3),
        "length": options["MAX_ITEM_LIST_LENGTH"],
        "interest": options.get("iacn_interest", "capsules"),
        "start": options.get("iacn_aux_init_scale", DEFAULT_START),
        "seed": seed,
        "valid_auc": report["best_valid_score"],
        "test_auc": report["test_result"]["auc"],
        "best_epoch": report["best_epoch"],
        "epochs_run": report["epochs_run"],
        "seconds_per_epoch": report["train_seconds_per_epoch"],
        "first_gradient_ratio": round(ratios[0], 4),
        "last_gradient_ratio": round(ratios[-1], 4),
        "parameters": report["parameters"],
    }


def spread(rows, key="test_auc"):
    values = [row[key] for row in rows.values()]
    if not values:
        return "-"
    deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-"
    few = f" ({len(values)} seed{'s' * (len(values) > 1)})"
    return f"{statistics.mean(values):.4f} ± {deviation}{few}"


def against(mine, other):
    """Difference over shared seeds, and p."""
    pairs = [(mine[s]["test_auc"], other[s]["test_auc"]) for s in mine if s in other]
    if not pairs:
        return "-"
    change = statistics.mean(a - b for a, b in pairs)
    same = len(pairs) < 2 or len({a - b for a, b in pairs}) == 1
    p = "-" if same else f"{stats.ttest_rel(*zip(*pairs)).pvalue:.2f}"
    return f"{change:+.4f} (p={p})"


def pick(rows, **wanted):
    """Seed -> row."""
    return {
        row["seed"]: row for row in rows if all(row[key] == value for key, value in wanted.items())
    }


def tables(rows, args):
    """Name -> Markdown lines."""
    main, delta, length, interest, starts = [], [], [], [], []
    for backbone in ("DIN", "DIEN", "WideDeep", "SASRec"):
        arms = {arm: pick(rows, table="main", backbone=backbone, arm=arm) for arm in ARMS}
        for arm, mine in arms.items():
            others = {"backbone": [], "same start": ["backbone"], "IaCN": list(ARMS)[:2]}[arm]
            changes = [*(against(mine, arms[o]) for o in others), "-", "-"]
            ratio = [r["first_gradient_ratio"] for r in mine.values()] if arm == "IaCN" else []
            last = [r["last_gradient_ratio"] for r in mine.values()] if arm == "IaCN" else []
            told = f"{statistics.mean(ratio):.2f} -> {statistics.mean(last):.2f}" if ratio else "-"
            cost = [r["seconds_per_epoch"] for r in mine.values()]
            main.append(
                f"| {backbone} | {arm} | {spread(mine, 'valid_auc')} | {spread(mine)} "
                f"| {changes[0]} | {changes[1]} | {told} "
                f"| {f'{statistics.mean(cost):.1f}' if cost else '-'} |"
            )
    plain = pick(rows, table="main", backbone="WideDeep", arm="backbone")
    start = pick(rows, table="main", backbone="WideDeep", arm="same start")
    for d in (0.1, 0.3, 0.5, 0.7, 0.9):
        table = "main" if d == 0.3 else "delta"
        mine = pick(rows, table=table, backbone="WideDeep", arm="IaCN", delta=d)
        delta.append(
            f"| {d} | {spread(mine, 'valid_auc')} | {spread(mine)} "
            f"| {against(mine, plain)} | {against(mine, start)} |"
        )
    for n in (5, 10, 20, 50):
        table = "main" if n == args.length else "length"
        plain, mine = (
            pick(rows, table=table, backbone="WideDeep", arm=arm, length=n)
            for arm in ("backbone", "IaCN")
        )
        length.append(f"| {n} | {spread(plain)} | {spread(mine)} | {against(mine, plain)} |")
    for backbone in ("DIN", "WideDeep"):
        routed = pick(rows, table="main", backbone=backbone, arm="IaCN")
        attended = pick(rows, table="interest", backbone=backbone)
        interest.append(
            f"| {backbone} | {spread(routed)} | {spread(attended)} | {against(routed, attended)} |"
        )
    for backbone in ("DIN", "WideDeep", "SASRec"):
        plain = pick(rows, table="main", backbone=backbone, arm="backbone")
        for start in sorted((*STARTS, DEFAULT_START)):
            table = "main" if start == DEFAULT_START else "start"
            same, mine = (
                pick(rows, table=table, backbone=backbone, arm=arm, start=start)
                for arm in ("same start", "IaCN")
            )
            if not start:
                same = plain
            chosen = [pick(arm.values(), seed=args.seeds[0]) for arm in (plain, same, mine)]
            cells = (spread(arm, "valid_auc") for arm in chosen)
            starts.append(f"| {backbone} | {start:g} | {' | '.join(cells)} |")
    return {
        "start": (
            "Size of the interest part's start",
            [
                "| backbone | iacn_aux_init_scale | valid AUC: backbone | same start | IaCN |",
                "|---|---|---|---|---|",
                *starts,
            ],
        ),
        "main": (
            "IaCN against its backbone",
            [
                "| backbone | row | valid AUC | test AUC | against the backbone | against the same "
                "start | gradient ratio, first -> last epoch | s/epoch |",
                "|---|---|---|---|---|---|---|---|",
                *main,
            ],
        ),
        "delta": (
            "Shares of the gradient, WideDeep",
            [
                "| delta | valid AUC | test AUC | against the backbone | against the same start |",
                "|---|---|---|---|---|",
                *delta,
            ],
        ),
        "length": (
            "Lengths of the history, WideDeep",
            ["| length | backbone | IaCN | against the backbone |", "|---|---|---|---|", *length],
        ),
        "interest": (
            "Routing against attention",
            [
                "| backbone | IaCN with routing | with attention | routing against attention |",
                "|---|---|---|---|",
                *interest,
            ],
        ),
    }


def write(rows, missing, args):
    """Write the tables and the rows they are made of."""
    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    if rows:
        with open(results / f"iacn_{args.dataset}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for name, (title, lines) in tables(rows, args).items():
        lost = {}
        for _, backbone, arm, extra, seed in (cell for cell in missing if cell[0] == name):
            what = " ".join([backbone, arm, *(f"{k}={v}" for k, v in extra.items())])
            lost.setdefault(what, []).append(str(seed))
        texts = [f"{what} (seeds {', '.join(seeds)})" for what, seeds in lost.items()]
        told = ["", f"Not run for want of time: {'; '.join(texts)}."] if lost else []
        text = [
            f"# {title} on {args.dataset}",
            "",
            f"`{command(args)}`",
            "",
            NOTE.format(seeds=len(args.seeds)),
            "",
            *lines,
            *told,
            "",
        ]
        path = results / f"iacn_{args.dataset}_{name}.md"
        path.write_text("\n".join(text), encoding="utf-8")


def command(args):
    """The command line that makes the tables, without the machine's own folders."""
    words = ["python benchmarks/iacn_table.py", f"--dataset={args.dataset}"]
    numbers = ("epochs", "stopping_step", "learning_rate", "batch", "length")
    words += [f"--{name}={getattr(args, name)}" for name in numbers]
    words += [f"--seeds {' '.join(map(str, args.seeds))}"]
    return " ".join([*words, *(f"--{key}={value}" for key, value in args.options.items())])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--stopping_step", type=int, default=1)
    parser.add_argument("--learning_rate", type=float, default=0.003)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument(
        "--tables", nargs="+", default=["main", "start", "delta", "length", "interest"]
    )
    parser.add_argument("--backbones", nargs="+", default=list(OPTIONS))
    parser.add_argument("--minutes", type=float, default=0, help="start no cell after; 0: no limit")
    parser.add_argument("--out", default="runs/iacn_table", help="run folders")
    parser.add_argument("--results", default="results", help="where the tables go")
    args, extra = parser.parse_known_args()
    args.options = {}
    for word in extra:
        key, _, text = word.lstrip("-").partition("=")
        args.options[key] = parse_value(key, text)

    torch.set_num_threads(1)
    start, rows = time.perf_counter(), []
    wanted = [c for c in cells(args.seeds) if c[0] in args.tables and c[1] in args.backbones]
    for cell in wanted:
        late = args.minutes and time.perf_counter() - start > 60 * args.minutes
        if late and not (folder_of(cell, args) / METRICS).is_file():
            continue
        rows.append(run_cell(cell, args))
        write(rows, [c for c in wanted if not (folder_of(c, args) / METRICS).is_file()], args)
    print(f"{len(rows)} cells of {len(wanted)}")


if __name__ == "__main__":
    sys.exit(main())
