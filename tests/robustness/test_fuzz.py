"""Some 300 bad inputs to every verb: a refusal in one line, or a run; never a traceback."""

import collections
import gzip
import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from recbole_enhance.cli.program import BAD_INPUT, VERBS, main
from recbole_enhance.enhancer import ENHANCERS
from recbole_enhance.experiment.option_table import option_rows
from recbole_enhance.storage.run_folder import LOCK
from recbole_enhance.testing.worlds import TOY

pytestmark = [pytest.mark.slow, pytest.mark.serial]
SECONDS = 60  # for one input; a run takes less than one
OF_OPTIONS, OF_FILES, OF_WORDS = 160, 140, 120
MODELS = ["BPR", "LightGCN", "SGL", "NeuMF", "MultiVAE", "SASRec", "ItemKNN", "DMF", *ENHANCERS]
BAD = [
    *("-1", "0", "1.5", "-0.5", "2", "1e308", "-1e308", "1e-400", "1000000000000", ".nan", ".inf"),
    *("", "~", "bogus", "true", "[]", "{}", "[-1]", "[0, a]", "{a: 1}", "1:30", "010", "0x10"),
    *("'", "[", "{", "!!python/object:os.system x", "&a [*a]", "☃", "a\nb", "a\tb", "../..", "%s"),
    *("x" * 5000, "9" * 400, "2020-01-01", "NDCG@0", "[5, 5]", "full", "=1+1", "$(x)", "--quiet"),
]
ODD = [None, "", "bogus", -1, 0, 1.5, 10**12, 1e308, float("nan"), True, [], {}, [[]], {"a": 1}]
ODD += ["x" * 5000, "a\nb", "../..", "1", ["a", 1], [None]]
# Not the user's slips: what downloads, prints or opens more than this test may.
LEFT_OUT = {"worker", "log_wandb", "log_tensorboard", "data_path", "dataset", "model", "backbone"}
LEFT_OUT |= {"epochs", "run_dir", "quiet", "state", "config_file", "save_dataset", "show_progress"}
NOT_TRIED = {"help", "into", "out", "cluster", "storage", "cache", "run_dir", "write_clean"}
TINY = [
    f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
    for key, value in TOY.items()
    if key != "epochs"
]
TINY += ["--epochs=1", "--quiet", "--show_progress=false"]
SEQUENTIAL = ["--eval_args.order=TO", "--eval_args.split={LS: valid_and_test}"]
OF_METHOD = {"RER": ["--backbone=BPR", "--rer_target=params"], "IaCN": ["--backbone=SASRec"]}
OF_METHOD |= {"TIL": ["--til_warmup_epochs=0"], "AOBPR": ["--aobpr_warmup_epochs=0"]}


# Status 1: cells of a board failed, a run is not reproduced, data are wrong.
MAY_FAIL = ("leaderboard", "reproduce", "data")


class Hang(BaseException):
    """An input that took too long; no `except Exception` catches it."""


def _ring(*_):
    raise Hang


def outcome(words, capsys):
    """Status, what stderr says, and what was left in the folder; the folder is as before."""
    before = {path for path in Path().rglob("*") if path.name != LOCK}
    signal.signal(signal.SIGALRM, _ring)
    signal.alarm(SECONDS)
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    finally:
        signal.alarm(0)
    told = capsys.readouterr().err
    left = sorted({path for path in Path().rglob("*") if path.name != LOCK} - before)
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return status, told, left


def verdict(words, capsys):
    """``run`` or ``refused``; otherwise what is wrong with it."""
    try:
        status, told, left = outcome(words, capsys)
    except (Hang, Exception) as error:
        return f"{type(error).__name__}: {error}"[:300]
    if status == 0 or (status == 1 and words[0] in MAY_FAIL and not told.count("Traceback")):
        return "run"
    lines = [line for line in told.splitlines() if ": error: " in line]
    if status != BAD_INPUT or len(lines) != 1 or told.splitlines()[-1] != lines[0]:
        return f"status {status}: {told[-300:]!r}"
    return f"left {[str(path) for path in left[:3]]}: {lines[0]}" if left else "refused"


def base_of(model, toy):
    own = [*SEQUENTIAL, "--MAX_ITEM_LIST_LENGTH=10"] if model in ("SASRec", "IaCN") else []
    own += OF_METHOD.get(model, [])
    return [f"--model={model}", *TINY, f"--data_path={toy}", *own]


def option_inputs(rng, toy):
    """A run with one option out of place; half of them in a file."""
    names = {
        model: [r.name for r in option_rows(model) if r.name not in LEFT_OUT] for model in MODELS
    }
    for n in range(OF_OPTIONS):
        model = rng.choice(MODELS)
        own = [name for name in names[model] if name.startswith(model.lower())]
        name = rng.choice(own if own and rng.random() < 0.5 else names[model])
        value = rng.choice(BAD)
        words = [word for word in base_of(model, toy) if not word.startswith(f"--{name}=")]
        if n % 2:
            Path("mine.yaml").write_text(f"{name}: {value}\n", encoding="utf-8")
            yield [*words, "--config_files=mine.yaml"]
        else:
            yield [*words, f"--{name}={value}"]


def spoilt_bytes(rng, content):
    """Bytes of a file with something wrong."""
    place = rng.randrange(len(content) or 1)
    return rng.choice(
        [
            b"",
            content[:place],
            content[:place] + bytes(rng.randrange(256) for _ in range(8)) + content[place + 8 :],
            content.replace(b"\t", b" ", 3),
            content + b"\nx\ty\tz\n",
            b"\xff\xfe" + content,
            content.replace(b"1", b"nan", 5),
            content.replace(b":", b"", 1),
            content.replace(b",", b";", 3),
            content.replace(b"0", b"-1e308", 2),
            b"[" * 5000,
            b"null",
        ]
    )


def spoilt_tree(rng, tree):
    """What a file of JSON or YAML holds, with one entry lost, renamed, or of another kind."""
    place = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return rng.choice(ODD)
        key = rng.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        way = rng.randrange(4)
        if way == 0:
            del place[key]
        elif way == 1 and isinstance(place, dict):
            place["bogus"] = place.pop(key)
        else:
            place[key] = rng.choice(ODD)
        return tree


def spoil(rng, path):
    """Spoil a file: its bytes, what is packed in it, or an entry of it."""
    content = path.read_bytes()
    if path.suffix in (".json", ".yaml") and rng.random() < 0.7:
        tree = yaml.safe_load(content)
        if isinstance(tree, (dict, list)):
            tree = spoilt_tree(rng, tree)
            path.write_text(json.dumps(tree) if path.suffix == ".json" else yaml.safe_dump(tree))
            return
    if path.suffix == ".gz" and rng.random() < 0.7:
        path.write_bytes(gzip.compress(spoilt_bytes(rng, gzip.decompress(content))))
        return
    path.write_bytes(spoilt_bytes(rng, content))


def make_world(toy, world):
    """A folder of all that verbs read: data, logs, lists, a run, a board, a search."""
    shutil.copytree(toy, world / "data")
    data = f"--data_path={world / 'data'}"
    tiny = [*TINY, data]
    for words in (
        ["--model=DVR", *tiny, f"--run_dir={world / 'run'}", "--save_recs"],
        [*base_of("IaCN", toy), f"--run_dir={world / 'sequential'}"],
        ["leaderboard", "run", "--models=BPR,Pop", *tiny, f"--out={world / 'board'}"],
        ["tune", "--model=BPR", *tiny, "--trials=1", f"--out={world / 'search'}"],
    ):
        words = [word for word in words if "leaderboard" not in words or "progress" not in word]
        assert main(words) == 0, words
    rows = (toy / "toy" / "toy.inter").read_text().splitlines()[1:]
    (world / "logs").mkdir()
    (world / "logs" / "log.csv").write_text("u,i,r,t\n" + "\n".join(rows).replace("\t", ",") + "\n")
    (world / "logs" / "items.csv").write_text(
        "i,title\n" + "".join(f"i{n},{n}\n" for n in range(48))
    )
    (world / "lists").mkdir()
    (world / "lists" / "lists.csv").write_text(
        "user_id,item_id,rank\n"
        + "".join(f"u{u},i{i},{i + 1}\n" for u in range(60) for i in range(10))
    )
    (world / "histories").mkdir()
    (world / "histories" / "h.csv").write_text("user_id,item_id\nnew,i1\nnew,i2\nold,i3\n")
    (world / "histories" / "items.txt").write_text("i1\ni7\n")
    (world / "specs").mkdir()
    options = {**TOY, "epochs": 1, "data_path": str(world / "data")}
    spec = {"models": ["BPR"], "datasets": [options.pop("dataset")], "seeds": [1], "threads": 1}
    (world / "specs" / "spec.yaml").write_text(yaml.safe_dump({**spec, "options": options}))
    (world / "spaces").mkdir()
    space = {"weight_decay": {"choice": [0.01, 0.1]}, "learning_rate": {"loguniform": [0.001, 0.1]}}
    (world / "spaces" / "space.yaml").write_text(yaml.safe_dump(space))
    return world


def readers(world):
    """Folder of the world -> verbs that read it where it is copied to."""
    tiny, board = [*TINY, f"--data_path={world / 'data'}"], [f"--like={world / 'run'}"]
    log = ["data", "import", "bad/log.csv", "--user=u", "--item=i", "--name=n"]
    run, sequential = ["bad", "--quiet"], f"{world / 'sequential'}"
    return {
        "data": [
            [*base_of("BPR", "bad")],
            [*base_of("SASRec", "bad")],
            ["data", "check", "toy", "--data_path=bad"],
        ],
        "run": [
            ["reproduce", *run],
            ["--resume=bad"],
            ["values", *run],
            ["values", *run, "--write_clean=clean"],
            ["explain", *run],
            ["recommend", *run, "--users=u1,u2"],
            ["export", *run, "--embeddings=e.npz"],
            ["attack", *run],
            ["evaluate", f"{world / 'lists' / 'lists.csv'}", "--like=bad", "--run_dir=out"],
            ["evaluate", "bad/recs.csv.gz", *board, "--run_dir=out"],
            ["leaderboard", "build", "bad"],
            ["config", "show", "--config_files=bad/config.yaml"],
        ],
        "sequential": [
            ["explain", *run],
            ["recommend", *run, "--users=u3"],
            ["reproduce", *run],
        ],
        "board": [
            ["leaderboard", "build", "bad"],
            ["leaderboard", "run", "--models=BPR,Pop", *tiny[:-3], tiny[-1], "--out=bad"],
        ],
        "search": [
            ["tune", "--model=BPR", *tiny, "--trials=2", "--out=bad"],
            ["--config_files=bad/best.yaml", *base_of("BPR", world / "data")],
        ],
        "logs": [
            [*log, "--time=t"],
            [*log, "--rating=r", "--items=bad/items.csv", "--skip_bad"],
        ],
        "lists": [["evaluate", "bad/lists.csv", *board, "--run_dir=out"]],
        "histories": [
            ["recommend", sequential, "--histories=bad/h.csv"],
            ["recommend", f"{world / 'run'}", "--histories=bad/h.csv"],
            ["recommend", f"{world / 'run'}", "--users=u1", "--exclude=bad/items.txt"],
        ],
        "specs": [["leaderboard", "run", "bad/spec.yaml", "--out=board"]],
        "spaces": [["tune", "--model=BPR", *tiny, "--trials=1", "--space=bad/space.yaml"]],
    }


def put(world, name):
    """Copy a folder of the world to where the verbs read it."""
    shutil.rmtree("bad", ignore_errors=True)
    shutil.copytree(world / name, "bad")


def file_inputs(rng, world):
    """A copy of what a verb reads in which one file is spoilt."""
    verbs = readers(world)
    for n in range(OF_FILES):
        name = list(verbs)[n // 2 % len(verbs)] if n % 2 else "run"
        put(world, name)
        files = [p for p in sorted(Path("bad").rglob("*")) if p.is_file() and p.suffix != ".log"]
        spoil(rng, rng.choice(files))
        yield rng.choice(verbs[name])
    shutil.rmtree("bad")


def word_inputs(rng, world):
    """Every verb with words that it takes, and one that it does not or has another kind of."""
    calls = {}
    for name, listed in readers(world).items():
        for words in listed:
            calls.setdefault(verb_of(words), []).append((name, words))
    for name, command in VERBS.commands.items():
        for inner in getattr(command, "commands", [None]):
            words = [name, inner] if inner else [name]
            calls.setdefault(tuple(words), [("data", words)])
    verbs = sorted(calls)
    for n in range(OF_WORDS):
        verb = verbs[n % len(verbs)]
        command = VERBS
        for word in verb:
            command = command.commands[word]
        options = [p.name for p in command.params if p.param_type_name == "option"]
        options = [option for option in options if option not in NOT_TRIED] or ["bogus"]
        option = rng.choice(["bogus", ""] if rng.random() < 0.1 else options)
        value = rng.choice(BAD)
        more = rng.choice([*[f"--{option}={value}"] * 8, f"--{option}", value])
        name, words = rng.choice(calls[verb])
        put(world, name)
        yield [*(word for word in words if not word.startswith(f"--{option}=")), more]
    shutil.rmtree("bad")


def verb_of(words):
    """The verb, and the one below it if it is a group."""
    if words[0] not in VERBS.commands:
        return ("run",)
    return tuple(words[: 2 if hasattr(VERBS.commands[words[0]], "commands") else 1])


def test_bad_inputs_are_refused_in_one_line_or_run(toy, tmp_path_factory, capsys):
    seed = int(os.environ.get("FUZZ_SEED", "18"))
    rng = random.Random(seed)
    world = make_world(toy, tmp_path_factory.mktemp("world"))
    shutil.rmtree(Path("log"), ignore_errors=True)
    capsys.readouterr()
    kinds = {
        "options": option_inputs(rng, toy),
        "files": file_inputs(rng, world),
        "words": word_inputs(rng, world),
    }
    wrong, counts = [], {}
    for kind, inputs in kinds.items():
        counts[kind] = collections.Counter()
        for words in inputs:
            found = verdict(words, capsys)
            good = found in ("run", "refused")
            counts[kind]["tried"] += 1
            counts[kind][found if good else "wrong"] += 1
            if not good:
                file = Path("mine.yaml").read_text() if "--config_files=mine.yaml" in words else ""
                wrong.append((found, words, file[:200]))
    with capsys.disabled():
        for kind, count in counts.items():
            parts = ", ".join(
                f"{what} {count[what]}" for what in ("tried", "refused", "run", "wrong")
            )
            print(f"\nfuzz={kind} seed={seed}: {parts}", end="")
    assert not wrong, yaml.safe_dump([[str(part) for part in one] for one in wrong], width=200)
    assert sum(count["tried"] for count in counts.values()) == OF_OPTIONS + OF_FILES + OF_WORDS
    assert counts["options"]["run"] > 10
    assert counts["options"]["refused"] > 100
