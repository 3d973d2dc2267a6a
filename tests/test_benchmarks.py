import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_enhance.enhancer.rvrec import item_query
from recbole_enhance.enhancer.rvrec.histories import Chains, gaps, recency, younger

ROOT = Path(__file__).parents[1]
NUMBER = r"([\d.]+)"


def run(name, *options):
    """Run a benchmark in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *options]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=surroundings
    )


def quick_lines(name, *options):
    done = run(name, "--quick", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_dvr_step_ends_with_ratios(tmp_path):
    lines = quick_lines("dvr_step", "--threads=1", f"--data_path={tmp_path}")
    assert lines[0] == f"no amazon-beauty in {tmp_path}: using ml-100k, which ships with RecBole"
    pattern = rf"benchmark=dvr_step step_ratio={NUMBER} reward_ratio={NUMBER} peak_mb=(\d+)"
    step, reward, peak = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert step > 0
    assert reward > 0
    assert 100 < peak < 10_000


def test_metric_speed_ends_with_one_line_per_metric():
    lines = quick_lines("metric_speed", "--repeats=1")
    assert lines[0].startswith("ml-100k: 943 users x 20 items, ")
    pattern = rf"benchmark=metric_speed metric=(\w+) seconds={NUMBER}(?: recbole_ratio={NUMBER})?"
    last = [re.fullmatch(pattern, line) for line in lines if line.startswith("benchmark=")]
    assert all(last)
    seconds = {found[1]: float(found[2]) for found in last}
    assert {"ild", "groupgap", "poprsp", "group_table"} <= set(seconds)
    assert min(seconds.values()) >= 0
    ratios = [float(found[3]) for found in last if found[3]]
    assert len(ratios) == 5  # the five that replace RecBole's
    assert min(ratios) > 0


@pytest.mark.slow
def test_evaluation_ends_with_ratios(tmp_path):
    lines = quick_lines("evaluation", f"--data_path={tmp_path}")
    pattern = (
        rf"benchmark=evaluation dataset=ml-100k speedup={NUMBER} over_floor={NUMBER} peak_mb=(\d+)"
    )
    speedup, over_floor, peak = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert speedup > 0
    assert over_floor > 0
    assert 100 < peak < 10_000
    assert any("metrics equal" in line for line in lines)


@pytest.mark.slow
def test_recommend_ends_with_a_ratio_and_a_peak(tmp_path):
    lines = quick_lines("recommend", f"--data_path={tmp_path}")
    pattern = rf"benchmark=recommend over_floor={NUMBER} peak_mb=(\d+)"
    over_floor, peak = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert over_floor > 0
    assert 100 < peak < 10_000


@pytest.mark.slow
def test_training_ends_with_ratios(tmp_path):
    lines = quick_lines("training", f"--data_path={tmp_path}")
    pattern = rf"benchmark=training dataset=ml-100k model=BPR speedup={NUMBER} over_floor={NUMBER}"
    speedup, over_floor = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert speedup > 0
    assert over_floor > 0


@pytest.mark.slow
def test_rer_ends_with_a_ratio_and_a_speedup(tmp_path):
    lines = quick_lines("rer", f"--data_path={tmp_path}")
    assert lines[0].startswith(f"no amazon-cellphones in {tmp_path}: using ml-100k")
    pattern = rf"benchmark=rer step_ratio={NUMBER} search_speedup={NUMBER}"
    step, speedup = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert 1 < step < 5
    assert speedup > 20
    assert any(re.fullmatch(r"target .*: (kept|missed)", line) for line in lines)


@pytest.mark.slow
def test_iacn_step_ends_with_a_ratio_for_each_backbone():
    lines = quick_lines("iacn_step", "--threads=1")
    pattern = rf"benchmark=iacn_step backbone=WideDeep ratio={NUMBER} predict_ratio={NUMBER}"
    ratios = list(map(float, re.fullmatch(pattern, lines[-1]).groups()))
    assert min(ratios) > 0


@pytest.mark.slow
def test_comparison_methods_ends_with_a_ratio_for_each_method(tmp_path):
    lines = quick_lines("comparison_methods", "--threads=1", f"--data_path={tmp_path}")
    pattern = rf"benchmark=comparison_methods method=(\w+) backbone=BPR ratio={NUMBER}"
    ratios = {m[1]: float(m[2]) for m in map(re.compile(pattern).fullmatch, lines[-3:])}
    assert list(ratios) == ["WBPR", "PRIS", "TCE"]
    assert min(ratios.values()) > 0


@pytest.mark.slow
def test_rvrec_keys_ends_with_what_validation_chose(tmp_path):
    lines = quick_lines("rvrec_keys", f"--data_path={tmp_path}")
    assert [line.split(" | ")[:3] for line in lines if line.startswith(("| random", "| time"))] == [
        [f"| {split}", heads, "0"] for split in ("random", "time") for heads in "12"
    ]
    pattern = (
        r"benchmark=rvrec_keys split=(\w+) chosen_heads=[12] chosen_decay=0 ages_from=positive "
        rf"test_ratio={NUMBER}"
    )
    found = [re.fullmatch(pattern, line) for line in lines[-2:]]
    assert [match[1] for match in found] == ["random", "time"]
    assert all(0.9 < float(match[2]) < 1.1 for match in found)


@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_one_key_is_the_item_query(monkeypatch, decay):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    keys = importlib.import_module("rvrec_keys")
    draw = torch.Generator().manual_seed(0)
    table = torch.randn(9, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    chains = Chains(
        torch.tensor([0, 0, 0, 2, 2]), torch.tensor([3, 1, 8, 2, 5]), torch.tensor([3, 0, 2])
    )
    history = torch.tensor([[3, 1, 8], [0, 0, 0], [2, 5, 0]])
    there = torch.tensor([[True, False, True], [False] * 3, [True, True, False]])
    items = torch.randint(1, 9, (2, 3), generator=draw)
    plain = keys.Keys(1)
    prior = recency(gaps(there).double(), decay)
    results = []
    for query in (plain.history_scores, item_query.history_scores):
        scores = query(history, there, items, table, beta, prior)
        results.append((scores, *torch.autograd.grad(scores.square().sum(), (table, beta))))
    for ours, own in zip(*results, strict=True):
        torch.testing.assert_close(ours, own)
    prior = recency(chains.ages.double(), decay)
    own = item_query.scores_of_all(chains, table.detach(), beta.detach(), prior)
    torch.testing.assert_close(plain.scores_of_all(chains, table, beta, prior), own)


def test_heads_weigh_as_they_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    keys = importlib.import_module("rvrec_keys")
    players = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    there, asking = torch.tensor([[True, True, False]]), torch.tensor([[[1.0, 0.0]]])
    weights = keys.Keys(2).weights(players, asking, there, torch.tensor(2.0).log(), None)
    # The first head prefers the first player two to one; the second knows neither.
    torch.testing.assert_close(weights, torch.tensor([[[7 / 12, 5 / 12, 0.0]]]))
    there = torch.tensor([[True, False, True, True], [False] * 4])
    assert younger(there)[0, [0, 2, 3]].tolist() == [0, 1, 2]


def test_sequences_ends_with_what_was_won():
    lines = quick_lines("sequences")
    pattern = (
        rf"benchmark=sequences dataset=ml-100k model=SASRec length=20 speedup={NUMBER} "
        rf"memory_ratio={NUMBER}"
    )
    speedup, _ = map(float, re.fullmatch(pattern, lines[-2]).groups())
    assert speedup > 2
    pattern = rf"benchmark=sequences_packed dataset=ml-100k model=GRU4Rec speedup={NUMBER}"
    assert float(re.fullmatch(pattern, lines[-1])[1]) > 2


def test_loading_ends_with_what_was_won():
    lines = quick_lines("loading")
    pattern = (
        rf"benchmark=loading dataset=ml-100k seconds_ratio={NUMBER} peak_ratio={NUMBER} "
        r"target=0\.7 kept"
    )
    assert re.fullmatch(pattern, lines[-1])
    pattern = (
        rf"benchmark=loading rows=10000 over_rectools=(skipped|{NUMBER}) "
        rf"over_polars=(skipped|{NUMBER}) over_recbole={NUMBER} "
        rf"again_over_first={NUMBER} command_again_over_first={NUMBER} "
        r"peak_mb=\d+ import_mb=\d+ file_mb=\d+"
    )
    assert re.fullmatch(pattern, lines[-2])


@pytest.mark.slow
def test_noise_detection_ends_with_one_line_per_dataset(tmp_path):
    out = tmp_path / "numbers.json"
    lines = quick_lines("noise_detection", "--threads=1", f"--out={out}", "--dvr_strength=0.1")
    keys = (
        "auc_dvr",
        "auc_loss",
        "ap_dvr",
        "ap_loss",
        "auc_loss_run",
        "auc_popularity",
        "auc_dvr_loo",
        "auc_dvr_amortised",
        "auc_dvr_loo_amortised",
    )
    pattern = "benchmark=noise_detection dataset=ml-100k " + " ".join(f"{k}={NUMBER}" for k in keys)
    pattern += " planted=uniform"
    numbers = dict(zip(keys, map(float, re.fullmatch(pattern, lines[-1]).groups())))
    assert all(0 <= number <= 1 for number in numbers.values())
    assert numbers["auc_loss"] > 0.6  # the planted items are there, and harder to learn
    assert '"dvr_strength": "0.1"' in out.read_text()


@pytest.mark.slow
def test_data_values_ends_with_one_line_per_task(tmp_path):
    out = tmp_path / "numbers.json"
    lines = quick_lines("data_values", "--threads=1", f"--out={out}", "--shares=0.1,0.4")
    removal, noise = (line.split() for line in lines[-2:])
    about = ["benchmark=data_values", "dataset=ml-100k", "seeds=1"]
    assert [*about, "task=removal"] == [removal[0], *removal[2:4], removal[1]]
    assert [*about, "task=noise"] == [noise[0], *noise[2:4], noise[1]]
    found = {key: float(number) for key, number in (x.split("=") for x in removal[4:] + noise[4:])}
    assert {"dvr_loo_lowest_0.4", "popularity_highest_0.4", "random_0.4"} <= set(found)
    # Two epochs say little, but four tenths of the data are missed.
    assert found["random_0.4"] < 0 < found["oracle_out"] - found["dvr_out"]
    for score in ("dvr_loo", "dvr_loo_amortised", "loss_run", "popularity"):
        assert found[f"{score}_highest_0.4"] < found[f"{score}_lowest_0.4"]
    assert (tmp_path / "numbers_ml-100k.png").stat().st_size > 10_000
    assert out.with_suffix(".md").read_text() == "\n".join(lines[2:-2])


class Split:
    """A part of a dataset, as far as these benchmarks change it."""

    def __init__(self, inter_feat):
        self.inter_feat, self.config = inter_feat, {"interaction_weight_field": "weight"}

    def copy(self, inter_feat):
        return Split(inter_feat)


def test_what_is_removed_and_weighed_is_what_was_said(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    data_values = importlib.import_module("data_values")
    done = []
    splits = [Split(Interaction({"item": torch.arange(5)}))]
    gone = data_values.lowest(np.array([3.0, 1.0, 2.0, 5.0, 0.0]), 0.4)
    data_values.without(gone, lambda parts: done.append(len(parts[0].inter_feat)))(splits)
    assert done == [5]  # planted before the rows are removed
    assert splits[0].inter_feat["item"].tolist() == [0, 2, 3]
    data_values.zeroed(np.array([False, True, False]), lambda _: None)(splits)
    assert splits[0].inter_feat["interaction_weight"].tolist() == [1.5, 0.0, 1.5]
    data_values.weighed(np.array([0.5, 1.0, 1.5]), lambda _: done.append(None))(splits)
    assert splits[0].inter_feat["interaction_weight"].tolist() == [0.5, 1.0, 1.5]
    assert len(done) == 2
    rows = [{"all": 0.2, "x": 0.3}, {"all": 0.4, "x": 0.5}]
    assert data_values.changes(rows, "x") == pytest.approx([0.5, 0.25])
    assert data_values.cell(rows, "x") == "+37.5 ± 17.7"
    assert data_values.cell(rows, "y") == ""


def test_scores_of_training_interactions_are_low_where_they_are_doubtful(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    valued = importlib.import_module("valued")
    calls = []

    def train(dataset, model, seed, args, change, command_line=None, **own):
        calls.append((model, command_line, own))
        n = len(calls)
        kinds = ("value", "amortised", "loss", "loss_run", "popularity")
        run = {kind: torch.tensor([10.0 * n + place]) for place, kind in enumerate(kinds)}
        return {**run, "changed": change(n)}

    monkeypatch.setattr(valued, "train", train)
    noisy = torch.tensor([True])
    given = ("ml-100k", 1, None)
    scores, runs = valued.scores_of(*given, lambda _: noisy, {"dvr_units": "2"}, dvr_strength=0)
    assert calls == [
        ("DVR", {"dvr_units": "2"}, {"dvr_strength": 0}),
        ("DVR", None, valued.LEAVE_ONE_OUT),
        ("BPR", None, {}),
    ]
    assert {name: float(score) for name, score in scores.items()} == {
        "dvr": 10,
        "dvr_loo": 20,
        "dvr_amortised": 11,
        "dvr_loo_amortised": 21,
        "loss": -32,
        "loss_run": -33,
        "popularity": 34,
    }
    assert runs["bpr"]["changed"] is noisy
    calls.clear()
    with pytest.raises(RuntimeError, match="different noise"):
        valued.scores_of(*given, lambda n: torch.tensor([n == 2]))


@pytest.mark.slow
def test_second_order_ends_with_one_line(tmp_path):
    lines = quick_lines("second_order", "--threads=1", f"--out={tmp_path / 'numbers.json'}")
    kinds = ("first_each_epoch", "first_each_step", "second")
    keys = [f"{utility}_{kind}" for utility in ("judges", "leave_one_out") for kind in kinds]
    pattern = f"benchmark=second_order dataset=ml-100k seeds=1 r_first={NUMBER} r_second={NUMBER} "
    pattern += " ".join(f"{key}={NUMBER}" for key in keys)
    first, second, *found = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert first < second
    assert second > 0.99
    assert min(found) > 0.5


def second_order_and_step(monkeypatch):
    """The benchmark's module, and a step of BPR in a small world."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("second_order")
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        return torch.stack([torch.randint(high, (n,), generator=generator) for high in (6, 9, 9)])

    tables = torch.randn(15, 4, dtype=torch.float64, generator=generator)
    sizes = torch.rand(15, 4, dtype=torch.float64, generator=generator)
    return module, module.Step(tables, 6, sizes, draw(50)), draw(6)


def test_values_of_second_order_are_exact_for_a_quadratic_utility(monkeypatch):
    module, step, triplets = second_order_and_step(monkeypatch)
    root = torch.randn(60, 60, dtype=torch.float64)

    class Quadratic(module.Step):
        def utility(self, change):
            flat = change.flatten()
            return flat.sum() + flat @ (root + root.T) @ flat

    exact, first, second = module.values_of(Quadratic(*step), triplets, 100.0)
    torch.testing.assert_close(second, exact, rtol=0, atol=1e-10)
    assert (first - exact).abs().max() > 1e-3


def test_values_of_second_order_are_nearer_to_those_of_all_coalitions(monkeypatch):
    module, step, triplets = second_order_and_step(monkeypatch)
    for longer in (10.0, 100.0):
        exact, first, second = module.values_of(step, triplets, longer)
        assert (second - exact).norm() < 0.1 * (first - exact).norm()
    change, first, second = module.sums_of(step, triplets)
    assert abs(second - change) < abs(first - change)


@pytest.mark.slow
def test_the_utility_is_differentiated_in_the_middle_of_a_step(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module, valued = (importlib.import_module(name) for name in ("second_order", "valued"))
    seen = []

    class Watched(module.MiddleTrainer):
        def _refresh(self):
            seen.append([p.detach().clone() for p in self.model.parameters()])
            super()._refresh()

        def _valued_loss(self, batch):
            before = [p.detach().clone() for p in self.model.parameters()]
            sizes = module.step_sizes(self.optimizer)
            loss, n = super()._valued_loss(batch), len(seen)
            assert all(torch.equal(a, b) for a, b in zip(before, self.model.parameters()))
            gradients = torch.autograd.grad(loss, self.model.parameters(), retain_graph=True)
            for start, place, parameter, g in zip(
                before, seen[-1], self.model.parameters(), gradients, strict=True
            ):
                move = sizes[parameter] * g / 2 if sizes else torch.zeros_like(g)
                torch.testing.assert_close(place, start - move, rtol=1e-4, atol=1e-7)
                assert not sizes or not torch.equal(place, start)
            assert len(seen) == n
            return loss

    args = argparse.Namespace(data_path=".", epochs=1, loss_epochs=1)
    options = {**module.UTILITIES["judges"], "train_batch_size": 20_000}
    valued.train("ml-100k", "DVR", 1, args, lambda _: None, make=Watched, **options)
    assert len(seen) >= 4


@pytest.mark.slow
def test_the_middle_of_a_step_leaves_training_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module, valued = (importlib.import_module(name) for name in ("second_order", "valued"))
    args = argparse.Namespace(data_path=".", epochs=1, loss_epochs=1)
    options = {"change": lambda _: None, "args": args, "seed": 1, "dataset": "ml-100k"}
    plain = valued.train(model="BPR", **options)
    middle = valued.train(
        model="DVR", make=module.MiddleTrainer, **options, **module.UTILITIES["judges"]
    )
    assert torch.equal(plain["loss"], middle["loss"])
    assert plain["test"] == middle["test"]
    assert middle["value"].count_nonzero() > 0


def test_noise_detection_refuses_what_is_no_option_of_dvr():
    done = run("noise_detection", "--quick", "--learning_rate=1")
    assert done.returncode == 2
    assert "--learning_rate: no option of this script, and none of DVR" in done.stderr


def test_what_the_pages_quote_stands_in_the_results_that_they_link():
    quotes = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- results/") == text.count("<!-- end -->")
        for name, quote in re.findall(r"<!-- (results/\S+) -->\n(.*?)<!-- end -->", text, re.S):
            lines = [line for line in quote.splitlines() if line.strip(" `")]
            assert set(lines) <= set((ROOT / name).read_text(encoding="utf-8").splitlines()), name
            assert 0 < len(lines) <= 12, name  # the rest is in the file
            assert f"/{name})" in text
            quotes.append(name)
    assert len(quotes) >= 25


def test_no_link_of_the_pages_is_broken():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*")]:
        if page.suffix == ".md":
            for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
                if "://" not in target:
                    assert (page.parent / target).exists(), (page, target)


@pytest.mark.slow
def test_leaderboard_ends_with_one_line(tmp_path):
    lines = quick_lines("leaderboard", "--folders=8", f"--data_path={tmp_path}")
    pattern = rf"benchmark=leaderboard jobs_speedup={NUMBER} build_s_8=({NUMBER}|-)"
    assert float(re.fullmatch(pattern, lines[-1])[1]) > 0


@pytest.mark.slow
def test_rvrec_step_ends_with_ratios(tmp_path):
    lines = quick_lines("rvrec_step", f"--data_path={tmp_path}")
    pattern = (
        rf"benchmark=rvrec_step exact_ratio={NUMBER} hard_ratio={NUMBER} h50_mb=(\d+) "
        rf"inference_ratio={NUMBER}"
    )
    exact, hard, peak, inference = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert min(exact, hard, inference) > 0
    assert 100 < peak < 2000


@pytest.mark.slow
def test_rvrec_lists_proves_no_list_that_is_not_exact(tmp_path):
    lines = quick_lines("rvrec_lists", f"--data_path={tmp_path}")
    row = re.compile(rf"\| (\d+) \| {NUMBER} \| {NUMBER} \| {NUMBER} \| {NUMBER} \|")
    shares = [tuple(map(float, found.groups())) for found in map(row.fullmatch, lines) if found]
    assert len(shares) == 15
    assert all(proved <= exactly <= items <= 1 for *_, exactly, items, proved in shares)
    pattern = rf"benchmark=rvrec_lists candidates=200 exact={NUMBER} found={NUMBER} proved={NUMBER}"
    assert re.fullmatch(pattern, lines[-1])


@pytest.mark.slow
def test_rvrec_explanations_beat_random_runs(tmp_path):
    words = (f"--out={tmp_path}/runs", f"--results={tmp_path}/results")
    lines = quick_lines("rvrec_explanations", *words)
    pattern = (
        rf"benchmark=rvrec_explanations dataset=ml-100k deletion={NUMBER} random_run=(-?[\d.]+) "
        rf"auc_deletion={NUMBER} auc_insertion={NUMBER}"
    )
    deletion, control, _, _ = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert deletion > control
    assert (tmp_path / "results" / "rvrec_explanations_ml-100k_curves.csv").is_file()


def test_import_ends_with_ratios():
    last = quick_lines("import_log")[-1]
    pattern = rf"benchmark=import rows=200000 time_ratio={NUMBER} memory_ratio={NUMBER} .*"
    ratios = map(float, re.fullmatch(pattern, last).groups())
    assert min(ratios) > 0


@pytest.mark.slow
@pytest.mark.serial
def test_processes_ends_with_speedups_and_equal_metrics(tmp_path):
    lines = quick_lines("processes", f"--data_path={tmp_path}")
    pattern = (
        rf"benchmark=processes dataset=ml-100k model=BPR processes=2 speedup={NUMBER} "
        rf"evaluation_speedup={NUMBER} metrics_equal=True"
    )
    assert min(map(float, re.fullmatch(pattern, lines[-1]).groups())) > 0


@pytest.mark.slow
def test_gpu_ends_with_a_line_a_case_also_on_two_cpus():
    lines = quick_lines("gpu", "--devices", "cpu", "cpu", "--cases", "BPR", "dvr_step")
    own = rf"step_ms={NUMBER} step_over_cpu={NUMBER}"
    patterns = (
        rf"benchmark=gpu case=BPR {own} evaluation_over_cpu={NUMBER} peak_gpu_mb=0",
        rf"benchmark=gpu case=dvr_step {own} peak_gpu_mb=0",
    )
    for pattern, line in zip(patterns, lines[-2:]):
        assert min(map(float, re.fullmatch(pattern, line).groups())) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_gpu_says_that_there_is_none():
    script = ["sh", str(ROOT / "benchmarks" / "gpu.sh")]
    done = subprocess.run(
        script, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable}
    )
    assert (done.returncode, done.stderr) == (2, "benchmarks/gpu.sh: torch finds no CUDA\n")


@pytest.mark.slow
def test_closed_forms_end_with_ratios_of_the_same_scores(tmp_path):
    lines = quick_lines("closed_forms", f"--data_path={tmp_path}")
    assert sum("; scores equal, at most" in line for line in lines) == 3
    last = "\n".join(lines[-3:])
    pattern = (
        rf"benchmark=itemknn dataset=ml-100k ratio={NUMBER}\n"
        rf"benchmark=ease dataset=ml-100k ratio={NUMBER} peak_matrices={NUMBER}\n"
        rf"benchmark=neumf_ranking dataset=ml-100k seconds={NUMBER} seconds_ratio={NUMBER}"
    )
    ratios = list(map(float, re.fullmatch(pattern, last).groups()))
    assert ratios[4] < 1


@pytest.mark.slow
def test_scale_ends_with_a_line_for_each_case_and_size():
    lines = quick_lines("scale")
    pattern = (
        rf"benchmark=scale rows=(\d+) what=(\w+) seconds={NUMBER} peak_mb=(\d+) "
        r"exponent=(-?[\d.]+)(?: extrapolated)?"
    )
    last = [re.fullmatch(pattern, line) for line in lines if line.startswith("benchmark=")]
    assert all(last)
    sizes = ["10000", "40000", "100000000"]
    assert [(m[2], m[1]) for m in last] == [
        (what, rows) for what in ("load", "split", "bpr") for rows in sizes
    ]
    assert any(line.startswith("100,000,000 rows: ") for line in lines)


@pytest.mark.slow
def test_learners_ends_with_a_ratio(tmp_path):
    lines = quick_lines("learners", f"--data_path={tmp_path}")
    cells = [line.split(" | ") for line in lines if line.startswith(("| adam", "| row_adam"))]
    assert [len(row) for row in cells] == [7] * 4 + [8] * 2  # two rates each, then what was chosen
    pattern = rf"benchmark=learners dataset=ml-100k target=0.0100 row_adam_over_adam={NUMBER}"
    assert float(re.fullmatch(pattern, lines[-1])[1]) > 0


def test_held_out_gap_ends_with_the_gap_of_each_ranking():
    lines = quick_lines("held_out_gap")
    gaps = " ".join(
        rf"{name}={NUMBER}" for name in ("valid", "valid_without_test", "test_with_valid", "test")
    )
    assert re.fullmatch(f"benchmark=held_out_gap seeds=1 {gaps}", lines[-1])
