"""One run from end to end: its result, its folder, its resumption."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from recbole.config import Config as RecBoleConfig
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_enhance.compat import mends
from recbole_enhance.enhancer.dvr.in_run import InRunTrainer
from recbole_enhance.experiment import assembly
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import (
    load_run,
    objective_function,
    resume_run,
    run_recbole_enhance,
)
from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.storage.run_folder import (
    CHECKPOINT,
    CONFIG,
    LOG,
    METRICS,
    MODEL,
    RunFolder,
    history_rows,
)
from recbole_enhance.storage.tensor_files import load_tensors
from recbole_enhance.testing.plain_recbole import trusted_torch_load
from recbole_enhance.testing.worlds import TOY, run_toy, toy_options, write_toy
from recbole_enhance.training.trainer import EnhancedTrainer, make_trainer

ROOT = Path(__file__).parents[2]
BASELINES = (
    "BPR",
    "NeuMF",
    "LightGCN",
    "NGCF",
    "SGL",
    "MultiVAE",
    "SASRec",
    "GRU4Rec",
    "DIN",
    "WideDeep",
    "FM",
    "DeepFM",
)
FILES = {
    "config.yaml",
    "data.json",
    "env.json",
    "metrics.json",
    "history.csv",
    "run.log",
    "model.pt",
    "checkpoint.pt",
    "per_user.csv.gz",
}


def plain_recbole(model, dataset, options, monkeypatch):
    """RecBole's own run_recbole, line by line, mended by compat only."""
    monkeypatch.setattr(sys, "argv", ["run"])
    mends.apply()
    monkeypatch.setattr(RecBoleConfig, "compatibility_settings", lambda self: None)
    with trusted_torch_load():
        config = RecBoleConfig(model, dataset, config_dict=options)
        init_seed(config["seed"], config["reproducibility"])
        train, valid, test = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        net = get_model(config["model"])(config, train._dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, net)
        score, valid_result = trainer.fit(train, valid, show_progress=False)
        test_result = trainer.evaluate(test, show_progress=False)
    return score, dict(valid_result), dict(test_result)


PROTOCOL = {
    "epochs": 2,
    "metrics": ["Recall", "NDCG", "MRR", "MAP", "Hit", "Precision"],
    "topk": [10, 20],
    "valid_metric": "NDCG@20",
    "eval_args": {
        "split": {"RS": [0.8, 0.1, 0.1]},
        "order": "RO",
        "group_by": "user",
        "mode": "full",
    },
}


EXACT = {"fast": False, "quiet": True}


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "NeuMF", "MultiVAE"])
def test_a_plain_model_equals_recbole_to_the_last_digit(model, monkeypatch):
    load = {
        "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
        "item_category_field": None,
    }
    protocol = {**PROTOCOL, "epochs": 1 if model == "NeuMF" else 2}
    ours = run_recbole_enhance(model, "ml-100k", config_dict={**protocol, **load, **EXACT})
    theirs = plain_recbole(model, "ml-100k", {**protocol, "eval_batch_size": 200_000}, monkeypatch)
    assert (ours["best_valid_score"], ours["best_valid_result"], ours["test_result"]) == theirs


@pytest.mark.parametrize("model", BASELINES)
def test_baselines_train_and_evaluate(toy, model):
    """With RecBole's own defaults for the model's type, by its name alone."""
    labels = {"threshold": {"rating": 4}} if model in ("FM", "DeepFM", "WideDeep") else {}
    options = {"data_path": str(toy), "epochs": 1, "quiet": True, **labels}
    result = run_recbole_enhance(model, "toy", config_dict=options, saved=False)
    assert result["test_result"].keys() == result["best_valid_result"].keys()
    assert all(0 <= value < 5 for value in result["test_result"].values())


@pytest.fixture
def finished(toy):
    return Path(run_toy(toy, "DVR")["run_dir"])


def test_the_folder_tells_the_story(toy, finished):
    assert {path.name for path in finished.iterdir()} == FILES | {"values.csv.gz"}
    assert finished.parts[:3] == ("runs", "toy", "DVR-BPR")
    report = json.loads((finished / METRICS).read_text())
    assert report["enhancer"] == "DVR"
    assert set(report["seconds"]) == {"data", "model", "fit", "test"}
    assert report["peak_memory_mb"] > 50
    environment = json.loads((finished / "env.json").read_text())
    assert set(environment["data_sha256"]) == {"toy.inter", "toy.item"}
    assert environment["versions"]["recbole"] == "1.2.1"
    rows = history_rows(finished)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert max(float(row["valid_ndcg@5"]) for row in rows) == report["best_valid_score"]
    assert yaml.safe_load((finished / CONFIG).read_text())["model"] == "DVR"
    assert "epoch 2" in (finished / LOG).read_text()
    assert set(os.listdir(".")) == {"runs"}  # no log/, log_tensorboard/, saved/


def test_files_of_tensors_load_safely(finished):
    for name in (MODEL, CHECKPOINT):
        assert torch.load(finished / name, weights_only=True)["label"] == "DVR-BPR"


@pytest.mark.parametrize(
    "model", ["DVR", "MultiVAE", "SASRec", "ItemKNN", "EASE", "DIN", "DIEN", "FDSA", "GRU4RecF"]
)
def test_a_saved_run_is_its_model(toy, model):
    features = {"selected_features": ["genres"]} if model in ("FDSA", "GRU4RecF") else {}
    options = {"eval_args": {"mode": "full"}, "MAX_ITEM_LIST_LENGTH": 5, "epochs": 2, **features}
    result = run_toy(toy, model, **options)
    run = load_run(result["run_dir"])
    assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]


def test_the_best_epoch_is_reported_without_a_folder_too(toy):
    with_folder = run_toy(toy, "BPR", epochs=6, learning_rate=0.1)
    without = run_toy(toy, "BPR", saved=False, epochs=6, learning_rate=0.1)
    assert without.pop("run_dir") is None
    with_folder.pop("run_dir")
    assert without == with_folder


def test_a_second_run_keeps_the_first(toy):
    first, second = (run_toy(toy, "BPR", epochs=1)["run_dir"] for _ in range(2))
    assert second == f"{first}-2"


class Killed(BaseException):
    pass


def interrupt(monkeypatch, epoch, error, place):
    """Stop a run in the middle of its epoch ``epoch``, or right before it is written down."""
    original = getattr(EnhancedTrainer, place)

    def stop(self, *args, **kwargs):
        if len(self.history) == epoch + (place == "_end_epoch"):
            raise error
        return original(self, *args, **kwargs)

    monkeypatch.setattr(EnhancedTrainer, place, stop)


@pytest.mark.parametrize("place", ["_train_epoch", "_end_epoch"])
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("BPR", {}),
        ("DVR", {}),
        ("DVR", {"dvr_values": "harsanyi"}),
        ("DVR", {"dvr_values": "harsanyi", "dvr_weighting": "sample", "dvr_network": "slot"}),
        ("SASRec", {"MAX_ITEM_LIST_LENGTH": 5, "epochs": 4}),
        ("MultiVAE", {}),
        ("RecVAE", {}),
    ],
)
def test_resume_equals_an_uninterrupted_run(toy, monkeypatch, model, options, place):
    options = {"epochs": 5, "eval_args": {"mode": "uni10"} if model == "BPR" else {}, **options}
    whole = run_toy(toy, model, **options)
    with monkeypatch.context() as patch:
        interrupt(patch, 3, KeyboardInterrupt(), place)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, model, run_dir="stopped", **options)
    resumed = resume_run("stopped", quiet=True)
    assert {**resumed, "run_dir": 0} == {**whole, "run_dir": 0}
    rows = [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in history_rows(Path(d))]
        for d in ("stopped", whole["run_dir"])
    ]
    assert rows[0] == rows[1]
    files = [Path(d, MODEL) for d in ("stopped", whole["run_dir"])]
    label = "DVR-BPR" if model == "DVR" else model
    states = [load_tensors(f, label, "cpu")["state_dict"] for f in files]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert resume_run("stopped") == resumed  # finished: read, not run


def test_a_run_stopped_before_its_first_epoch_starts_over(toy, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, 0, KeyboardInterrupt(), "_train_epoch")
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", run_dir="stopped")
    assert resume_run("stopped")["test_result"] == run_toy(toy, "BPR", saved=False)["test_result"]


def test_a_run_stopped_after_early_stopping_only_tests(toy, monkeypatch):
    options = {"epochs": 30, "stopping_step": 1, "learning_rate": 0.3}
    whole = run_toy(toy, "BPR", **options)
    with monkeypatch.context() as patch:
        patch.setattr(EnhancedTrainer, "evaluate", _killed_at_the_test(EnhancedTrainer.evaluate))
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", run_dir="stopped", **options)
    assert resume_run("stopped")["test_result"] == whole["test_result"]


def _killed_at_the_test(evaluate):
    def stop(self, data, load_best_model=True, *args, **kwargs):
        if load_best_model:
            raise KeyboardInterrupt
        return evaluate(self, data, load_best_model, *args, **kwargs)

    return stop


def test_models_of_two_stages_refuse_to_resume(toy):
    config = Config(config_dict=toy_options(toy, "RaCT", train_stage="actor_pretrain"))
    config["checkpoint_dir"] = "."
    train, _, _ = data_preparation(config, create_dataset(config))
    trainer = make_trainer(config, config.model_class(config, train._dataset), None)
    with pytest.raises(ValueError, match="resume: RaCT trains in stages"):
        trainer.resume_checkpoint(Path("checkpoint.pt"))


def test_foreign_and_broken_checkpoints_are_refused(toy, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, 1, KeyboardInterrupt(), "_train_epoch")
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", run_dir="stopped")
    before = sorted(p.name for p in Path("stopped").iterdir())
    checkpoint = Path("stopped", CHECKPOINT)
    foreign = torch.load(checkpoint, weights_only=True)
    smaller = {"user_embedding.weight": torch.zeros(3, 8)}
    for content, message in (
        ({**foreign, "run": "1-0"}, "belongs to a run with other options or another seed"),
        ({"format": 1, "label": "BPR"}, "belongs to a run with other options"),
        ({**foreign, "label": "NeuMF"}, "belongs to NeuMF, this run is BPR"),
        ({"state_dict": {}}, "not a checkpoint of recbole_enhance"),
        ({key: foreign[key] for key in ("format", "label", "run")}, "does not fit this model"),
        ({**foreign, "random": None}, "does not fit this model"),
        (None, "not a checkpoint of tensors"),
    ):
        if content is None:
            checkpoint.write_bytes(b"garbage")
        else:
            torch.save(content, checkpoint)
        with pytest.raises(ValueError, match=message):
            resume_run("stopped", quiet=True)
        assert sorted(p.name for p in Path("stopped").iterdir()) == before
    torch.save(foreign, checkpoint)
    best = torch.load(Path("stopped", MODEL), weights_only=True)
    for content in ({**best, "run": "1-0"}, {k: v for k, v in best.items() if k != "run"}):
        torch.save(content, Path("stopped", MODEL))
        for put_together in (resume_run, load_run):
            with pytest.raises(ValueError, match=r"model\.pt: belongs to a run with other options"):
                put_together("stopped")
    torch.save({**best, "state_dict": smaller}, Path("stopped", MODEL))
    with pytest.raises(ValueError, match="does not fit this model or these data"):
        resume_run("stopped", quiet=True)
    with pytest.raises(ValueError, match="not a run folder"):
        resume_run("nowhere")


def test_changed_data_are_noticed_on_resume(tmp_path, monkeypatch):
    data = write_toy(tmp_path / "data")
    with monkeypatch.context() as patch:
        interrupt(patch, 1, KeyboardInterrupt(), "_train_epoch")
        with pytest.raises(KeyboardInterrupt):
            run_toy(data, "BPR", run_dir="stopped")
    with open(data / "toy" / "toy.inter", "a") as file:
        file.write("u0\ti0\t5\t1\n")
    with pytest.raises(ValueError, match=r"resume=stopped: toy.inter changed since the run"):
        resume_run("stopped", quiet=True)


def test_a_run_is_not_read_with_other_data(tmp_path):
    data = write_toy(tmp_path / "data")
    run_toy(data, "BPR", run_dir="run")
    load_run("run")
    path = data / "toy" / "toy.inter"
    header, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(header + "".join(lines[::-1]))  # ids move
    with pytest.raises(RunFolderError, match=r"^run: toy\.inter changed since the run"):
        load_run("run")
    path.write_text(header + "".join(lines))
    account = json.loads(Path("run", "data.json").read_text())
    Path("run", "data.json").write_text(json.dumps({**account, "kept": {"interactions": 9}}))
    with pytest.raises(RunFolderError, match=r"^run: kept in data\.json changed since the run"):
        load_run("run")


def test_a_run_without_an_account_is_read_with_a_word(tmp_path, caplog):
    data = write_toy(tmp_path / "data")
    run_toy(data, "BPR", run_dir="run")
    Path("run", "data.json").unlink()
    load_run("run")
    assert "run: has no data.json; the data may now be read or split in another way" in caplog.text


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"data_sha256": 3}'])
def test_broken_surroundings_are_told(toy, monkeypatch, text):
    with monkeypatch.context() as patch:
        interrupt(patch, 1, KeyboardInterrupt(), "_train_epoch")
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", run_dir="stopped")
    Path("stopped", "env.json").write_text(text)
    with pytest.raises(ValueError, match=r"env\.json: "):
        resume_run("stopped")


@pytest.mark.parametrize("report", ["{}", "[]", "{", '{"test_result": null}'])
def test_a_broken_report_is_told(finished, report):
    (finished / METRICS).write_text(report)
    with pytest.raises(ValueError, match=METRICS):
        resume_run(finished)


def test_code_in_a_checkpoint_does_not_run(toy, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, ("exploded",))

    with monkeypatch.context() as patch:
        interrupt(patch, 1, KeyboardInterrupt(), "_train_epoch")
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", run_dir="stopped")
    torch.save({"format": 1, "label": "BPR", "x": Bomb()}, Path("stopped", CHECKPOINT))
    with pytest.raises(ValueError, match="not a checkpoint"):
        resume_run("stopped", quiet=True)
    assert not Path("exploded").exists()


def test_a_run_stopped_before_its_results_writes_them(toy, monkeypatch):
    def stop(self, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(InRunTrainer, "write_results", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "DVR", run_dir="stopped")
    resume_run("stopped")
    values = [Path(d, "values.csv.gz") for d in ("stopped", run_toy(toy, "DVR")["run_dir"])]
    assert values[0].read_bytes() == values[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 1e30, "epochs": 20}, "training loss is nan in epoch .*learning_rate=1e"),
        ({"user_inter_num_interval": "[1000,inf)"}, "toy: user_inter_num_interval=.*none of 840"),
        ({"val_interval": {"rating": "[99,inf)"}}, "toy: val_interval=.*leaves none of 840"),
        ({"encoding": "klingon"}, "encoding=klingon: Python does not know this encoding"),
        ({"unused_col": {"inter": ["user_id"]}}, "unused_col.inter=user_id: ids of users"),
        ({"unused_col": {"inter": "rating"}}, "unused_col.inter=rating: a list of columns"),
        ({"unused_col": {"inter": [["x"]]}}, r"unused_col.inter=\[\['x'\]\]: a list of columns"),
        ({"unused_col": {"kg": ["x"]}, "load_col": None}, r"unused_col.kg=\['x'\]: only columns"),
        ({"unused_col": {"kg": ["x"]}}, r"unused_col.kg=\['x'\]: only columns of inter"),
        (
            {"model": "NeuMF", "mlp_hidden_size": []},
            r"model=NeuMF cannot .*IndexError: .* \(neumf\.py, line \d+: .*mlp_hidden_size",
        ),
        (
            {"model": "DGCF", "n_factors": 3},
            r"model=DGCF cannot .*: AssertionError \(dgcf.py, line \d+: assert .*% self.n_factors",
        ),
        ({"topk": [5, 49]}, r"topk=\[5, 49\]: lists of 49 items, but there are only 48"),
        (
            {"model": "DVR", "dvr_reward": "ndcg@49"},
            "dvr_reward=ndcg@49: lists of 49 items",
        ),
        (
            {"model": "DVR", "dvr_reward": "mrr@49"},
            "dvr_reward=mrr@49: lists of 49 items",
        ),
        ({"run_dir": "taken"}, "run_dir=taken: not empty"),
        ({"run_dir": "file/run"}, "run_dir=.*cannot be written"),
        ({"run_dir": "/proc/run"}, "run_dir=.*cannot be written"),
    ],
)
def test_a_run_that_fails_leaves_nothing(toy, options, message):
    Path("taken").mkdir()
    Path("taken", "thesis.txt").write_text("mine")
    Path("file").write_text("mine")
    with pytest.raises(ValueError, match=message):
        run_toy(toy, **{"model": "BPR", **options})
    assert sorted(str(p) for p in Path(".").rglob("*")) == ["file", "taken", "taken/thesis.txt"]


def test_the_objective_has_what_recboles_tuner_reads(toy):
    options = toy_options(toy, "BPR", epochs=1, learning_rate="0.01")  # the tuner hands text over
    result = objective_function(options, None, saved=False)
    assert result["model"] == "BPR"
    assert {"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"} < set(
        result
    )


def test_evaluation_fits_the_memory_without_changing_numbers(toy):
    results = [
        run_toy(toy, "BPR", saved=False, **options)["test_result"]
        for options in ({}, {"eval_memory_mb": 0.001}, {"eval_batch_size": 1})
    ]
    assert results[0] == results[1] == results[2]


def test_tensorboard_goes_into_the_run_folder(toy):
    folder = Path(run_toy(toy, "BPR", log_tensorboard=True)["run_dir"])
    assert any((folder / "tensorboard").iterdir())


def test_ctrl_c_stops_cleanly_and_says_how_to_resume(toy, tmp_path):
    options = {
        **TOY,
        "data_path": str(toy),
        "epochs": 5000,
        "stopping_step": 5000,
        "run_dir": "stopped",
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(options))
    command = [
        sys.executable,
        str(ROOT / "run_recbole_enhance.py"),
        "--model=DVR",
        "--config_files=toy.yaml",
        "--dvr_reward=ndcg@5",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # A background job of a shell ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "stopped" / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continue with: recbole-enhance --resume=stopped" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "stopped").glob("*.tmp"))
    config = Config(config_file_list=[tmp_path / "stopped" / CONFIG])
    assert config["epochs"] == 5000


def test_a_folder_of_the_users_survives_a_failing_run(toy):
    Path("a", "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match="training loss"):
        run_toy(toy, "BPR", learning_rate=1e30, epochs=20, run_dir="a/mine")
    assert Path("a", "mine").is_dir()
    assert list(Path("a", "mine").iterdir()) == []


def test_a_full_disk_keeps_the_epochs_that_are_done(toy, monkeypatch):
    whole = run_toy(toy, "BPR", epochs=4)
    with monkeypatch.context() as patch:
        interrupt(patch, 2, OSError(28, "No space left on device"), "_train_epoch")
        with pytest.raises(OSError, match="No space"):
            run_toy(toy, "BPR", epochs=4, run_dir="full")
    assert resume_run("full")["test_result"] == whole["test_result"]


def test_a_run_without_validation_can_be_read_again(toy, caplog):
    with caplog.at_level("INFO", "recbole_enhance"):
        first = run_toy(toy, "BPR", eval_step=0, run_dir="unvalidated")
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch 0: ")]
    loss = float(history_rows(Path("unvalidated"))[0]["train_loss"])
    assert told == [f"epoch 0: train loss {loss:.4f}"]
    assert resume_run("unvalidated")["test_result"] == first["test_result"]


def test_ready_made_splits_run_and_resume(toy, tmp_path, monkeypatch):
    """RecBole's ``benchmark_filename``: there is no ``.inter`` file of all rows."""
    header, *rows = (toy / "toy" / "toy.inter").read_text().splitlines()
    folder = tmp_path / "data" / "parts"
    folder.mkdir(parents=True)
    for place, split in enumerate(("train", "valid", "test")):
        part = [row for number, row in enumerate(rows) if max(number % 7 - 4, 0) == place]
        (folder / f"parts.{split}.inter").write_text("\n".join([header, *part]) + "\n")
    (folder / "parts.item").write_text((toy / "toy" / "toy.item").read_text())
    options = {
        "dataset": "parts",
        "data_path": str(tmp_path / "data"),
        "run_dir": "run",
        "benchmark_filename": ["train", "valid", "test"],
    }
    with monkeypatch.context() as patch:
        interrupt(patch, 1, KeyboardInterrupt(), "_train_epoch")
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "BPR", **options)
    resumed = resume_run("run")
    hashes = json.loads(Path("run", "env.json").read_text())["data_sha256"]
    assert set(hashes) == {f"parts.{s}.inter" for s in ("train", "valid", "test")} | {"parts.item"}
    assert (
        resumed["test_result"] == run_toy(toy, "BPR", **{**options, "run_dir": None})["test_result"]
    )


def test_a_tracker_that_says_no_is_one_line(toy, monkeypatch):
    """What wandb does where nobody has logged in."""

    def refuse(**kwargs):
        raise RuntimeError("api_key not configured (no-tty)")

    wandb = ModuleType("wandb")
    wandb.__spec__ = ModuleSpec("wandb", None)
    wandb.run, wandb.init = None, refuse
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(ValueError, match=r"log_wandb=True: .*api_key not configured"):
        run_toy(toy, "BPR", log_wandb=True)
    assert list(Path(".").iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [{"epochs": 5, "eval_step": 2}, {"epochs": 2, "eval_step": 5}, {"epochs": 3, "eval_step": 0}],
)
def test_every_epoch_is_in_the_history(toy, options):
    rows = history_rows(Path(run_toy(toy, "BPR", **options)["run_dir"]))
    assert [int(row["epoch"]) for row in rows] == list(range(options["epochs"]))
    step = min(options["eval_step"], options["epochs"]) or 99
    evaluated = [row["epoch"] for row in rows if row.get("valid_ndcg@5")]
    assert [int(epoch) for epoch in evaluated] == list(range(step - 1, options["epochs"], step))


PHASES = {
    "reading the data": (assembly, "built", 1),
    "splitting": (assembly, "prepare_data", 1),
    "building the model": (assembly, "make_trainer", 1),
    "the first epoch": (EnhancedTrainer, "_check_nan", 2),
    "a validation": (EnhancedTrainer, "_valid_epoch", 2),
    "writing model.pt": (torch, "save", 1),
    "writing the first checkpoint": (torch, "save", 2),
    "writing the history": (RunFolder, "write_history", 2),
    "writing the values": (RunFolder, "write_csv_gz", 1),
    "the test": (EnhancedTrainer, "evaluate", 4),
    "writing the users": (RunFolder, "write_csv_gz", 2),
    "writing the report": (RunFolder, "write_json", 3),
}


def stop_at(patch, phase, error):
    """Raise in the n-th call of a function, after half of a file is there."""
    owner, name, call = PHASES[phase]
    original, calls = getattr(owner, name), []

    def stop(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            if owner is torch:
                args[1].write(b"half a file")
            raise error
        return original(*args, **kwargs)

    patch.setattr(owner, name, stop)
    return calls


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    result = run_toy(toy, "DVR", run_dir=str(folder / "run"))
    return result, (folder / "run" / "values.csv.gz").read_bytes()


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_at_any_moment_can_be_resumed(toy, monkeypatch, whole, phase):
    with monkeypatch.context() as patch:
        calls = stop_at(patch, phase, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, "DVR", run_dir="run")
    assert len(calls) == PHASES[phase][2]
    assert not [path.name for path in Path("run").iterdir() if path.name.startswith(".")]
    resumed = resume_run("run", quiet=True)
    assert {**resumed, "run_dir": 0} == {**whole[0], "run_dir": 0}
    assert Path("run", "values.csv.gz").read_bytes() == whole[1]
    assert {path.name for path in Path("run").iterdir()} == FILES | {"values.csv.gz"}


@pytest.mark.parametrize("phase", PHASES)
def test_a_disk_that_fills_up_keeps_what_is_done(toy, monkeypatch, whole, phase):
    with monkeypatch.context() as patch:
        stop_at(patch, phase, OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            run_toy(toy, "DVR", run_dir="run")
    kept = phase not in list(PHASES)[: list(PHASES).index("writing the history")]
    kept = kept or phase == "a validation"  # the second one
    assert Path("run", CHECKPOINT).exists() == kept
    assert Path("run").exists() == kept
    if kept:
        assert {**resume_run("run", quiet=True), "run_dir": 0} == {**whole[0], "run_dir": 0}


def test_torch_says_why_it_cannot_write(toy, tmp_path):
    """A file that may not grow, as on a full disk: torch raises a RuntimeError of its own."""
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({**TOY, "data_path": str(toy)}))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from recbole_enhance.cli.program import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            script,
            "--model=BPR",
            "--config_files=toy.yaml",
            "--embedding_size=512",
            "--run_dir=run",
            "--quiet",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 2
    assert process.stderr == "recbole-enhance: error: run/model.pt: File too large\n"
    assert not (tmp_path / "run").exists()
