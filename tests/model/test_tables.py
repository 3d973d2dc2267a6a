"""What every recommender of two tables must keep, whatever its equations."""

import copy
import importlib
import re
from pathlib import Path

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_enhance.experiment.quick_start import load_run, resume_run
from recbole_enhance.model import load_model
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml
from recbole_enhance.testing.worlds import N_USERS, assemble, run_toy, toy_options
from recbole_enhance.training.losses import weighable_losses
from recbole_enhance.training.trainer import EnhancedTrainer

# Model and options; every line of every model's loss is reached.
CASES = {
    "ProtoMF": ("ProtoMF", {}),
    "U-ProtoMF": ("ProtoMF", {"protomf_variant": "u", "protomf_loss": "bce"}),
    "I-ProtoMF": (
        "ProtoMF",
        {
            "protomf_variant": "i",
            "protomf_loss": "sampled_softmax",
            "protomf_negatives": 5,
            "protomf_item_prototypes": 8,
        },
    ),
    "softmax": ("ProtoMF", {"protomf_loss": "sampled_softmax", "protomf_negatives": 4}),
    "MultiGCCF": ("MultiGCCF", {}),
    "TransGNN": ("TransGNN", {}),
    "sampled": (
        "TransGNN",
        {"transgnn_variant": "sampled", "transgnn_neighbours": 5, "transgnn_reg_weight": 1e-3},
    ),
}
NAMES = sorted({name for name, _ in CASES.values()})


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def made(toy, case, **options):
    model, own = case
    trainer, loaders = assemble(toy_options(toy, model, show_progress=False, **{**own, **options}))
    return trainer.model, trainer, loaders


def pairs(model, n=50):
    generator = torch.Generator().manual_seed(1)
    user = torch.randint(1, model.n_users, (n,), generator=generator)
    item = torch.randint(1, model.n_items, (n,), generator=generator)
    return Interaction({"user_id": user, "item_id": item})


def test_the_three_steps_are_the_models_own_loss_bit_for_bit(toy, case):
    model, _, loaders = made(toy, case)
    batch = next(iter(loaders[0]))
    twin = copy.deepcopy(model)
    torch.manual_seed(3)
    own = model.calculate_loss(batch)
    own.backward()
    torch.manual_seed(3)
    tables = twin.enhancer_tables()
    loss = twin.enhancer_loss(*twin.enhancer_head(*tables), batch, *tables)
    loss.backward()
    assert torch.equal(own, loss)
    for mine, other in zip(model.parameters(), twin.parameters()):
        assert (mine.grad is None) == (other.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, other.grad)
    # A method that changes the tables changes the loss, and the gradient reaches it.
    changed = [table.detach().clone().requires_grad_() for table in tables]
    twin.enhancer_loss(*twin.enhancer_head(*changed), batch, *changed).backward()
    assert all(bool(table.grad.any()) for table in changed)


def test_scores_are_dot_products_of_rows_in_full_and_in_pairs(toy, case):
    model, _, _ = made(toy, case)
    model.eval()
    batch = pairs(model)
    with torch.no_grad():
        users, items = model.enhancer_head(*model.enhancer_tables())
        full = model.full_sort_predict(batch).view(50, -1)
        single = model.predict(batch)
    assert full.shape == (50, model.n_items)
    assert single.shape == (50,)
    for row, (user, item) in enumerate(zip(batch["user_id"], batch["item_id"])):
        want = float((users[user].double() * items[item].double()).sum())
        assert float(single[row]) == pytest.approx(want, rel=1e-4, abs=1e-5)
        assert float(full[row, item]) == pytest.approx(want, rel=1e-4, abs=1e-5)
    with_gradient = model.predict(batch)  # never from kept tables
    with_gradient.sum().backward()
    assert torch.allclose(with_gradient, single, atol=1e-5)


def test_kept_tables_are_never_stale(toy, case):
    model, trainer, loaders = made(toy, case)
    batch = pairs(model)

    def scores():
        model.eval()
        with torch.no_grad():
            return model.full_sort_predict(batch)

    def fresh():
        model._kept = None
        return scores()

    first = scores()
    kept = model._kept
    assert kept is not None
    with torch.no_grad():
        model.predict(batch)
        assert model.full_sort_predict(batch).equal(first)
        assert model._kept is kept  # made once
    model.eval()
    assert model._kept is None
    scores()
    state = copy.deepcopy(model.state_dict())
    with torch.no_grad():  # an attack moves parameters in evaluation mode
        model.user_embedding.weight.add_(0.5)
    with torch.no_grad():
        moved = model.full_sort_predict(batch)
    assert not torch.equal(moved, first)
    assert torch.equal(moved, fresh())
    model.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(model.full_sort_predict(batch), first)
    trainer._train_epoch(loaders[0], 0)
    after = scores()
    assert not torch.equal(after, first)
    assert torch.equal(after, fresh())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(twin.full_sort_predict(batch), after)


def test_nothing_held_out_reaches_the_model(toy, case, monkeypatch):
    """Other validation and test rows: the same graphs, the same training, the same scores."""
    from recbole.data.dataset import Dataset

    build = Dataset.build

    def other_rows(self):
        train, *held_out = build(self)
        for part in held_out:
            part.inter_feat[part.iid_field] = part.inter_feat[part.iid_field] % N_USERS // 2 + 1
        return [train, *held_out]

    results = []
    for patch in (False, True):
        if patch:
            monkeypatch.setattr(Dataset, "build", other_rows)
        model, trainer, loaders = made(toy, case)
        trainer._train_epoch(loaders[0], 0)
        results.append((model.state_dict(), loaders[2]._dataset.inter_feat["item_id"]))
    (one, held_one), (two, held_two) = results
    assert not torch.equal(held_one, held_two)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_its_loss_falls_and_it_beats_popularity(toy, case):
    model, own = case
    options = {"epochs": 40, "stopping_step": 40, "learning_rate": 0.01, **own}
    if model == "ProtoMF":
        options["weight_decay"] = 0.01
    result = run_toy(toy, model, run_dir="run", **options)
    losses = [row["train_loss"] for row in load_history("run")]
    assert losses[-1] < losses[0]
    pop = run_toy(toy, "Pop", saved=False)["test_result"]["ndcg@10"]
    assert result["test_result"]["ndcg@10"] > pop


def load_history(folder):
    import csv

    with open(Path(folder, "history.csv")) as file:
        rows = list(csv.DictReader(file))
    return [{"train_loss": float(row["train_loss"])} for row in rows]


def test_a_stopped_run_resumes_to_the_same_bits(toy, case, monkeypatch):
    model, own = case
    options = {**own, "epochs": 4}
    whole = run_toy(toy, model, run_dir="whole", **options)
    train = EnhancedTrainer._train_epoch

    def stop(self, data, epoch, *args, **kwargs):
        if epoch == 2:
            raise KeyboardInterrupt
        return train(self, data, epoch, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(EnhancedTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, model, run_dir="stopped", **options)
    assert resume_run("stopped")["test_result"] == whole["test_result"]
    one, two = (load_run(folder) for folder in ("whole", "stopped"))
    states = one.trainer.model.state_dict(), two.trainer.model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert dict(one.trainer.evaluate(one.test_data)) == whole["test_result"]
    assert [row["train_loss"] for row in load_history("whole")] == [
        row["train_loss"] for row in load_history("stopped")
    ]


def test_compressed_graphs_train_as_coordinates_do(toy, case):
    """`fast` changes loader and kernels; on one batch the loss is the same."""
    model, trainer, loaders = made(toy, case)
    batch = next(iter(loaders[0]))
    plain = type(model)(trainer.config, loaders[0]._dataset)
    plain.load_state_dict(model.state_dict())
    losses = []
    for one in (model, plain):
        one.eval()
        losses.append(one.calculate_loss(batch))
        losses[-1].backward()
    assert torch.allclose(losses[0], losses[1], rtol=1e-5)
    for mine, other in zip(model.parameters(), plain.parameters()):
        if mine.grad is not None:
            assert torch.allclose(mine.grad, other.grad, atol=1e-6)


def test_dvr_weighs_its_samples(toy, case):
    model, own = case
    weighable = len(weighable_losses(made(toy, case)[0])) == 1
    assert weighable == (own.get("protomf_loss", "bpr") == "bpr")
    options = {"backbone": model, "epochs": 2, **own}
    if weighable:
        run_toy(toy, "DVR", run_dir="valued", **options)
        assert Path("valued", "values.csv.gz").is_file()
    else:
        with pytest.raises(ValueError, match="0 loss modules with one loss per sample"):
            run_toy(toy, "DVR", saved=False, **options)


def test_adversarial_training_moves_its_tables(toy, case):
    model, own = case
    options = {"backbone": model, "epochs": 1, "rer_target": "params", "rer_eps": 0.1, **own}
    result = run_toy(toy, "RER", saved=False, **options)
    assert 0 <= result["test_result"]["ndcg@10"] <= 1


def test_ego_tables_have_their_usual_names(toy, case):
    model, _, _ = made(toy, case)
    assert model.user_embedding.num_embeddings == model.n_users
    assert model.item_embedding.num_embeddings == model.n_items


def _module_of(name):
    return load_model(name).__module__


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_read_and_documented(name):
    path = resource_dir("properties") / "model" / f"{name}.yaml"
    module = Path(importlib.import_module(_module_of(name)).__file__).read_text()
    prefix = f"{name.lower()}_"
    documented = {key for key in load_yaml(path) if key.startswith(prefix)}
    assert documented == set(re.findall(rf'config\["({prefix}\w+)"\]', module))
    for line in path.read_text().splitlines()[1:]:
        assert re.match(r"\s*\w+: ?.*# \((int|float|bool|str|list|dict)\) .*\.$", line), line
