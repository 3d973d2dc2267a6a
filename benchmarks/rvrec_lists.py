"""How often RVRec's ranking in two stages gives the exact list, and how often a bound proves it.

Trains RVRec over BPR for some epochs, and compares the lists of random users with the exact ones,
for several numbers of candidates and shares of the bound by which candidates are chosen.
"""

import torch
from turns import assembled, choose_dataset, parser

from recbole_enhance.enhancer.rvrec import ranking
from recbole_enhance.enhancer.rvrec.item_query import scores_of_all

SHARES, CANDIDATES, K, USERS = (0.0, 0.1, 0.25, 0.5, 1.0), (100, 200, 400), 20, 512


def main() -> None:
    options = parser(__doc__, "one epoch of ml-100k")
    options.add_argument("--dataset", default="amazon-beauty")
    options.add_argument("--epochs", type=int, default=20)
    args = options.parse_args()
    wanted = "ml-100k" if args.quick else args.dataset
    dataset = choose_dataset(args.data_path, wanted)
    run = assembled(
        args.threads,
        model="RVRec",
        backbone="BPR",
        dataset=dataset,
        data_path=args.data_path,
        train_batch_size=4096,
        learning_rate=0.002,
        quiet=True,
    )
    trainer, model = run.trainer, run.trainer.model
    epochs = 1 if args.quick else args.epochs
    for epoch in range(epochs):
        trainer._train_epoch(run.train_data, epoch)
    model.eval()
    with torch.no_grad():
        lists(model, f"{dataset}, {epochs} epochs")


def lists(model: torch.nn.Module, what: str) -> None:
    """Print the table of one model."""
    network, (U, I) = model.rvrec, model.scoring_tables()
    (alpha, beta), n_items = network.scalars, len(I)
    draw = torch.Generator().manual_seed(0)
    users = torch.randperm(len(U) - 1, generator=draw)[:USERS] + 1
    asked = model.history_items(I)
    chains = network.histories.last(users, network.longest)
    known = network.histories.last(users, n_items)
    stage = ranking.FirstStage(I, asked, alpha, beta)
    exact = U[users] @ I.T + alpha * scores_of_all(chains, asked, beta)
    shift = ranking.largest_shift(chains, stage.rows, alpha, beta)
    plain = U.new_empty(exact.shape)
    stage.scores(U[users], chains, plain)
    plain -= ranking._HOPE * shift.unsqueeze(1) * stage.rows.norm
    for scores in (exact, plain):
        scores[:, 0] = scores[known.row, known.item] = float("-inf")
    best = exact.topk(K).indices
    print(
        f"{what}: alpha {alpha.item():.2f}, beta {beta.item():.2f}; lists of {K} of "
        f"{len(users)} users, {n_items:,} items\n| candidates | share of the bound | exact lists "
        "| items of exact lists found | lists proved |\n|---|---|---|---|---|"
    )
    of_default: dict[int, list[str]] = {}
    for n in CANDIDATES:
        for share in SHARES:
            chosen = (plain + share * shift.unsqueeze(1) * stage.rows.norm).topk(n).indices
            found = torch.zeros_like(exact).scatter(1, chosen, 1.0).gather(1, best)
            sure = ranking.proven(plain, exact.gather(1, chosen), chosen, shift, stage.rows.norm, K)
            shares = (found.amin(1).mean(), found.mean(), sure.float().mean())
            numbers = [f"{x:.3f}" for x in shares]
            print(f"| {n} | {share:g} | {' | '.join(numbers)} |")
            if share == ranking._HOPE:
                of_default[n] = numbers
    exactly, items, proved = of_default[200]
    print(f"\nbenchmark=rvrec_lists candidates=200 exact={exactly} found={items} proved={proved}")


if __name__ == "__main__":
    main()
