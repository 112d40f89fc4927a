"""What the training loop asks of an objective, whichever model it trains: samples, losses, update, finished encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from boldtable.models.folder import StoredEncoder
from boldtable.objectives.augment import Augmentation


class Batch(NamedTuple):
    """The samples of one step that this process computes.

    `views` (view, sample, parcel, frame) holds zeros where `parcel_mask` (sample, parcel) or `frame_mask` (view,
    sample, frame) is False; None means that all is present. `masks` is what `Sampling.masks` drew for these samples, or
    None in a step without masks.
    """

    views: Tensor
    parcel_mask: Tensor | None
    frame_mask: Tensor | None
    masks: tuple[Tensor, ...] | None

    def part(self, first: int, last: int) -> Self:
        """Return the samples [first, last)."""
        mine = slice(first, last)
        return self._replace(
            views=self.views[:, mine],
            parcel_mask=None if self.parcel_mask is None else self.parcel_mask[mine],
            frame_mask=None if self.frame_mask is None else self.frame_mask[:, mine],
            masks=None if self.masks is None else tuple(mask[mine] for mask in self.masks),
        )


@dataclass(frozen=True)
class Sampling:
    """How the samples of an objective are drawn: crops of a run, augmentation of each, and masks.

    `masks` takes a number of samples and a generator and returns tensors whose first dimension is the sample, on the
    generator's device; it depends on these two alone. Where the draws of one sample depend on the others (a block size
    for the whole batch, lists cut to one length), say `together`: then every process draws the masks of the whole batch
    from the same generator and keeps its share. A step is masked with probability `mask_share`.
    """

    views: int = 1
    augmentation: Augmentation | None = None
    masks: Callable[[int, torch.Generator], tuple[Tensor, ...]] | None = None
    mask_share: float = 1.0
    together: bool = False


class Objective(nn.Module, ABC):
    """A module that holds everything that is trained. Whatever does not require gradients is not trained.

    `columns` names the entries of `forward` besides ``total``, `scheduled` the values of the schedule that `forward`
    takes as keywords; both become columns of the training log. `separable` says that the loss of a batch is the mean
    over its samples, so that it may be computed part after part (setting `micro_batch`).
    """

    columns: ClassVar[Sequence[str]] = ()
    scheduled: ClassVar[Sequence[str]] = ()
    separable: ClassVar[bool] = False

    @property
    @abstractmethod
    def encoder(self) -> StoredEncoder:
        """The encoder that is stored when training ends: the teacher, the moving average, or the trained one itself."""

    @abstractmethod
    def forward(self, batch: Batch, monitor: bool = False, *_: Any, **scheduled: Any) -> dict[str, Tensor]:
        """Return ``total`` (to minimise) and its parts and monitors by their names in `columns`, all scalars.

        Weighted losses are called ``{what}_loss`` and add up to the total; what is off in this step is left out.
        ``token_similarity`` (the mean cosine of a window's tokens, 1 is collapse) is watched by the loop wherever it is
        given. With `monitor`, every tenth step, also what is dear to compute. Over several processes losses are those
        of the whole batch, and their gradients, *averaged* over processes, are exact (see `coding_rate.global_sum`).
        """

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of what the optimiser moves."""
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def undecayed(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether a parameter never decays where not all do: biases, norms, single vectors."""
        return parameter.ndim <= 1 or name.endswith(".bias")

    def compilable(self) -> Sequence[nn.Module]:
        """Return the modules that are compiled one by one where the losses of several processes are exchanged."""
        return [module for module in (self.encoder,) if isinstance(module, nn.Module)]

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """Do what comes after a step of the optimiser, such as moving an average; nothing unless overridden."""
        return
