"""A made-up shop: three CSV files as a shop would export them, with nothing from RecBole in them.

``python -m recbole_enhance.testing.shop FOLDER`` writes purchases.csv, products.csv, customers.csv.
The tutorial starts from them, docs/from_csv_to_lists.md.
"""

import csv
import datetime as dt
import sys
from pathlib import Path

import numpy as np

N_CUSTOMERS, N_PRODUCTS, N_PURCHASES = 300, 160, 6000
KINDS = ("Tea", "Coffee", "Chocolate", "Bread", "Cheese", "Wine", "Fruit", "Spices")
COUNTRIES = ("DE", "FR", "NA", "PL")
# What titles of real shops have in them: quotes, commas, marks of formulas and other scripts.
PATTERNS = (
    '{kind} "Grandmother\'s choice", {n} g',
    "{kind}, organic; {n} g",
    "=Sale= {kind} {n}",
    "{kind} № {n} - très bon",
    "Old {kind} | {n} pcs.",
    "{kind} 特選 {n}",
)
HABIT = 0.75  # the share of purchases from a customer's two favourite kinds


def write_shop(folder: Path, seed: int = 0) -> None:
    """Write the three files into `folder`, which is made if need be.

    A customer has two favourite kinds of products and buys mostly among them; within a kind
    some products are sold far more often than others. No pair of customer and product comes twice.
    """
    rng = np.random.default_rng(seed)
    kind = rng.integers(len(KINDS), size=N_PRODUCTS)
    appeal = 1.0 / (1.0 + rng.permutation(N_PRODUCTS)) ** 0.7
    favourites = rng.random((N_CUSTOMERS, len(KINDS))).argsort(axis=1)[:, :2]
    likes = (kind[None, :, None] == favourites[:, None, :]).any(axis=2)
    weights = np.where(likes, HABIT, 1.0 - HABIT) * appeal
    # The products with the largest of log(weight) + Gumbel noise are a sample without replacement.
    noise = rng.gumbel(size=weights.shape)
    order = (np.log(weights) + noise).argsort(axis=1)[:, ::-1]
    per_customer = N_PURCHASES // N_CUSTOMERS
    customer = np.repeat(np.arange(N_CUSTOMERS), per_customer)
    product = order[:, :per_customer].reshape(-1)
    start = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)
    seconds = np.sort(rng.integers(0, 365 * 86400, size=len(customer)))
    rows = rng.permutation(len(customer))
    _write(
        folder / "purchases.csv",
        ("customer", "sku", "bought_at", "price"),
        (
            (
                f"C{customer[row]:04d}",
                f"{product[row]:05d}",
                (start + dt.timedelta(seconds=int(second))).strftime("%Y-%m-%dT%H:%M:%SZ"),
                f"{1.5 + product[row] % 17:.2f}",
            )
            for row, second in zip(rows, seconds)
        ),
    )
    _write(
        folder / "products.csv",
        ("sku", "name", "kind"),
        (
            (
                f"{n:05d}",
                PATTERNS[n % len(PATTERNS)].format(kind=KINDS[kind[n]], n=n),
                KINDS[kind[n]],
            )
            for n in range(N_PRODUCTS)
        ),
    )
    ages = rng.integers(18, 80, size=N_CUSTOMERS)
    _write(
        folder / "customers.csv",
        ("customer", "country", "age"),
        ((f"C{n:04d}", COUNTRIES[n % len(COUNTRIES)], int(ages[n])) for n in range(N_CUSTOMERS)),
    )


def _write(path: Path, header, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)


if __name__ == "__main__":
    write_shop(Path(sys.argv[1] if len(sys.argv) > 1 else "shop"))
