"""Small planted worlds as RecBole atomic files, and short ways to run on them."""

import numpy as np

from recbole_enhance import quick_start
from recbole_enhance.config import Config
from recbole_enhance.quick_start import run_recbole_enhance

N_USERS, N_ITEMS, N_GENRES = 60, 48, 4


def write_toy(folder, name="toy", seed=0, per_user=14):
    """Users like items of one genre; categories, times and ratings included."""
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


def assemble(options):
    """Trainer and loaders, as quick_start puts them together, without a folder."""
    run = quick_start._assemble(Config(config_dict=options), None, {})
    return run.trainer, (run.train_data, run.valid_data, run.test_data)


def toy_options(toy, model, **options):
    small = SMALL_DVR if model == "DVR" else {}
    return {**TOY, "data_path": str(toy), "model": model, **small, **options}


def run_toy(toy, model, saved=True, **options):
    return run_recbole_enhance(
        config_dict=toy_options(toy, model, show_progress=False, **options), saved=saved
    )
