"""Option learner=row_adam: Adam on the rows of a batch, and what others are left without."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.model.general_recommender.bpr import BPR
from torch import nn

from recbole_enhance.experiment.quick_start import resume_run
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training import row_adam
from recbole_enhance.training.row_adam import RowAdam
from recbole_enhance.training.trainer import EnhancedTrainer

N_USERS, N_ITEMS, D = 7, 9, 3
RATE, BETAS = 0.05, (0.8, 0.9)


def tables(seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Embedding(n, D, dtype=torch.float64) for n in (N_USERS, N_ITEMS)]
    for table in made:
        nn.init.normal_(table.weight, generator=generator)
    return made


def loss_of(made, users, items, negatives):
    user, item, negative = made[0](users), made[1](items), made[1](negatives)
    return -nn.functional.logsigmoid((user * (item - negative)).sum(1)).mean()


def step(made, optimizer, batch, clip=None):
    users, items, negatives = batch
    optimizer.zero_grad()
    if isinstance(optimizer, RowAdam):
        users, both = optimizer.take(users, torch.cat([items, negatives]))
        items, negatives = both.split(len(items))
    loss = loss_of(made, users, items, negatives)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([table.weight for table in made], clip)
    optimizer.step()
    return float(loss.detach())


def batches(number, size, seed):
    generator = torch.Generator().manual_seed(seed)
    ns = (N_USERS, N_ITEMS, N_ITEMS)
    return [
        tuple(torch.randint(n, (size,), generator=generator) for n in ns) for _ in range(number)
    ]


def row_optimizer(made, eps):
    return RowAdam(made[:1], made[1:], lr=RATE, betas=BETAS, eps=eps)


def dense_optimizer(made, eps):
    return torch.optim.Adam([t.weight for t in made], lr=RATE, betas=BETAS, eps=eps)


def assert_equal_tables(made, others, **tolerance):
    for ours, dense in zip(made, others):
        torch.testing.assert_close(ours.weight, dense.weight, **tolerance)


@pytest.mark.parametrize("whole", [1.0, 1e9])
def test_it_is_dense_adam_where_every_row_has_a_gradient_in_each_step(whole, monkeypatch):
    monkeypatch.setattr(row_adam, "_WHOLE", whole)
    ours, dense = tables(), tables()
    optimizers = row_optimizer(ours, 0.1), dense_optimizer(dense, 0.1)
    generator = torch.Generator().manual_seed(3)
    users, items = torch.arange(63) % N_USERS, torch.arange(63) % N_ITEMS
    for _ in range(6):
        order = torch.randperm(63, generator=generator)
        batch = users[order], items, items[order]
        losses = [step(*each, batch) for each in zip((ours, dense), optimizers)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
        assert_equal_tables(ours, dense, atol=1e-13, rtol=1e-12)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 99), st.booleans())
def test_it_is_dense_adam_but_for_eps_where_rows_are_skipped(sizes, seed, clips):
    """The losses are equal at each step, so a row is up to date when it is needed.

    A batch of 5 moves the items' table whole, one of 7 the users', too.
    """
    ours, dense = tables(seed), tables(seed)
    optimizers = row_optimizer(ours, 1e-40), dense_optimizer(dense, 1e-40)
    for batch in (batches(1, size, seed + n)[0] for n, size in enumerate(sizes)):
        clip = 0.1 if clips else None
        losses = [step(*each, batch, clip) for each in zip((ours, dense), optimizers)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    optimizers[0].catch_up()
    assert_equal_tables(ours, dense, atol=1e-9, rtol=1e-9)
    for weight, other in zip((t.weight for t in ours), (t.weight for t in dense)):
        for name in ("exp_avg", "exp_avg_sq"):
            both = (o.state[w][name] for o, w in zip(optimizers, (weight, other)))
            torch.testing.assert_close(*both, atol=1e-12, rtol=1e-9)


def slow(made, done, eps):
    """The rule of the module's docstring, row by row and step by step."""
    moments = [[[torch.zeros(D).double() for _ in range(2)] for _ in t.weight] for t in made]
    since = [[0] * len(t.weight) for t in made]
    beta1, beta2 = BETAS

    def catch_up(t, row, now):
        m, v = moments[t][row]
        k = now - since[t][row]
        own = eps * (1 - beta2**now) ** 0.5
        for i in range(1, k + 1):
            at = since[t][row] + i
            size = RATE * (1 - beta2**at) ** 0.5 / (1 - beta1**at)
            made[t].weight.data[row] -= size * (beta1 / beta2**0.5) ** i * m / (v.sqrt() + own)
        moments[t][row] = [m * beta1**k, v * beta2**k]
        since[t][row] = now

    for now, batch in enumerate(done):
        for t, ids in ((0, batch[0]), (1, torch.cat(batch[1:]))):
            for row in set(ids.tolist()):
                catch_up(t, row, now)
        gradients = torch.autograd.grad(loss_of(made, *batch), [t.weight for t in made])
        for t, ids in ((0, batch[0]), (1, torch.cat(batch[1:]))):
            for row in set(ids.tolist()):
                g, (m, v) = gradients[t][row], moments[t][row]
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                moments[t][row], since[t][row] = [m, v], now + 1
                m, v = m / (1 - beta1 ** (now + 1)), v / (1 - beta2 ** (now + 1))
                made[t].weight.data[row] -= RATE * m / (v.sqrt() + eps)
    for t, table in enumerate(made):
        for row in range(len(table.weight)):
            catch_up(t, row, len(done))


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_it_is_the_slow_loop(eps, monkeypatch):
    monkeypatch.setattr(row_adam, "_BLOCK", 4)  # several blocks to bring up to date
    ours, loop = tables(1), tables(1)
    optimizer, done = row_optimizer(ours, eps), batches(150, 2, 1)
    for batch in done:
        step(ours, optimizer, batch)
    optimizer.catch_up()
    with torch.enable_grad():
        slow(loop, done, eps)
    assert_equal_tables(ours, loop, atol=1e-11, rtol=1e-9)


def test_a_row_that_is_not_needed_is_not_touched():
    made = tables()
    optimizer, before = row_optimizer(made, 1e-8), tables()
    step(made, optimizer, (torch.tensor([2]), torch.tensor([1]), torch.tensor([5])))
    moved = [(t.weight != b.weight).any(1).nonzero().squeeze(1) for t, b in zip(made, before)]
    assert [rows.tolist() for rows in moved] == [[2], [1, 5]]
    step(made, optimizer, (torch.tensor([0]), torch.tensor([0]), torch.tensor([3])))
    row = made[0].weight[2].clone()
    optimizer.catch_up()
    assert not torch.equal(made[0].weight[2], row)


def test_rows_that_were_taken_and_not_stepped_are_as_they_were():
    made, others = tables(), tables()
    first, *rest = batches(8, 2, 4)
    optimizers = row_optimizer(made, 1e-8), row_optimizer(others, 1e-8)
    for batch in (first, *rest):
        for both in zip((made, others), optimizers):
            step(*both, batch)
        whole = made[0].weight
        optimizers[0].take(torch.tensor([1, 6]), torch.tensor([0, 8]))
        assert len(made[0].weight) == 2
        optimizers[0].put_back()
        assert made[0].weight is whole
    for optimizer in optimizers:
        optimizer.catch_up()
    assert_equal_tables(made, others, atol=0, rtol=0)


def test_the_state_is_dense_adams_and_goes_on_where_it_was():
    made, done = tables(), batches(12, 2, 5)
    optimizer = row_optimizer(made, 1e-40)
    for batch in done[:6]:
        step(made, optimizer, batch)
    state = optimizer.state_dict()
    again, dense = tables(1), tables(1)
    for twin in (again, dense):
        for table, own in zip(twin, made):
            table.load_state_dict(own.state_dict())
    continued, as_dense = row_optimizer(again, 1e-40), dense_optimizer(dense, 1e-40)
    continued.load_state_dict(copy.deepcopy(state))  # torch keeps the tensors that it is given
    moments = copy.deepcopy(state["state"])
    as_dense.load_state_dict({**as_dense.state_dict(), "state": moments})
    for batch in done[6:]:
        for both in zip((made, again, dense), (optimizer, continued, as_dense)):
            step(*both, batch)
    for each in (optimizer, continued):
        each.catch_up()
    assert_equal_tables(made, again, atol=0, rtol=0)
    assert_equal_tables(made, dense, atol=1e-9, rtol=1e-9)


# ---- runs ----------------------------------------------------------------------------------------

METHODS = {
    "BPR": {},
    "WBPR": {},
    "PRIS": {"pris_negatives": 3},
    "TCE": {"tce_drop_rate": 0.3, "tce_gradual": 1},
    "RCE": {},
    "AOBPR": {"aobpr_warmup_epochs": 1},
}
SMALL_BATCHES = {"train_batch_size": 16, "learning_rate": 0.05}


def losses(run):
    return [float(row["train_loss"]) for row in history_rows(Path(run["run_dir"]))]


@pytest.mark.parametrize("model", METHODS)
def test_a_run_has_dense_adams_losses(toy, model):
    options = {"epochs": 3, **SMALL_BATCHES, **METHODS[model]}
    if model == "AOBPR":  # it looks at rows between the steps: one batch holds nearly all
        options["train_batch_size"] = 10**4
    runs = [run_toy(toy, model, learner=name, **options) for name in ("adam", "row_adam")]
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=1e-3)
    assert len(set(losses(runs[1]))) == 3


def test_gradients_are_clipped_by_the_norm_of_all(toy):
    options = {"epochs": 2, **SMALL_BATCHES, "clip_grad_norm": {"max_norm": 1e-9}}
    runs = [run_toy(toy, "BPR", learner=name, **options) for name in ("adam", "row_adam")]
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=1e-4)
    plain = run_toy(toy, "BPR", learner="row_adam", **{**options, "clip_grad_norm": None})
    assert losses(plain)[-1] < losses(runs[1])[-1] - 1e-3


def test_a_stopped_run_goes_on_exactly(toy, monkeypatch):
    options = {"epochs": 5, "learner": "row_adam", **SMALL_BATCHES}
    whole, original = run_toy(toy, "BPR", **options), EnhancedTrainer._train_epoch

    def stop(self, *args, **kwargs):
        if len(self.history) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(EnhancedTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", run_dir="stopped", **options)
    resumed = resume_run("stopped", quiet=True)
    assert losses(resumed) == losses(whole)
    assert resumed["test_result"] == whole["test_result"]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("BPR", {"weight_decay": 0.1}, r"weight_decay=0.1: .* must be 0"),
        ("BPR", {"enable_scaler": True}, r"enable_scaler=True: must be False"),
        ("LightGCN", {}, r"learner=row_adam: LightGCN looks at more than rows"),
        ("SASRec", {"train_neg_sample_args": None}, r"learner=row_adam: SASRec looks at more"),
        ("DVR", {}, r"learner=row_adam: DVR looks at more than the rows of a batch; take adam"),
        ("RVRec", {}, r"learner=row_adam: RVRec looks at more than the rows of a batch"),
    ],
)
def test_what_cannot_be_trained_by_rows_is_refused(toy, model, options, message):
    with pytest.raises(OptionError, match=message):
        run_toy(toy, model, learner="row_adam", **options)
    assert not Path("runs").exists()


def test_several_processes_are_refused(toy, monkeypatch):
    monkeypatch.setattr(row_adam.launched, "size", lambda: 2)
    config = {"learner": "row_adam", "MODEL_TYPE": row_adam.ModelType.GENERAL}

    class Config(dict):
        model_class, method = BPR, None
        __missing__ = dict.get

    with pytest.raises(OptionError, match="learner=row_adam: cannot be trained by 2 processes"):
        row_adam.refuse_rows(Config(config))


class WithMore(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.bias = nn.Parameter(torch.zeros(1))


class WithPadding(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, self.embedding_size, padding_idx=0)


class OfAllRows(BPR):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) + self.item_embedding.weight.square().sum()


class OfAllIds(BPR):
    def calculate_loss(self, interaction):
        return (
            super().calculate_loss(interaction) + self.item_embedding.weight[-1 + self.n_items, 0]
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (WithMore, r"WithMore learns more than tables of users and items: bias; take adam"),
        (WithPadding, r"WithPadding has a table with options: Embedding\(.*padding_idx=0\)"),
        (OfAllRows, r"OfAllRows has a loss that looks at more than the rows of its batch"),
        (OfAllIds, r"OfAllIds has a loss that looks at more than the rows of its batch"),
    ],
)
def test_a_model_of_ones_own_is_looked_at(toy, model, message):
    options = toy_options(toy, model, learner="row_adam", epochs=1, **SMALL_BATCHES)

    def train():
        trainer, (train, valid, _) = assemble(options)
        trainer.fit(train, valid)

    with pytest.raises(OptionError, match=f"learner=row_adam: {message}"):
        train()


def test_sums_of_skipped_steps_outgrow_their_buffer_and_their_window():
    skipped = row_adam._Skipped((0.5, 0.9))
    sizes = [0.1 + 0.01 * n for n in range(200)]
    for size in sizes:
        skipped.add(size)
    ratio = 0.5 / 0.9**0.5
    for since in (0, 60, 63, 64, 150, 199, 200):
        expected = sum(size * ratio**k for k, size in zip(itertools.count(1), sizes[since:]))
        assert float(skipped.sums[since]) == pytest.approx(expected, rel=1e-12, abs=1e-300)
