"""Seconds of every metric at k = 20 on all users' lists, and of RecBole's class of the same name.

The lists are drawn by popularity from what each user does not have, the scores of the held-out
items at random, the groups of users too: time does not depend on who is right. Data, history,
categories and held-out items are those of the dataset. One thread by default; of some repeats the
fastest counts, since what else the machine does only ever adds time.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import recbole.evaluator.metrics as recbole_metrics
import torch
from recbole.data import create_dataset, data_preparation
from recbole.evaluator.collector import DataStruct
from turns import choose_dataset, parser

from recbole_enhance.data.categories import category_matrix
from recbole_enhance.experiment.config import Config
from recbole_enhance.metric.base import popularity
from recbole_enhance.metric.concentration import popularity_groups
from recbole_enhance.metric.fairness import activity_groups, group_table
from recbole_enhance.metric.ranking import ACCURACY, count_positives, hits
from recbole_enhance.metric.registry import METRICS

K, DIMENSIONS, CHUNK = 20, 64, 1024


def draw_lists(history: Any, counts: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """K items by popularity, none twice and none of the history."""
    lists = []
    for first in range(1, history.shape[0], CHUNK):
        weights = (counts + 1.0).repeat(min(CHUNK, history.shape[0] - first), 1)
        weights[:, 0] = 0
        rows = history[first : first + CHUNK]
        weights[torch.from_numpy(rows.toarray() > 0)] = 0
        lists.append(torch.multinomial(weights, K, generator=generator))
    return torch.cat(lists)


def collect(config: Config) -> DataStruct:
    """All keys of our metrics."""
    train, _, test = (data._dataset for data in data_preparation(config, create_dataset(config)))
    matrix = train.inter_matrix(form="csr")
    matrix.sum_duplicates()
    matrix.data[:] = 1
    held_out = test.inter_matrix(form="csr")
    held_out.sum_duplicates()
    generator = torch.Generator().manual_seed(0)
    data = DataStruct()
    data["data.train_matrix"] = matrix
    counts = popularity(data)
    rows, items = (torch.from_numpy(x).long() for x in held_out.nonzero())
    data["rec.items"] = draw_lists(matrix, counts, generator)
    data["rec.users"] = torch.arange(1, train.user_num)
    data["rec.positive_u"], data["rec.positive_i"] = rows - 1, items
    data["rec.positive_score"] = torch.randn(len(items), generator=generator)
    data["data.item_category"] = category_matrix(train, config["item_category_field"])
    data["data.item_embedding"] = torch.randn(train.item_num, DIMENSIONS, generator=generator)
    data["data.item_group"] = popularity_groups(counts, config["item_head_share"])
    lengths = torch.from_numpy(matrix.getnnz(axis=1)).long()
    gender = torch.randint(0, 2, (train.user_num,), generator=generator)
    data["data.user_group"] = {
        "gender": (["F", "M"], gender),
        "activity": activity_groups(lengths, config["activity_groups"]),
    }
    data["data.num_items"] = train.item_num
    data["data.count_items"] = train.item_counter
    return data


def fastest(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def table_of_groups(data: DataStruct) -> None:
    """Every accuracy metric by every field, with intervals."""
    items, n_items = data["rec.items"], data["data.num_items"]
    rows, held_out = data["rec.positive_u"], data["rec.positive_i"]
    found = hits(items, rows, held_out, n_items)
    n = count_positives(rows, held_out, len(items), n_items)
    metrics = {f"{name}@{K}": function(found, n) for name, function in ACCURACY.items()}
    for field, (labels, codes) in data["data.user_group"].items():
        group_table(metrics, field, codes[data["rec.users"]], labels)


def main() -> None:
    options = parser(__doc__, "ml-100k, a few seconds")
    options.add_argument("--dataset", default="amazon-beauty", help="one with categories")
    options.add_argument("--repeats", type=int, default=3)
    args = options.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    dataset = choose_dataset(args.data_path, "ml-100k" if args.quick else args.dataset)
    options = {
        "data_path": args.data_path,
        "use_gpu": False,
        "show_progress": False,
        "topk": [K],
        "metrics": ["NDCG"],
        "valid_metric": f"NDCG@{K}",
    }
    config = Config(model="BPR", dataset=dataset, config_dict=options)
    data = collect(config)
    users, n_items, n_categories = len(data["rec.items"]), *data["data.item_category"].shape
    print(
        f"{dataset}: {users:,} users x {K} items, {n_items:,} items, {n_categories} categories, "
        f"{torch.get_num_threads()} threads; fastest of {args.repeats}"
    )
    print("| metric | s | RecBole's, s | ratio |\n|---|---|---|---|")
    lines = []
    for cls in METRICS:
        name = cls.__name__
        ours, theirs = cls(config), getattr(recbole_metrics, name, None)
        seconds = fastest(lambda m=ours: m.calculate_metric(data), args.repeats)
        line = f"benchmark=metric_speed metric={name.lower()} seconds={seconds:.4f}"
        cells = f"{seconds:.4f} | - | -"
        if theirs is not None:
            other = theirs(config)
            slow = fastest(lambda m=other: m.calculate_metric(data), 1)
            cells = f"{seconds:.4f} | {slow:.4f} | {slow / seconds:.1f}"
            line += f" recbole_ratio={slow / seconds:.1f}"
        print(f"| {name} | {cells} |", flush=True)
        lines.append(line)
    seconds = fastest(lambda: table_of_groups(data), args.repeats)
    print(f"| table of groups, 6 metrics x 2 fields | {seconds:.4f} | - | - |")
    lines.append(f"benchmark=metric_speed metric=group_table seconds={seconds:.4f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak of the process: {peak / (2**20 if sys.platform == 'darwin' else 2**10):.0f} MB")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
