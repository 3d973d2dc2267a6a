"""Time and memory of a training step with DVR against a plain step of the same backbone.

Each case is a process of its own, so that its peak memory is its own. The processes live side by
side and take turns, round by round, so that what else the machine does hits all cases alike; ratios
are of the fastest rounds, since what else it does only ever adds time. One thread by default: two
threads that wait for each other on busy cores measure the other jobs, and ratios become arbitrary.
A step is the trainer's own: forward, valuation, score of the policy, fit, backward, optimiser.
"Step" runs over batches fetched beforehand; "epoch" also waits for RecBole's negative sampler, as
a user does.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_enhance.config import Config
from recbole_enhance.trainer import make_trainer

BATCH, INTERVAL, NEVER = 5000, 10, 10**9
DVR = {
    "model": "DVR", "backbone": "BPR", "dvr_sample_dim": 10, "dvr_units": 100, "dvr_blocks": 2,
    "dvr_reward": "ndcg@20", "dvr_reward_users": 2000,
}  # fmt: skip
CASES: Dict[str, Dict[str, Any]] = {
    "plain": {"model": "BPR"},
    "content": {**DVR, "dvr_network": "content", "dvr_update_interval": NEVER},
    "content+reward": {**DVR, "dvr_network": "content", "dvr_update_interval": INTERVAL},
    "slot": {**DVR, "dvr_network": "slot", "dvr_update_interval": NEVER},
    "slot+reward": {**DVR, "dvr_network": "slot", "dvr_update_interval": INTERVAL},
}
# What the default network is meant to keep to.
MAX_STEP_RATIO, MAX_REWARD_RATIO, MAX_MB = 4.0, 6.0, 1500


def choose_dataset(data_path: str) -> str:
    """Name of the dataset; ml-100k comes with RecBole and needs no folder."""
    if Path(data_path, "amazon-beauty", "amazon-beauty.inter").is_file():
        return "amazon-beauty"
    print(f"no amazon-beauty in {data_path}: using ml-100k, which ships with RecBole")
    return "ml-100k"


def work(case: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: for each line ``step`` or ``epoch`` on stdin, run it and print what it took."""
    if threads:
        torch.set_num_threads(threads)
    config = Config(
        dataset=dataset,
        config_dict={
            **CASES[case], "data_path": data_path, "train_batch_size": BATCH, "embedding_size": 64,
            "epochs": 0, "use_gpu": False, "show_progress": False,
        },
    )  # fmt: skip
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    model = config.model_class(config, train_data._dataset)
    trainer = make_trainer(config, model, None)
    trainer.fit(train_data, valid_data)  # no epoch: numbers the rows, prepares the reward
    batches = [batch for batch in train_data if len(batch) == BATCH]
    batches = batches[:INTERVAL]  # so that each round holds one reward
    trainer._train_epoch(batches, 0)  # warm-up
    scale = 1 if sys.platform == "darwin" else 1024
    about = {"rows": len(train_data._dataset), "threads": torch.get_num_threads()}
    print(json.dumps(about), flush=True)
    for epoch, line in enumerate(sys.stdin, start=1):
        data = batches if line.strip() == "step" else train_data
        start = time.perf_counter()
        trainer._train_epoch(data, epoch)
        seconds = (time.perf_counter() - start) / len(data)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20
        print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


class Worker:
    """A process that holds one case."""

    def __init__(self, case: str, dataset: str, args: argparse.Namespace) -> None:
        command = [sys.executable, __file__, f"--worker={case}", f"--dataset={dataset}",
                   f"--data_path={args.data_path}", f"--threads={args.threads}"]  # fmt: skip
        pipe = subprocess.PIPE
        self.case = case
        # RecBole's log goes to stderr, which nobody reads before the end: a file cannot fill up.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._errors, text=True
        )
        self.about: Dict[str, float] = {}
        self.seconds: Dict[str, List[float]] = {"step": [], "epoch": []}
        self.peak_mb = 0.0

    def _read(self) -> Dict[str, float]:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self._errors.seek(0)
        raise SystemExit(f"case {self.case} failed:\n{self._errors.read()}")

    def wait(self) -> None:
        """Wait until it is ready."""
        self.about = self._read()

    def run(self, what: str) -> None:
        """Take one turn."""
        print(what, file=self.process.stdin, flush=True)
        answer = self._read()
        self.seconds[what].append(answer["seconds"])
        self.peak_mb = max(self.peak_mb, answer["peak_mb"])

    def fastest(self, what: str) -> float:
        """Seconds per step of the fastest round."""
        return min(self.seconds[what])

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()


def measure(workers: List[Worker], what: str, rounds: int, seconds: float) -> int:
    """Let the workers take turns, two rounds at least; each round starts with another one."""
    end = time.perf_counter() + seconds
    for number in range(rounds):
        turn = number % len(workers)
        for worker in workers[turn:] + workers[:turn]:
            worker.run(what)
        if number > 0 and time.perf_counter() > end:
            break
    return number + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--threads", type=int, default=1, help="of torch; 0: its own choice")
    parser.add_argument("--rounds", type=int, default=30, help=f"of {INTERVAL} steps each")
    parser.add_argument("--epochs", type=int, default=5, help="timed with the loader")
    parser.add_argument("--seconds", type=float, default=300, help="limit of rounds, and of epochs")
    parser.add_argument("--quick", action="store_true", help="default network, a few seconds each")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.dataset, args.data_path, args.threads)
        return

    seconds = 6 if args.quick else args.seconds
    dataset = choose_dataset(args.data_path)
    cases = [case for case in CASES if not (args.quick and case.startswith("slot"))]
    workers = [Worker(case, dataset, args) for case in cases]
    for worker in workers:
        worker.wait()
        print(f"ready: {worker.case}", file=sys.stderr)
    rounds = measure(workers, "step", args.rounds, seconds)
    print(f"{rounds} rounds done, now with the loader", file=sys.stderr)
    epochs = measure(workers, "epoch", args.epochs, seconds)
    for worker in workers:
        worker.close()

    about, plain = workers[0].about, workers[0]
    print(f"\n{dataset}: {about['rows']:,} training rows; batch {BATCH:,}, BPR of 64 numbers, "
          f"{about['threads']} threads; reward ndcg@20 of 2,000 users every {INTERVAL} steps; "
          f"{rounds} rounds, {epochs} epochs with the loader")  # fmt: skip
    print("| case | step, s: median | fastest | ratio "
          "| with loader, s: median | fastest | ratio | peak, MB |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    ratios = {}
    for worker in workers:
        cells = []
        for what in ("step", "epoch"):
            ratio = worker.fastest(what) / plain.fastest(what)
            median = statistics.median(worker.seconds[what])
            cells += [f"{median:.4f}", f"{worker.fastest(what):.4f}", f"{ratio:.2f}"]
            ratios[worker.case, what] = ratio
        print(f"| {worker.case} | {' | '.join(cells)} | {worker.peak_mb:.0f} |")
    peak = max(worker.peak_mb for worker in workers if worker.case.startswith("content"))
    step, reward = ratios["content", "step"], ratios["content+reward", "step"]
    kept = step <= MAX_STEP_RATIO and reward <= MAX_REWARD_RATIO and peak <= MAX_MB
    print(f"target (step {MAX_STEP_RATIO:g}x, with reward {MAX_REWARD_RATIO:g}x, {MAX_MB:,} MB): "
          f"{'kept' if kept else 'missed'}")  # fmt: skip
    print(f"benchmark=dvr_step step_ratio={step:.2f} reward_ratio={reward:.2f} peak_mb={peak:.0f}")


if __name__ == "__main__":
    main()
