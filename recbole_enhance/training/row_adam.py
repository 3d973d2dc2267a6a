r"""Adam that reads and writes only the rows of a batch: ``learner=row_adam``.

A batch of BPR looks at a few thousand rows of the users' and the items' table. Dense Adam makes a
gradient of both whole tables and moves every row of them, at each step. Here the rows of a batch
are copied into small tables, on which the model computes as ever, and are written back after the
step.

For a row without a gradient dense Adam goes on: its moments decay, and it moves by what is left
of them. Both are made up for when the row is needed again. After k such steps

.. math:: m \leftarrow \beta_1^k m, \qquad v \leftarrow \beta_2^k v, \qquad
    p \leftarrow p - \frac{m}{\sqrt v + \epsilon'} \sum_{i=1}^{k} \eta_{t+i}
    \Big(\frac{\beta_1}{\sqrt{\beta_2}}\Big)^i, \qquad
    \eta_t = \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}

which is what dense Adam does but for :math:`\epsilon`: there it stays as v decays, here
:math:`\epsilon'` decays with it. The sum is the same for all rows that were last needed at the
same step. A table with fewer rows than a batch has ids is moved whole: that costs less.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender.bpr import BPR
from recbole.trainer.trainer import Trainer
from recbole.utils import ModelType
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.adam import adam

from recbole_enhance.model.embeddings import user_and_item_tables
from recbole_enhance.options import launched
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.random_state import kept_random_state
from recbole_enhance.training import acceleration

NAME = "row_adam"
_GONE = 1e-17  # of a first moment: what a row moves by it is below a double's precision
_WHOLE = 1.0  # ids of a batch for each row of a table, from where on all its rows are moved
_BLOCK = 1 << 16  # rows that are brought up to date at once
_TOLERANCE = 1e-4  # of the loss; float32 sums up in another order


class _Skipped:
    """How far rows move in the steps that skip them.

    Args:
        betas: Of Adam.

    Attributes:
        steps: Since all rows were up to date.
        sums: The sum of the module's formula, in place i of rows that were last needed at step i
            of those. Shape: ``(steps + 1,)``, float64.
    """

    def __init__(self, betas: tuple[float, float]) -> None:
        self.betas = betas
        ratio = betas[0] / betas[1] ** 0.5
        powers = [ratio]
        while powers[-1] > _GONE and len(powers) < 10**5:
            powers.append(powers[-1] * ratio)
        self._powers = torch.tensor(powers[::-1], dtype=torch.float64)
        self.forget()

    def forget(self) -> None:
        """Begin anew: all rows are up to date."""
        self._buffer, self.steps = torch.zeros(64, dtype=torch.float64), 0

    @property
    def sums(self) -> Tensor:
        """See the class."""
        return self._buffer[: self.steps + 1]

    def add(self, size: float) -> None:
        r"""Count a step of size :math:`\eta_t`."""
        window = self.sums[-len(self._powers) :]
        window.add_(self._powers[-len(window) :], alpha=size)
        self.steps += 1
        if self.steps == len(self._buffer):
            self._buffer = torch.cat([self._buffer, torch.zeros_like(self._buffer)])


class _Side:
    """The tables of users, or those of items, and which of their rows a batch needs.

    Args:
        tables: All of the same number of rows.

    Attributes:
        rows: Of the batch, in rising order; None where all are moved. Shape: ``(n,)``.
        since: At which step each row was brought up to date. Shape: ``(rows of a table,)``.
    """

    def __init__(self, tables: Sequence[nn.Embedding]) -> None:
        self.tables = list(tables)
        self.weights = [cast(nn.Parameter, table.weight) for table in tables]
        n, device = len(self.weights[0]), self.weights[0].device
        self.rows: Tensor | None = None
        self.since = torch.zeros(n, dtype=torch.long, device=device)
        self._needed = torch.zeros(n, dtype=torch.bool, device=device)
        self._place = torch.zeros(n, dtype=torch.long, device=device)

    def choose(self, ids: Tensor) -> Tensor:
        """Take the rows of a batch; where each of them is among those. Shape: ``(any,)`` both."""
        self._needed[ids] = True
        rows = self._needed.nonzero().squeeze(1)
        self._needed[rows] = False
        self._place[rows] = torch.arange(len(rows), device=ids.device)
        self.rows = rows
        return self._place[ids]


class _Small:
    """Some rows of a table and of its moments, copied out; or all of them, in their place."""

    def __init__(self, weight: nn.Parameter, state: dict[str, Any], rows: Tensor | None) -> None:
        self.weight, self.state, self.rows = weight, state, rows
        self.p, self.m, self.v = self._whole()
        if rows is not None:
            self.p, self.m, self.v = (x.index_select(0, rows) for x in self._whole())
        self.parameter = weight if rows is None else nn.Parameter(self.p)

    def _whole(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight.detach(), self.state["exp_avg"], self.state["exp_avg_sq"]

    def write_back(self) -> None:
        """Write the rows into the table and its moments."""
        if self.rows is not None:
            for whole, own in zip(self._whole(), (self.p, self.m, self.v)):
                whole.index_copy_(0, self.rows, own)


class RowAdam(Optimizer):
    """Adam on the rows of a batch; see the module.

    From :meth:`take` to :meth:`step` the modules hold small tables, so that gradients, their
    clipping and what else looks at the model's parameters are those of the batch's rows. Between
    two steps a row of the whole tables is as its last step left it; :meth:`catch_up` brings all up
    to date.

    Args:
        users: Tables of the users.
        items: Tables of the items.
        lr: Learning rate.
        betas: Decay of the moments.
        eps: As Adam's.
    """

    def __init__(
        self,
        users: Sequence[nn.Embedding],
        items: Sequence[nn.Embedding],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.sides = (_Side(users), _Side(items))
        weights = [weight for side in self.sides for weight in side.weights]
        fused = bool(acceleration.fused(Adam(weights)).param_groups[0]["fused"])
        super().__init__(weights, {"lr": lr, "betas": betas, "eps": eps, "fused": fused})
        for weight in weights:
            self.state[weight] = {
                "step": torch.zeros((), device=weight.device if fused else "cpu"),
                "exp_avg": torch.zeros_like(weight, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(weight, requires_grad=False),
            }
        self._begun = 0  # steps before those that are counted as skipped
        self._skipped = _Skipped(betas)
        self._small: list[_Small] = []

    @property
    def _group(self) -> dict[str, Any]:
        return self.param_groups[0]

    @property
    def _steps(self) -> int:
        return self._begun + self._skipped.steps

    # ---- one step --------------------------------------------------------------------------

    def take(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Put the rows of a batch, brought up to date, in the place of the tables.

        Args:
            users: Ids of users. Shape: ``(any,)``.
            items: Ids of items. Shape: ``(any,)``.

        Returns:
            Where they are in the small tables. Shape: that of the arguments.
        """
        self.put_back()
        places = [self._take(side, ids) for side, ids in zip(self.sides, (users, items))]
        return places[0], places[1]

    def _take(self, side: _Side, ids: Tensor) -> Tensor:
        if len(ids) >= _WHOLE * len(side.since):
            self._catch_up(side)
            side.rows = None
            self._small += [_Small(weight, self.state[weight], None) for weight in side.weights]
            return ids
        places = side.choose(ids)
        assert side.rows is not None
        taken = self._up_to_date(side, side.rows)
        for table, small in zip(side.tables, taken):
            table.weight = small.parameter
        self._small += taken
        return places

    @torch.no_grad()
    def _up_to_date(self, side: _Side, rows: Tensor) -> list[_Small]:
        """Rows of a side's tables with what the steps that skipped them left out."""
        beta1, beta2 = self._group["betas"]
        small = [_Small(weight, self.state[weight], rows) for weight in side.weights]
        since = side.since[rows]
        skipped = (self._skipped.steps - since).double().unsqueeze(1)
        if not len(rows) or not bool(skipped.any()):
            return small
        moves = self._skipped.sums.to(rows.device)[since].unsqueeze(1)
        eps = self._group["eps"] * (1 - beta2**self._steps) ** 0.5
        for each in small:
            denominator = each.v.sqrt().add_(eps)
            each.p.addcdiv_(each.m * moves.to(each.m), denominator, value=-1)
            each.m *= (beta1**skipped).to(each.m)
            each.v *= (beta2**skipped).to(each.v)
        return small

    def put_back(self) -> None:
        """Put the tables back in their place, as they were."""
        for side in self.sides:
            for table, weight in zip(side.tables, side.weights):
                table.weight = weight
        self._small = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the rows that :meth:`take` took, and put the tables back."""
        loss = closure() if closure is not None else None
        group, small = self._group, self._small
        beta1, beta2 = group["betas"]
        leaves = [each.parameter for each in small]
        adam(
            [leaf.detach() for leaf in leaves],
            [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves],
            [each.m for each in small],
            [each.v for each in small],
            [],
            [each.state["step"] for each in small],
            fused=group["fused"],
            foreach=not group["fused"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        now = self._steps + 1
        self._skipped.add(group["lr"] * (1 - beta2**now) ** 0.5 / (1 - beta1**now))
        for side in self.sides:
            if side.rows is None:
                side.since.fill_(self._skipped.steps)
            else:
                side.since[side.rows] = self._skipped.steps
        for each in small:
            each.write_back()
        self.put_back()
        return loss

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring all rows up to date, as dense Adam has them at this step."""
        self.put_back()
        for side in self.sides:
            self._catch_up(side)
            side.since.zero_()
        self._begun = self._steps
        self._skipped.forget()

    def _catch_up(self, side: _Side) -> None:
        behind = (side.since < self._skipped.steps).nonzero().squeeze(1)
        for rows in behind.split(_BLOCK):
            for small in self._up_to_date(side, rows):
                small.write_back()
        side.since[behind] = self._skipped.steps

    # ---- state -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Step and moments of all rows, brought up to date; those of dense Adam."""
        self.catch_up()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state_dict)
        for side in self.sides:
            side.since.zero_()
        self._begun = int(self.state[self._group["params"][0]]["step"])
        self._skipped.forget()


def tables_alone(model: Any) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
    """The tables of users and of items of a model that learns nothing else.

    Args:
        model: A general recommender.

    Raises:
        OptionError: Naming what else there is.
    """
    users, items = user_and_item_tables(model, f"learner={NAME}")
    of_tables = {id(table.weight) for table in (*users, *items)}
    others = [n for n, p in model.named_parameters() if id(p) not in of_tables]
    if others:
        raise _refused(model, f"learns more than tables of users and items: {', '.join(others)}")
    for table in (*users, *items):
        plain = table.padding_idx is None and table.max_norm is None
        if not plain or table.sparse or table.scale_grad_by_freq:
            raise _refused(model, f"has a table with options: {table}")
    return users, items


def _refused(model: Any, why: str) -> OptionError:
    return OptionError("learner", NAME, f"{type(model).__name__} {why}; take adam")


def is_by_rows(config: Any) -> bool:
    """Whether a run is to be trained row by row."""
    return str(config["learner"]).lower() == NAME


def refuse_rows(config: Any) -> None:
    """Refuse what cannot be trained row by row, before any data are read.

    Args:
        config: The run's settings.

    Raises:
        OptionError: Naming the model, the method or the option, and what is allowed.
    """
    if not is_by_rows(config):
        return
    model_class, method = config.model_class, config.method
    ours = model_class.__module__.startswith(("recbole.", "recbole_enhance."))
    if config["MODEL_TYPE"] != ModelType.GENERAL or (ours and not issubclass(model_class, BPR)):
        name = model_class.__name__
        why = f"{name} looks at more than rows of tables of users and items; BPR works, else adam"
        raise OptionError("learner", NAME, why)
    if method is not None and not method.by_rows:
        why = f"{method.name} looks at more than the rows of a batch; take adam"
        raise OptionError("learner", NAME, why)
    if config["weight_decay"]:
        why = f"learner={NAME} leaves rows without a gradient alone, so it must be 0; or take adam"
        raise OptionError("weight_decay", config["weight_decay"], why)
    if config["enable_scaler"]:
        raise OptionError("enable_scaler", True, f"must be False with learner={NAME}")
    if launched.size() > 1:
        why = f"cannot be trained by {launched.size()} processes; take adam"
        raise OptionError("learner", NAME, why)


class RowTrainer(Trainer):
    """A base class right above RecBole's trainer, for ``learner=row_adam``."""

    optimizer: RowAdam
    _compared = False

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        if kwargs:  # a method's second one
            return super()._build_optimizer(**kwargs)
        return RowAdam(*tables_alone(self.model), lr=self.learning_rate)

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        whole = loss_func or self.model.calculate_loss

        def loss_of_rows(batch: Interaction) -> Any:
            if not self._compared:
                self._compare(batch)
                self._compared = True
            return whole(self._take(batch))

        try:
            return super()._train_epoch(train_data, epoch_idx, loss_of_rows, show_progress)
        finally:
            self.optimizer.catch_up()

    def _take(self, batch: Interaction) -> Interaction:
        """Put the batch's rows in the tables' place; the batch with its ids among them."""
        model = self.model
        names = [n for n in (model.ITEM_ID, model.NEG_ITEM_ID) if n in batch.interaction]
        items = torch.cat([batch[name] for name in names])
        users, items = self.optimizer.take(batch[model.USER_ID], items)
        places = dict(zip(names, items.split(len(batch))))
        return Interaction({**batch.interaction, model.USER_ID: users, **places})

    @torch.no_grad()
    def _compare(self, batch: Interaction) -> None:
        """Refuse a loss that is another one on the rows of its batch.

        Raises:
            OptionError: Naming the model.
        """
        values = []
        try:
            for rows in (lambda x: x, self._take):
                with kept_random_state():
                    losses = self.model.calculate_loss(rows(batch))
                values.append(float(sum(losses) if isinstance(losses, tuple) else losses))
        except (IndexError, RuntimeError, ValueError):
            values = [0.0, float("inf")]
        finally:
            self.optimizer.put_back()
        if abs(values[1] - values[0]) > _TOLERANCE * abs(values[0]):
            raise _refused(self.model, "has a loss that looks at more than the rows of its batch")
