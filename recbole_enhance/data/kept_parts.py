"""A cache of datasets that are read, filtered and split, for later runs on the same data.

The key of an entry is the bytes of the data, the code of this package, and the value of every
option that the code read. If the parts were drawn at random, the random states are part of the key,
and are set to what they were after the draws.
"""

import hashlib
import json
import logging
import random
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from recbole.utils import ModelType

from recbole_enhance import compat
from recbole_enhance.data.account import CLEANED
from recbole_enhance.data.atomic import file_sha256
from recbole_enhance.data.dataset import dataset_class
from recbole_enhance.data.frozen import CannotFreezeError, freeze, thaw
from recbole_enhance.data.table_cache import (
    LEAST,
    cache_folder,
    read_arrays,
    write_arrays,
)
from recbole_enhance.data.user_lists import UserLists

logger = logging.getLogger("recbole_enhance")
Prepare = Callable[[Any, Any], None]
_MOST = 1 << 30  # bytes of arrays: those of long histories are made as fast as they are read
_OPTIONS, _RANDOM = "options", "random"
_PACKAGES = ("recbole", "torch", "numpy", "pandas")
_OURS = "recbole_enhance."


def built(config: Any, prepare: Prepare | None = None) -> tuple[Any, list[Any]]:
    """Read and split the data of a run, or take them from the folder that ``data_cache`` names.

    Args:
        config: The run's settings.
        prepare: Called with settings and dataset before the split; one that is not of this package
            may do anything, so that nothing is kept then.

    Returns:
        The dataset and its parts.

    Raises:
        ValueError: If the data cannot be read or split with these options.
    """
    kind = dataset_class(config)
    folder = cache_folder(config["data_cache"])
    name = None if folder is None else _name(config, kind, prepare)
    if folder is None or name is None:
        return _made(config, kind, prepare)
    for path in sorted(folder.glob(f"{name}-*.npz")):
        found = read_arrays(path, lambda arrays: _of_file(arrays, kind, config))
        if found is not None:
            logger.debug("dataset=%s: taken from %s", config["dataset"], path)
            return found[0], found[1:]
    seen, loud = _Seen(config), _Loud()
    before = _random_states()
    with loud:
        dataset, parts = _made(seen, kind, prepare)
    for one in (dataset, *parts, *(m for part in parts for m in getattr(part, "moved", ()))):
        one.config = config
    drawn = _random_states()
    # A cached dataset does not warn again: data that cause a warning are not kept.
    if (
        seen.traced
        and not loud.said
        and drawn[1:] == before[1:]
        and name == _name(config, kind, prepare)
    ):
        _keep(folder, name, seen.asked, before[0], drawn[0], [dataset, *parts])
    return dataset, parts


def _made(config: Any, kind: type, prepare: Prepare | None) -> tuple[Any, list[Any]]:
    dataset = kind(config)
    if prepare:
        prepare(config, dataset)
    return dataset, dataset.build()


class _Seen:
    """Settings that record which options are read.

    Attributes:
        asked: Option -> its value when it was read, as text.
        traced: Whether nothing but options was read.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self.asked: dict[str, str] = {}
        self.traced = True

    def __getitem__(self, option: str) -> Any:
        value = self._config[option]
        self.asked.setdefault(option, _as_text(value))
        return value

    def __contains__(self, option: str) -> bool:
        self[option]
        return option in self._config

    def __setitem__(self, option: str, value: Any) -> None:
        self.traced = False
        self._config[option] = value

    def __getattr__(self, name: str) -> Any:
        self.traced = False
        return getattr(self._config, name)


class _Loud(logging.Handler):
    """Records whether a warning is logged in the meantime."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = logging.root.manager.disable >= logging.WARNING  # none would be heard

    def emit(self, record: logging.LogRecord) -> None:
        self.said = True

    def __enter__(self) -> None:
        for one in (logging.root, logger):
            one.addHandler(self)

    def __exit__(self, *_: Any) -> None:
        for one in (logging.root, logger):
            one.removeHandler(self)


def _as_text(value: Any) -> str:
    return json.dumps(value, default=repr)


def _random_states() -> tuple[Any, ...]:
    """Of torch, Python and numpy."""
    _, numbers, *place = cast(tuple[Any, ...], np.random.get_state())
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), numbers.tobytes(), place


def _name(config: Any, kind: type, prepare: Prepare | None) -> str | None:
    """Hash of the data and of the code; None where not all of them are known."""
    if (
        not kind.__module__.startswith("recbole.data.")  # a class of someone's own may do anything
        or config["MODEL_TYPE"] == ModelType.KNOWLEDGE
        or config["additional_feat_suffix"]
        or (prepare and not prepare.__module__.startswith(_OURS))
    ):
        return None
    folder, dataset = Path(config["data_path"]), config["dataset"]
    splits = config["benchmark_filename"] or ()
    endings = [*(f".{split}.inter" for split in splits), ".inter", ".user", ".item", CLEANED]
    paths = [folder / f"{dataset}{ending}" for ending in endings]
    there = [path for path in paths if path.is_file()]
    if sum(path.stat().st_size for path in there) < LEAST:
        return None
    decides = {
        "files": {path.name: file_sha256(path) for path in there},
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "prepare": prepare and f"{prepare.__module__}.{prepare.__qualname__}",
        "code": _code(prepare),
        "versions": {package: version(package) for package in _PACKAGES},
    }
    return hashlib.sha256(_as_text(decides).encode()).hexdigest()


def _code(prepare: Prepare | None) -> str:
    """Hash of the code of this package that makes datasets, so that another version finds none."""
    files = [*Path(__file__).parent.glob("*.py"), *Path(str(compat.__file__)).parent.glob("*.py")]
    if prepare:
        files.append(Path(prepare.__code__.co_filename))
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _keep(
    folder: Path,
    name: str,
    asked: dict[str, str],
    before: bytes,
    after: bytes,
    datasets: list[Any],
) -> None:
    UserLists.of_datasets(datasets[1:2])  # which loaders ask for, of the training part
    told = dict(sorted(asked.items()))
    random_states = (before, after) if before != after else ()
    try:
        arrays = freeze(datasets)
    except CannotFreezeError as error:
        logger.debug("data_cache: %s", error)
        return
    if sum(array.nbytes for array in arrays.values()) > _MOST:
        return
    arrays[_OPTIONS] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    arrays[_RANDOM] = np.frombuffer(b"".join(random_states), np.uint8)
    own = hashlib.sha256(_as_text(told).encode() + b"".join(random_states[:1])).hexdigest()
    write_arrays(folder / f"{name}-{own[:32]}.npz", arrays)


def _of_file(arrays: Any, kind: type, config: Any) -> list[Any] | None:
    """What was kept, if options and random states are the same."""
    told = json.loads(arrays[_OPTIONS].tobytes())
    if any(_as_text(config[option]) != value for option, value in told.items()):
        return None
    states = arrays[_RANDOM].reshape(-1, len(torch.get_rng_state()) or 1)
    if len(states) and states[0].tobytes() != torch.get_rng_state().numpy().tobytes():
        return None
    found = thaw(arrays, kind, config)
    if len(states):
        torch.set_rng_state(torch.from_numpy(states[1].copy()))
    return found
