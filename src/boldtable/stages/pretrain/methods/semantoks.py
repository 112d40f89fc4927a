"""Brain-Semantoks by self-distillation, as published (arXiv 2512.11582)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from boldtable.errors import nearest
from boldtable.stages.pretrain.settings import Origin, Pretrain, Share, Steps

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from boldtable.atlas.table import AtlasTable
    from boldtable.models.semantoks import Semantoks, SemantoksConfig
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.objectives.distillation import SelfDistillation
    from boldtable.stages.pretrain.data import Cohort

TOKENIZERS = ("network", "single", "parcel-linear")
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


class SemanticTokens(Pretrain):
    """What every method has in common that trains the Semantoks encoder."""

    size: Literal["tiny", "small", "base"] = Field(
        "base", description="tiny (demo), small, or base (as published: 768 wide, 8 blocks, 12 heads)."
    )
    tokenizer: Literal["network", "single", "parcel-linear"] | str = Field(
        "network",
        description="One token per patch and network; ablations: one over all parcels, one per parcel, or one per "
        "group of a TSV, given by its path: columns group, and index or name as in the atlas; every parcel once.",
    )
    pooling: Literal["cls_avg", "cls", "avg"] = Field(
        "cls_avg",
        description="Features of the finished model: the mean of the tokens and the summary token (as published), or "
        "one of them; training is the same.",
    )

    @model_validator(mode="after")
    def _tokenizer(self) -> Self:
        if self.tokenizer not in TOKENIZERS and not self.tokenizer.endswith(".tsv"):
            hint = nearest(self.tokenizer, TOKENIZERS)
            raise ValueError(f"tokenizer '{self.tokenizer}' is neither known nor the path of a .tsv{hint}")
        return self

    def files(self) -> Sequence[Path]:
        """Return the grouping, where the tokenizer is one."""
        return () if self.tokenizer in TOKENIZERS else (Path(self.tokenizer),)

    def architecture(self, table: AtlasTable) -> SemantoksConfig:
        """Return the architecture; raises `InputError` where a grouping does not fit the atlas."""
        from boldtable.models.semantoks import semantoks_config
        from boldtable.stages.pretrain.grouping import grouping

        kind, networks = grouping(self.tokenizer, table)
        return semantoks_config(self.size, networks, self.window_frames, self.patch_frames, kind, self.pooling)

    def encoder(self, table: AtlasTable, cohort: Cohort) -> Semantoks:
        """Return the encoder with random weights."""
        from boldtable.models.semantoks import Semantoks

        return Semantoks(self.architecture(table), self.spec(table, cohort))


class PretrainSemantoks(SemanticTokens):
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

    masks: Literal["slice", "random"] = Field(
        "slice", description="Hide whole networks or whole times (as published), or random tokens (an ablation)."
    )
    mask_probability: Share = Field(0.5, description="Share of the batches whose student views are masked.")
    mask_range: tuple[Share, Share] = Field(
        (0.65, 0.85),
        description="Share of the patches or networks a slice mask hides. As in the released code the number hidden is "
        "rounded down from it, so that about 0.63 are hidden.",
    )
    drop_parcels: Share = Field(0.1, description="Augmentation: up to this share of the parcels is set to zero.")
    drop_frames: Share = Field(0.3, description="Augmentation: a block of up to this share of the frames is zeroed.")
    scale: Share = Field(0.2, description="Augmentation: a view is multiplied by 1 ± up to this.")
    noise: float = Field(0.1, ge=0, description="Augmentation: standard deviation of added Gaussian noise (z units).")

    @model_validator(mode="after")
    def _mask_range(self) -> Self:
        low, high = self.mask_range
        if low > high:
            raise ValueError(f"mask_range must go from low to high, not [{low}, {high}]")
        return self

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
        from boldtable.objectives.augment import Augmentation
        from boldtable.objectives.base import Sampling
        from boldtable.objectives.masks import random_masks, slice_masks

        draw = slice_masks if self.masks == "slice" else random_masks

        def masks(samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
            both = draw(2 * samples, n_networks, n_patches, generator, *self.mask_range)
            return both[:samples], both[samples:]

        how = Augmentation(
            parcel_share=self.drop_parcels,
            frame_share=self.drop_frames,
            gain=(1 - self.scale, 1 + self.scale) if self.scale else None,
            noise_sd=self.noise,
        )
        return Sampling(views=2, augmentation=how, masks=masks, mask_share=self.mask_probability)

    def schedule(self, step: int, steps: Steps) -> dict[str, float]:
        """Return lr, weight_decay, momentum and network_weight."""
        from boldtable.objectives import schedules

        decay = round(self.temporal_share * steps.total)
        return {
            **super().schedule(step, steps),
            "momentum": schedules.ema_momentum(step, steps.total, self.momentum),
            "network_weight": schedules.network_weight(step, decay, self.temporal_weight * (decay > 0)),
        }
