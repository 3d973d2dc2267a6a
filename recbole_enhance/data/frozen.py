"""Built datasets as plain arrays and JSON, and back: no pickle, and no code in what is read.

Only the kinds of objects listed here are written; a dataset with an attribute of another kind
cannot be frozen. What several attributes share, they share again: tables of tokens, and the memory
of the parts, which are slices of one table.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_enhance.data.account import Account, Counts
from recbole_enhance.data.rows import Moved
from recbole_enhance.data.user_lists import LISTS, UserLists

_ENUMS = {kind.__name__: kind for kind in (FeatureType, FeatureSource)}
_TUPLES = {kind.__name__: kind for kind in (Counts, Moved)}
_DTYPES = {str(dtype): dtype for dtype in (torch.bool, torch.int64, torch.float32, torch.float64)}
_ARRAYS = "biufU"  # kinds of numpy
_KINDS = (
    *("enum", "dataset", "interaction", "lists", "account", "named"),
    *("dict", "numbering", "list", "tuple", "array", "tensor"),
)
_STATE = "state"
_ELSEWHERE = ("config", "logger")  # attributes that are the run's


class CannotFreezeError(TypeError):
    """An object of a kind that is not written."""


def freeze(datasets: Sequence[Dataset]) -> dict[str, np.ndarray]:
    """Write datasets as arrays.

    Args:
        datasets: Of one class.

    Raises:
        CannotFreezeError: If they hold what is not written.
    """
    writer = _Writer(type(datasets[0]))
    state = [writer.of(dataset) for dataset in datasets]
    return {**writer.arrays, _STATE: np.frombuffer(json.dumps(state).encode(), np.uint8)}


def thaw(arrays: Mapping[str, np.ndarray], kind: type, config: Any) -> list[Any]:
    """Make the datasets that :func:`freeze` wrote.

    Args:
        arrays: What it returned; the datasets may write to them.
        kind: Their class.
        config: The run's settings.

    Raises:
        ValueError: If it is something else; or KeyError, IndexError, TypeError, RuntimeError.
    """
    state = json.loads(arrays[_STATE].tobytes())
    return _Reader(arrays, kind, config).of(["list", -1, state])


class _Writer:
    """Objects as JSON: scalars as they are, all others as a list of kind, number and content."""

    def __init__(self, kind: type) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._kind = kind
        self._seen: dict[int, int] = {}  # id of an object -> its number
        self._alive: list[Any] = []  # so that no other object gets an id
        self._texts: list[tuple[str, np.ndarray]] = []

    def of(self, value: Any) -> Any:
        """The object as JSON."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value).__name__ in _ENUMS and type(value) is _ENUMS[type(value).__name__]:
            return ["enum", -1, [type(value).__name__, value.value]]
        if isinstance(value, np.str_):
            return str(value)
        if isinstance(value, np.integer):
            return int(value)
        if id(value) in self._seen:
            return ["again", self._seen[id(value)], None]
        number = self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        return [*self._content(value, number)]

    def _content(self, value: Any, number: int) -> tuple[str, int, Any]:
        if type(value) is self._kind:
            own = {n: v for n, v in vars(value).items() if n not in _ELSEWHERE}
            return "dataset", number, [[name, self.of(own[name])] for name in own]
        if type(value) is Interaction:
            columns = [[name, self.of(column)] for name, column in value.interaction.items()]
            return "interaction", number, [columns, self.of(vars(value).get(LISTS))]
        if type(value) is UserLists:
            sizes = len(value.counts), value.n_items
            return "lists", number, [self._array(value.keys), *sizes]
        if type(value) is Account:
            return "account", number, [[name, self.of(its)] for name, its in vars(value).items()]
        if type(value).__name__ in _TUPLES and type(value) is _TUPLES[type(value).__name__]:
            return "named", number, [type(value).__name__, [self.of(its) for its in value]]
        if type(value) is dict:
            texts = self._numbering(value)
            if texts is not None:
                return "numbering", number, texts
            return "dict", number, [[self.of(k), self.of(v)] for k, v in value.items()]
        if type(value) in (list, tuple):
            return type(value).__name__, number, [self.of(its) for its in value]
        if isinstance(value, np.ndarray) and value.dtype.kind in _ARRAYS:
            return "array", number, self._array(value)
        if (
            type(value) is torch.Tensor
            and str(value.dtype) in _DTYPES
            and value.device.type == "cpu"
        ):
            return "tensor", number, self._tensor(value)
        raise CannotFreezeError(f"{type(value).__name__} is not kept")

    def _numbering(self, value: dict[Any, Any]) -> str | None:
        """The array of texts that a mapping numbers; None for other mappings."""
        for name, texts in self._texts:
            if len(texts) == len(value) > 0 and list(value.values()) == list(range(len(texts))):
                keys = list(value)
                if type(keys[0]) is np.str_ and keys == texts.tolist():
                    return name
        return None

    def _array(self, value: np.ndarray) -> str:
        name = f"array{len(self.arrays)}"
        self.arrays[name] = value
        if value.dtype.kind == "U" and value.ndim == 1:
            self._texts.append((name, value))
        return name

    def _tensor(self, value: torch.Tensor) -> list[Any]:
        storage = value.untyped_storage()
        key = storage.data_ptr(), storage.nbytes()
        name = f"memory{key[0]}.{key[1]}"
        if name not in self.arrays:
            flat = torch.empty(0, dtype=torch.uint8).set_(storage)
            self.arrays[name] = flat.numpy()
            self._alive.append(flat)
        return [
            name,
            str(value.dtype),
            value.storage_offset(),
            *map(list, (value.shape, value.stride())),
        ]


class _Reader:
    def __init__(self, arrays: Mapping[str, np.ndarray], kind: type, config: Any) -> None:
        self._arrays, self._kind, self._config = arrays, kind, config
        self._made: dict[int, Any] = {}
        self._loaded: dict[str, Any] = {}

    def of(self, state: Any) -> Any:
        """The object that JSON says."""
        if not isinstance(state, list):
            return state
        kind, number, content = state
        if kind == "again":
            return self._made[number]
        if kind not in _KINDS:
            raise ValueError(f"{kind!r} is no kind of object")
        made = self._made[number] = getattr(self, f"_{kind}")(content)
        return made

    def _enum(self, content: Any) -> Any:
        return _ENUMS[content[0]](content[1])

    def _dataset(self, content: Any) -> Any:
        made: Any = object.__new__(self._kind)
        vars(made).update(config=self._config, logger=logging.getLogger())
        vars(made).update((name, self.of(its)) for name, its in content)
        return made

    def _interaction(self, content: Any) -> Interaction:
        columns, lists = content
        made = Interaction({name: self.of(column) for name, column in columns})
        if lists is not None:
            setattr(made, LISTS, self.of(lists))
        return made

    def _lists(self, content: Any) -> UserLists:
        name, n_users, n_items = content
        return UserLists.of_keys(self._array(name), n_users, n_items)

    def _account(self, content: Any) -> Account:
        made = Account()
        vars(made).update((name, self.of(its)) for name, its in content)
        return made

    def _named(self, content: Any) -> Any:
        return _TUPLES[content[0]](*map(self.of, content[1]))

    def _dict(self, content: Any) -> Any:
        return {self.of(key): self.of(its) for key, its in content}

    def _list(self, content: Any) -> Any:
        return list(map(self.of, content))

    def _tuple(self, content: Any) -> Any:
        return tuple(map(self.of, content))

    def _array(self, content: Any) -> np.ndarray:
        if content not in self._loaded:  # a file of arrays reads one each time it is asked for
            self._loaded[content] = self._arrays[content]
        return self._loaded[content]

    def _numbering(self, content: Any) -> Any:
        texts = self._array(content)
        return dict(zip(texts, range(len(texts))))

    def _tensor(self, content: Any) -> torch.Tensor:
        name, dtype, offset, shape, stride = content
        if name not in self._loaded:
            self._loaded[name] = torch.from_numpy(self._arrays[name])
        return self._loaded[name].view(_DTYPES[dtype]).as_strided(shape, stride, offset)
