"""DVR against its own backbone: same data, budget, tuning and seeds; tables into results/.

Each cell is a run folder below --out; finished cells are kept, so an interrupted table continues.
Tuning: the learning rate of each row, backbone or method, is chosen on validation with the first
seed from the same grid; the other seeds use it. Test numbers are read only of the chosen runs.
"""

import argparse
import csv
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from run_folders import run_or_read
from scipy import stats

from recbole_enhance.enhancer.dvr.reward import Reward
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.options.read import parse_value
from recbole_enhance.storage.run_folder import METRICS, RunFolder

REWARDS = ("loss", "recall@20", "ndcg@20", "cc@20", "ild@20", "gini@20")
ACCURACY = ("recall@20", "ndcg@20")
BEYOND = ("cc@20", "ild@20", "gini@20")
CAPTION = """Test, mean ± standard deviation over {seeds} seeds; in brackets the change against the
same backbone without DVR and the p of a paired t-test over seeds (few seeds: little power).
Learning rate chosen on validation with the first seed, from the same grid for every row.
Gini: smaller is fairer."""


def command(args):
    """The command line that makes this table, without the machine's own folders."""
    lists = ("backbones", "rewards", "learning_rates", "seeds")
    words = ["python benchmarks/dvr_table.py", f"--dataset={args.dataset}"]
    words += [f"--{name} {' '.join(map(str, getattr(args, name)))}" for name in lists]
    words += [
        f"--{name}={getattr(args, name)}" for name in ("epochs", "eval_step", "stopping_step")
    ]
    return " ".join([*words, *(f"--{key}={value}" for key, value in args.options.items())])


def cells_of(backbones, rewards):
    """Rows of the table: (backbone, reward or None)."""
    rows = []
    for number, backbone in enumerate(backbones):
        rows.append((backbone, None))
        rows += [(backbone, reward) for reward in (rewards if number == 0 else ("ndcg@20",))]
    return rows


def run_cell(task):
    """Run one cell, or read it if it is there."""
    backbone, reward, rate, seed, args, *rest = task
    variant, extra = rest or ("", {})  # of benchmarks/dvr_ablation.py
    torch.set_num_threads(1)
    name = f"{backbone}-{reward or 'plain'}-{rate}-{seed}{variant and '-'}{variant}"
    path = Path(args.out, args.dataset, name)
    options = {
        "model": "DVR" if reward else backbone,
        "dataset": args.dataset,
        "seed": seed,
        "learning_rate": rate,
        "epochs": args.epochs,
        "eval_step": args.eval_step,
        "stopping_step": args.stopping_step,
    }
    options.update({k: v for k, v in args.options.items() if reward or not k.startswith("dvr_")})
    if reward:
        options.update(backbone=backbone, dvr_reward=reward, **extra)
    if args.data_path and args.dataset != "ml-100k":
        options["data_path"] = args.data_path
    run_or_read(path, options)
    if not (path / "beyond.json").is_file():
        RunFolder.open(path).write_json("beyond.json", beyond_accuracy(path))
    report = RunFolder.open(path).read_json(METRICS)
    beyond = RunFolder.open(path).read_json("beyond.json")
    print(f"{name}: valid {report['best_valid_score']:.4f}", flush=True)
    return {
        "backbone": backbone,
        "reward": reward or "",
        "learning_rate": rate,
        "seed": seed,
        "valid": report["best_valid_score"],
        "epochs": report["epochs_run"],
        "seconds_per_epoch": report["train_seconds_per_epoch"],
        "peak_memory_mb": report["peak_memory_mb"],
        **{name: report["test_result"][name] for name in ACCURACY},
        **beyond,
    }


def beyond_accuracy(path):
    """Diversity and concentration of the test lists of the best model."""
    run = load_run(path)
    known = [run.train_data._dataset, run.valid_data._dataset]
    run.trainer.item_tensor = run.train_data._dataset.get_item_feature()
    run.trainer.tot_item_num = run.train_data._dataset.item_num
    values = {}
    for name in BEYOND:
        if name != "gini@20" and not run.config["item_category_field"]:
            continue
        metric = Reward(
            name, run.config, known, run.test_data._dataset, run.trainer._full_sort_batch_eval
        )
        value = metric(run.trainer.model, len(metric.users), torch.Generator())
        values[name] = round(-value if name == "gini@20" else value, 6)
    return values


def table(rows, chosen, metrics):
    """Markdown lines: mean and standard deviation over seeds, and the paired test on them."""
    lines = [
        "| backbone | reward | learning rate | " + " | ".join(metrics) + " | s/epoch |",
        "|---|---|---|" + "---|" * (len(metrics) + 1),
    ]
    for (backbone, reward), rate in chosen.items():
        mine = by_seed(rows, backbone, reward, rate)
        plain = by_seed(rows, backbone, "", chosen[backbone, ""])
        texts = []
        for metric in metrics:
            values = [mine[seed][metric] for seed in mine if metric in mine[seed]]
            if not values:
                texts.append("-")
                continue
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            text = f"{statistics.mean(values):.4f} ± {spread:.4f}"
            if reward:
                pairs = [(mine[s][metric], plain[s][metric]) for s in mine if s in plain]
                gain = statistics.mean(a - b for a, b in pairs) / statistics.mean(
                    b for _, b in pairs
                )
                same = len(pairs) < 2 or len({a - b for a, b in pairs}) == 1
                p = float("nan") if same else stats.ttest_rel(*zip(*pairs)).pvalue
                text += f" ({gain:+.1%}, p={p:.2f})"
            texts.append(text)
        cost = statistics.mean(run["seconds_per_epoch"] for run in mine.values())
        lines.append(
            f"| {backbone} | {reward or '-'} | {rate} | " + " | ".join(texts) + f" | {cost:.2f} |"
        )
    return lines


def by_seed(rows, backbone, reward, rate):
    wanted = (backbone, reward, rate)
    return {
        r["seed"]: r for r in rows if (r["backbone"], r["reward"], r["learning_rate"]) == wanted
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--backbones", nargs="+", default=["BPR", "NeuMF", "LightGCN"])
    parser.add_argument("--rewards", nargs="+", default=list(REWARDS), help="of the first backbone")
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[0.001, 0.003])
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--eval_step", type=int, default=2)
    parser.add_argument("--stopping_step", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", default="runs/dvr_table", help="run folders")
    parser.add_argument("--results", default="results", help="where the tables go")
    args, extra = parser.parse_known_args()
    args.options = {}
    for word in extra:
        key, _, text = word.lstrip("-").partition("=")
        args.options[key] = parse_value(key, text)

    rows, chosen = [], {}
    with ProcessPoolExecutor(args.jobs) as pool:
        cells, first = cells_of(args.backbones, args.rewards), args.seeds[0]
        tasks = [(b, r, rate, first, args) for b, r in cells for rate in args.learning_rates]
        rows += pool.map(run_cell, tasks)
        for backbone, reward in cells:
            tried = [r for r in rows if (r["backbone"], r["reward"]) == (backbone, reward or "")]
            chosen[backbone, reward or ""] = max(tried, key=lambda r: r["valid"])["learning_rate"]
        tasks = [(b, r, chosen[b, r or ""], s, args) for s in args.seeds[1:] for b, r in cells]
        rows += pool.map(run_cell, tasks)

    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    name = f"dvr_{args.dataset}_{'-'.join(args.backbones)}"
    header = list(dict.fromkeys(key for row in rows for key in row))
    with open(results / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    metrics = [*ACCURACY, *(name for name in BEYOND if any(name in row for row in rows))]
    lines = [
        f"# DVR against its backbone on {args.dataset}",
        "",
        f"`{command(args)}`",
        "",
        CAPTION.format(seeds=len(args.seeds)),
        "",
        *table(rows, chosen, metrics),
        "",
    ]
    (results / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
