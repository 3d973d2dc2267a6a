"""Which part of DVR does what: one change at a time, over BPR with the ndcg reward; into results/.

Run folders, budget and significance are those of dvr_table.py, and its finished cells are read.
"""

import argparse
import csv
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from dvr_table import run_cell
from scipy import stats

from recbole_enhance.storage.run_folder import history_rows

REWARD, BACKBONE = "ndcg@20", "BPR"
VARIANTS = {
    "default": {},
    "fit only": {"dvr_policy_learning_rate": 0, "dvr_exploration": 0},
    "policy only": {"dvr_learning_rate": 0},
    "Bernoulli selection": {"dvr_weighting": "sample"},
    "min-max": {"dvr_normalization": "minmax"},
    "interval 1": {"dvr_update_interval": 1},
    "interval 40": {"dvr_update_interval": 40},
    "100 reward users": {"dvr_reward_users": 100},
    "reward is the gain": {"dvr_baseline_momentum": 0},
    "warm-up 10": {"dvr_warmup_epochs": 10},
    "slots (paper)": {
        "dvr_network": "slot",
        "dvr_weighting": "sample",
        "dvr_normalization": "minmax",
    },
}

CAPTION = """Mean ± standard deviation over the seeds; p of a paired t-test of test ndcg@20 against
the plain backbone. Means over epochs of the reward's spread within an epoch, of the signal-to-noise
ratio of the policy's gradient (noise gives 1 / (rewards per epoch - 1)), and of Figure 2's
cosine."""


def policy_noise(out, dataset, run):
    """Mean over epochs of the reward's spread and of the policy's signal-to-noise ratio."""
    rows = history_rows(Path(out, dataset, run))
    means = []
    for name in ("dvr_reward_std", "dvr_gradient_snr", "dvr_cosine"):
        values = [float(row[name]) for row in rows if row.get(name)]
        means.append(statistics.mean(values) if values else float("nan"))
    return means


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=110)
    parser.add_argument("--eval_step", type=int, default=2)
    parser.add_argument("--stopping_step", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", default="runs/dvr_table", help="run folders")
    parser.add_argument("--results", default="results", help="where the table goes")
    args = SimpleNamespace(**vars(parser.parse_args()), options={})

    names = {
        name: "" if name == "default" else "".join(c for c in name if c.isalnum())
        for name in VARIANTS
    }
    tasks = [(BACKBONE, None, args.learning_rate, seed, args) for seed in args.seeds]
    tasks += [
        (BACKBONE, REWARD, args.learning_rate, seed, args, names[name], options)
        for name, options in VARIANTS.items()
        for seed in args.seeds
    ]
    with ProcessPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(run_cell, tasks))
    n = len(args.seeds)
    groups = {label: rows[i * n : (i + 1) * n] for i, label in enumerate(["plain", *VARIANTS])}

    def column(label, key):
        return [row[key] for row in groups[label]]

    lines = [
        f"# Ablation of DVR over {BACKBONE} on {args.dataset}, reward {REWARD}",
        "",
        f"`python benchmarks/dvr_ablation.py --dataset={args.dataset} "
        f"--learning_rate={args.learning_rate} --seeds {' '.join(map(str, args.seeds))} "
        f"--epochs={args.epochs} --eval_step={args.eval_step} "
        f"--stopping_step={args.stopping_step}`",
        "",
        CAPTION,
        "",
        "| variant | valid ndcg@20 | test ndcg@20 | test recall@20 | p | reward spread | SNR "
        "| cosine | s/epoch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, runs in groups.items():
        columns = [column(label, key) for key in ("valid", "ndcg@20", "recall@20")]
        numbers = [f"{statistics.mean(c):.4f} ± {statistics.stdev(c):.4f}" for c in columns]
        p, noise = "-", ["-"] * 3
        if label != "plain":
            ttest = stats.ttest_rel(column(label, "ndcg@20"), column("plain", "ndcg@20"))
            p = f"{ttest.pvalue:.2f}"
            suffix = names[label] and "-" + names[label]
            folders = [
                f"{BACKBONE}-{REWARD}-{args.learning_rate}-{seed}{suffix}" for seed in args.seeds
            ]
            means = zip(*(policy_noise(args.out, args.dataset, run) for run in folders))
            noise = [f"{statistics.mean(values):.4f}" for values in means]
        cost = statistics.mean(row["seconds_per_epoch"] for row in runs)
        lines.append("| " + " | ".join([label, *numbers, p, *noise, f"{cost:.2f}"]) + " |")
    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    (results / f"dvr_ablation_{args.dataset}.md").write_text("\n".join([*lines, ""]), "utf-8")
    with open(results / f"dvr_ablation_{args.dataset}.csv", "w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["variant", *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {"variant": label, **row} for label, runs in groups.items() for row in runs
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
