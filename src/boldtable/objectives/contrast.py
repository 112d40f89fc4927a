"""Contrast of two crops of a run with all other runs of the batch (SimCLR, Chen et al. 2020).

The two crops of a run shall be alike and all others in the batch unlike. One encoder, trained by its own gradients: no
teacher, no masks. With Semantoks it answers what self-distillation adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional

from boldtable.models.semantoks import Semantoks
from boldtable.objectives.base import Batch, Objective
from boldtable.objectives.coding_rate import precise
from boldtable.objectives.heads import ProjectionHead
from boldtable.objectives.monitors import effective_rank, token_similarity


class Contrast(Objective):
    """An encoder and a projection head that is thrown away when training ends.

    The head is that of the self-distillation (linear, GELU, linear) on the features that the model gives, so that what
    is compared later is what was trained.
    """

    columns = ("contrast_loss", "retrieval", "token_similarity", "cls_rank")

    def __init__(self, model: Semantoks, hidden: int, projection: int, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature
        self.model.mask_token.requires_grad_(False)  # nothing is hidden here
        self.head = ProjectionHead(model.n_features, hidden, projection)

    @property
    def encoder(self) -> Semantoks:
        """The trained encoder, without the head."""
        return self.model

    def forward(self, batch: Batch, monitor: bool = False) -> dict[str, Tensor]:
        """Return ``total``, which is ``contrast_loss``, and what to watch.

        ``retrieval`` is the share of crops whose other crop is nearer than all others, ``cls_rank`` (with `monitor`)
        the effective rank of the summary tokens over the batch.
        """
        views = batch.views.flatten(0, 1)
        parcels = None if batch.parcel_mask is None else batch.parcel_mask.repeat(2, 1)
        frames = None if batch.frame_mask is None else batch.frame_mask.flatten(0, 1)
        present = self.model.present(parcels, frames, views.shape[-1])
        tokens = self.model(views, None, parcels, frames)
        units = self.head(self.model.pool(tokens, present)).unflatten(0, (2, -1))
        loss, retrieval = nt_xent(units, self.temperature)
        parts = {"total": loss, "contrast_loss": loss, "retrieval": retrieval}
        parts["token_similarity"] = token_similarity(tokens[:, 1:], present)
        if monitor:
            parts["cls_rank"] = effective_rank(tokens[:, 0])
        return parts


def nt_xent(units: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the loss and the share of rows whose partner is the nearest, over the rows of all processes.

    `units` (view = 2, row, dimension) are of unit length. The loss is the cross-entropy of each row's partner among all
    other rows of both views, with cosines over the temperature as logits (Chen et al. 2020, NT-Xent).
    """
    with torch.autocast(units.device.type, enabled=False):
        rows = global_rows(precise(units)).flatten(0, 1)
        logits = (rows @ rows.T / temperature).masked_fill(torch.eye(len(rows), device=rows.device).bool(), -torch.inf)
        partner = torch.arange(len(rows), device=rows.device).roll(len(rows) // 2)
        loss = functional.cross_entropy(logits, partner)
        retrieval = (logits.argmax(dim=1) == partner).float().mean()
    return _own_gradient(loss), retrieval.detach()


def global_rows(x: Tensor) -> Tensor:
    """Return the rows (second dimension) of all processes in their order; only this process's are in the graph."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return x
    counts = torch.zeros(distributed.get_world_size(), dtype=torch.long, device=x.device)
    counts[distributed.get_rank()] = x.shape[1]
    distributed.all_reduce(counts)
    first = int(counts[: distributed.get_rank()].sum())
    everything = x.new_zeros(x.shape[0], int(counts.sum()), *x.shape[2:])
    everything[:, first : first + x.shape[1]] = x.detach()
    distributed.all_reduce(everything)
    return torch.cat([everything[:, :first], x, everything[:, first + x.shape[1] :]], dim=1)


def _own_gradient(loss: Tensor) -> Tensor:
    """Return a loss that every process has computed over all rows, its gradient scaled as by `global_sum`.

    Each process gets the gradient of its own rows alone; their sum is the whole, and training averages it.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return loss
    return loss.detach() + distributed.get_world_size() * (loss - loss.detach())
