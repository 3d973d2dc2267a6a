r"""Training by several processes, each on its part of every batch, with one process's result.

All processes hold the same data, model and random states, and go through the same batches. Each
takes consecutive rows of a batch, and the gradients are added up, weighted by the shares of rows:
if the loss of a batch is the mean of its rows' losses, that is the batch's gradient.
:class:`RowsOfAll` mends what is no such mean in RecBole's models: random draws, the statistics of
a batch, and the norm of a batch's embeddings. Before a loss trains, its gradient by parts is
compared with that of the whole batch, so that a model which fits none of this is refused by name.

RecBole's own way (``DistributedDataParallel``) gives each process other batches of the full size,
changes names in the state, and averages metrics by numbers of batches.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from recbole.model.loss import EmbLoss
from recbole.trainer.trainer import Trainer
from recbole.utils import ModelType, get_trainer
from torch import Tensor, nn
from torch.nn.functional import batch_norm, dropout
from torch.overrides import TorchFunctionMode

from recbole_enhance.data.blocks import Blocks
from recbole_enhance.options import launched
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage import processes
from recbole_enhance.storage.random_state import RandomState

_FEWEST_ROWS = 2  # of a part: smaller batches are not split
# Of the gradient's length; rounding in float32 is some 1e-6, in half precision some 1e-2.
_TOLERANCE, _TOLERANCE_AMP = 1e-3, 5e-2
_IN_PLACE = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.bernoulli_,
    torch.Tensor.exponential_,
}
_LIKE = {torch.rand_like, torch.randn_like, torch.bernoulli}


class Part(NamedTuple):
    """This process's rows of a batch.

    Attributes:
        rows: Their numbers. Shape: ``(n,)``.
        of: Rows of the batch.
        weight: Share of this process in the batch's mean.
        whole: Whether the batch is too small to be split, and every process has all of it.
    """

    rows: Tensor
    of: int
    weight: float
    whole: bool

    def take(self, batch: Interaction) -> Interaction:
        """The rows of a batch."""
        if self.whole:
            return batch
        columns = batch.interaction.items()
        return Interaction({name: column[self.rows] for name, column in columns})


def part_of(n_rows: int, times: int, rank: int, size: int) -> Part:
    """Split a batch whose rows are tiled: row ``k * B + b`` belongs to positive b of B.

    Args:
        n_rows: Rows of the batch.
        times: How often its positives are tiled; a positive's rows stay together.
        rank: Of the process.
        size: Number of processes.

    Example:
        >>> [part_of(10, 2, rank, 2).rows.tolist() for rank in range(2)]
        [[0, 1, 2, 5, 6, 7], [3, 4, 8, 9]]
    """
    times = times if n_rows % times == 0 else 1
    positives = n_rows // times
    tiles = torch.arange(n_rows).view(times, positives)
    if positives < _FEWEST_ROWS * size:
        return Part(tiles.flatten(), n_rows, 1 / size, whole=True)
    own = tiles[:, processes.own_share(positives, rank, size)]
    return Part(own.flatten(), n_rows, own.shape[1] / positives, whole=False)


class RowsOfAll(TorchFunctionMode):
    """Lets a model compute on some rows of a batch as if it had them all.

    Dropout and other draws are made for all rows, and the process's own are taken, so that the
    generators of all processes go on alike. Batch normalisation takes the mean and the variance
    over all processes' rows.

    Args:
        part: The rows.
    """

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Step in where a function draws, or looks at a whole batch."""
        kwargs = dict(kwargs or {})
        if func is dropout:
            return self._dropout(*args, **kwargs)
        if func is batch_norm:
            return _batch_norm(*args, **kwargs)
        if func in _IN_PLACE and self._is_of_rows(args[0]):
            return args[0].copy_(self._own(func(self._whole(args[0]), *args[1:], **kwargs)))
        if func in _LIKE and self._is_of_rows(args[0]):
            whole = self._whole(args[0])
            whole[self.part.rows.to(whole.device)] = args[0].detach()  # bernoulli's chances
            return self._own(func(whole, *args[1:], **kwargs))
        return func(*args, **kwargs)

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0 or not self._is_of_rows(input):
            return dropout(input, p, training, inplace)
        noise = self._own(dropout(self._whole(input).fill_(1), p, True))
        return input.mul_(noise) if inplace else input * noise

    def _is_of_rows(self, tensor: Tensor) -> bool:
        return tensor.dim() > 0 and len(tensor) == len(self.part.rows)

    def _whole(self, like: Tensor) -> Tensor:
        """Zeros for all rows, as they would lie in memory: draws fill memory in its order."""
        shape = (self.part.of, *like.shape[1:])
        order = sorted(range(like.dim()), key=like.stride, reverse=True)
        return torch.empty_permuted(shape, order, dtype=like.dtype, device=like.device).zero_()

    def _own(self, whole: Tensor) -> Tensor:
        return whole[self.part.rows.to(whole.device)]


class _Sum(torch.autograd.Function):
    """Sum over the processes, with its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return processes.add_up(value.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return processes.add_up(gradient.clone())


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` over the rows of all processes."""
    if not training:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    dims = [d for d in range(input.dim()) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(input.dim())]
    size = float(processes.add_up(torch.tensor(input.numel() / input.shape[1])))
    mean = _Sum.apply(input.sum(dims)) / size
    centred = input - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(dims)) / size
    with torch.no_grad():
        for running, now in ((running_mean, mean), (running_var, variance * size / (size - 1))):
            if running is not None:
                running.lerp_(now.to(running.dtype), momentum)
    out = centred * (variance + eps).rsqrt().view(shape)
    out = out if weight is None else out * weight.view(shape)
    return out if bias is None else out + bias.view(shape)


def _norms_of_all(norm: float, own: Any, *embeddings: Tensor, require_pow: bool = False) -> Tensor:
    r"""RecBole's ``EmbLoss``, :math:`\sum_e \|e\|_2 / B`, which is no mean over rows.

    With :math:`e_r` the own rows of e, and :math:`\|e\|` that of all rows, the term has the value
    :math:`\|e_r\|^2 / \|e\|`, which adds up to :math:`\|e\|`, and the gradient
    :math:`e_r / \|e\|`.
    """
    if require_pow or norm != 2:
        return own(*embeddings, require_pow=require_pow)
    squares = torch.stack([e.square().sum() for e in embeddings])
    length = processes.add_up(squares.detach().clone()).sqrt().clamp(min=1e-30)
    half = squares / (2 * length)
    return ((half + half.detach()).sum() / embeddings[-1].shape[0]).reshape(1)


@contextlib.contextmanager
def rows_of_all(model: nn.Module, part: Part) -> Iterator[None]:
    """Let a model compute on some rows of a batch as if it had them all."""
    if part.whole:
        yield
        return
    norms = [module for module in model.modules() if type(module) is EmbLoss]
    for module in norms:
        own = module.forward
        module.forward = lambda *e, m=module, f=own, **k: _norms_of_all(m.norm, f, *e, **k)
    try:
        with RowsOfAll(part):
            yield
    finally:
        for module in norms:
            del module.forward  # the class's own is under it


class _OfAll(torch.autograd.Function):
    """The batch's losses from the parts'; after their backward pass the gradients are added up."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, weight: float, add_up: Callable[[], None]) -> Tensor:
        ctx.weight, ctx.add_up = weight, add_up
        return processes.add_up(losses * weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # At the end of the whole pass, and so before gradients are clipped.
        torch.autograd.Variable._execution_engine.queue_callback(ctx.add_up)  # type: ignore[attr-defined]
        return gradient * ctx.weight, None, None


class Parts:
    """A training loader that gives this process's part of each batch.

    Args:
        loader: RecBole's or ours, which draws the same batches in all processes.

    Attributes:
        batch: The last batch, whole.
        part: This process's rows of it.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.batch: Any = None
        self.part = part_of(0, 1, 0, 1)

    def __iter__(self) -> Iterator[Interaction]:
        for batch in self.loader:
            times = getattr(self.loader, "times", 1) or 1
            self.batch = batch
            self.part = part_of(len(batch), times, launched.rank(), launched.size())
            yield self.part.take(batch)

    def __len__(self) -> int:
        return len(self.loader)


class PartsTrainer(Trainer):
    """A base class right above RecBole's trainer, for one of several processes."""

    _compared = False
    _logged: dict[str, list[Any]]  # of the trainer over this class

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        parts, loss_func = Parts(train_data), loss_func or self.model.calculate_loss

        def loss_of_all(interaction: Any) -> Any:
            if not self._compared:
                logged, self._logged = self._logged, {}
                self._compare(loss_func, parts)
                self._compared, self._logged = True, logged
            return self._loss_of_all(loss_func, interaction, parts.part)

        losses = super()._train_epoch(parts, epoch_idx, loss_of_all, False)
        self._agree()
        return losses

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate, each process some of the rows; all get the result of the first."""
        loaders = (eval_data, getattr(eval_data, "labelled", None))
        sharing = [loader for loader in loaders if isinstance(loader, Blocks)]
        for loader in sharing:
            loader.in_parts = True
        self.eval_collector.in_parts = bool(sharing)
        try:
            result = super().evaluate(eval_data, *args, **kwargs)
        finally:
            self.eval_collector.in_parts = False
            for loader in sharing:
                loader.in_parts = False
        self._agree()
        return result

    def _loss_of_all(self, loss_func: Any, interaction: Any, part: Part) -> Any:
        with rows_of_all(self.model, part):
            losses = loss_func(interaction)
        several = losses if isinstance(losses, tuple) else (losses,)
        stacked = torch.stack([torch.as_tensor(loss).reshape(()) for loss in several])
        whole = _OfAll.apply(stacked, part.weight, self._add_gradients_up).unbind()
        return whole if isinstance(losses, tuple) else whole[0]

    def _parameters(self) -> list[nn.Parameter]:
        of_optimizer = (p for group in self.optimizer.param_groups for p in group["params"])
        found = {id(p): p for p in (*of_optimizer, *self.model.parameters()) if p.requires_grad}
        return list(found.values())

    def _add_gradients_up(self) -> None:
        """Add the gradients of all processes up, in one message of each type of number."""
        parameters = self._parameters()
        for p in parameters:
            if p.grad is not None and p.grad.is_sparse:
                raise InputError("several processes: sparse gradients are not supported")
        there = torch.tensor([float(p.grad is not None) for p in parameters])
        processes.add_up(there)
        used = [p for p, n in zip(parameters, there.tolist()) if n > 0]
        for dtype in dict.fromkeys(p.dtype for p in used):
            own = [p for p in used if p.dtype == dtype]
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
            flat = processes.add_up(torch.cat([g.reshape(-1) for g in grads]))
            for p, g, part in zip(own, grads, flat.split([g.numel() for g in grads])):
                p.grad = g.copy_(part.view_as(g))

    def _compare(self, loss_func: Any, parts: Parts) -> None:
        """Refuse a loss whose gradient of a batch is not that of its parts.

        Raises:
            OptionError: Naming the model.
        """
        batch, part = parts.batch.to(self.device), parts.part
        generators = self._generators()
        state = RandomState.now(**generators)
        kept = self._kept()
        with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
            losses = loss_func(batch)
        loss: Any = sum(losses) if isinstance(losses, tuple) else losses
        whole = self._gradient_of(loss)
        after = RandomState.now(**generators)
        state.restore(**generators)
        self._put_back(kept)
        with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
            losses = self._loss_of_all(loss_func, part.take(batch), part)
        loss = sum(losses) if isinstance(losses, tuple) else losses
        loss.backward()
        added = {n: p.grad for n, p in enumerate(self._parameters()) if p.grad is not None}
        drawn = _digest(after) == _digest(RandomState.now(**generators))
        self.optimizer.zero_grad()
        state.restore(**generators)
        self._put_back(kept)
        length = sum(float(g.double().square().sum()) for g in whole.values()) ** 0.5
        zero = torch.zeros(())
        off = sum(
            float((whole.get(n, zero) - added.get(n, zero)).double().square().sum())
            for n in {*whole, *added}
        )
        off = off**0.5 / max(length, 1e-30)
        off, drawn = processes.share([off, drawn])
        if not off <= (_TOLERANCE_AMP if self.enable_amp else _TOLERANCE):
            why = f"the gradient of a batch is not that of its parts (off by {off:.2g} of it)"
        elif not drawn:
            why = "its random numbers depend on the number of rows"
        else:
            return
        raise OptionError(
            "model",
            self.config["label"],
            f"cannot be trained by {launched.size()} processes: {why}; train it in one process",
        )

    def _gradient_of(self, loss: Tensor) -> dict[int, Tensor]:
        parameters = self._parameters()
        found = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
        return {n: g for n, g in enumerate(found) if g is not None}

    def _kept(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a loss may count in the model."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        return self._counters(), buffers

    @torch.no_grad()
    def _put_back(self, kept: tuple[dict[str, Any], dict[str, Tensor]]) -> None:
        for name, value in kept[0].items():
            setattr(self.model, name, value)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(kept[1][name])

    @torch.no_grad()
    def _agree(self) -> None:
        """Go on alike: processors of several kinds round otherwise, and an evaluation may draw."""
        tensors = [t for t in self.model.state_dict().values() if t.is_floating_point()]
        total = sum((t.double().sum() for t in tensors), torch.zeros((), dtype=torch.double))
        if not processes.agree([hash(float(total)) >> 1]):
            for tensor in tensors:
                processes.take_from_first(tensor)
        state = RandomState.now(**self._generators())
        if not processes.agree([_digest(state)]):
            plain = processes.share(_as_lists(state.to_plain()) if launched.is_first() else None)
            RandomState.from_plain(_as_tensors(plain)).restore(**self._generators())


def _as_lists(plain: Any) -> Any:
    if isinstance(plain, Mapping):
        return {key: _as_lists(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_as_lists(value) for value in plain]
    return plain.tolist() if hasattr(plain, "tolist") else plain


def _as_tensors(plain: Mapping[str, Any]) -> dict[str, Any]:
    states = {"python": plain["python"], "numpy": plain["numpy"]}
    for name in plain.keys() - states.keys() - {"cuda"}:
        states[name] = torch.tensor(plain[name], dtype=torch.uint8)
    return {**states, "cuda": [torch.tensor(s, dtype=torch.uint8) for s in plain["cuda"]]}


def _digest(state: RandomState) -> int:
    """A number of 62 bits that tells states apart; those of GPUs are each process's own."""
    text = repr(_as_lists(state._replace(cuda=[]).to_plain()))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 2


def refuse_parts(config: Any) -> None:
    """Refuse what cannot be trained by several processes, before any data are read.

    Raises:
        OptionError: Naming the model, the method or the option.
    """
    size = launched.size()
    if size == 1:
        return
    method, label = config.method, config["label"]
    cannot = f"cannot be trained by {size} processes"
    if config["MODEL_TYPE"] in (ModelType.TRADITIONAL, ModelType.DECISIONTREE):
        raise OptionError(
            "model", label, f"{cannot}: it has no training steps; run it in one process"
        )
    own = get_trainer(config["MODEL_TYPE"], config["model"])
    if own is not Trainer:
        why = f"{own.__name__} has a training loop of its own"
        raise OptionError("model", config["model"], f"{cannot}: {why}; train it in one process")
    if method is not None and not method.by_parts:
        why = f"{method.name} needs the whole batch"
        raise OptionError("model", method.name, f"{cannot}: {why}; train it in one process")
    if config["learner"].lower() == "sparse_adam":
        raise OptionError("learner", config["learner"], f"{cannot}; use adam")
    windows = config["fast"] and config["packed_step"]
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL and windows:
        # Rows that share a window share its dropout, and a part has other windows than the batch.
        why = f"with {size} processes it must be 0, which reads one row per target"
        raise OptionError("packed_step", config["packed_step"], why)
