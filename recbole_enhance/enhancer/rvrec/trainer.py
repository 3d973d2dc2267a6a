"""What RVRec's training watches: whether variances collapse, and whether gates move."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from recbole_enhance.storage.run_folder import RunFolder, logger
from recbole_enhance.training.trainer import EnhancedTrainer

_LOGGED_USERS = 1000  # whose gates are looked at after an epoch
_CAREFUL = 0.1  # of the rate, where alpha starts from 0 because histories are long
_COLLAPSED = 3  # floors: below, an epoch's mean sigma is called collapsed


class RVRecTrainer(EnhancedTrainer):
    """Lets alpha and beta learn at their own rate, and watches sigma and the gates."""

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        model.rvrec.generator = self.generator
        self._warned = False

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        """RecBole's, with a group of their own for alpha and beta if they have their own rate."""
        network = self.model.rvrec
        rate = self.config["rvrec_scalar_learning_rate"]
        scalars = [p for p in (network.alpha, network.beta) if p is not None and p.requires_grad]
        if rate is not None and scalars and "params" not in kwargs:
            own = set(map(id, scalars))
            rate *= _CAREFUL if network.careful else 1
            others = [p for p in self.model.parameters() if id(p) not in own]
            kwargs["params"] = [{"params": others}, {"params": scalars, "lr": rate}]
        return super()._build_optimizer(**kwargs)

    @torch.no_grad()
    def log_epoch(self) -> dict[str, float]:
        """Spread of sigma, motion of the gates, and the weight of the prototypes."""
        model, network = self.model, self.model.rvrec
        row: dict[str, float] = {}
        nn.Module.train(model, False)  # not its own train(): SGL's draws graphs
        U0, I0, *_ = model.adapter.base(model)
        nn.Module.train(model, True)
        if network.users is not None:
            degrees = (network.histories.counts, network.histories.popularity(model.n_items))
            sides = (("user", network.users, U0), ("item", network.items, I0))
            for (name, heads, e), degree in zip(sides, degrees):
                sigma = heads.deviation(e[1:]).mean(1)
                row[f"rvrec_sigma_{name}"] = sigma.mean().item()
                row[f"rvrec_sigma_{name}_std"] = sigma.std(correction=0).item()
                both = torch.stack([sigma, degree[1:].clamp(min=1).log()])
                row[f"rvrec_sigma_{name}_degree"] = torch.corrcoef(both)[0, 1].item()
            self._warn_of_collapse(row)
        if network.alpha is not None:
            row["rvrec_alpha"] = network.alpha.item()
        if network.beta is not None:
            row["rvrec_beta"] = network.beta.item()
        if network.prototypes is not None:
            users = torch.arange(1, min(model.n_users, _LOGGED_USERS + 1), device=U0.device)
            x = network.means(network.items, I0)
            row.update(_motion(model.enhanced_users(users, U0, x)))
        return row

    def _warn_of_collapse(self, row: dict[str, float]) -> None:
        floor = self.model.rvrec.floor
        for name in ("user", "item"):
            sigma = row[f"rvrec_sigma_{name}"]
            if sigma < _COLLAPSED * floor and not self._warned:
                self._warned = True
                logger.warning(
                    "rvrec_sigma_%s is %.4f in epoch %d, near rvrec_sigma_floor=%g: the variances "
                    "have collapsed, and PEO has no effect as a distribution",
                    name,
                    sigma,
                    self._epoch,
                    floor,
                )


def _motion(enhanced: Any) -> dict[str, float]:
    """How far the gates are from where they began, p = 1/2, and what they make."""
    logits, lengths = enhanced.weighted.logits, enhanced.chains.lengths
    inner = torch.arange(logits.shape[1], device=logits.device) < (lengths - 1).unsqueeze(1)
    p = logits[inner].sigmoid()
    n_coalitions = int((lengths > 0).sum() + (p <= 0.5).sum())
    return {
        "rvrec_gate_mean": p.mean().item(),
        "rvrec_gate_moved": (p - 0.5).abs().mean().item(),
        "rvrec_coalition_size": int(lengths.sum()) / max(n_coalitions, 1),
    }
