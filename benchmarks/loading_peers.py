"""The work of benchmarks/loading.py by other tools: it imports nothing of ours, nor of RecBole.

Their versions need not fit ours, so that they may run in an environment of their own.
"""

import json
import resource
import sys
import time
from pathlib import Path


def peak_mb() -> float:
    """Most memory of this process; on Linux without what its parent had when it was started."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    scale = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20


def rectools(path: str) -> tuple[int, ...]:
    """Read, hold out the last two of each user, number the ids of the training part."""
    import pandas as pd
    from rectools.dataset import Dataset, Interactions
    from rectools.model_selection import LastNSplitter

    columns = ["user_id:token", "item_id:token", "timestamp:float"]
    frame = pd.read_csv(path, sep="\t", usecols=columns)[columns]
    frame.columns = ["user_id", "item_id", "datetime"]
    frame["datetime"] = pd.to_datetime(frame["datetime"], unit="s")
    frame["weight"] = 1.0
    splitter = LastNSplitter(
        1,
        n_splits=2,
        filter_cold_users=False,
        filter_cold_items=False,
        filter_already_seen=False,
    )
    (train, valid, _), (_, test, _) = splitter.split(Interactions(frame))
    Dataset.construct(frame.iloc[train])
    return len(train), len(valid), len(test)


def polars(path: str) -> tuple[int, ...]:
    """Read, number the ids, order by time, hold out the last two of each user."""
    import polars as pl

    user, item, time_ = "user_id:token", "item_id:token", "timestamp:float"
    frame = pl.read_csv(path, separator="\t", quote_char=None, columns=[user, item, time_])
    frame = frame.with_columns(pl.col(user, item).rank("dense"))
    frame = frame.sort(time_, maintain_order=True)
    place = pl.int_range(pl.len(), 0, -1).over(user)
    frame = frame.with_columns(place.alias("left"), pl.len().over(user).alias("of"))
    held = pl.col("left") < pl.col("of")  # one of each user is for training
    test = frame.filter(held & (pl.col("left") == 1))
    valid = frame.filter(held & (pl.col("left") == 2))
    train = frame.filter(~held | (pl.col("left") > 2))
    return train.height, valid.height, test.height


def main() -> None:
    tool, path = sys.argv[1:]
    try:
        __import__(tool)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    start = time.process_time()
    rows = {"rectools": rectools, "polars": polars}[tool](path)
    seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "peak": peak_mb(), "rows": rows}))


if __name__ == "__main__":
    main()
