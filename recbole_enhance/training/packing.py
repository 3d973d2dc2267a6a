"""Training of sequential models on windows of histories, without touching their source.

RecBole gives a model one row per target: its history, filled up to ``MAX_ITEM_LIST_LENGTH`` places.
In a causal model the output at place t is that of the history that ends there, so that one row
serves all targets of a window. Any other model reads at least fewer zeros. Both are tried on random
histories when training begins, and left where a number differs.
"""

import inspect
import logging
from typing import Any

import torch
from recbole.utils import ModelType
from torch import Tensor, nn

from recbole_enhance.data.loaders import FastTrainLoader
from recbole_enhance.data.windows import Neighbours, windows_of

logger = logging.getLogger("recbole_enhance")
_CPU_ROWS = 256  # windows that are read at once: what fits a CPU's caches
_FEW_ROWS = 2  # while a model is tried, so that something is cut
_LENGTHS = 8  # of the histories that it is tried on
_TOLERANCE = 1e-5  # of the largest output, in float32
_HISTORY, _LENGTH = ("item_seq", "seq_item"), ("item_seq_len", "seq_item_len")
_USER, _ITEM = ("user",), ("next_item", "next_items")


def pack(model: Any, loader: Any, step: int) -> str | None:
    """Let a model train on windows, or on rows cut to their length, where that is the same.

    Args:
        model: Its method ``forward`` is replaced, for training only.
        loader: Gives the batches from now on so that the rows of a window stand together.
        step: Option ``packed_step``; 0 changes nothing.

    Returns:
        ``windows``, ``cut``, or None where all stays as it was.
    """
    if type(loader) is not FastTrainLoader or isinstance(vars(model).get("forward"), Reading):
        return None
    config = loader.config
    if not step or config["MODEL_TYPE"] != ModelType.SEQUENTIAL or config["transform"]:
        return None
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        return None  # rows that are read apart have other means
    if Reading(model, step).replaces_forward():
        if loader.shuffle:
            loader.windows = Neighbours(loader._dataset, step)
        return "windows"
    return "cut" if Reading(model, 0).replaces_forward() else None


class Reading:
    """Stands for the ``forward`` of a sequential model.

    Rows that are beginnings of one another are found in the batch itself, so that it is the same
    whatever made the batch and in whatever order.

    Args:
        model: The model.
        step: As of :func:`~recbole_enhance.data.windows.starts`; 0 reads each row for itself, and
            only cuts the zeros.
    """

    def __init__(self, model: Any, step: int) -> None:
        self.model, self.step = model, step
        self._forward = model.forward
        self._gather: Any = getattr(model, "gather_indexes", None)
        self._parameters = list(inspect.signature(model.forward).parameters.values())
        self._packs = False  # windows are being read
        # On a GPU all at once, where small kernels are not faster.
        self._at_once = _CPU_ROWS if model.device.type == "cpu" else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's own."""
        if not self.model.training or kwargs:
            return self._forward(*args, **kwargs)
        return self._read(args)

    def gather_indexes(self, output: Tensor, index: Tensor) -> Tensor:
        """The outputs at some places; as the model's own, or of rows times places."""
        if self._packs:
            return output.flatten(0, 1).index_select(0, index)
        return self._gather(output, index)

    def replaces_forward(self) -> bool:
        """Stand for it if the outputs on random histories are the same without dropout."""
        model = self.model
        model.gather_indexes = self.gather_indexes
        same = self._is_the_same()
        if same:
            model.forward = self
        else:
            del model.gather_indexes
        return same

    @torch.no_grad()
    def _is_the_same(self) -> bool:
        model, device, was_training = self.model, self.model.device, self.model.training
        at_once, self._at_once = self._at_once, _FEW_ROWS
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model.eval()
            try:
                args = self._random_arguments()
                if args is None:
                    return False
                expected, found = self._forward(*args), self._read(args)
                off = (expected - found).abs().max() / expected.abs().max()
                return expected.shape == found.shape and bool(off < _TOLERANCE)
            except Exception as error:  # whatever a model does with rows that it does not expect
                logger.debug("%s does not read windows: %s", type(model).__name__, error)
                return False
            finally:
                model.train(was_training)
                self._at_once = at_once

    def _random_arguments(self) -> tuple[Tensor, ...] | None:
        """Beginnings of some histories; None where an argument is none that is known."""
        model = self.model
        longest, generator = model.max_seq_length, torch.Generator().manual_seed(0)
        some = torch.linspace(1, longest, _LENGTHS).long().unique()
        lengths = torch.cat([some, some[:-2]] * 2)
        new = torch.cat([torch.ones(1, dtype=torch.bool), lengths[1:] <= lengths[:-1]])
        n_histories = int(new.sum())
        items = torch.randint(1, model.n_items, (n_histories, longest), generator=generator)
        histories = items[new.cumsum(0) - 1]
        histories = histories.masked_fill(torch.arange(longest) >= lengths.unsqueeze(1), 0)
        known = dict.fromkeys(_HISTORY, histories) | dict.fromkeys(_LENGTH, lengths)
        known |= {name: torch.ones_like(lengths) for name in _USER}
        known |= {name: items[new.cumsum(0) - 1, 0] for name in _ITEM}
        wanted = [p for p in self._parameters if p.name in known or p.default is p.empty]
        if not {p.name for p in wanted} <= set(known):
            return None
        return tuple(known[p.name].to(model.device) for p in wanted)

    def _read(self, args: tuple[Any, ...]) -> Any:
        names = [parameter.name for parameter in self._parameters][: len(args)]
        place = next((n for n, name in enumerate(names) if name in _HISTORY), None)
        if place is None:
            return self._forward(*args)
        if not self.step:
            return self._cut(args, args[place])
        return self._windows(args, place, next(n for n, x in enumerate(names) if x in _LENGTH))

    def _windows(self, args: tuple[Any, ...], history: int, length: int) -> Tensor:
        """Read windows, shortest first, and take each row's place in its own."""
        found = windows_of(args[history], args[length], self.step)
        longest = args[length][found.row]
        order = torch.argsort(longest, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        window = rank[found.window]  # of each row, in the new order
        rows = torch.argsort(window, stable=True)
        each, most = self._at_once or max(len(order), 1), longest[order]
        numbers = torch.bincount(window // each).tolist()
        outputs = []
        parts = zip(order.split(each), most.split(each), rows.split(numbers))
        for n, (part, lengths, members) in enumerate(parts):
            width = int(lengths[-1])
            own = list(args)
            own[history] = args[history][found.row[part], :width]
            # Models look at the place before; here it is of all places of all windows.
            own[length] = (window[members] - n * each) * width + found.place[members] + 1
            self._packs = True
            try:
                outputs.append(self._forward(*own))
            finally:
                self._packs = False
        return torch.cat(outputs)[_inverse(rows)]

    def _cut(self, args: tuple[Any, ...], history: Tensor) -> Tensor:
        """Read rows by length, without the zeros that all of them end with."""
        places = torch.arange(1, history.shape[1] + 1, device=history.device)
        lengths = ((history != 0) * places).amax(1)
        order = torch.argsort(lengths, stable=True)
        outputs = []
        for part in order.split(self._at_once or max(len(order), 1)):
            width = int(lengths[part[-1]])
            own = [arg[part] for arg in args]
            shape = history.shape
            own = [x[:, :width] if arg.shape == shape else x for x, arg in zip(own, args)]
            outputs.append(self._forward(*own))
        return torch.cat(outputs)[_inverse(order)]


def _inverse(order: Tensor) -> Tensor:
    """Where each row went."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse
