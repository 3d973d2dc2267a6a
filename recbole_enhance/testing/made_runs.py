"""Run folders without runs: made-up results to build a board from, in milliseconds."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

OPTIONS = {
    "seed": 2020,
    "data_path": "/data",
    "quiet": True,
    "learning_rate": 0.001,
    "epochs": 3,
    "metrics": ["Recall", "ILD"],
    "topk": [10],
    "valid_metric": "Recall@10",
    "mask_history": False,
    "repeatable": False,
    "item_category_field": "class",
    "group_fields": None,
    "load_col": {"inter": ["user_id", "item_id"]},
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "user_inter_num_interval": None,
    "variant": None,
    "eval_args": {
        "split": {"RS": [0.8, 0.1, 0.1]},
        "order": "RO",
        "group_by": "user",
        "mode": "full",
    },
}
HASHES = {"toy.inter": "a" * 64, "toy.item": "b" * 64}


def make_run(
    board,
    label="BPR",
    seed=2020,
    results=None,
    users=None,
    options=None,
    name=None,
    place=None,
    report=None,
    hashes=None,
    groups=None,
    dataset="toy",
):
    """Write a run folder.

    Args:
        board: Folder of the board.
        label: ``BPR``, or ``DVR-BPR`` for a method over a backbone.
        seed: Seed of the run.
        results: Test results in ``metrics.json``; by default the means of ``users``.
        users: Metric -> values of users u0, u1, ..., or a frame with a row per user.
        options: Options that replace or extend :data:`OPTIONS`.
        name: Name of the setting.
        place: Path below the board, instead of ``cells/<dataset>/<label>[-<name>]/<seed>``.
        report: Entries that replace the other ones in ``metrics.json``.
        hashes: Hashes of the data files.
        groups: Rows of ``groups.csv``.
        dataset: Name of the dataset.
    """
    row = f"{label}-{name}" if name else label
    folder = Path(board, place or f"cells/{dataset}/{row}/{seed}")
    folder.mkdir(parents=True)
    method, _, backbone = label.rpartition("-")
    said = {
        **OPTIONS,
        "seed": seed,
        "dataset": dataset,
        "model": method or backbone,
        "backbone": backbone,
        **(options or {}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(said))
    frame = None
    if users is not None:
        frame = users if isinstance(users, pd.DataFrame) else pd.DataFrame(users)
        if not isinstance(users, pd.DataFrame):
            frame.index = [f"u{n}" for n in range(len(frame))]
        frame.index.name = "user_id"
        text = io.StringIO()
        frame.to_csv(text)
        (folder / "per_user.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    if results is None:
        results = {} if frame is None else {k: round(float(v), 4) for k, v in frame.mean().items()}
    metrics = {
        "best_valid_score": 0.1,
        "valid_score_bigger": True,
        "best_valid_result": dict(results),
        "test_result": {k: None if v is None or np.isnan(v) else v for k, v in results.items()},
        "label": label,
        "enhancer": method or None,
        "backbone": backbone,
        "dataset": dataset,
        "variant": said["variant"],
        "seed": seed,
        "epochs_run": 3,
        "best_epoch": 2,
        "parameters": 1000,
        "seconds": {"fit": 1.5, "test": 0.1},
        "train_seconds_per_epoch": 0.5,
        "peak_memory_mb": 100.0,
        "peak_gpu_memory_mb": None,
        **(report or {}),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    environment = {
        "python": "3.11.7",
        "versions": {"torch": "2.0"},
        "git_commit": "c" * 40,
        "cpu_threads": 2,
        "gpu": None,
        "data_sha256": hashes or HASHES,
    }
    (folder / "env.json").write_text(json.dumps(environment))
    if groups is not None:
        header = ["field", "group", "users", "metric", "mean", "ci_low", "ci_high"]
        pd.DataFrame(groups, columns=header).to_csv(folder / "groups.csv", index=False)
    return folder


def make_board(board, seeds=(2020, 2021), users=40):
    """Write a board of Pop, BPR, LightGCN, and a method over the last two, with groups."""
    draw = np.random.default_rng(0)
    base = draw.random((len(seeds), users))
    for label, lift in (
        ("Pop", -0.2),
        ("BPR", 0.0),
        ("DVR-BPR", 0.15),
        ("LightGCN", 0.1),
        ("DVR-LightGCN", 0.1),
    ):
        for n, seed in enumerate(seeds):
            noise = draw.normal(0, 0.02, (2, users))
            values = {"recall@10": base[n] + lift + noise[0], "arp@10": 50 - 20 * lift + noise[1]}
            frame = pd.DataFrame(values, index=[f"u{m}" for m in range(users)])
            results = {
                **frame.mean().round(4).to_dict(),
                "ild@10": round(0.5 - lift / 2, 4),
                "groupgap@10": 0.1 + 0.01 * n,
            }
            mean = results["recall@10"]
            groups = [
                ["gender", "F", 20, "recall@10", mean - 0.05, 0, 1],
                ["gender", "M", 20, "recall@10", mean + 0.05, 0, 1],
                ["gender", "gap: M - F", 40, "recall@10", 0.1, 0, 1],
            ]
            make_run(
                board,
                label,
                seed,
                results,
                frame,
                groups=groups,
                options={"group_fields": ["gender"]},
            )
    return Path(board)
