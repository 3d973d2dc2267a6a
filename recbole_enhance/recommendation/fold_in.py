"""A vector for a user who is not in training, from their items and the items' vectors."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

# Chosen on ml-100k, see docs/recommend.md; lengths are in those of the mean item, so that they
# suit models whose vectors are long and such whose vectors are short.
_STEPS, _LEARNING_RATE, _PENALTY = 100, 0.1, 0.003
_NEGATIVES = 64  # items of a step, the same for all users


def fold_in(items: Tensor, rows: Tensor, owned: Tensor, n_rows: int, seed: int = 0) -> Tensor:
    r"""Fit the users' vectors to BPR's loss, with the items' vectors as they are.

    .. math::
        \min_u \frac{1}{|H|} \sum_{i \in H} E_j [-\ln \sigma(u^T v_i - u^T v_j)]
        + \lambda \|u\|^2 \qquad \text{(Rendle et al., UAI 2009, Eq. BPR-Opt, one user)}

    with steps of Adam, from zero; j is drawn from all items. A user's vector depends on their own
    items and the seed, not on the other users.

    Args:
        items: The items' vectors; row 0 is padding, and never drawn. Shape: ``(n_items, d)``.
        rows: User of each owned item. Shape: ``(pairs,)``.
        owned: Shape: ``(pairs,)``.
        n_rows: Number of users.
        seed: Of the draws.

    Returns:
        Zero for a user who owns nothing. Shape: ``(n_rows, d)``.
    """
    items = items.detach().float()
    length = items[1:].norm(dim=1).mean().clamp(min=torch.finfo(items.dtype).tiny)
    items = items / length
    owned_vectors = items[owned]
    share = 1 / torch.bincount(rows, minlength=n_rows).clamp(min=1)[rows]
    generator = torch.Generator().manual_seed(seed)
    users = items.new_zeros(n_rows, items.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([users], lr=_LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(_STEPS):
            drawn = torch.randint(1, len(items), (_NEGATIVES,), generator=generator)
            positive = (users[rows] * owned_vectors).sum(1, keepdim=True)
            negative = (users @ items[drawn.to(items.device)].T)[rows]
            loss = (softplus(negative - positive).mean(1) * share).sum()
            loss = loss + _PENALTY * users.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return users.detach() / length
