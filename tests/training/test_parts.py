"""One model trained by two processes: the numbers of one, and an end that all of them share."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import dropout

from recbole_enhance.experiment.config import Config
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage.processes import own_share
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.worlds import TOY, toy_options
from recbole_enhance.training.parts import RowsOfAll, part_of

ROOT = Path(__file__).parents[2]
QUIET_TORCH = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # what the program says before it imports torch
RESULTS = ("best_valid_score", "best_valid_result", "test_result", "best_epoch")
ALL_KINDS = (
    "[Recall,NDCG,GAUC,GiniIndex,ItemCoverage,ShannonEntropy,AveragePopularity,TailPercentage,"
    "ILD,Calibration,EPC,Serendipity,GroupGap,ValueUnfairness,DifferentialFairness,ExposureRatio,"
    "PopREO"
)


# ---- parts -------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 7))
def test_shares_are_a_partition_in_order(n, size):
    shares = [list(range(n))[own_share(n, rank, size)] for rank in range(size)]
    assert [number for share in shares for number in share] == list(range(n))
    assert len(shares[0]) == max(map(len, shares))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 5))
def test_parts_hold_every_row_once_and_a_positive_with_its_negatives(positives, times, size):
    parts = [part_of(positives * times, times, rank, size) for rank in range(size)]
    assert sum(part.weight for part in parts) == pytest.approx(1)
    if positives < 2 * size:
        assert all(part.whole and len(part.rows) == part.of for part in parts)
        return
    rows = torch.cat([part.rows for part in parts])
    assert sorted(rows.tolist()) == list(range(positives * times))
    for part in parts:
        tiles = part.rows.view(times, -1) % positives
        assert (tiles == tiles[0]).all()


def draws(kind, tensor):
    if kind == "dropout":
        return dropout(tensor, 0.3, True)
    if kind == "in place":
        return dropout(tensor.clone(), 0.3, True, True)
    if kind == "normal":
        return torch.zeros_like(tensor).normal_(mean=1.0, std=0.1)
    if kind == "like":
        return torch.randn_like(tensor)
    return torch.bernoulli(tensor.abs().clamp(max=1))


@pytest.mark.parametrize("kind", ["dropout", "in place", "normal", "like", "chances"])
@pytest.mark.parametrize("lie", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_draws_of_parts_are_those_of_the_batch(kind, lie):
    batch = torch.randn(11, 3, 4).permute(lie).contiguous().permute(*map(lie.index, range(3)))
    torch.manual_seed(5)
    whole, after = draws(kind, batch), torch.get_rng_state()
    found = []
    for rank in range(3):
        part = part_of(len(batch), 1, rank, 3)
        own = batch.permute(lie)[(slice(None),) * lie.index(0) + (part.rows,)]
        own = own.permute(*map(lie.index, range(3)))
        torch.manual_seed(5)
        with RowsOfAll(part):
            found.append(draws(kind, own))
        assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(torch.cat(found), whole)


# ---- refusals ----------------------------------------------------------------------------------


@pytest.fixture
def two(monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("Pop", "it has no training steps"),
        ("RecVAE", "RecVAETrainer has a training loop of its own"),
        ("DVR", "DVR needs the whole batch"),
        ("RVRec", "RVRec needs the whole batch"),
        ("TCE", "TCE needs the whole batch"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name_before_data_are_read(toy, two, model, why):
    with pytest.raises(OptionError, match=rf"^model=\S+ cannot be trained by 2 processes: {why}"):
        Config(config_dict=toy_options(toy, model))


def test_windows_of_histories_are_read_by_one_process(toy, two):
    options = {k: v for k, v in toy_options(toy, "SASRec").items() if k != "embedding_size"}
    with pytest.raises(OptionError, match=r"^packed_step=1: with \d+ processes it must be 0"):
        Config(config_dict=options)
    Config(config_dict={**options, "packed_step": 0})


def test_a_table_in_memory_is_refused(two):
    from recbole_enhance import run

    with pytest.raises(InputError, match=r"^data=FRAME: several processes take a dataset"):
        run("BPR", data=[])


# ---- processes ---------------------------------------------------------------------------------


class Together:
    """Runs of some processes that have imported torch already."""

    def __init__(self):
        self.server = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fork_together.py"))],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | QUIET_TORCH,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # What a shell starts in the background ignores it, and so would this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.server.stdout.readline() == "ready\n"

    def start(self, size, *words):
        """Start processes; their ids."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.name = str(Path("said").resolve())
        words = [word.replace("--run_dir=", f"--run_dir={Path.cwd()}/") for word in words]
        words = [word.replace("--resume=", f"--resume={Path.cwd()}/") for word in words]
        self._send(json.dumps([size, port, words, self.name]))
        self.size = size
        return json.loads(self.server.stdout.readline())

    def end(self):
        """Wait for them; their statuses."""
        self._send("")
        return json.loads(self.server.stdout.readline())

    def said(self):
        """What each printed."""
        return [Path(f"{self.name}.{rank}").read_text() for rank in range(self.size)]

    def _send(self, line):
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()


@pytest.fixture(scope="module")
def together():
    there = Together()
    yield there
    there.server.kill()
    there.server.wait()


def words_of(toy, model, **options):
    chosen = {**TOY, "learning_rate": 0.02, "epochs": 2, "train_batch_size": 125, **options}
    said = {k: v if isinstance(v, str) else json.dumps(v) for k, v in chosen.items()}
    own = [f"--{key}={value}" for key, value in said.items()]
    return [f"--model={model}", *own, f"--data_path={toy}", "--show_progress=false"]


def found_in(folder):
    report = json.loads(Path(folder, "metrics.json").read_text())
    users = Path(folder, "per_user.csv.gz").read_bytes()
    return {key: report[key] for key in RESULTS}, users


@pytest.mark.serial
@pytest.mark.parametrize(
    ("model", "metrics", "more"),
    [
        ("BPR", ALL_KINDS + ",AUC,LogLoss]", {"train_neg_sample_args": {"sample_num": 2}}),
        ("LightGCN", ALL_KINDS + "]", {}),
        # Dropout of one half is on in all of it.
        (
            "SASRec",
            ALL_KINDS + "]",
            {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "packed_step": 0},
        ),
        # Pairs are scored, and batches normalised. A bias before that has a gradient of rounding
        # alone, which Adam makes a step of: with it, one process gives such numbers by chance.
        (
            "DIN",
            ALL_KINDS + "]",
            {
                "eval_args.mode": "uni20",
                "mlp_hidden_size": [8],
                "learner": "sgd",
                "packed_step": 0,
            },
        ),
        ("PRIS", "[NDCG]", {"pris_negatives": 3}),
    ],
)
def test_two_processes_give_the_numbers_of_one(toy, together, model, metrics, more):
    more = {"group_fields": ["gender", "activity"], "metrics": metrics, "topk": [5], **more}
    words = words_of(toy, model, **more)
    if model == "SASRec":
        words = [word for word in words if not word.startswith("--embedding_size")]
    for size in (1, 2):
        together.start(size, *words, f"--run_dir=of{size}")
        assert together.end() == [0] * size, together.said()
    assert found_in("of2") == found_in("of1")
    losses = [
        [float(row["train_loss"]) for row in history_rows(Path(folder))]
        for folder in ("of1", "of2")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert together.said()[1] == ""


def wait_for(path):
    for _ in range(3000):
        if path.is_file():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {path}")


@pytest.mark.serial
def test_a_killed_process_ends_the_other_with_a_line_and_the_run_goes_on(toy, together):
    words = words_of(toy, "BPR", epochs=60, stopping_step=100)
    together.start(1, *words, "--run_dir=whole")
    assert together.end() == [0], together.said()
    ids = together.start(2, *words, "--quiet", "--run_dir=killed")
    wait_for(Path("killed", "checkpoint.pt"))
    os.kill(ids[1], signal.SIGKILL)
    assert together.end() == [1, -signal.SIGKILL]
    said = together.said()[0]
    line = r"another process of this run has ended; continue with: \S+ --resume=\S+/killed\n"
    assert re.fullmatch(line, said), said
    together.start(2, "--resume=killed")
    assert together.end() == [0, 0], together.said()
    assert re.search(r"resumed after epoch \d+", together.said()[0])
    assert found_in("killed") == found_in("whole")


@pytest.mark.serial
def test_an_interrupt_ends_both_and_one_process_can_go_on(toy, together):
    words = words_of(toy, "BPR", epochs=60, stopping_step=100)
    ids = together.start(2, *words, "--quiet", "--run_dir=stopped")
    wait_for(Path("stopped", "checkpoint.pt"))
    for process in ids:
        os.kill(process, signal.SIGINT)
    assert set(together.end()) <= {130, 1}
    lines = "".join(together.said()).splitlines()
    assert len(lines) == 1, lines
    assert "continue with: recbole-enhance --resume=" in lines[0]
    together.start(1, "--resume=stopped")
    assert together.end() == [0], together.said()


@pytest.mark.serial
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["recommend", "run", "--all"], r"recommend: takes one process, not the 2 of WORLD_SIZE"),
        (["--model=BPR", "--epochs=-1"], r"epochs=-1: .*"),
        # Pairs of a batch are each other's negatives.
        (["--model=SGL", "--epochs=1"], r"model=SGL: cannot be trained by 2 processes: .*"),
    ],
)
def test_bad_input_is_told_once(toy, together, words, line):
    of_run = words_of(toy, "BPR")[1:] if words[0].startswith("--") else []
    of_run = [word for word in of_run if not word.startswith("--epochs")]
    together.start(2, *words, *of_run)
    assert set(together.end()) <= {1, 2}
    said = [s for s in "".join(together.said()).splitlines() if s.startswith("recbole-enhance: ")]
    assert len(said) == 1, together.said()
    assert re.fullmatch(f"recbole-enhance: error: {line}", said[0]), said


@pytest.mark.slow
@pytest.mark.serial
def test_torchrun_starts_them(toy):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m"]
    words = words_of(toy, "BPR", epochs=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        command.insert(3, f"--master_port={free.getsockname()[1]}")
    ended = subprocess.run(
        [*command, "recbole_enhance", *words, "--run_dir=run"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("run folder: run") == 1
    assert found_in("run")[0]["best_epoch"] == 0
