"""The verbs as they are read: help, words, lists, files, classes of one's own, exit statuses."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from calling import call, refused
from iacn_backbones import PROPERTIES, options_of

from recbole_enhance import __version__
from recbole_enhance.cli.command import Option, Place, Verb
from recbole_enhance.cli.program import VERBS, main
from recbole_enhance.experiment.config import Config
from recbole_enhance.leaderboard.spec import read_board
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.read import load_yaml
from recbole_enhance.testing.worlds import TOY


def verbs_of(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs_of(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = dict(verbs_of(VERBS))
QUIET = [path for path, verb in EVERY.items() if any(p.name == "quiet" for p in verb.params)]
# These are about a board that is there, and take no files of options.
OF_BOARD = [("leaderboard", verb) for verb in ("build", "curves", "submit")]
FILES = [path for path in QUIET if path not in OF_BOARD]
OF_RUN = [path for path, verb in EVERY.items() if verb.takes_run_options]
OWN_FILES = [path for path in FILES if path not in OF_RUN]
NAMES = "-".join
ROOT = Path(__file__).parents[2]


@pytest.fixture
def parsed(monkeypatch):
    """Read words, and tell what the verb's function would get."""
    seen = []
    for verb in EVERY.values():
        monkeypatch.setattr(verb, "callback", lambda **given: seen.append(given))

    def parse(*words):
        seen.clear()
        status, _, err = call(*words)
        assert status == 0, err
        (given,) = seen
        return given

    return parse


def a_place(path):
    return ["a"] if any(isinstance(param, Place) for param in EVERY[path].params) else []


# ---- help and names ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY, ids=NAMES)
def test_the_help_of_a_verb_is_of_that_verb(path):
    status, out, _ = call(*path, "--help")
    assert status == 0
    assert out.startswith(f"usage: recbole-enhance {' '.join(path)}")
    verb = EVERY[path]
    text = " ".join(out.split())
    for param in verb.params:
        if isinstance(param, Option):
            assert f"--{param.name}" in out
        assert param.sentence
        assert " ".join(param.sentence.split()) in text
    others = {p.name for v in EVERY.values() for p in v.params if isinstance(p, Option)}
    own = {p.name for p in verb.params}
    declared = out.split("Options:")[1].split("Example:")[0]
    assert not [name for name in others - own if re.search(rf"  --{name}[= \n]", declared)]
    assert f"Example:\n  recbole-enhance {verb.example.split()[1]}" in out
    assert call("help", *path)[1] == out
    assert call(*path, *a_place(path), "-h")[1] == out


@pytest.mark.parametrize("path", EVERY, ids=NAMES)
def test_the_example_of_a_verb_can_be_read(path, parsed):
    Path("tuned").mkdir()
    Path("tuned/best.yaml").touch()
    for line in EVERY[path].example.splitlines():
        program, *words = shlex.split(line.partition(">")[0])
        assert program == "recbole-enhance"
        parsed(*words)


# What a run reads that is not there, and where it writes.
_ELSEWHERE = ("data_path", "variant", "run_dir", "eval_candidates_file", "config_files")


def shown(page):
    """Commands in fences without a language; tests/test_pages.py runs the others."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)
    lines = "".join(block for name, block in blocks if not name).replace("\\\n", " ").splitlines()
    starts = r"(recbole-enhance|python run_recbole_enhance\.py) (.*?)( >.*|  +#.*)?"
    return [found[2] for line in lines if (found := re.fullmatch(starts, line))]


PAGES = {
    page.relative_to(ROOT).as_posix(): lines
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page.name != "command_line.md" and (lines := shown(page))
}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_a_page_shows_can_be_read(page, parsed):
    """Words and run options, those of a data set that is elsewhere on ml-100k."""
    Path("tuned").mkdir()
    Path("tuned/best.yaml").touch()
    Path("board.yaml").touch()
    for line in PAGES[page]:
        options = parsed(*shlex.split(line)).get("options") or {}
        if "model" in options:
            own = {key: value for key, value in options.items() if key not in _ELSEWHERE}
            Config(command_line={**own, "dataset": "ml-100k"})


def test_pages_show_commands():
    assert len(PAGES) > 15
    assert sum(map(len, PAGES.values())) > 40


def test_the_page_of_the_command_line_is_what_the_verbs_say(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    shown = re.findall(r"^### ([^\n]*)\n\n```\n(.*?)```", text, re.S | re.M)
    assert {tuple(name.split()) for name, _ in shown} == {*EVERY, *((n,) for n in VERBS.commands)}
    for name, block in shown:
        assert block == call(*name.split(), "--help")[1], name


def test_the_help_of_a_group_lists_its_verbs():
    out = call("--help")[1]
    assert out.startswith("usage: recbole-enhance ")
    for name, command in VERBS.commands.items():
        assert f"\n  {name} " in out
        assert "..." not in command.get_short_help_str(60)
    assert "\n  build " in call("leaderboard", "--help")[1]
    assert "\n  schema " in call("config", "--help")[1]


def test_what_needs_no_torch_imports_none():
    lines = [
        ["--help"],
        ["attack", "--help"],
        ["config", "schema", "--help"],
        ["--version"],
        ["version"],
        ["trian"],
        ["leaderboard", "biuld"],
        ["explain", "a", "--tokp=3"],
        ["run", "--model=BPR", "epochs=3"],
    ]
    code = (
        "import os, sys; from recbole_enhance.cli.program import main\n"
        f"print([main(words) for words in {lines}], file=sys.stderr)\n"
        "os.environ.update(_RECBOLE_ENHANCE_COMPLETE='bash_complete', COMP_CWORD='2',"
        " COMP_WORDS='recbole-enhance --model Li'); print(main([]), file=sys.stderr)\n"
        "print([m for m in sys.modules if m in ('torch', 'recbole')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, statuses, completed, imported = done.stderr.splitlines()
    assert statuses == "[0, 0, 0, 0, 0, 2, 2, 2, 2]"
    assert completed == "0"
    assert imported == "[]"
    assert "plain,LightGCN" in done.stdout


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["explian", "a"], ["explian: unknown verb; did you mean explain?", "reproduce", "doctor"]),
        (["xyz"], ["xyz: unknown verb", "run", "tune"]),
        (["leaderboard", "biuld"], ["leaderboard biuld: unknown verb; did you mean build?", "run"]),
        (["config", "shwo"], ["config shwo: unknown verb; did you mean show?", "schema"]),
        (["config"], ["config: a verb is missing: config show, config options, config schema"]),
    ],
)
def test_an_unknown_verb_lists_the_verbs_and_the_nearest(words, messages):
    err = refused(*words)
    for message in messages:
        assert message in err


def test_version_is_a_verb_and_an_option():
    for words in (["version"], ["--version"], ["run", "--version"]):
        assert call(*words) == (0, f"{__version__}\n", "")


# ---- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", QUIET, ids=NAMES)
@pytest.mark.parametrize(
    ("words", "quiet"),
    [
        ([], False),
        (["--quiet"], True),
        (["--quiet=yes"], True),
        (["--quiet", "yes"], True),
        (["--quiet=On"], True),
        (["--quiet=TRUE"], True),
        (["--quiet=no"], False),
        (["--quiet", "false"], False),
        (["--quiet=False"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_quiet_is_said_alike_to_every_verb(path, words, quiet, parsed):
    place = a_place(path)
    other = [] if place else ["--run_dir=a"]
    for line in ([*path, *words, *place, *other], [*path, *place, *other, *words]):
        given = parsed(*line)
        assert given["quiet"] is quiet
        places = {param.name for param in EVERY[path].params if isinstance(param, Place)}
        named = [value for key, value in given.items() if key in places]
        assert named in ([], ["a"], [("a",)])
        assert bool(named) == bool(place)


@pytest.mark.parametrize("path", QUIET, ids=NAMES)
def test_quiet_is_yes_or_no(path):
    assert "quiet=maybe: true or false is expected" in refused(
        *path, *a_place(path), "--quiet=maybe"
    )


@pytest.mark.parametrize("path", OF_RUN, ids=NAMES)
def test_options_of_a_run_are_said_alike_to_every_verb(path, parsed):
    expected = {"model": "BPR", "eval_args.mode": "uni100", "neg": "-1", "x": "a=b", "fast": "true"}
    words = ["--model", "BPR", "--eval_args.mode=uni100", "--neg", "-1", "--x=a=b", "--fast"]
    assert parsed(*path, *a_place(path), *words)["options"] == expected
    if path == ("run",):
        assert parsed(*words)["options"] == expected
        assert parsed(*words, "--quiet")["options"] == {**expected, "quiet": "true"}


def test_a_yes_of_a_run_takes_no_place_for_its_value(parsed):
    given = parsed("leaderboard", "run", "--save_recs", "spec.yaml", "--fast", "no")
    assert given["spec"] == "spec.yaml"
    assert given["options"] == {"save_recs": "true", "fast": "no"}


@pytest.mark.parametrize("path", EVERY, ids=NAMES)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--topk=3", "--topk=4"], "--topk is given twice: 3 and 4"),
        (["--=3"], "'--=3' is not an option: the name is missing"),
        (["-x"], "'-x' is not an option: write --key=value"),
    ],
)
def test_words_that_are_no_option_are_refused_by_every_verb(path, words, message):
    assert message in refused(*path, *a_place(path), *words)


@pytest.mark.parametrize("path", [p for p in EVERY if p not in OF_RUN], ids=NAMES)
def test_an_option_that_a_verb_does_not_have_is_refused(path):
    assert "--epochz: unknown option" in refused(*path, *a_place(path), "--epochz=3")


@pytest.mark.parametrize("path", [p for p in EVERY if not a_place(p)], ids=NAMES)
def test_a_place_that_a_verb_does_not_take_is_refused(path):
    assert "'epochs=3' is not an option: write --key=value" in refused(*path, "epochs=3")


TYPED = [
    ("attack", "--targets=params,random", "targets", ("params", "random")),
    ("attack", "--targets=[params, random]", "targets", ("params", "random")),
    ("attack", "--targets", "targets", ("features", "params", "random")),
    ("attack", "--budgets=0.5,1", "budgets", (0.5, 1.0)),
    ("attack", "--budgets=[0.5,1e-3]", "budgets", (0.5, 0.001)),
    ("attack", "--topk=7", "topk", 7),
    ("explain", "--users=u1,u2", "users", ("u1", "u2")),
    ("explain", "--users=[u1, u2]", "users", ("u1", "u2")),
    ("explain", "--users=007", "users", ("007",)),
    ("explain", '--users=["u,3", 007]', "users", ("u,3", "007")),
    ("explain", "--users='u,3',u1", "users", ("u,3", "u1")),
    ("explain", '--users=u",[3', "users", ('u"', "[3")),
    ("explain", "--title=a,b", "title", "a,b"),
    ("reproduce", "--tolerance=1e-3", "tolerance", 0.001),
    ("reproduce", "--threads=2", "threads", 2),
    ("reproduce", "--use_gpu=false", "use_gpu", "false"),
    ("tune", "--trials=5", "trials", 5),
    ("tune", "--study=5", "study", "5"),
    ("config show", "--origin=yes", "origin", True),
]


@pytest.mark.parametrize(("verb", "word", "name", "value"), TYPED)
def test_a_function_gets_typed_arguments(verb, word, name, value, parsed):
    path = tuple(verb.split())
    if "=" not in word:  # the default
        assert parsed(*path, *a_place(path))[name] == value
        return
    for words in ([word], word.split("=", 1)):
        assert parsed(*path, *a_place(path), *words)[name] == value


# ---- lists -------------------------------------------------------------------------------------


def test_lists_of_a_run_are_written_with_brackets_or_without(toy):
    given = {**TOY, "data_path": str(toy), "model": "NeuMF", "gpu_id": "0,1"}
    Path("lists.yaml").write_text("metrics: NDCG,Recall\nload_col: {inter: 'user_id,item_id'}\n")
    bare = {
        "topk": "5,10",
        "mlp_hidden_size": "8,4",
        "eval_args.split.RS": "0.8,0.1,0.1",
        "eval_args.order": "RO",
        "group_fields": "gender,activity",
    }
    brackets = {key: f"[{text}]" if "," in text else text for key, text in bare.items()}
    both = [
        Config(config_file_list=["lists.yaml"], config_dict=given, command_line=line).options
        for line in (bare, brackets)
    ]
    assert both[0] == both[1]
    assert both[0]["topk"] == [5, 10]
    assert both[0]["group_fields"] == ["gender", "activity"]
    assert both[0]["mlp_hidden_size"] == [8, 4]
    assert both[0]["eval_args"]["split"] == {"RS": [0.8, 0.1, 0.1]}
    assert both[0]["gpu_id"] == "0,1"  # text stays text
    given = {key: value for key, value in given.items() if key not in ("metrics", "load_col")}
    files = Config(config_file_list=["lists.yaml"], config_dict=given).options
    assert files["metrics"] == ["NDCG", "Recall"]
    assert files["load_col"]["inter"] == ["user_id", "item_id"]


@pytest.mark.parametrize("models", ["BPR,DVR:BPR", "[BPR, DVR:BPR]"])
@pytest.mark.parametrize("seeds", ["7,8", "[7, 8]"])
def test_lists_of_a_board_are_written_with_brackets_or_without(models, seeds):
    words = {"models": models, "seeds": seeds, "dataset": "[a,b]", "out": "o"}
    board = read_board(None, words)
    assert [row.title for row in board.rows] == ["BPR", "DVR:BPR"]
    assert board.seeds == (7, 8)
    assert [name for name, _ in board.datasets] == ["a", "b"]


@pytest.mark.parametrize("files", ["a.yaml,b.yaml", "[a.yaml, b.yaml]", "a.yaml b.yaml"])
def test_names_of_files_are_a_list(files, parsed):
    Path("a.yaml").write_text("topk: 3\n")
    Path("b.yaml").write_text("features: 4\n")
    given = parsed("attack", "a", f"--config_files={files}")
    assert (given["topk"], given["features"]) == (3, 4)


def test_a_dash_within_a_name_is_an_underscore(parsed):
    given = parsed(
        "data", "import", "--skip-bad", "log.csv", "--time-format", "%d", "--items-key=a"
    )
    assert (given["skip_bad"], given["time_format"], given["items_key"]) == (True, "%d", "a")
    assert given["log"] == "log.csv"


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_of_two_files_with_quiet_the_last_wins_and_the_command_line_over_both(path, parsed):
    Path("yes.yaml").write_text("quiet: true\n")
    Path("no.yaml").write_text("quiet: false\n")
    line = [*path, *a_place(path)]
    assert parsed(*line, "--config_files=no.yaml,yes.yaml")["quiet"] is True
    assert parsed(*line, "--config_files=yes.yaml,no.yaml")["quiet"] is False
    assert parsed(*line, "--config_files=yes.yaml", "--quiet=no")["quiet"] is False
    assert "no such" not in refused(*line, "--config_files=none.yaml")
    assert "config file none.yaml does not exist" in refused(*line, "--config_files=none.yaml")


@pytest.mark.parametrize(
    ("verb", "file", "name", "value"),
    [
        ("attack", "budgets: [0.5, 1]", "budgets", (0.5, 1.0)),
        ("attack", "targets: params", "targets", ("params",)),
        ("explain", "users: [u1, 7]", "users", ("u1", "7")),
        ("explain", "users: u1,u2", "users", ("u1", "u2")),
        ("reproduce", "tolerance: 0.5", "tolerance", 0.5),
        ("reproduce", "use_gpu: false", "use_gpu", "False"),
        ("attack", "topk: ~", "topk", 5),
    ],
)
def test_files_say_options_of_a_verb(verb, file, name, value, parsed):
    Path("mine.yaml").write_text(file)
    assert parsed(verb, "a", "--config_files=mine.yaml")[name] == value


@pytest.mark.parametrize("path", OWN_FILES, ids=NAMES)
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("tokp: 3", "mine.yaml: tokp: unknown option"),
        ("quiet: maybe", "quiet=maybe: true or false is expected (mine.yaml)"),
        ("model: os:path", "mine.yaml: model: give it on the command line"),
        ("config_files: a.yaml", "mine.yaml: config_files: give it on the command line"),
    ],
)
def test_a_file_that_says_what_it_cannot_is_named(path, file, message):
    Path("mine.yaml").write_text(file)
    if not any(param.name == file.partition(":")[0] for param in EVERY[path].params):
        message = message.replace("give it on the command line", "unknown option")
    assert message in refused(*path, "a", "--config_files=mine.yaml")


def test_the_command_line_says_a_value_that_a_file_cannot(parsed):
    Path("mine.yaml").write_text("topk: 0\n")
    err = "topk=0: a whole number above 0 is expected (mine.yaml)"
    assert err in refused("attack", "a", "--config_files=mine.yaml")
    assert parsed("attack", "a", "--config_files=mine.yaml", "--topk=2")["topk"] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--model=BPR", "--dataset=ml-100k"],
        ["config", "show", "--model=BPR", "--dataset=ml-100k"],
        ["tune", "--model=BPR", "--dataset=ml-100k"],
        ["leaderboard", "run", "--models=BPR,Pop", "--dataset=ml-100k", "--out=board"],
    ],
    ids=lambda words: words[0],
)
def test_an_unknown_option_of_a_run_in_a_file_names_the_file(words):
    Path("mine.yaml").write_text("learnng_rate: 3\n")
    err = refused(*words, "--config_files=mine.yaml")
    assert "learnng_rate" in err
    assert "mine.yaml" in err
    assert sorted(path.name for path in Path(".").iterdir()) == ["mine.yaml"]


def test_files_of_a_board_lie_between_its_spec_and_the_command_line():
    Path("spec.yaml").write_text(
        yaml.safe_dump({"out": "o", "models": ["BPR"], "datasets": ["a"], "options": {"epochs": 1}})
    )
    Path("mine.yaml").write_text("epochs: 2\nlearning_rate: 0.1\nquiet: true\n")
    board = read_board("spec.yaml", {"config_files": "mine.yaml", "learning_rate": "0.2"})
    assert board.options == {"epochs": 1}
    assert board.last == {"epochs": 2, "learning_rate": 0.2}
    assert board.origins == {"epochs": "mine.yaml"}
    Path("mine.yaml").write_text("seed: 2\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: seed: not an option of a board"):
        read_board("spec.yaml", {"config_files": "mine.yaml"})


# ---- classes of one's own ----------------------------------------------------------------------


@pytest.fixture
def mine(toy, monkeypatch):
    """Options of a run of a class in a module of the working folder, finished in run/."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    Path("mine.py").write_text(
        "from recbole.model.general_recommender.bpr import BPR\nclass Mine(BPR):\n    pass\n"
    )
    Path("toy.yaml").write_text(yaml.safe_dump({**TOY, "data_path": str(toy), "epochs": 1}))
    words = ["--config_files=toy.yaml", "--quiet"]
    assert call("--model=mine:Mine", *words, "--run_dir=run") == (0, "", "")
    yield words
    sys.modules.pop("mine", None)


def test_every_verb_that_loads_a_run_takes_the_class_named_again(mine):
    named = "--model=mine:Mine"
    for verb in ("attack", "reproduce"):
        assert "say --model=mine:Mine" in refused(verb, "run", "--quiet")
        assert call(verb, "run", named, "--quiet") == (0, "", "")
    rows = json.loads(Path("run/attack.json").read_text())["rows"]
    assert {row["target"] for row in rows} == {"clean", "params", "random params"}
    assert call("explain", "run", named, "--rows=1", "--quiet")[0] == 0
    assert Path("run/reasons.jsonl").is_file()
    Path("run/metrics.json").unlink()
    assert "say --model=mine:Mine" in refused("--resume=run", "--quiet")
    assert call("--resume=run", named, "--quiet") == (0, "", "")
    assert "model=os:path: run is a run of mine:Mine" in refused("attack", "run", "--model=os:path")


def test_attack_takes_the_class_for_the_runs_that_are_of_it(mine):
    assert call("--model=BPR", *mine, "--run_dir=other")[0] == 0
    assert call("attack", "run", "other", "--model=mine:Mine", "--quiet") == (0, "", "")
    assert Path("other/attack.json").is_file()
    err = refused("attack", "other", "--model=mine:Mine", "--quiet")
    assert "model=mine:Mine: other is a run of BPR" in err


def test_explain_takes_the_class_under_a_method(mine, toy):
    Path("mine.py").write_text(
        "from recbole.model.sequential_recommender.gru4rec import GRU4Rec\n"
        "class Seq(GRU4Rec):\n    pass\n"
    )
    sys.modules.pop("mine")
    options = {**options_of(toy, "GRU4Rec", epochs=1), **load_yaml(PROPERTIES / "GRU4Rec.yaml")}
    del options["model"], options["backbone"]
    Path("seq.yaml").write_text(yaml.safe_dump(options))
    words = ["--model=IaCN", "--backbone=mine:Seq", "--config_files=seq.yaml", "--run_dir=over"]
    assert call(*words, "--quiet") == (0, "", "")
    assert "say --backbone=mine:Seq" in refused("explain", "over")
    status, out, err = call("explain", "over", "--backbone=mine:Seq", "--rows=1", "--topk=2")
    assert status == 0, err
    assert "capsules: over/capsules.jsonl" in out


def test_tune_and_config_show_take_the_class(mine):
    Path("space.yaml").write_text("learning_rate: [0.01]\n")
    words = ["tune", "--model=mine:Mine", *mine, "--trials=1", "--out=tuned", "--space=space.yaml"]
    assert call(*words) == (0, "", "")
    assert Path("tuned/best.yaml").is_file()
    shown = call("config", "show", "--model=mine:Mine", "--config_files=toy.yaml")[1]
    assert "model = mine:Mine" in shown.splitlines()


@pytest.mark.parametrize(
    "words", [["--model=mine:A"], ["--backbone=mine:A"], ["--models=B,mine:A"]]
)
def test_the_working_folder_is_looked_into_for_a_class_alone(words, parsed, monkeypatch):
    verb = ["leaderboard", "run"] if "models" in words[0] else ["config", "show"]
    for line, expected in ((["--model=BPR"], False), (words, True)):
        monkeypatch.setattr(sys, "path", ["elsewhere"])
        parsed(*verb, *line)
        assert (sys.path[0] == str(Path.cwd())) is expected


# ---- explanations ------------------------------------------------------------------------------


def test_options_of_another_kind_of_explanation_are_refused(mine):
    from recbole_enhance.explanation import capsules, coalitions, features, reasons

    err = refused("explain", "run", "--model=mine:Mine", "--negatives=3")
    assert "--negatives: unknown option of an explanation of mine:Mine" in err
    verb = EVERY["explain",]
    for function in (features.explain, capsules.explain, coalitions.explain, reasons.explain):
        names = list(function.__annotations__)
        known = {param.name for param in verb.params} | {
            "run_dir",
            "model_class",
            "method",
            "return",
        }
        assert set(names) <= known


def test_the_defaults_of_attack_are_those_of_its_function():
    import inspect

    from recbole_enhance.explanation.attack import attack

    declared = {p.name: p.default for p in EVERY["attack",].params if isinstance(p, Option)}
    for name, parameter in inspect.signature(attack).parameters.items():
        if name in declared:
            assert declared[name] == parameter.default, name


# ---- options -----------------------------------------------------------------------------------


def test_options_are_a_table_and_json():
    status, out, err = call("config", "options", "--model=DVR")
    assert (status, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split() == ["name", "type", "range", "default", "sentence"]
    by_name = {line.split()[0]: line for line in lines}
    assert "1000.0" in by_name["dvr_gamma"]
    assert "list of int" in by_name["topk"]
    rows = json.loads(call("config", "options", "--model=DVR", "--json")[1])
    assert [row["name"] for row in rows] == list(by_name)
    (gamma,) = [row for row in rows if row["name"] == "dvr_gamma"]
    assert gamma["default"] == 1000.0
    assert gamma["sentence"] in by_name["dvr_gamma"]
    assert "dvr_gamma" not in call("config", "options")[1]
    assert "model=BPPR: unknown model; did you mean BPR?" in refused(
        "config", "options", "--model=BPPR"
    )


def test_the_schema_is_json_schema():
    schema = json.loads(call("config", "schema", "--model=DVR", "--backbone=BPR")[1])
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["type"] == "object"
    assert {"dvr_gamma", "topk", "learning_rate"} <= set(schema["properties"])


# ---- exit statuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OptionError("epochs", -1, "must not be below 0"), 2, "epochs=-1: must not be below 0"),
        (OSError("no space left\non device"), 2, "no space left on device"),
        (click.UsageError("no such\noption"), 2, "no such option"),
        (MemoryError("9 TiB"), 1, "out of memory: 9 TiB"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_exit_statuses(raised, status, message, monkeypatch):
    def fail(**_):
        raise raised

    monkeypatch.setattr(EVERY["run",], "callback", fail)
    expected = f"recbole-enhance: error: {message}\n" if message else ""
    assert call("--model=BPR") == (status, "", expected)


def test_a_fault_of_the_program_is_raised(monkeypatch):
    def fail(**_):
        raise KeyError("oops")

    monkeypatch.setattr(EVERY["list",], "callback", fail)
    with pytest.raises(KeyError, match="oops"):
        main(["list"])


# ---- completion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("recbole-enhance tu", {"tune"}),
        ("recbole-enhance leaderboard b", {"build"}),
        ("recbole-enhance --model = lightgc", {"LightGCN"}),
        ("recbole-enhance --model dv", {"DVR"}),
        ("recbole-enhance run --dataset = x --model = NeuM", {"NeuMF"}),
        ("recbole-enhance tune --dataset = ml-", {"ml-100k"}),
        ("recbole-enhance attack runs/a --pairs = hi", {"hits"}),
        ("recbole-enhance attack runs/a --ta", {"--targets"}),
        ("recbole-enhance --da", {"--dataset", "--data_path"}),
    ],
)
def test_a_shell_completes_verbs_options_and_names(line, expected, monkeypatch, capsys):
    monkeypatch.setenv("_RECBOLE_ENHANCE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert main([]) == 0
    assert {entry.partition(",")[2] for entry in capsys.readouterr().out.split()} == expected


def test_every_verb_is_one_of_ours():
    assert all(isinstance(verb, Verb) for verb in EVERY.values())
