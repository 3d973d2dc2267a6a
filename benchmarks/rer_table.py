"""RER against its own backbone under attack: same data, split, budget and seeds; into results/.

Parts:
    cer       CER, vanilla and defended, a fixed number of epochs (no selection at all)
    selected  the same with the epoch chosen on validation NDCG@5
    efm       EFM, vanilla and defended, attacked through its parameters
    apr       BPR and adversarial personalised ranking on ml-100k, chosen on validation

Each cell is a run folder below --out, attacked once; finished cells are kept, so an interrupted
table continues. Attacks follow the gradient of the clean loss on training data (`own`: of the loss
that the run trained on); pairs, candidates and truth are fixed from each clean model. Test numbers
of `apr` are read of the chosen runs only.
"""

import argparse
import csv
import json
import statistics
from pathlib import Path

import torch
from run_folders import run_or_read
from scipy import stats
from tqdm import tqdm

from recbole_enhance.compat import mends
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.explanation.attack import JSON as ATTACK
from recbole_enhance.explanation.attack import attack
from recbole_enhance.explanation.quality import baselines
from recbole_enhance.explanation.robustness import make_protocol
from recbole_enhance.storage.run_folder import METRICS, RunFolder

LAMBDAS, EPSILONS = (0.01, 0.1, 0.5, 0.9), (0.25, 0.5, 0.75, 1.0)
AMAZON = {"dataset": "amazon-cellphones", "variant": "paper"}
PROTOCOL = {
    "pairs": "auto",
    "truth": "positive",
    "topk": 5,
    "features": 5,
    "negatives": 100,
    "quiet": True,
}
ATTACKS = {
    "cer": {
        "targets": ("features", "params", "own", "random"),
        "budgets": (0.25, 0.5, 1.0),
        "param_budgets": (0.0025, 0.005),
    },
    "efm": {
        "targets": ("features", "params", "own", "random"),
        "budgets": (0.5,),
        "param_budgets": (0.05, 0.1, 0.25),
    },
    "apr": {"targets": ("params", "random"), "budgets": (), "param_budgets": (0.01, 0.02, 0.05)},
}
APR = {
    "model": "RER",
    "backbone": "BPR",
    "rer_target": "params",
    "rer_combine": "additive",
    "rer_lambda": 1.0,
    "rer_norm": "l2",
}
VANILLA = "vanilla"


def cells_of(part, args):
    """Rows of a part: name -> options."""
    if part == "apr":
        common = {
            "dataset": "ml-100k",
            "epochs": args.apr_epochs,
            "eval_step": 2,
            "stopping_step": 4,
        }
        cells = {}
        for rate in args.apr_rates:
            cells[f"BPR lr {rate:g}"] = {**common, "model": "BPR", "learning_rate": rate}
            for eps in args.apr_eps:
                cells[f"APR lr {rate:g} eps {eps:g}"] = {
                    **common,
                    **APR,
                    "learning_rate": rate,
                    "rer_eps": eps,
                    "rer_start_epoch": args.apr_start,
                }
        return cells
    model = "EFM" if part == "efm" else "CER"
    common = {**AMAZON, "data_path": args.data_path}
    if part == "cer":
        common.update(epochs=args.epochs, eval_step=0)
    pairs = [(lam, eps) for lam in args.lambdas for eps in args.epsilons]
    if part == "efm":
        pairs = [(0.5, eps) for eps in (0.25, 0.5, 1.0)]
    cells = {VANILLA: {**common, "model": model}}
    for lam, eps in pairs:
        cells[f"lambda {lam:g}, eps {eps:g}"] = {
            **common,
            "model": "RER",
            "backbone": model,
            "rer_lambda": lam,
            "rer_eps": eps,
        }
    return cells


def train(part, name, options, seed, args):
    """Train one cell, or read it if it is there."""
    path = Path(args.out, part, f"{name.replace(' ', '_').replace(',', '')}-{seed}")
    run_or_read(path, {**options, "seed": seed})
    return path


def measure(part, name, path, seed):
    """Attack a trained cell, or read what the attack left: one row per attack."""
    files = RunFolder.open(path)
    if not (path / ATTACK).is_file():
        attack([path], **PROTOCOL, **ATTACKS.get(part, ATTACKS["cer"]))
    report, metrics = files.read_json(ATTACK), files.read_json(METRICS)
    if part != "apr" and not (path / "baselines.json").is_file():
        run = load_run(path)
        files.write_json("baselines.json", baselines(run, make_protocol(run)))
    common = {
        "row": name,
        "seed": seed,
        "pairs": report["pairs"],
        "epochs": metrics["epochs_run"],
        "best_epoch": metrics["best_epoch"],
        "seconds_per_epoch": metrics["train_seconds_per_epoch"],
    }
    if part == "apr":
        common["test_ndcg@10"] = metrics["test_result"]["ndcg@10"]
        common["test_recall@10"] = metrics["test_result"]["recall@10"]
    return [{**common, **row} for row in report["rows"]]


def value(rows, name, seed, attack, budget, metric):
    """One number of the long table, or None."""
    for row in rows:
        key = row["row"], row["seed"], row["target"], row["budget"]
        if key == (name, seed, attack, budget):
            return row.get(metric)
    return None


def cell(rows, name, seeds, attack, budget, metric, against=None):
    """Mean and standard deviation over seeds, and the p of a paired t-test against a row."""
    mine = [value(rows, name, seed, attack, budget, metric) for seed in seeds]
    if any(v is None for v in mine):
        return "-"
    spread = statistics.stdev(mine) if len(mine) > 1 else float("nan")
    text = f"{statistics.mean(mine):.3f} ± {spread:.3f}"
    if against is not None and against != name and len(mine) > 1:
        theirs = [value(rows, against, seed, attack, budget, metric) for seed in seeds]
        if len({round(a - b, 12) for a, b in zip(mine, theirs)}) > 1:
            p = stats.ttest_rel(mine, theirs).pvalue
            text += f" (p={p:.3f})" if p >= 0.001 else " (p<0.001)"
    return text


def markdown(header, body):
    """Lines of a Markdown table."""
    return [
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
        *("| " + " | ".join(line) + " |" for line in body),
    ]


def main_table(rows, names, seeds, attack, budget):
    """One line per row: clean, attacked, stability, and the price."""
    header = [
        "row",
        "NDCG@5",
        "F1 clean",
        f"F1 {attack} {budget:g}",
        "relative drop",
        "Jaccard",
        "Jaccard of others",
        "coverage",
        "PN",
        "PS",
        "NDCG@5 attacked",
        "s/epoch",
    ]
    body = []
    for name in names:
        clean, hit = ("clean", 0.0), (attack, budget)
        columns = [
            (*clean, "ndcg"),
            (*clean, "f1"),
            (*hit, "f1"),
            (*hit, "f1_drop"),
            (*hit, "jaccard"),
            (*clean, "jaccard_others"),
            (*clean, "coverage"),
            (*clean, "pn"),
            (*clean, "ps"),
            (*hit, "ndcg"),
        ]
        seconds = [value(rows, name, seed, "clean", 0.0, "seconds_per_epoch") for seed in seeds]
        texts = [cell(rows, name, seeds, *column, VANILLA) for column in columns]
        body.append([name, *texts, f"{statistics.mean(seconds):.2f}"])
    return markdown(header, body)


def attack_table(rows, names, seeds, metrics):
    """Every attack on some rows."""
    attacks = list(dict.fromkeys((row["target"], row["budget"]) for row in rows))
    header = ["row", "attack", "budget", *metrics.values()]
    body = []
    for name in names:
        for target, budget in attacks:
            texts = [cell(rows, name, seeds, target, budget, metric) for metric in metrics]
            body.append([name, target, f"{budget:g}", *texts])
    return markdown(header, body)


def baseline_table(folders):
    """F1 of the explanations that need no model, on each row's own pairs."""
    body, names = [], []
    for name, paths in folders.items():
        found = [json.loads((path / "baselines.json").read_text("utf-8")) for path in paths]
        names = list(found[0])
        means = [statistics.mean(one[baseline]["f1"] for one in found) for baseline in names]
        body.append([name, *(f"{mean:.3f}" for mean in means)])
    return markdown(["pairs of", *names], body)


def command(part, args):
    """The command line that makes this table, without the machine's own folders."""
    words = [
        "python benchmarks/rer_table.py",
        f"--part={part}",
        f"--seeds {' '.join(map(str, args.seeds))}",
    ]
    if part == "cer":
        words.append(f"--epochs={args.epochs}")
    if part in ("cer", "selected"):
        words.append(f"--lambdas {' '.join(f'{x:g}' for x in args.lambdas)}")
        words.append(f"--epsilons {' '.join(f'{x:g}' for x in args.epsilons)}")
    if args.suffix:
        words.append(f"--suffix={args.suffix}")
    if part == "apr":
        words += [
            f"--apr_epochs={args.apr_epochs}",
            f"--apr_start={args.apr_start}",
            f"--apr_rates {' '.join(f'{x:g}' for x in args.apr_rates)}",
            f"--apr_eps {' '.join(f'{x:g}' for x in args.apr_eps)}",
        ]
    return " ".join(words)


CAPTION = """Test, mean ± standard deviation over {seeds} seeds; p of a paired t-test over seeds
against vanilla (few seeds: little power; not corrected for the number of comparisons). F1 of the
first five features; a missing explanation counts 0. Jaccard: with the clean explanation of the same
pair; of others: between clean explanations of different pairs, what explaining everything alike
would give."""


def write_feature_part(part, rows, folders, args):
    """Markdown of cer, selected and efm."""
    names = list(folders)
    attack, budget = ("params", 0.1) if part == "efm" else ("features", 0.5)
    shown = [n for n in names if n in (VANILLA, "lambda 0.5, eps 0.25", "lambda 0.5, eps 0.5")]
    metrics = {
        "f1": "F1",
        "f1_drop": "relative drop",
        "f1_explained": "F1 of explained",
        "jaccard": "Jaccard",
        "rbo": "rank-biased overlap",
        "coverage": "coverage",
        "ndcg": "NDCG@5",
        "list_jaccard": "Jaccard of lists",
    }
    return [
        f"# RER: part {part} on amazon-cellphones (users >= 10, items >= 2)",
        "",
        f"`{command(part, args)}`",
        "",
        CAPTION.format(seeds=len(args.seeds)),
        "",
        *main_table(rows, names, args.seeds, attack, budget),
        "",
        "Every attack:",
        "",
        *attack_table(rows, shown, args.seeds, metrics),
        "",
        "F1 of explanations that need no model, on the pairs of the row:",
        "",
        *baseline_table({name: folders[name] for name in shown}),
        "",
    ]


def write_apr(rows, chosen, args):
    """Markdown of apr."""
    tested = {"test_ndcg@10": "NDCG@10", "test_recall@10": "recall@10"}
    clean = [
        [name, *(cell(rows, name, args.seeds, "clean", 0.0, key, chosen[0]) for key in tested)]
        for name in chosen
    ]
    metrics = {"ndcg": "NDCG@5", "list_jaccard": "Jaccard of lists", "ndcg_drop": "relative drop"}
    return [
        "# Adversarial personalised ranking (RER over BPR, parameters) on ml-100k",
        "",
        f"`{command('apr', args)}`",
        "",
        f"Test, mean ± standard deviation over {len(args.seeds)} seeds. Of the learning rates "
        "(the same for both) and eps above, chosen on validation NDCG@20 with the first "
        f"seed: {'; '.join(chosen)}. Adversarial from epoch {args.apr_start} on. All items ranked, "
        "no attack; p of a paired t-test over seeds:",
        "",
        *markdown(["row", *tested.values()], clean),
        "",
        "Among 100 sampled negatives, under attacks on the parameters:",
        "",
        *attack_table(rows, chosen, args.seeds, metrics),
        "",
    ]


def run_part(part, args):
    """Train, attack and write one part."""
    cells, seeds = cells_of(part, args), args.seeds
    names = list(cells)
    if part == "apr":
        tried = {}
        for name in tqdm(names, desc="apr: on validation", disable=None):
            path = train(part, name, cells[name], seeds[0], args)
            tried[name] = RunFolder.open(path).read_json(METRICS)["best_valid_score"]
            print(f"{name}: valid {tried[name]:.4f}", flush=True)
        names = [
            max((n for n in tried if n.startswith(kind)), key=tried.get) for kind in ("BPR", "APR")
        ]
    rows, folders = [], {name: [] for name in names}
    for seed, name in tqdm([(s, n) for s in seeds for n in names], desc=part, disable=None):
        path = train(part, name, cells[name], seed, args)
        rows += measure(part, name, path, seed)
        folders[name].append(path)
        print(f"{part} {name} {seed}", flush=True)
    if part == "apr":
        lines, stem = write_apr(rows, names, args), "rer_apr_ml-100k"
    else:
        lines, stem = write_feature_part(part, rows, folders, args), f"rer_{part}{args.suffix}"
    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    header = list(dict.fromkeys(key for row in rows for key in row))
    with open(results / f"{stem}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    (results / f"{stem}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--part",
        choices=["cer", "selected", "efm", "apr"],
        nargs="+",
        default=["cer", "selected", "efm", "apr"],
    )
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--lambdas", nargs="+", type=float, default=list(LAMBDAS))
    parser.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    parser.add_argument("--epochs", type=int, default=15, help="of part cer")
    parser.add_argument("--apr_epochs", type=int, default=110)
    parser.add_argument("--apr_rates", nargs="+", type=float, default=[0.001, 0.003])
    parser.add_argument("--apr_eps", nargs="+", type=float, default=[0.1, 0.5])
    parser.add_argument("--apr_start", type=int, default=30)
    parser.add_argument("--out", default="runs/rer_table", help="run folders")
    parser.add_argument("--suffix", default="", help="of the tables' names")
    parser.add_argument("--results", default="results", help="where the tables go")
    args = parser.parse_args()
    torch.set_num_threads(1)
    mends.apply()
    for part in args.part:
        run_part(part, args)


if __name__ == "__main__":
    main()
