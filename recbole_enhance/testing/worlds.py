"""Small planted datasets as RecBole atomic files, and short functions to run on them."""

import numpy as np

from recbole_enhance.experiment import assembly
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import run_recbole_enhance

N_USERS, N_ITEMS, N_GENRES = 60, 48, 4


def write_toy(folder, name="toy", seed=0, per_user=14):
    """Write data in which users like one genre, with categories, times, ratings and genders."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    taste = rng.integers(N_GENRES, size=N_USERS)
    genre = np.arange(N_ITEMS) % N_GENRES
    with open(folder / name / f"{name}.inter", "w") as file:
        file.write("user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
        for user in range(N_USERS):
            likes = np.where(genre == taste[user], 1.0, 0.15)
            items = rng.choice(N_ITEMS, per_user, replace=False, p=likes / likes.sum())
            for time, item in enumerate(items):
                rating = 5 if genre[item] == taste[user] else 2
                file.write(f"u{user}\ti{item}\t{rating}\t{user * 100 + time}\n")
    with open(folder / name / f"{name}.user", "w") as file:
        file.write("user_id:token\tgender:token\n")
        file.writelines(f"u{user}\t{'FM'[user % 2]}\n" for user in range(N_USERS))
    with open(folder / name / f"{name}.item", "w") as file:
        file.write("item_id:token\tgenres:token_seq\n")
        for item in range(N_ITEMS):
            file.write(f"i{item}\tg{genre[item]} {'old' if item < 24 else 'new'}\n")
    return folder


TOY = {
    "dataset": "toy",
    "epochs": 3,
    "train_batch_size": 128,
    "embedding_size": 8,
    "topk": [5, 10],
    "valid_metric": "NDCG@5",
    "metrics": ["Recall", "NDCG"],
    "load_col": {
        "inter": ["user_id", "item_id", "rating", "timestamp"],
        "item": ["item_id", "genres"],
    },
    "item_category_field": "genres",
}
SMALL_DVR = {
    "dvr_units": 10,
    "dvr_reward": "ndcg@5",
    "dvr_update_interval": 2,
    "dvr_reward_users": 20,
}


N_FEATURES = 12
FEATURE_TOY = {
    "dataset": "reviews",
    "epochs": 3,
    "train_batch_size": 128,
    "topk": [5, 10],
    "valid_metric": "NDCG@5",
    "metrics": ["Recall", "NDCG"],
    "load_col": {"inter": ["user_id", "item_id", "rating"]},
    "eval_args": {"split": {"RS": [0.7, 0.1, 0.2]}, "mode": "uni20"},
}


def write_feature_toy(folder, name="reviews", seed=0, per_user=16):
    """Write data in which users care for three features and items are good at three.

    Reviews praise the features that the user and the item share. A review also praises or
    criticises one random feature. So the truth is known: users praise what they care for.
    """
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    cares = np.array([rng.choice(N_FEATURES, 3, replace=False) for _ in range(N_USERS)])
    good = np.array([rng.choice(N_FEATURES, 3, replace=False) for _ in range(N_ITEMS)])
    with open(folder / name / f"{name}.inter", "w") as file:
        file.write("user_id:token\titem_id:token\trating:float")
        file.write("\tfeature:token_seq\tsentiment:float_seq\n")
        for user in range(N_USERS):
            shared = [np.intersect1d(cares[user], good[item]) for item in range(N_ITEMS)]
            likes = np.array([1.0 if len(s) else 0.05 for s in shared])
            for item in rng.choice(N_ITEMS, per_user, replace=False, p=likes / likes.sum()):
                names = [f"f{f}" for f in shared[item]] + [f"f{rng.integers(N_FEATURES)}"]
                signs = ["1"] * len(shared[item]) + [str(rng.choice([1, -1]))]
                rating = 5 if len(shared[item]) else 2
                row = f"u{user}", f"i{item}", str(rating), " ".join(names), " ".join(signs)
                file.write("\t".join(row) + "\n")
    return folder


def write_knowledge_toy(folder, name="kg", seed=0):
    """Write items, their makers and their kinds, and users who like a maker."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    rows = {(f"u{u}", f"i{(u * 5 + 3 * i * i) % 30}") for u in range(20) for i in range(10)}
    facts = [(f"e{i}", "made_by", f"m{i % 5}") for i in range(30)]
    facts += [(f"e{i}", "is_a", f"k{rng.integers(4)}") for i in range(30)]
    for suffix, header, lines in (
        ("inter", "user_id:token\titem_id:token", sorted(rows)),
        ("kg", "head_id:token\trelation_id:token\ttail_id:token", facts),
        ("link", "item_id:token\tentity_id:token", [(f"i{i}", f"e{i}") for i in range(30)]),
    ):
        text = "".join("\t".join(line) + "\n" for line in [[header], *lines])
        (folder / name / f"{name}.{suffix}").write_text(text)
    return folder


def feature_toy_options(folder, model="CER", **options):
    """Options of a short run on the planted reviews."""
    return {
        **FEATURE_TOY,
        "data_path": str(folder),
        "model": model,
        "show_progress": False,
        **options,
    }


def assemble(options):
    """Trainer and loaders of a run, built as for a real one, but without a run folder."""
    run = assembly.assemble(Config(config_dict=options))
    return run.trainer, (run.train_data, run.valid_data, run.test_data)


def toy_options(toy, model, **options):
    """Options of a short run on the planted data in the folder ``toy``."""
    small = SMALL_DVR if model == "DVR" else {}
    return {**TOY, "data_path": str(toy), "model": model, **small, **options}


def run_toy(toy, model, saved=True, **options):
    """Run on the planted data; returns the result of ``run_recbole_enhance``."""
    return run_recbole_enhance(
        config_dict=toy_options(toy, model, show_progress=False, **options), saved=saved
    )
