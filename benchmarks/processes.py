"""Training and evaluating one model in several processes, against one.

Both are started by the command line, one thread a process. Seconds are those that the run reports
of its first process: of an epoch of training, and of the test. Metrics must be equal.
"""

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from turns import choose_dataset, parser

MODELS = ("BPR", "LightGCN", "SASRec")
_LAUNCHER = ("-m", "torch.distributed.run")


def run(size: int, folder: Path, words: list[str]) -> dict[str, Any]:
    """Run in some processes; the run's report."""
    command = [sys.executable, "-m", "recbole_enhance"]
    if size > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launcher = [*_LAUNCHER, f"--nproc_per_node={size}", f"--master_port={port}"]
        command = [sys.executable, *launcher, "-m", "recbole_enhance"]
    done = subprocess.run([*command, *words, f"--run_dir={folder}"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads((folder / "metrics.json").read_text())


def main() -> None:
    options = parser(__doc__, "ml-100k, one epoch of BPR")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--models", nargs="+", default=list(MODELS))
    options.add_argument("--dataset", default="amazon-beauty")
    options.add_argument("--epochs", type=int, default=3)
    args = options.parse_args()
    if args.quick:
        args.models, args.dataset, args.epochs = ["BPR"], "ml-100k", 1
    dataset = choose_dataset(args.data_path, args.dataset)
    for model in args.models:
        words = [f"--model={model}", f"--dataset={dataset}", f"--data_path={args.data_path}"]
        words += [f"--epochs={args.epochs}", "--use_gpu=false", "--quiet"]
        words += ["--packed_step=0"]  # windows of histories are read by one process only
        with tempfile.TemporaryDirectory() as folder:
            one, several = (
                run(size, Path(folder, str(size)), words) for size in (1, args.processes)
            )
        equal = all(one[key] == several[key] for key in ("best_valid_result", "test_result"))
        training = one["train_seconds_per_epoch"] / several["train_seconds_per_epoch"]
        testing = one["seconds"]["test"] / several["seconds"]["test"]
        print(
            f"benchmark=processes dataset={dataset} model={model} processes={args.processes} "
            f"speedup={training:.2f} evaluation_speedup={testing:.2f} metrics_equal={equal}",
            flush=True,
        )


if __name__ == "__main__":
    main()
