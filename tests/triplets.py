"""What the tests of methods on triplets share: a small training part, laws, runs bit for bit."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.model.general_recommender.neumf import NeuMF
from scipy import stats
from scipy.sparse import coo_matrix

from recbole_enhance.enhancer.triplets import BACKBONES, pairwise
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import resume_run
from recbole_enhance.model import MODELS
from recbole_enhance.storage.run_folder import MODEL, history_rows
from recbole_enhance.storage.tensor_files import load_tensors
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options
from recbole_enhance.training.trainer import EnhancedTrainer

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


def trained(toy, model, n_threads=1, **options):
    """Result, parameters and random state after training, without a folder."""
    torch.set_num_threads(n_threads)
    trainer, (train, valid, _) = assemble(toy_options(toy, model, show_progress=False, **options))
    result = trainer.fit(train, valid)
    return result, trainer.model.state_dict(), torch.get_rng_state()


def assert_equal_bit_for_bit(first, second):
    assert first[0] == second[0]
    for name, tensor in first[1].items():
        assert torch.equal(second[1][name], tensor), name
    assert torch.equal(first[2], second[2])  # the backbone's random numbers were left alone


def assert_resume_equals_an_uninterrupted_run(toy, monkeypatch, method, **options):
    options = {"epochs": 5, **options}
    whole = run_toy(toy, method, **options)
    with monkeypatch.context() as patch:
        original = EnhancedTrainer._train_epoch

        def stop(self, *args, **kwargs):
            if len(self.history) == 3:
                raise KeyboardInterrupt
            return original(self, *args, **kwargs)

        patch.setattr(EnhancedTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run_toy(toy, method, run_dir="stopped", **options)
    resumed = resume_run("stopped", quiet=True)
    assert {**resumed, "run_dir": 0} == {**whole, "run_dir": 0}
    folders = [Path("stopped"), Path(whole["run_dir"])]
    rows = [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in history_rows(folder)]
        for folder in folders
    ]
    assert rows[0] == rows[1]
    label = f"{method}-{options.get('backbone', 'BPR')}"
    states = [load_tensors(folder / MODEL, label, "cpu")["state_dict"] for folder in folders]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def refused(toy, method, message, **options):
    with pytest.raises(ValueError, match=message):
        Config(config_dict=toy_options(toy, method, **options))


def without_method(backbone):
    """The backbone that a method's neutral setting is: NeuMF on triplets, others as they are."""
    return pairwise(NeuMF) if backbone == "NeuMF" else backbone
