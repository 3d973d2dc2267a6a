"""Some 300 bad inputs to every verb: a refusal in one line, or a run; never a traceback."""

import collections
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
OF_OPTIONS, OF_FILES, OF_WORDS = 200, 50, 50
MODELS = ["BPR", "LightGCN", "SGL", "NeuMF", "MultiVAE", "SASRec", "ItemKNN", "DMF", *ENHANCERS]
BAD = [
    *("-1", "0", "1.5", "-0.5", "2", "1e308", "-1e308", "1e-400", "1000000000000", ".nan", ".inf"),
    *("", "~", "bogus", "true", "[]", "{}", "[-1]", "[0, a]", "{a: 1}", "1:30", "010", "0x10"),
    *("'", "[", "{", "!!python/object:os.system x", "&a [*a]", "☃", "a\nb", "a\tb", "../..", "%s"),
    *("x" * 5000, "9" * 400, "2020-01-01", "NDCG@0", "[5, 5]", "full", "=1+1", "$(x)", "--quiet"),
]
# Not the user's slips: what downloads, prints or opens more than this test may.
LEFT_OUT = {"worker", "log_wandb", "log_tensorboard", "data_path", "dataset", "model", "backbone"}
LEFT_OUT |= {"epochs", "run_dir", "quiet", "state", "config_file", "save_dataset", "show_progress"}
TINY = [
    f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
    for key, value in TOY.items()
    if key != "epochs"
]
TINY += ["--epochs=1", "--quiet", "--show_progress=false"]
SEQUENTIAL = ["--eval_args.order=TO", "--eval_args.split={LS: valid_and_test}"]
OF_METHOD = {"RER": ["--backbone=BPR", "--rer_target=params"], "IaCN": ["--backbone=SASRec"]}
OF_METHOD |= {"TIL": ["--til_warmup_epochs=0"], "AOBPR": ["--aobpr_warmup_epochs=0"]}


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
    if status in (0, 1) and "leaderboard" in words:
        return "run"  # a board with failed cells has status 1
    if status == 0:
        return "run"
    lines = [line for line in told.splitlines() if ": error: " in line]
    if status != BAD_INPUT or len(lines) != 1 or told.splitlines()[-1] != lines[0]:
        return f"status {status}: {told[-300:]!r}"
    return f"left {[str(path) for path in left[:3]]}" if left else "refused"


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


def spoilt(rng, content):
    """Bytes of a file with something wrong."""
    place = rng.randrange(len(content))
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
            b"[" * 5000,
            b"null",
        ]
    )


def file_inputs(rng, toy, finished):
    """A file of the data or of a finished run that is spoilt, and a verb that reads it."""
    verbs = (["reproduce", "bad"], ["--resume=bad"], ["values", "bad"], ["explain", "bad"])
    verbs = [
        *verbs,
        ["leaderboard", "build", "bad"],
        ["config", "show", "--config_files=bad/config.yaml"],
    ]
    for n in range(OF_FILES):
        if n % 2:
            shutil.copytree(toy / "toy", "data/toy", dirs_exist_ok=True)
            path = Path("data/toy", rng.choice(["toy.inter", "toy.item", "toy.user"]))
            path.write_bytes(spoilt(rng, path.read_bytes()))
            yield base_of("BPR", "data")
        else:
            shutil.copytree(finished, "bad", dirs_exist_ok=True)
            path = rng.choice(sorted(p for p in Path("bad").iterdir() if p.is_file()))
            path.write_bytes(spoilt(rng, path.read_bytes()))
            words = rng.choice(verbs)
            yield [*words, *([] if words[0].startswith(("--resume", "config")) else ["--quiet"])]
        for folder in ("data", "bad"):
            shutil.rmtree(folder, ignore_errors=True)


def word_inputs(rng, toy):
    """Every verb with a word or an option that it does not have, or a value of another kind."""
    verbs = {name: command for name, command in VERBS.commands.items() if name != "doctor"}
    for n in range(OF_WORDS):
        name = sorted(verbs)[n % len(verbs)]
        words = [name]
        inner = getattr(verbs[name], "commands", None)
        command = verbs[name]
        if inner:
            words.append(rng.choice(sorted(inner)))
            command = inner[words[1]]
        options = [p.name for p in command.params if p.name and p.param_type_name == "option"]
        options = [o for o in options if o not in ("help", "into", "out", "cluster", "storage")]
        option = rng.choice([*options, "bogus", ""])
        value = rng.choice(BAD)
        words.append(rng.choice([f"--{option}={value}", f"--{option}", value]))
        if rng.random() < 0.5:
            words += ["--model=BPR", "--dataset=toy", f"--data_path={toy}", "--epochs=1"]
        yield words


def test_bad_inputs_are_refused_in_one_line_or_run(toy, tmp_path, capsys):
    seed = int(os.environ.get("FUZZ_SEED", "18"))
    rng = random.Random(seed)
    finished = tmp_path.parent / f"{tmp_path.name}-finished"
    status = main([*base_of("DVR", toy), f"--run_dir={finished}", "--save_recs"])
    assert status == 0
    capsys.readouterr()
    kinds = {
        "options": option_inputs(rng, toy),
        "files": file_inputs(rng, toy, finished),
        "words": word_inputs(rng, toy),
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
