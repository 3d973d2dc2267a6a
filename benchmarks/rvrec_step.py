"""Time and memory of a training step with RVRec against a plain step of BPR, and of inference.

One thread by default, and its CPU time: two threads that wait for each other on busy cores measure
the other jobs.
A step is the trainer's own: forward, losses, backward, optimiser, over batches fetched beforehand.
"Full sort" scores all items for 1,024 users with tables that are made already.
"""

import sys
import time
from typing import Any

import torch
from turns import assembled, choose_dataset, measure, parser, serve, workers

BATCH, STEPS = 1024, 10
STAGED = "item query, 200 candidates"
ITEM = {"model": "RVRec", "backbone": "BPR", "rvrec_history": 20}
# The user's query: its weights come from gates, which the item query has none of in training.
USER = {**ITEM, "rvrec_query": "user", "rvrec_coalitions": "learned"}
PEO = {**USER, "rvrec_peo": True}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"model": "BPR"},
    "item query": ITEM,
    STAGED: {**ITEM, "rvrec_candidates": 200},
    "item query, H=50": {**ITEM, "rvrec_history": 50},
    "user's query, hard": {**USER, "rvrec_gate_mode": "hard"},
    "user's query, exact": {**USER, "rvrec_gate_mode": "exact"},
    "user's query, exact, PEO": {**PEO, "rvrec_gate_mode": "exact"},
    "user's query, sampled, PEO": {**PEO, "rvrec_gate_mode": "sampled"},
    "PEO only": {**PEO, "rvrec_msvr": False},
}
QUICK = list(CASES)[:5]
# What it is meant to keep to: a step of the item query and of hard gates, ranking by two stages.
MAX_EXACT, MAX_HARD, MAX_MB, MAX_INFERENCE = 3.0, 3.3, 2000, 3.0


def work(case: str, dataset: str, data_path: str, threads: int) -> None:
    """One case: for each line ``step`` or ``sort`` on stdin, run it and print what it took."""
    run = assembled(
        threads,
        dataset=dataset,
        data_path=data_path,
        train_batch_size=BATCH,
        embedding_size=64,
        quiet=True,
        **CASES[case],
    )
    trainer, model = run.trainer, run.trainer.model
    trainer.log_epoch = dict  # of an epoch, not of a step
    batches = [batch for batch in run.train_data if len(batch) == BATCH][:STEPS]
    users = {model.USER_ID: torch.arange(BATCH) % (model.n_users - 1) + 1}
    for epoch in range(3):  # warm-up: gates have moved, allocator and caches are filled
        trainer._train_epoch(batches, epoch)

    @torch.no_grad()
    def turn(what: str) -> int:
        if what == "step":
            with torch.enable_grad():
                trainer._train_epoch(batches, 1)
            return len(batches)
        if what == "tables":
            model.eval()  # forgets the tables, so once
            model.full_sort_predict(users)
            return 1
        for _ in range(STEPS):
            model.full_sort_predict(users)
        return STEPS

    counts = torch.bincount(run.train_data._dataset.inter_feat[model.USER_ID])[1:].float()
    about = {
        "rows": len(run.train_data._dataset),
        "mean": counts.mean().item(),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    serve(turn, about, time.process_time if threads == 1 else time.perf_counter)


def main() -> None:
    options = parser(__doc__, "a few seconds, five cases", 40, 240, CASES)
    options.add_argument("--dataset", default="amazon-beauty")
    args = options.parse_args()
    if args.worker:
        work(args.worker, args.dataset, args.data_path, args.threads)
        return

    seconds = 6 if args.quick else args.seconds
    dataset = choose_dataset(args.data_path, args.dataset)
    cases = QUICK if args.quick else list(CASES)
    with workers(__file__, cases, args, dataset=dataset) as found:
        turns = list(found.values())
        rounds = measure(turns, "step", args.rounds, seconds)
        print(f"{rounds} rounds done, now full sorts", file=sys.stderr)
        for what in ("tables", "sort"):  # makes the tables, then uses them
            measure(turns, what, 1 if what == "tables" else 10, seconds / 4, at_least=1)

    about, plain = turns[0].about, turns[0]
    print(
        f"\n{dataset}: {about['rows']:,} training rows, {about['mean']:.1f} for a user; "
        f"batch {BATCH:,}, BPR of 64 numbers, H = 20; {about['threads']} threads, "
        f"{rounds} rounds"
    )
    print(
        "| case | parameters | step, ms: median | fastest | ratio | first full sort, ms "
        "| next ones, ms | ratio | peak, MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    ratios = {}
    for worker in turns:
        ratios[worker.case] = worker.fastest("step") / plain.fastest("step")
        sort = worker.fastest("sort") / plain.fastest("sort")
        ratios[worker.case, "sort"] = sort
        print(
            f"| {worker.case} | {worker.about['parameters']:,} "
            f"| {1000 * worker.median('step'):.2f} | {1000 * worker.fastest('step'):.2f} "
            f"| {ratios[worker.case]:.2f} | {1000 * worker.fastest('tables'):.0f} "
            f"| {1000 * worker.fastest('sort'):.1f} | {sort:.2f} "
            f"| {worker.peak_mb:.0f} |"
        )
    peak = next(worker.peak_mb for worker in turns if worker.case == "item query, H=50")
    exact, hard, sort = (
        ratios[case] for case in ("item query", "user's query, hard", (STAGED, "sort"))
    )
    told = [
        ("exact", exact <= MAX_EXACT),
        ("hard", hard <= MAX_HARD),
        ("H=50", peak < MAX_MB),
        ("inference", sort <= MAX_INFERENCE),
    ]
    print(
        f"targets (exact {MAX_EXACT:g}x, hard {MAX_HARD:g}x, H=50 below {MAX_MB:,} MB, inference "
        f"{MAX_INFERENCE:g}x): "
        + ", ".join(f"{name} {'kept' if kept else 'missed'}" for name, kept in told)
    )
    print(
        f"benchmark=rvrec_step exact_ratio={exact:.2f} hard_ratio={hard:.2f} h50_mb={peak:.0f} "
        f"inference_ratio={sort:.2f}"
    )


if __name__ == "__main__":
    main()
