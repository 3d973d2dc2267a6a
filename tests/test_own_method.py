"""Methods of users' own: by module and name, from Python, and from packages that register."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import recbole_enhance
from recbole_enhance.cli import program as cli
from recbole_enhance.enhancer import load_enhancer
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.names import list_methods, list_models
from recbole_enhance.experiment.quick_start import load_run, resume_run
from recbole_enhance.leaderboard.analysis import make_rows
from recbole_enhance.leaderboard.collect import collect
from recbole_enhance.leaderboard.protocol import tables
from recbole_enhance.leaderboard.rows import split_pair
from recbole_enhance.storage.run_folder import CONFIG, METRICS
from recbole_enhance.testing.worlds import TOY, feature_toy_options, run_toy, toy_options

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your_own_method.md").read_text(encoding="utf-8")
# The page's files: `name`, then a fence, maybe after a colon and some words.
FILES = dict(re.findall(r"`([\w/]+\.\w+)`[^`]*?:\n\n```\w+\n(.*?)```", PAGE, re.S))
COMMANDS = re.search(r"```bash\n(.*?)```", PAGE, re.S).group(1).splitlines()
BY_PATH = "my_package.smooth:Smooth"


def write_files(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def forgotten():
    """What a test imports of the user's is imported anew by the next one."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("my_package", "my_models", "mine", "strange"):
            del sys.modules[name]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The page's files in the working folder, imported from there."""
    write_files(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder into which the page's package is installed."""
    target = tmp_path_factory.mktemp("site")
    source = write_files(tmp_path_factory.mktemp("source"))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    result = call([*command, "--target", str(target), str(source)], source)
    assert result.returncode == 0, result.stderr
    return target


def call(words, folder, *places):
    path = os.pathsep.join(map(str, (*places, ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def enhance(capsys, monkeypatch):
    """The command line: status, output and errors."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*words):
        status = cli.main(words)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def done(enhance):
    """The command line's output, where all went well."""

    def run(*words):
        status, out, err = enhance(*words)
        assert status == 0, err
        return out

    return run


def toy_file(toy, **options):
    """Words that name a file of options, and the dataset, which no file of a board may name."""
    values = {**TOY, "data_path": str(toy), **options}
    dataset = values.pop("dataset")
    Path("toy.yaml").write_text(yaml.safe_dump(values))
    return "--config_files=toy.yaml", f"--dataset={dataset}"


# ---- the page ----------------------------------------------------------------------------------


def test_the_page_has_a_whole_small_package():
    assert set(FILES) == {
        "my_package/smooth.py",
        "tests/conftest.py",
        "tests/test_smooth.py",
        "pyproject.toml",
    }
    lines = FILES["my_package/smooth.py"].splitlines()
    assert len([line for line in lines if line.strip()]) <= 35
    assert len(COMMANDS) == 4


def test_the_contract_holds_in_a_process_of_its_own(installed, tmp_path):
    write_files(tmp_path)
    result = call([sys.executable, "-m", "pytest", "-q", "tests"], tmp_path, installed)
    assert result.returncode == 0, result.stdout
    assert "8 passed" in result.stdout
    assert "PytestAssertRewriteWarning" not in result.stdout


# ---- by module and name ------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pages_commands_work_by_module_and_name(own, toy, done, command):
    Path("space.yaml").write_text("smooth_share: [0.0, 0.2]\n")
    command = re.sub(" --dataset=[^ ]+", "", command).replace("trials=20", "trials=2")
    _, *words = command.replace("seeds=5", "seeds=1").split()
    words += toy_file(toy, epochs=1)
    out = done(*words)
    if words[0] == "config":
        assert "smooth_share = 0.1  # defaults of Smooth" in out
        assert f"model = {BY_PATH}  # command line" in out
    elif words[0] == "leaderboard":
        assert "Smooth-BPR" in out
        assert Path("board", "cells", "toy", "Smooth-BPR", "2020", METRICS).is_file()
    elif words[0] == "tune":
        assert "2 trials: 2 complete" in out
        best = yaml.safe_load(Path("tuning", "toy", "Smooth-BPR", "best.yaml").read_text())
        assert best["smooth_share"] in (0.0, 0.2)
        assert "model" not in best  # files name no code of the user's
    else:
        assert "run folder: runs/toy/Smooth-LightGCN" in out


def test_the_options_of_a_users_method_are_printed(own, done):
    (line,) = [
        line
        for line in done("config", "options", f"--model={BY_PATH}").splitlines()
        if line.startswith("smooth_share")
    ]
    assert line.split()[1:5] == ["float", "[0,", "0.5)", "0.1"]
    assert line.endswith("Share of the labels that is turned around; 0 is the backbone.")


def test_a_run_is_resumed_and_reproduced_with_the_method_named_again(own, toy, enhance, done):
    file = toy_file(toy, epochs=2)
    first = done(f"--model={BY_PATH}", *file, "--run_dir=run", "--smooth_share=0.2")
    Path("run", METRICS).unlink()
    sys.modules.pop("my_package.smooth")
    status, _, refused = enhance("--resume=run")
    assert (status, refused.count("\n")) == (2, 1)
    assert f"model={BY_PATH}: run/config.yaml names your own code" in refused
    assert f"--model={BY_PATH}, or method= from Python" in refused
    assert (
        "model=my_package.other:Smooth: run is a run of"
        in enhance("--resume=run", "--model=my_package.other:Smooth")[2]
    )
    assert "my_package.smooth" not in sys.modules
    assert done("--resume=run", f"--model={BY_PATH}") == first
    assert "reproduced" in done("reproduce", "run", f"--model={BY_PATH}")
    status, _, explained = enhance("explain", "run")
    assert status == 2
    assert f"say --model={BY_PATH}" in explained
    assert (
        "reasons: " in done("explain", "run", f"--model={BY_PATH}")
        or Path("run", "reasons.jsonl").is_file()
    )


def test_a_stopped_cell_of_a_users_method_goes_on(own, toy, done):
    line = [f"--models={BY_PATH}:BPR", "--seeds=1", "--out=board", "--quiet"]
    line += toy_file(toy, epochs=2)
    done("leaderboard", "run", *line)
    cell = Path("board", "cells", "toy", "Smooth-BPR", "2020")
    report = json.loads((cell / METRICS).read_text())
    (cell / METRICS).unlink()
    before = (cell / "history.csv").read_bytes()
    done("leaderboard", "run", *line)
    assert json.loads((cell / METRICS).read_text())["test_result"] == report["test_result"]
    assert (cell / "history.csv").read_bytes() == before  # it was resumed, not run again


def test_from_python_the_object_is_handed_over(own, toy):
    from my_package.smooth import Smooth

    options = {key: value for key, value in toy_options(toy, "x").items() if key != "model"}
    result = recbole_enhance.run(model=Smooth, config_dict={**options, "epochs": 1})
    saved = yaml.safe_load(Path(result["run_dir"], CONFIG).read_text())
    assert (saved["model"], saved["backbone"]) == (BY_PATH, "BPR")
    by_name = run_toy(toy, BY_PATH, epochs=1)
    assert by_name["run_dir"] == result["run_dir"] + "-2"  # the same run
    for method in (Smooth, BY_PATH):
        run = load_run(result["run_dir"], method=method)
        assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]
    with pytest.raises(ValueError, match=rf"model={BY_PATH}: .* names your own code"):
        load_run(result["run_dir"])
    with pytest.raises(ValueError, match=r"model=TCE: .* is a run of my_package.smooth:Smooth"):
        load_run(result["run_dir"], method=load_enhancer("TCE"))


def test_method_and_backbone_may_both_be_the_users(own, toy, done):
    (own / "my_models.py").write_text(
        "from recbole.model.general_recommender import BPR\nclass MyBPR(BPR): pass\n"
    )
    options = {"backbone": "my_models:MyBPR", "epochs": 1}
    config = Config(config_dict=toy_options(toy, BY_PATH, **options))
    assert config.pair.own_method == BY_PATH
    assert config.pair.own_class == ("backbone", "my_models:MyBPR")
    assert config["label"] == "Smooth-MyBPR"
    result = run_toy(toy, BY_PATH, run_dir="run", **options)
    with pytest.raises(ValueError, match=r"backbone=my_models:MyBPR: .*names your own code"):
        load_run("run", method=BY_PATH)
    run = load_run("run", "my_models:MyBPR", BY_PATH)
    assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]
    Path("run", METRICS).unlink()
    words = (f"--model={BY_PATH}", "--backbone=my_models:MyBPR")
    assert done("--resume=run", *words, "--quiet") == ""
    assert Path("run", METRICS).is_file()


def test_a_run_of_a_users_method_is_attacked_and_not_explained(own, reviews, enhance, done):
    (own / "mine.py").write_text(METHOD.format(name="Mine", defaults={"backbone": "CER"}))
    for model in ("mine:Mine", "CER"):
        options = feature_toy_options(reviews, model, epochs=1, run_dir=model.partition(":")[0])
        recbole_enhance.run(config_dict=options)
    words = ("attack", "mine", "CER", "--targets=features", "--budgets=0.5", "--quiet")
    status, _, refused = enhance(*words)
    assert (status, refused.count("\n")) == (2, 1)
    assert "model=mine:Mine: mine/config.yaml names your own code" in refused
    assert done(*words, "--model=mine:Mine") == ""
    assert Path("mine", "attack.json").is_file()
    assert Path("CER", "attack.json").is_file()
    status, _, refused = enhance("explain", "mine", "--model=mine:Mine")
    assert (status, refused.count("\n")) == (2, 1)
    assert "there is nothing to explain its lists by" in refused


@pytest.mark.parametrize("option", ["model", "models"])
def test_no_file_imports_a_method(own, toy, enhance, option):
    (own / "my_package" / "__init__.py").write_text("raise SystemExit('imported')")
    if option == "models":
        Path("board.yaml").write_text(f"models: ['{BY_PATH}:BPR']\ndatasets: [toy]\nout: board\n")
        status, _, refused = enhance("leaderboard", "run", "board.yaml")
    else:
        status, _, refused = enhance(*toy_file(toy, model=BY_PATH))
    assert (status, refused.count("\n")) == (2, 1)
    assert "files never import code" in refused


METHOD = """
from recbole_enhance.enhancer.base import Enhancer
def check(config): pass
Mine = Enhancer(name="{name}", paper="", check=check, defaults={defaults})
"""


@pytest.mark.parametrize(
    ("name", "defaults", "message"),
    [
        ("DVR", {"backbone": "BPR"}, "model=mine:Mine: recbole_enhance has a method DVR too"),
        ("LightGCN", {"backbone": "BPR"}, "model=mine:Mine: there is a model LightGCN too"),
        ("my/name", {"backbone": "BPR"}, "model=mine:Mine: mine cannot be imported .*my/name"),
        ("Mine", {"epochs": 3}, "defaults of Mine: epochs: options of Mine begin with mine_"),
        ("Mine", {"mine_x": 3}, "--backbone=NAME is missing: Mine has no default"),
        ("Mine", "no.yaml", "config file no.yaml does not exist"),
    ],
)
def test_a_method_that_cannot_be_taken_is_told_in_one_line(own, toy, name, defaults, message):
    (own / "mine.py").write_text(METHOD.format(name=name, defaults=repr(defaults)))
    with pytest.raises(ValueError, match=f"^{message}") as error:
        Config(config_dict=toy_options(toy, "mine:Mine"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("as_file", [True, False])
def test_defaults_stand_in_a_file_or_a_mapping_over_those_of_the_fields(own, toy, as_file):
    (own / "mine.yaml").write_text("smooth_share: 0.3")
    defaults = 'Path(__file__).with_suffix(".yaml")' if as_file else '{"smooth_share": 0.3}'
    (own / "mine.py").write_text(
        "from dataclasses import replace\nfrom pathlib import Path\n"
        "from my_package.smooth import Smooth, SmoothTrainer\n"
        "class Trainer(SmoothTrainer): pass\n"
        f"Mine = replace(Smooth, trainer=Trainer, defaults={defaults})\n"
    )
    config = Config(config_dict=toy_options(toy, "mine:Mine"))
    assert (config["smooth_share"], config["model"]) == (0.3, "BPR")
    origin = f"{own.name}/mine.yaml" if as_file else "defaults of Smooth"
    assert config.origins["smooth_share"] == origin
    with pytest.raises(ValueError, match=r"smooth_share=0.5: must be at least 0 and below 0.5"):
        Config(config_dict=toy_options(toy, "mine:Mine", smooth_share=0.5))


def test_a_method_of_ours_is_recorded_by_its_name(toy):
    for model in (load_enhancer("TCE"), "recbole_enhance.enhancer.tce:TCE"):
        config = Config(config_dict=toy_options(toy, model))
        assert config.options["model"] == "TCE"
        assert config.pair.own_method is None


def test_rows_of_boards_are_read_one_way_only():
    assert split_pair(f"{BY_PATH}:BPR") == (BY_PATH, "BPR")
    assert split_pair(f"{BY_PATH}:my.models:Mine") == (BY_PATH, "my.models:Mine")
    assert split_pair("dvr:my.models:Mine") == ("DVR", "my.models:Mine")
    for text in ("a.b:", ":Smooth", "a.b::BPR", f"{BY_PATH}:"):
        with pytest.raises(ValueError, match=f"models={text}: METHOD:BACKBONE or MODULE:NAME"):
            split_pair(text)


# ---- packages that register --------------------------------------------------------------------


def test_an_installed_package_runs_in_a_process_of_its_own(installed, toy, tmp_path):
    command = [sys.executable, str(ROOT / "run_recbole_enhance.py"), "--model=Smooth"]
    result = call([*command, *toy_file(toy, epochs=1)], tmp_path, installed)
    assert result.returncode == 0, result.stderr
    assert "run folder: runs/toy/Smooth-BPR" in result.stdout


def test_an_installed_package_lists_runs_and_resumes(installed, toy, enhance, done, monkeypatch):
    file = toy_file(toy, epochs=2)
    status, _, missing = enhance("--model=Smooth", *file)
    assert (status, missing.count("\n")) == (2, 1)
    assert "model=Smooth: unknown model" in missing
    monkeypatch.syspath_prepend(str(installed))
    (listed,) = [line for line in done("list").splitlines() if "Smooth" in line]
    assert listed.startswith("  Smooth   Rethinking the Inception Architecture")
    assert listed.endswith(" [my-package]")
    first = done("--model=smooth", *file, "--run_dir=run")
    assert yaml.safe_load(Path("run", CONFIG).read_text())["model"] == "Smooth"
    Path("run", METRICS).unlink()
    assert done("--resume=run") == first
    by_path = done("--model=my_package.smooth:Smooth", *file, "--run_dir=other")
    assert by_path == first.replace("folder: run", "folder: other")
    assert yaml.safe_load(Path("other", CONFIG).read_text())["model"] == "Smooth"


def test_an_installed_package_is_tuned_and_stands_on_a_board(installed, toy, done, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    file = toy_file(toy, epochs=1)
    Path("space.yaml").write_text("smooth_share: [0.0, 0.2]\n")
    words = ("--model=Smooth", *file, "--space=space.yaml", "--trials=2", "--out=tuned")
    assert "2 trials: 2 complete" in done("tune", *words)
    assert yaml.safe_load(Path("tuned", "best.yaml").read_text())["model"] == "Smooth"
    values = {**TOY, "epochs": 1, "data_path": str(toy)}
    values.pop("dataset")
    spec = {"models": ["BPR", "Smooth:BPR"], "datasets": ["toy"], "seeds": 1, "options": values}
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    assert "Smooth-BPR" in done("leaderboard", "run", "spec.yaml", "--out=board")
    assert "Smooth-BPR" in Path("board", "board.md").read_text()


def register(folder, package, **groups):
    """The metadata of an installed package, without the package."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    text = "".join(
        f"[recbole_enhance.{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items())
        for group, entries in groups.items()
    )
    (info / "entry_points.txt").write_text(text)


def test_a_broken_package_is_shown_and_disturbs_nobody(own, toy, done):
    (own / "broken.py").write_text("import nowhere_at_all\n")
    (own / "strange.py").write_text("Number = 3\nfrom my_package.smooth import Smooth as Other\n")
    methods = {"Bad": "broken:Bad", "Number": "strange:Number", "Other": "strange:Other"}
    register(own, "bad-package", enhancers=methods, models={"BadModel": "strange:Number"})
    reasons = {
        "Bad": r"model=Bad: the package bad-package registers broken:Bad, which cannot be imported "
        r"\(ModuleNotFoundError: No module named 'nowhere_at_all'\)",
        "Number": "model=Number: .* strange:Number, which is of type int, no Enhancer",
        "Other": "model=Other: .* strange:Other, which calls itself Smooth",
        "BadModel": "model=BadModel: .* strange:Number, which is not a class of a RecBole model",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=rf"^{reason} \(config_dict\)$") as error:
            Config(config_dict=toy_options(toy, name))
        assert "\n" not in str(error.value)
    listed = dict(list_methods())
    for name in methods:
        assert re.match(f"cannot be used: {reasons[name]} \\[bad-package\\]", listed[name])
    assert re.match(
        f"BadModel cannot be used: {reasons['BadModel']}", list_models()["[bad-package]"][0]
    )
    assert Config(config_dict=toy_options(toy, "DVR"))["label"] == "DVR-BPR"
    assert "bad-package" in done("list")


def test_a_name_that_two_packages_have_is_refused(own, toy):
    register(own, "one", enhancers={"DVR": BY_PATH, "Twice": BY_PATH, "bpr": BY_PATH})
    register(own, "two", enhancers={"twice": BY_PATH}, models={"ProtoMF": "my_models:ProtoMF"})
    for name, owners in (
        ("DVR", "recbole_enhance and one"),
        ("Twice", "(one and two|two and one)"),
        ("BPR", "recbole and one"),
        ("ProtoMF", "recbole_enhance and two"),
    ):
        with pytest.raises(ValueError, match=f"^model={name}: {owners} each define this name"):
            Config(config_dict=toy_options(toy, name))
    with pytest.raises(ValueError, match=r"^backbone=BPR: recbole and one each define"):
        Config(config_dict=toy_options(toy, "TCE", backbone="BPR"))
    assert "DVR and one" not in dict(list_methods())["RER"]
    told = [about for name, about in list_methods() if name == "DVR"]
    assert told[1].startswith("cannot be used: model=DVR: recbole_enhance and one each define")


def test_a_registered_model_is_a_backbone_by_its_name(own, toy):
    (own / "my_models.py").write_text(
        "from recbole.model.general_recommender import BPR\nclass Mine(BPR): pass\n"
    )
    register(own, "my-models", models={"Mine": "my_models:Mine"})
    result = run_toy(toy, "TCE", backbone="mine", epochs=1, run_dir="run")
    assert yaml.safe_load(Path("run", CONFIG).read_text())["backbone"] == "Mine"
    from my_models import Mine

    for given in (None, Mine):
        run = load_run("run", model_class=given)
        assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]
    assert run_toy(toy, Mine, epochs=1, run_dir="plain")
    assert yaml.safe_load(Path("plain", CONFIG).read_text())["model"] == "Mine"
    assert list_models()["[my-models]"] == ["Mine"]
    with pytest.raises(ValueError, match=r"model=mime: unknown model; did you mean Mine\?"):
        Config(config_dict=toy_options(toy, "mime"))


def test_nothing_is_imported_until_it_is_chosen(own, toy):
    (own / "noisy.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    register(own, "noisy", enhancers={"Noisy": "noisy:Noisy"}, models={"Loud": "noisy:Loud"})
    Config(config_dict=toy_options(toy, "DVR"))
    assert split_pair("noisy:BPR") == ("Noisy", "BPR")
    with pytest.raises(ValueError, match="noisy_x: an option of Noisy, and this run is of BPR"):
        Config(config_dict=toy_options(toy, "DVR", noisy_x=1))
    assert not Path("imported").exists()


def test_an_enhancer_says_where_it_is_defined(own):
    from my_package.smooth import Smooth, SmoothTrainer

    assert Smooth.path == BY_PATH
    assert load_enhancer("DVR").path == "recbole_enhance.enhancer.dvr.method:DVR"
    unnamed = Enhancer(name="Unnamed", paper="", check=Smooth.check, trainer=SmoothTrainer)
    assert unnamed.path == "my_package.smooth:Unnamed"


def test_resume_takes_a_method_that_a_script_defined(own, toy, monkeypatch):
    from my_package import smooth

    monkeypatch.setattr(smooth.SmoothTrainer, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Smooth", smooth.Smooth, raising=False)
    assert smooth.Smooth.path == "__main__:Smooth"
    run_toy(toy, smooth.Smooth, epochs=1, run_dir="run")
    Path("run", METRICS).unlink()
    with pytest.raises(ValueError, match=r"method=Smooth from Python \(a script defined it\)"):
        resume_run("run")
    assert resume_run("run", method=smooth.Smooth)["test_result"]


def test_code_that_was_changed_between_two_runs_makes_two_rows(own, toy):
    (own / "my_models.py").write_text(
        "from recbole.model.general_recommender import BPR\nclass MyBPR(BPR): pass\n"
    )
    options = {"backbone": "my_models:MyBPR", "epochs": 1}
    for seed in (1, 2):
        run_toy(toy, BY_PATH, run_dir=f"runs/{seed}", seed=seed, **options)
    (own / "my_models.py").write_text(
        "from recbole.model.general_recommender import BPR\nclass MyBPR(BPR): better = True\n"
    )
    del sys.modules["my_models"]
    run_toy(toy, BY_PATH, run_dir="runs/3", seed=3, **options)
    run_toy(toy, "BPR", run_dir="runs/4", seed=3)
    codes = [json.loads(Path(f"runs/{n}/env.json").read_text()).get("code_sha256") for n in "1234"]
    assert codes[0] == codes[1] != codes[2]
    assert codes[3] is None
    assert sorted(codes[0]) == ["my_models", "my_package.smooth"]
    changed = [len({code[module] for code in codes[:3]}) for module in sorted(codes[0])]
    assert changed == [2, 1]
    collected = collect(Path("runs"))
    rows, _ = make_rows(tables(collected.runs)[0], collected)
    seeds = {row.title: [run.seed for run in row.runs] for row in rows}
    first, other = (code["my_models"][:8] for code in codes[1:3])
    assert seeds == {
        f"Smooth-MyBPR (code of my_models={first})": [1, 2],
        f"Smooth-MyBPR (code of my_models={other})": [3],
        "BPR": [3],
    }


def test_of_a_script_only_the_classes_count(tmp_path):
    script = tmp_path / "train.py"
    text = """
from recbole.model.general_recommender import BPR
from recbole_enhance.options.model_class import own_code
class Mine(BPR):
    x = 1
seed = 1
print(own_code([Mine], ["json", "__main__"]))
"""
    codes = []
    for changed in (text, text.replace("seed = 1", "seed = 2"), text.replace("x = 1", "x = 2")):
        script.write_text(changed)
        codes.append(call([sys.executable, str(script)], tmp_path).stdout)
    assert codes[0] == codes[1] != codes[2]
    assert codes[0].startswith("{'__main__': '")
