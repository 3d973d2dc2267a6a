import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from calling import call

from recbole_enhance import __version__, cli
from recbole_enhance.testing.worlds import TOY


@pytest.fixture
def options(toy):
    Path("toy.yaml").write_text(yaml.safe_dump({**TOY, "data_path": str(toy)}))
    return "--config_files=toy.yaml"


def test_run_prints_a_table_and_the_folder(options):
    status, out, err = call("--model", "BPR", options, "--epochs", "1", "--eval_args.mode=uni10")
    assert status == 0
    assert "ndcg@5" in out
    assert "run folder: runs/toy/BPR/2020-" in out
    assert "epoch 0: train loss" in err


@pytest.mark.parametrize("quiet", ["--quiet", "--quiet=yes", "--quiet=On", "--quiet=TRUE"])
def test_quiet_prints_nothing(options, quiet):
    assert call("run", "--model=BPR", options, "--epochs=1", quiet) == (0, "", "")
    assert call("run", "--resume=" + str(next(Path("runs/toy/BPR").iterdir())), quiet)[1] == ""


def test_quiet_in_a_file_is_quiet_and_the_command_line_has_the_last_word(options):
    Path("toy.yaml").write_text(Path("toy.yaml").read_text() + "quiet: true\n")
    assert call("--model=BPR", options, "--epochs=1") == (0, "", "")
    assert "ndcg@5" in call("--model=BPR", options, "--epochs=1", "--quiet=no")[1]


def test_resume_of_a_finished_run_reads_it(options):
    _, first, _ = call("--model=BPR", options, "--epochs=1", "--run_dir=a")
    status, second, _ = call("--resume=a")
    assert (status, second) == (0, first)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_want_of_memory_is_one_line(options, monkeypatch, error):
    def build(*_):
        raise error

    monkeypatch.setattr("recbole.model.general_recommender.bpr.BPR.__init__", build)
    status, out, err = call("--model=BPR", options, "--run_dir=a")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == f"recbole-enhance: error: out of memory: {error}"
    assert not Path("a").exists()


def test_a_metric_without_a_value_is_a_dash_then_and_later(toy):
    folder = Path("alike", "toy")
    shutil.copytree(toy / "toy", folder)
    users = (folder / "toy.user").read_text()
    (folder / "toy.user").write_text(users.replace("\tM", "\tF"))
    given = {
        **TOY,
        "data_path": str(folder.parent),
        "epochs": 1,
        "metrics": ["NDCG", "GroupGap"],
        "group_fields": ["gender"],
    }
    given["load_col"] = {**given["load_col"], "user": ["user_id", "gender"]}
    Path("alike.yaml").write_text(yaml.safe_dump(given))
    status, first, err = call("--model=BPR", "--config_files=alike.yaml", "--run_dir=a")
    assert status == 0, err
    gaps = [line.split()[1:] for line in first.splitlines() if "gap" in line]
    assert gaps
    assert all(cell == "-" for gap in gaps for cell in gap)
    assert call("--resume=a")[:2] == (0, first)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=BPPR", "--dataset=toy"], "model=BPPR: unknown model; did you mean BPR?"),
        (["--model=BPR"], "--dataset=NAME is missing"),
        (["--model=BPR", "--datset=toy"], "--dataset=NAME is missing; 'datset' is not an option"),
        (["--dataset=toy"], "--model=NAME is missing"),
        (["--model=BPR", "--dataset=nope"], "nope.inter"),
        (["--model=BPR", "--dataset=ml-100k", "--learnng_rate=1"], "did you mean learning_rate?"),
        (
            ["--model=BPR", "--dataset=ml-100k", "--load_col.inter=[user_id, item_id, stars]"],
            "stars",
        ),
        (["--model=BPR", "--dataset=ml-100k", "--load_col.itm=[item_id]"], "itm"),
        (["--model=BPR", "--dataset=ml-100k", "--config_files=no.yaml"], "no.yaml does not exist"),
        (["--model=BPR", "--dataset=ml-100k", "--topk=5"], "valid_metric=NDCG@20"),
        (["--model=DVR", "--backbone=SASRec", "--dataset=ml-100k"], "backbone=SASRec"),
        (["--model=BPR", "epochs=3"], "'epochs=3' is not an option"),
        (["--model=BPR", "--dataset=ml-100k", "--topk=[5"], "topk=[5: not a YAML value"),
        (
            ["--model=NeuMF", "--dataset=ml-100k", "--mlp_hidden_size=5"],
            "mlp_hidden_size=5: must be a list of whole numbers",
        ),
        (
            ["--model=BPR", "--dataset=ml-100k", "--user_inter_num_interval=[9999,inf)"],
            "leaves none of 100000 interactions",
        ),
        (["--resume=nowhere"], "resume=nowhere: not a run folder"),
        (["--resume=nowhere", "--epochs=3"], "--resume takes the options of the run itself"),
        (["trian", "--model=BPR"], "trian: unknown verb"),
        (["config"], "config show"),
        (["--model=BPR", "--dataset=ml-100k", "--quiet=maybe"], "quiet=maybe: true or false"),
        (["--resume=nowhere", "--quiet=3"], "quiet=3: true or false"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words, message):
    status, out, err = call(*words)
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("recbole-enhance: error: ")
    assert message in err
    assert list(Path(".").iterdir()) == []


def test_no_words_show_the_usage():
    status, _, err = call()
    assert status == 2
    assert err.startswith("usage:")
    assert call("--help")[1].startswith("usage:")
    assert call("--version")[1].strip() == __version__


def test_a_reader_that_has_seen_enough(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from recbole_enhance.cli.program import main;"
        "sys.exit(main(['list']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(Path(__file__).parents[2])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_list_names_methods_and_models():
    status, out, _ = call("list")
    assert status == 0
    assert "DVR" in out
    assert "LightGCN" in out
    assert "SASRec" in out


def test_config_show_takes_models_that_unset_a_nested_option(options):
    status, out, _ = call("config", "show", "--model=SASRec", "--config_files=toy.yaml")
    assert status == 0
    assert "train_neg_sample_args = None" in out.splitlines()


def test_one_process_calls_the_command_line_twice(capsys):
    """After the verb ``list``, the name is that of its module in the package."""
    assert [cli.main(["list"]) for _ in range(2)] == [0, 0]


def test_config_show_tells_where_values_come_from(options):
    Path("mine.yaml").write_text("epochs: 7\n")
    status, out, _ = call(
        "config",
        "show",
        "--model=DVR",
        "--config_files=toy.yaml,mine.yaml",
        "--origin",
        "--eval_args.mode=uni50",
    )
    assert status == 0
    lines = dict(line.split(" = ", 1) for line in out.splitlines())
    assert lines["epochs"] == "7  # mine.yaml"
    assert lines["eval_args.mode"] == "uni50  # command line"
    assert lines["eval_args.order"].endswith("# recbole: overall.yaml")
    assert lines["dvr_gamma"] == "1000.0  # enhancer/DVR.yaml"
    assert not Path("runs").exists()
