"""What the tests of methods on triplets share: a small training part, laws, runs bit for bit."""

from types import SimpleNamespace

import numpy as np
import torch
from recbole.model.general_recommender.neumf import NeuMF
from scipy import stats
from scipy.sparse import coo_matrix

from recbole_enhance.enhancer.triplets import BACKBONES, pairwise
from recbole_enhance.model import MODELS
from recbole_enhance.testing.comparing import trained
from recbole_enhance.testing.worlds import toy_options

# NCL needs faiss; MultiGCCF is a model of this package.
TRIED = tuple(b for b in BACKBONES if b != "NCL" and (b != "MultiGCCF" or b in MODELS))
REFUSED = ("MultiDAE", "SASRec", "Pop", "SGL", "ConvNCF", "EASE", "LINE", "FM", "EFM", "DMF")


def part(users, items, n_users, n_items):
    """What a sampler reads of a built training part."""
    users, items = torch.as_tensor(users), torch.as_tensor(items)
    matrix = coo_matrix((np.ones(len(users)), (users, items)), (n_users, n_items))
    return SimpleNamespace(
        item_num=n_items,
        user_num=n_users,
        iid_field="item_id",
        uid_field="user_id",
        inter_feat={"user_id": users, "item_id": items},
        inter_matrix=lambda form: matrix,
    )


def skewed_part(n_users=8, n_items=30, seed=0):
    """Users who have many of the popular items; item n_items - 1 is in no interaction."""
    rng = np.random.default_rng(seed)
    odds = 1 / np.arange(1, n_items - 1)
    pairs = [
        (user, item)
        for user in range(1, n_users)
        for item in 1 + rng.choice(n_items - 2, 4 + user, replace=False, p=odds / odds.sum())
    ]
    return part(*zip(*pairs), n_users, n_items)


def conditional(law, dataset, users):
    """Rows of a law (n_items,) or (rows, n_items) without what the users have, adding up to 1."""
    law = torch.as_tensor(law).double().expand(len(users), -1).clone()
    law[:, 0] = 0
    for row, user in enumerate(users.tolist()):
        own = dataset.inter_feat["item_id"][dataset.inter_feat["user_id"] == user]
        law[row, own.long()] = 0
    return law / law.sum(1, keepdim=True)


def p_value(items, expected):
    """Chi-square of draws against the law, or anything in proportion to it, of the items."""
    seen = torch.bincount(items.flatten(), minlength=len(expected)).double()
    expected = expected.double() * (seen.sum() / expected.double().sum())
    possible = expected > 0
    if seen[~possible].sum() > 0:
        return 0.0
    return stats.chisquare(seen[possible].numpy(), expected[possible].numpy()).pvalue


def run_in_memory(toy, model, **options):
    """What training leaves, see :func:`~recbole_enhance.testing.comparing.trained`."""
    return trained(toy_options(toy, model, **options))


def without_method(backbone):
    """The backbone that a method's neutral setting is: NeuMF on triplets, others as they are."""
    return pairwise(NeuMF) if backbone == "NeuMF" else backbone
