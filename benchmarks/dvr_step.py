"""Time and memory of a training step with DVR against a plain step of the same backbone.

One thread by default, and its CPU time: two threads that wait for each other on busy cores measure
the other jobs, and ratios become arbitrary. A step is the trainer's own: forward, valuation,
backward, optimiser, of the paper's network also the score of the policy and the fit. "Step" runs
over batches fetched beforehand; "epoch" also waits for the loader, as a user does, and of
``inrun+reward`` holds the gradients of the reward that an epoch has.
"""

import itertools
import sys
import time
from typing import Any

from turns import assembled, choose_dataset, measure, parser, serve, workers

BATCH, INTERVAL, NEVER = 5000, 10, 10**6
DVR = {
    "model": "DVR",
    "backbone": "BPR",
    "dvr_reward": "ndcg@20",
    "dvr_reward_users": 2000,
}
HARSANYI = {**DVR, "dvr_values": "harsanyi", "dvr_sample_dim": 10, "dvr_units": 100}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"model": "BPR"},
    "inrun": DVR,
    "inrun+reward": DVR,
    "content": {**HARSANYI, "dvr_network": "content", "dvr_update_interval": NEVER},
    "content+reward": {**HARSANYI, "dvr_network": "content", "dvr_update_interval": INTERVAL},
    "slot": {**HARSANYI, "dvr_network": "slot", "dvr_update_interval": NEVER},
    "slot+reward": {**HARSANYI, "dvr_network": "slot", "dvr_update_interval": INTERVAL},
}
# What the values in closed form are meant to keep to: a step, an epoch with a reward, memory.
MAX_STEP_RATIO, MAX_REWARD_RATIO, MAX_MEMORY_RATIO = 1.7, 2.2, 1.3


def work(case: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: for each line ``step`` or ``epoch`` on stdin, run it and print what it took."""
    _, train_data, valid_data, _, trainer = assembled(
        threads,
        dataset=dataset,
        data_path=data_path,
        train_batch_size=BATCH,
        embedding_size=64,
        **CASES[case],
    )
    trainer.fit(train_data, valid_data)  # no epoch: numbers the rows, prepares the reward
    batches = [batch for batch in train_data if len(batch) == BATCH]
    batches = batches[:INTERVAL]  # so that each round holds one reward
    for epoch in range(3):  # those that DVR leaves plain, and one with weights
        trainer._train_epoch(batches, epoch)
    if case == "inrun":
        trainer._refresh = lambda: None
    epochs = itertools.count(3)

    def turn(what: str) -> int:
        data = batches if what == "step" else train_data
        trainer._train_epoch(data, next(epochs))
        return len(data)

    clock = time.process_time if threads == 1 else time.perf_counter
    serve(turn, {"rows": len(train_data._dataset)}, clock)


def main() -> None:
    quick = "without the paper's network, a few seconds each"
    options = parser(__doc__, quick, 30, 300, CASES, ["dataset"])
    options.add_argument("--epochs", type=int, default=5, help="timed with the loader")
    args = options.parse_args()
    if args.worker:
        work(args.worker, args.dataset, args.data_path, args.threads)
        return

    seconds = 6 if args.quick else args.seconds
    dataset = choose_dataset(args.data_path)
    cases = [case for case in CASES if not (args.quick and case.startswith(("slot", "content")))]
    with workers(__file__, cases, args, dataset=dataset) as found:
        turns = list(found.values())
        rounds = measure(turns, "step", args.rounds, seconds)
        print(f"{rounds} rounds done, now with the loader", file=sys.stderr)
        epochs = measure(turns, "epoch", args.epochs, seconds)

    about, plain = turns[0].about, turns[0]
    print(
        f"\n{dataset}: {about['rows']:,} training rows; batch {BATCH:,}, BPR of 64 numbers, "
        f"{about['threads']} threads; reward ndcg@20 of 2,000 users; "
        f"{rounds} rounds, {epochs} epochs with the loader"
    )
    print(
        "| case | step, s: median | fastest | ratio "
        "| with loader, s: median | fastest | ratio | peak, MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    ratios = {}
    for worker in turns:
        cells = []
        for what in ("step", "epoch"):
            ratio = worker.fastest(what) / plain.fastest(what)
            cells += [f"{worker.median(what):.4f}", f"{worker.fastest(what):.4f}", f"{ratio:.2f}"]
            ratios[worker.case, what] = ratio
        print(f"| {worker.case} | {' | '.join(cells)} | {worker.peak_mb:.0f} |")
    peaks = [w.peak_mb for w in turns if w.case.startswith("inrun")]
    peak, memory = max(peaks), max(peaks) / plain.peak_mb
    step, reward = ratios["inrun", "step"], ratios["inrun+reward", "epoch"]
    kept = step <= MAX_STEP_RATIO and reward <= MAX_REWARD_RATIO and memory <= MAX_MEMORY_RATIO
    print(
        f"target (step {MAX_STEP_RATIO:g}x, epoch with reward {MAX_REWARD_RATIO:g}x, memory "
        f"{MAX_MEMORY_RATIO:g}x): {'kept' if kept else 'missed'}; memory {memory:.2f}x"
    )
    print(f"benchmark=dvr_step step_ratio={step:.2f} reward_ratio={reward:.2f} peak_mb={peak:.0f}")


if __name__ == "__main__":
    main()
