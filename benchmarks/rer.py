"""Time of an adversarial training step against a plain one, and of counterfactual search.

Step: the trainer's own (forward, perturbation, backward, optimiser) over batches fetched
beforehand. Cases take turns round by round, so that what else the machine does hits all alike;
ratios are of the fastest rounds, since what else it does only ever adds time. Search: the change of
2,048 pairs at once, against the same function called for one pair at a time, per pair.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from turns import assembled, choose_dataset, first_batches, parser

STEPS = 20  # batches per round
MAX_STEP_RATIO, MIN_SPEEDUP = 2.5, 50.0
PARAMS = {"rer_target": "params", "rer_norm": "l2", "rer_combine": "additive", "rer_lambda": 1.0}


class Case(NamedTuple):
    """A model, with or without the method, and the case that it is compared with."""

    options: dict[str, Any]
    against: str


CASES = {
    "CER": Case({"model": "CER"}, "CER"),
    "RER-CER": Case({"model": "RER"}, "CER"),
    "RER-CER, PGD of 3": Case({"model": "RER", "rer_steps": 3}, "CER"),
    "RER-CER, params": Case({"model": "RER", "rer_target": "params", "rer_eps": 0.001}, "CER"),
    "EFM": Case({"model": "EFM"}, "EFM"),
    "RER-EFM": Case({"model": "RER", "backbone": "EFM"}, "EFM"),
    "BPR": Case({"model": "BPR", "train_batch_size": 2048}, "BPR"),
    "RER-BPR, params (APR)": Case(
        {"model": "RER", "backbone": "BPR", "train_batch_size": 2048, **PARAMS}, "BPR"
    ),
}


class Stepper:
    """One case, ready to run rounds."""

    def __init__(self, name: str, dataset: str, data_path: str) -> None:
        run = assembled(0, dataset=dataset, data_path=data_path, **CASES[name].options)
        self.name = name
        self.rows = len(run.train_data._dataset)
        self.trainer = run.trainer
        self.batches = first_batches(run.train_data, STEPS)
        self.seconds: list[float] = []
        self.round()  # warm-up
        self.seconds.clear()

    def round(self) -> None:
        """Take one turn."""
        start = time.perf_counter()
        self.trainer._train_epoch(self.batches, len(self.seconds))
        self.seconds.append((time.perf_counter() - start) / len(self.batches))


def take_turns(steppers: list[Stepper], rounds: int, seconds: float) -> int:
    """Two rounds at least; each starts with another case."""
    end = time.perf_counter() + seconds
    for number in range(rounds):
        turn = number % len(steppers)
        for stepper in steppers[turn:] + steppers[:turn]:
            stepper.round()
        if number > 0 and time.perf_counter() > end:
            break
    return number + 1


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def search_speed(model: Any, pairs: int, singles: int, steps: int, rounds: int) -> list[float]:
    """Seconds per pair at once, one by one, and the largest difference of their changes."""
    generator = torch.Generator().manual_seed(0)
    user = torch.randint(1, model.n_users, (pairs,), generator=generator)
    item = torch.randint(1, model.n_items, (pairs,), generator=generator)
    with torch.no_grad():
        margin = model.score_pairs(user, item) * 0.8
    model.settings = model.settings._replace(steps=steps)
    model.chunk = pairs
    one = [slice(number, number + 1) for number in range(singles)]
    at_once: list[float] = []
    by_one: list[float] = []
    for _ in range(rounds):
        at_once.append(timed(lambda: model.explain(user, item, margin)) / pairs)
        by_one.append(
            timed(lambda: [model.explain(user[s], item[s], margin[s]) for s in one]) / singles
        )
    # Both start from the same draw for the first pair only: that one must agree.
    first = model.explain(user, item, margin).weight[:1]
    alone = model.explain(user[:1], item[:1], margin[:1]).weight
    return [min(at_once), min(by_one), float((first - alone).abs().max())]


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__, "CER only, a few seconds", 30, 120)
    options.add_argument("--pairs", type=int, default=2048, help="of the search")
    args = options.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)

    dataset = choose_dataset(args.data_path, "amazon-cellphones")
    cases = [name for name in CASES if not args.quick or name in ("CER", "RER-CER")]
    steppers = [Stepper(name, dataset, args.data_path) for name in cases]
    rounds = take_turns(steppers, args.rounds, 6 if args.quick else args.seconds)
    fastest = {stepper.name: min(stepper.seconds) for stepper in steppers}
    print(
        f"\n{dataset}: {steppers[0].rows:,} training rows; batches of 512 (BPR: 2,048), "
        f"{torch.get_num_threads()} threads; {rounds} rounds of {STEPS} steps"
    )
    print("| case | step, ms: median | fastest | ratio |")
    print("|---|---|---|---|")
    for stepper in steppers:
        ratio = fastest[stepper.name] / fastest[CASES[stepper.name].against]
        median = statistics.median(stepper.seconds)
        print(
            f"| {stepper.name} | {1e3 * median:.2f} | {1e3 * fastest[stepper.name]:.2f} "
            f"| {ratio:.2f} |"
        )
    step = fastest["RER-CER"] / fastest["CER"]

    steps, repeat = (20, 2) if args.quick else (150, 3)
    model = steppers[0].trainer.model
    together, alone, difference = search_speed(model, args.pairs, 10, steps, repeat)
    speedup = alone / together
    print(
        f"\nCounterfactual search of {args.pairs:,} pairs, {steps} steps: "
        f"{1e3 * together:.3f} ms per pair at once, {1e3 * alone:.1f} ms one by one; "
        f"the first pair differs by {difference:.1e}"
    )
    kept = step <= MAX_STEP_RATIO and speedup >= MIN_SPEEDUP
    print(
        f"target (step {MAX_STEP_RATIO:g}x, search {MIN_SPEEDUP:g}x): "
        f"{'kept' if kept else 'missed'}"
    )
    print(f"benchmark=rer step_ratio={step:.2f} search_speedup={speedup:.0f}")


if __name__ == "__main__":
    main()
