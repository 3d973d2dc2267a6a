"""Trackers are told what the run folder holds, and never end a run."""

import csv
import importlib.util
import json
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.experiment.trackers import Callback, Watch

OPTIONS = {"epochs": 2, "quiet": True, "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10"}
OPTIONS |= {"train_batch_size": 20000, "embedding_size": 8}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Notes(Callback):
    def __init__(self):
        self.told = []

    def begin(self, options, run_dir):
        self.told.append(("begin", options["learning_rate"], run_dir))

    def epoch(self, row):
        self.told.append(("epoch", row["epoch"], row["valid_ndcg@10"]))

    def end(self, result):
        self.told.append(("end", result["test_result"]["ndcg@10"]))

    def stop(self, error):
        self.told.append(("stop", type(error).__name__))


class Broken(Callback):
    def __init__(self):
        self.calls = 0

    def epoch(self, row):
        self.calls += 1
        raise ConnectionError("no\nserver")


class Stopping(Callback):
    def epoch(self, row):
        signal.raise_signal(signal.SIGINT)


def run(callbacks=(), **options):
    return run_recbole_enhance(
        "BPR", "ml-100k", config_dict={**OPTIONS, **options}, callbacks=callbacks
    )


def history(run_dir):
    with open(Path(run_dir, "history.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_callbacks_are_told_what_the_folder_holds_and_one_that_fails_ends_nothing(caplog):
    notes, broken = Notes(), Broken()
    result = run([broken, notes])

    rows = [
        ("epoch", int(r["epoch"]), float(r["valid_ndcg@10"])) for r in history(result["run_dir"])
    ]
    assert len(rows) == 2
    test = json.loads(Path(result["run_dir"], "metrics.json").read_text())["test_result"]
    assert notes.told == [
        ("begin", 0.001, result["run_dir"]),
        *rows,
        ("end", test["ndcg@10"]),
    ]
    assert broken.calls == 1
    assert "Broken failed (ConnectionError: no server); the run goes on" in caplog.text


def test_a_run_that_fails_is_stopped():
    notes = Notes()
    with pytest.raises(ValueError, match="may be too high"):
        run([notes], learning_rate=1e38, epochs=3)
    assert notes.told[0][0] == "begin"
    assert notes.told[-1] == ("stop", "NotFiniteError")


def test_without_validation_each_epoch_is_told_once():
    told = []
    watch = Watch([SimpleNamespace(epoch=lambda row: told.append(row["epoch"]))])
    watch.rows([{"epoch": 0}])
    watch.rows([{"epoch": 0}, {"epoch": 1}, {"epoch": 2}])
    watch.rows([{"epoch": 0}, {"epoch": 1}, {"epoch": 2}])
    assert told == [0, 1, 2]


def test_tensorboard_gets_the_rows():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run(track="tensorboard")
    events = EventAccumulator(str(Path(result["run_dir"], "tensorboard"))).Reload()
    values = [event.value for event in events.Scalars("valid_ndcg@10")]
    expected = [float(row["valid_ndcg@10"]) for row in history(result["run_dir"])]
    assert values == pytest.approx(expected)
    (test,) = events.Scalars("test_ndcg@10")
    assert test.value == pytest.approx(result["test_result"]["ndcg@10"])


def test_wandb_gets_the_rows(monkeypatch):
    told = []

    def init(**arguments):
        told.append(arguments)
        return SimpleNamespace(
            summary={},
            log=lambda row, step: told.append((step, row)),
            finish=lambda exit_code=0: told.append(exit_code),
        )

    wandb = ModuleType("wandb")
    wandb.init, wandb.__spec__ = init, importlib.util.spec_from_loader("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    result = run(track=["wandb"])
    begin, first, second, end = told
    assert begin["name"] == "BPR-ml-100k-2020"
    assert begin["config"]["embedding_size"] == 8
    assert (first[0], second[0], end) == (0, 1, 0)
    rows = history(result["run_dir"])
    assert second[1]["valid_ndcg@10"] == float(rows[1]["valid_ndcg@10"])


def test_mlflow_gets_the_rows(monkeypatch, folder):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "mlruns").as_uri())
    result = run(track="mlflow")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("recbole_enhance")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["embedding_size"] == "8"
    assert tracked.data.metrics["test_ndcg_at_10"] == result["test_result"]["ndcg@10"]
    steps = client.get_metric_history(tracked.info.run_id, "valid_ndcg_at_10")
    expected = [(int(r["epoch"]), float(r["valid_ndcg@10"])) for r in history(result["run_dir"])]
    assert [(m.step, m.value) for m in steps] == expected


@pytest.fixture
def codecarbon(monkeypatch):
    """CodeCarbon's interface, with numbers of its own."""

    class Tracker:
        def __init__(self, **options):
            assert options["country_iso_code"] == "DEU"
            assert not options["save_to_file"]

        def start(self):
            self.final_emissions_data = None

        def stop(self):
            self.final_emissions_data = SimpleNamespace(
                duration=2.0,
                energy_consumed=0.5,
                emissions=0.25,
                country_iso_code="DEU",
                codecarbon_version="0",
            )

    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker = Tracker
    module.__spec__ = importlib.util.spec_from_loader("codecarbon", None)
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "DEU")


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal; where jobs run in the background it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_codecarbon_adds_up_the_parts_of_a_run(codecarbon, folder):
    with pytest.raises(KeyboardInterrupt):
        run([Stopping()], track="codecarbon", run_dir="stopped")
    first = json.loads((folder / "stopped" / "carbon.json").read_text())
    assert first == {
        "seconds": 2.0,
        "energy_kwh": 0.5,
        "emissions_kg": 0.25,
        "country": "DEU",
        "codecarbon": "0",
    }
    assert main(["--resume=stopped", "--quiet"]) == 0
    both = json.loads((folder / "stopped" / "carbon.json").read_text())
    assert (both["seconds"], both["energy_kwh"], both["emissions_kg"]) == (4.0, 1.0, 0.5)


def test_codecarbon_needs_a_country_and_ends_no_run(codecarbon, monkeypatch, caplog):
    monkeypatch.delenv("CODECARBON_COUNTRY_ISO_CODE")
    result = run(track="codecarbon")
    assert "CODECARBON_COUNTRY_ISO_CODE, for example to DEU" in caplog.text
    assert not Path(result["run_dir"], "carbon.json").exists()


def test_codecarbon_itself_measures_without_the_network(monkeypatch):
    pytest.importorskip("codecarbon", reason="the extra carbon is not installed")
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "DEU")
    result = run(track="codecarbon")
    taken = json.loads(Path(result["run_dir"], "carbon.json").read_text())
    assert taken["country"] == "DEU"
    assert min(taken["seconds"], taken["energy_kwh"], taken["emissions_kg"]) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--track=mlfow"], "track=mlfow: a list of mlflow, wandb, tensorboard, codecarbon, or ~"),
        (["--track=wandb"], "track=wandb: needs wandb: "),
    ],
)
def test_trackers_that_cannot_be_are_refused(monkeypatch, capsys, words, message):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "wandb" else find(n))
    assert main(["--model=BPR", "--dataset=ml-100k", *words]) == 2
    assert message in capsys.readouterr().err
