import copy
import csv
import re
from pathlib import Path

import pytest
import torch
from iacn_backbones import RESULTS, built, examine, options_of

from recbole_enhance.enhancer.iacn import capsules, fused, method
from recbole_enhance.enhancer.iacn.fused import FusedItemEmbedding
from recbole_enhance.enhancer.iacn.method import BACKBONES, IaCNOptions, InterestNetwork
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.options.schema import describe
from recbole_enhance.testing.contract import Contract

PAGE = Path(__file__).parents[3] / "docs" / "papers" / "iacn.md"
LIGHT = {
    "mlp_hidden_size": [8],
    "valid_metric": "NDCG@5",
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20"},
}


class TestContract(Contract):
    method = "IaCN"
    backbones = ("DIN", "WideDeep", "SASRec")
    refused = ("FPMC", "FFM", "LR", "S3Rec", "BPR", "MultiDAE", "Pop")
    neutral = ({"iacn_delta": 1.0, "iacn_aux_init_scale": 0.0},)
    neutral_over = ("DIN", "SASRec")  # all others below, for some steps
    resumed = tuple(
        {"backbone": backbone, "iacn_routing": "normal", "stopping_step": 9}
        for backbone in ("DIN", "WideDeep")
    )
    bad_options = (
        ({"iacn_delta": 1.5}, "iacn_delta=1.5: must be between 0 and 1"),
        ({"iacn_delta": -0.1}, "iacn_delta=-0.1: must be between 0 and 1"),
        ({"iacn_capsules": 0}, "iacn_capsules=0: must be a whole number above 0"),
        ({"iacn_capsules": 2.5}, "iacn_capsules=2.5: must be a whole number above 0"),
        ({"iacn_iterations": 0}, "iacn_iterations=0: must be a whole number above 0"),
        ({"iacn_lambda": -1}, "iacn_lambda=-1: must be at least 0"),
        ({"iacn_aux_share": 1.0}, "iacn_aux_share=1.0: must be above 0 and below 1"),
        (
            {"iacn_routing": "zeros"},
            "iacn_routing=zeros: with iacn_map=shared all capsules are equal",
        ),
        ({"iacn_routing": "ones"}, "iacn_routing=ones: must be one of item, normal, zeros"),
        ({"iacn_interest": "attention", "iacn_map": "per_capsule"}, "iacn_map=per_capsule: "),
        ({"backbone": "FPMC"}, "backbone=FPMC: it has four tables, two of them of items"),
        ({"backbone": "FFM"}, "backbone=FFM: its item vectors are one table per field"),
        ({"backbone": "BPR"}, "backbone=BPR: it sees no sequence of items"),
        ({"iacn_deltas": 1}, "iacn_deltas: unknown option"),
    )

    def options_of(self, backbone):
        pairs = backbone in ("DIN", "WideDeep")
        return {k: v for k, v in LIGHT.items() if pairs or k != "mlp_hidden_size"}


def run(toy, saved=True, backbone="DIN", **options):
    options = options_of(toy, backbone, **options)
    return run_recbole_enhance(config_dict=options, saved=saved)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_delta_1_is_the_backbone_bit_for_bit_and_gradients_are_shared_by_delta(toy, backbone):
    row = examine(toy, backbone)
    assert row["same"]
    assert row["linear"]
    assert row["square"]  # the map S is all that is added


def test_the_table_of_backbones_is_the_one_the_tests_run():
    text = (RESULTS / "iacn_backbones.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \|.*\| (yes|no) \| (yes|no) \|", text, re.M)
    assert tuple(row[0] for row in rows) == BACKBONES
    assert {row[1:] for row in rows} == {("yes", "yes")}


@pytest.mark.parametrize("backbone", ["DIN", "SASRec", "WideDeep"])
def test_at_its_start_the_fused_model_is_the_backbone(toy, backbone):
    options = options_of(toy, backbone, iacn_aux_init_scale=0)
    ours, plain = built(options).trainer.model, built(options, plain=True).trainer.model
    state = ours.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_the_start_of_the_interest_part_has_its_size_and_leaves_the_rest(toy, scale):
    model = built(options_of(toy, "DIN", iacn_aux_init_scale=scale)).trainer.model
    plain = built(options_of(toy, "DIN"), plain=True).trainer.model
    table = model.iacn_table[0]
    rows = slice(table.first_row, table.first_row + table.n_items)
    std = table.raw[rows, -table.aux_size :].std().item()
    assert std == pytest.approx(scale * table.aux_size**-0.5, rel=0.15)
    before = plain.embedding_layer.token_embedding_table["item"].embedding.weight
    assert torch.equal(table.raw[:, : -table.aux_size], before[:, : -table.aux_size])


def test_without_delta_and_lambda_the_interest_part_never_moves(toy):
    run = built(options_of(toy, "SASRec", iacn_delta=0, iacn_lambda=0))
    table = run.trainer.model.iacn_table[0]
    before = table.raw.detach().clone()
    run.trainer._train_epoch(run.train_data, 0)
    assert torch.equal(table.raw[:, -table.aux_size :], before[:, -table.aux_size :])
    assert not torch.equal(table.raw[:, : -table.aux_size], before[:, : -table.aux_size])


def test_prediction_needs_neither_capsules_nor_a_label(toy):
    run = built(options_of(toy, "DIN"))
    model = run.trainer.model.eval()
    batch = next(iter(run.train_data))
    before = model.predict(batch)
    del model.iacn
    del batch.interaction["label"]
    assert torch.equal(model.predict(batch), before)


def test_a_copy_keeps_one_table_for_both_tasks(toy):
    model = copy.deepcopy(built(options_of(toy, "WideDeep", iacn_routing="normal")).trainer.model)
    assert model.iacn_table[0] is model.token_embedding_table.embedding


def test_positives_and_their_negatives_share_capsules_as_if_routed_alone(toy):
    run = built(options_of(toy, "DIN"))
    model, batch = run.trainer.model, next(iter(run.train_data))
    shared = model.interests(batch)
    history = batch["item_id_list"]
    alone = model.iacn(model.iacn_table[0].interests(history), history, batch["user_id"])
    for ours, theirs in zip(shared, alone):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backbone", ["DIN", "SASRec", "TransRec"])
@pytest.mark.parametrize(
    "options",
    [
        {"iacn_loss": "sampled_softmax"},
        {"iacn_routing": "normal"},
        {"iacn_interest": "attention"},
        {"iacn_routing": "zeros", "iacn_map": "per_capsule"},
        {"iacn_hard_attention": True},
        {"iacn_attention_power": 0},
        {"iacn_attention_power": 2.5},
        {"iacn_stop_gradient": False},
        {"iacn_profile": "concat", "iacn_use_user_id": True},
        {"iacn_use_user_id": True},
        {"iacn_adaptive_k": False, "iacn_capsules": 1},
        {"iacn_aux_share": 0.01},
    ],
    ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()),
)
def test_every_choice_trains_and_moves_every_parameter_of_the_task(toy, backbone, options):
    run = built(options_of(toy, backbone, **options))
    model = run.trainer.model
    before = {name: p.detach().clone() for name, p in model.iacn.named_parameters()}
    run.trainer._train_epoch(run.train_data, 0)
    assert run.trainer.history[-1]["iacn_aux_gradient"] > 0
    moved = {name for name, p in model.iacn.named_parameters() if not torch.equal(before[name], p)}
    assert moved == set(before)


def test_a_neutral_method_leaves_the_random_states_alone_whatever_it_draws(toy):
    neutral = {
        "iacn_delta": 1.0,
        "iacn_aux_init_scale": 0.0,
        "iacn_routing": "normal",
        "iacn_loss": "sampled_softmax",
        "iacn_use_user_id": True,
    }
    weights = []
    for plain in (False, True):
        run = built(options_of(toy, "SASRec", **neutral), plain=plain)
        run.trainer._train_epoch(run.train_data, 0)
        weights.append((run.trainer.model.state_dict(), torch.get_rng_state()))
    assert torch.equal(weights[0][1], weights[1][1])
    for name, value in weights[1][0].items():
        assert torch.equal(weights[0][0][name], value), name


def test_user_columns_are_routed_or_joined(tmp_path):
    options = {
        "dataset": "ml-100k",
        "model": "IaCN",
        "backbone": "DIN",
        "mlp_hidden_size": [8],
        "user_inter_num_interval": "[0,30]",
        "MAX_ITEM_LIST_LENGTH": 5,
    }
    for profile in describe(IaCNOptions, "iacn_profile").choices:
        run = built({**options, "iacn_profile": profile})
        network: InterestNetwork = run.trainer.model.iacn
        batch = next(iter(run.train_data))
        weights = run.trainer.model.interests(batch).weights
        names = network.profile.names if network.profile is not None else []
        assert names == ([] if profile == "none" else ["age", "gender", "occupation"])
        assert weights.shape[1] == 5 + 3 * (profile == "route")
        assert hasattr(network, "mix") == (profile == "concat")


def test_a_pooled_history_reads_the_candidates_rows(toy):
    options = options_of(toy, "WideDeep", iacn_pooled_history=True)
    run = built(options)
    model, table = run.trainer.model, run.trainer.model.iacn_table[0]
    assert "item_id_list" in model.token_seq_field_names
    place = model.token_seq_field_names.index("item_id_list")
    items = torch.tensor([[1, 2]])
    rows = model.token_seq_embedding_table[place](items)
    assert torch.equal(rows, table.raw[items + table.first_row])
    assert "item_id_list" not in built(options_of(toy, "WideDeep")).trainer.model.field_names
    run.trainer._train_epoch(run.train_data, 0)


def test_the_ratio_of_the_gradients_is_in_the_history(toy):
    result = run(toy, epochs=2, iacn_aux_init_scale=1.0)
    with open(Path(result["run_dir"], "history.csv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        main, aux = float(row["iacn_main_gradient"]), float(row["iacn_aux_gradient"])
        assert float(row["iacn_gradient_ratio"]) == pytest.approx(aux / main, rel=1e-4)
    assert float(rows[0]["iacn_gradient_ratio"]) > 0.05  # alive; see docs/papers/iacn.md
    trainer = built(options_of(toy, "DIN", iacn_delta=1.0)).trainer
    trainer._train_epoch(list(built(options_of(toy, "DIN")).train_data)[:1], 0)
    assert trainer.history[-1]["iacn_aux_gradient"] == 0


@pytest.mark.parametrize("backbone", ["DIN", "WideDeep"])
def test_a_loaded_run_keeps_one_table(toy, backbone):
    run(toy, run_dir="run", epochs=1, backbone=backbone)
    loaded = load_run("run")
    table = loaded.trainer.model.iacn_table[0]
    assert isinstance(table, FusedItemEmbedding)
    assert any(module is table for module in loaded.trainer.model.modules())


def test_data_that_do_not_fit_are_told_in_one_line(toy):
    no_time = {"inter": ["user_id", "item_id"]}
    for options, message in (
        ({"load_col": no_time}, "timestamp"),
        ({"iacn_profile": "concat"}, "iacn_profile=concat: no user columns of tokens are loaded"),
        ({"embedding_size": 1}, "backbone=DIN: IaCN divides item vectors of at least 2 numbers"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            built(options_of(toy, "DIN", **options))
        assert "\n" not in str(error.value)


def test_a_class_of_the_users_with_several_tables_is_refused_when_it_is_built(toy):
    from recbole.model.sequential_recommender.fpmc import FPMC

    class Own(FPMC):
        pass

    options = {k: v for k, v in options_of(toy, "DIN").items() if k != "mlp_hidden_size"}
    options.update(backbone=Own, loss_type="BPR")
    with pytest.raises(ValueError, match="backbone=Own: IaCN needs one item table"):
        built(options)


def test_every_documented_name_exists():
    page = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"`enhancer\.iacn\.(\w+)\.(\w+)", page)
    assert len(found) >= 9
    for module, name in found:
        assert hasattr({"method": method, "fused": fused, "capsules": capsules}[module], name), name
