"""Brain-Semantoks by self-distillation, as published (arXiv 2512.11582)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from boldtable.stages.pretrain.methods.tokens import Augmented, SemanticTokens, TokenMasks
from boldtable.stages.pretrain.settings import Origin, Share, Steps

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from boldtable.atlas.table import AtlasTable
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.objectives.distillation import SelfDistillation
    from boldtable.stages.pretrain.data import Cohort

ORIGIN = Origin(
    what="Semantoks encoder",
    paper="Brain-Semantoks, ICLR 2026, https://arxiv.org/abs/2512.11582",
    licence="the authors' repository (SamGijsen/Brain-Semantoks) states no licence; this is an independent "
    "implementation",
    bibtex="""@misc{gijsen2025semantoks,
  author = {Gijsen, Sam and Schulz, Marc-Andre and Ritter, Kerstin},
  title = {Brain-Semantoks: Learning Semantic Tokens of Brain Dynamics with a Self-Distilled Foundation Model},
  eprint = {2512.11582},
  archivePrefix = {arXiv},
  year = {2025},
}""",
)


class PretrainSemantoks(Augmented, TokenMasks, SemanticTokens):
    """Brain-Semantoks: semantic tokens by self-distillation.

    The defaults are those of Brain-Semantoks (arXiv 2512.11582 and the constants of its released code). Where paper
    and code differ the description says which one the default follows.
    """

    origin: ClassVar[Origin] = ORIGIN

    model: Literal["semantoks"] = Field("semantoks", description="Brain-Semantoks by self-distillation.")
    momentum: Share = Field(0.99, description="Momentum of the teacher at the first step; rises to 1 (cosine).")

    cls_weight: float = Field(1.0, ge=0, description="Weight of the cross-view distillation of the summary token.")
    token_weight: float = Field(0.5, ge=0, description="Weight of the masked-token distillation.")
    temporal_weight: float = Field(0.5, ge=0, description="First weight of the teacher-guided temporal regulariser.")
    temporal_share: Share = Field(
        0.05, description="Share of training over which a cosine takes that weight to 0; 1 keeps it to the end."
    )
    coding_epsilon: float = Field(0.05, gt=0, description="Distortion of the coding-rate term (keeps collapse away).")

    mask_probability: Share = Field(0.5, description="Share of the batches whose student views are masked.")

    def build(self, table: AtlasTable, cohort: Cohort) -> SelfDistillation:
        """Return student and teacher."""
        from dataclasses import replace

        from boldtable.objectives.distillation import SelfDistillation, distillation_config

        losses = distillation_config(self.size, self.cls_weight, self.token_weight)
        return SelfDistillation(self.encoder(table, cohort), replace(losses, coding_eps=self.coding_epsilon))

    def sampling(self, objective: Objective) -> Sampling:
        """Return two augmented crops, and masks of networks or times for both in some of the steps."""
        architecture = objective.encoder.config
        return self.two_views(len(architecture.groups), architecture.n_patches)  # type: ignore[attr-defined]

    def two_views(self, n_networks: int, n_patches: int) -> Sampling:
        """Return the sampling for a grid of networks and patches."""
        from boldtable.objectives.base import Sampling

        draw = self.draw(n_networks, n_patches)

        def masks(samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
            both = draw(2 * samples, generator)
            return both[:samples], both[samples:]

        return Sampling(views=2, augmentation=self.augmentation(), masks=masks, mask_share=self.mask_probability)

    def schedule(self, step: int, steps: Steps) -> dict[str, float]:
        """Return lr, weight_decay, momentum and network_weight."""
        from boldtable.objectives import schedules

        decay = round(self.temporal_share * steps.total)
        return {
            **super().schedule(step, steps),
            "momentum": schedules.ema_momentum(step, steps.total, self.momentum),
            "network_weight": schedules.network_weight(step, decay, self.temporal_weight * (decay > 0)),
        }
