"""What the methods that train the Semantoks encoder share: tokens, masks and augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from boldtable.errors import nearest
from boldtable.settings import Settings
from boldtable.stages.pretrain.settings import Pretrain, Share

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from boldtable.atlas.table import AtlasTable
    from boldtable.models.semantoks import Semantoks, SemantoksConfig
    from boldtable.objectives.augment import Augmentation
    from boldtable.stages.pretrain.data import Cohort

TOKENIZERS = ("network", "single", "parcel-linear")


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


class TokenMasks(Settings):
    """Which tokens of a window are hidden."""

    masks: Literal["slice", "slice-nominal", "random"] = Field(
        "slice",
        description="Hide whole networks or whole times: as many as the released code does (slice, the default: the "
        "published weights were trained so) or as many as the paper says (slice-nominal); or random tokens (ablation).",
    )
    mask_range: tuple[Share, Share] = Field(
        (0.65, 0.85),
        description="Share of the patches or networks a mask hides. The released code rounds it down, so that about "
        "0.63 are hidden of the published 0.65 to 0.85.",
    )

    @model_validator(mode="after")
    def _mask_range(self) -> Self:
        low, high = self.mask_range
        if low > high:
            raise ValueError(f"mask_range must go from low to high, not [{low}, {high}]")
        return self

    def draw(self, n_networks: int, n_patches: int) -> Callable[[int, Generator], Tensor]:
        """Return what draws masks (window, network, patch) for a number of windows."""
        from boldtable.objectives.masks import random_masks, slice_masks

        kind = random_masks if self.masks == "random" else partial(slice_masks, nominal=self.masks == "slice-nominal")
        return lambda windows, generator: kind(windows, n_networks, n_patches, generator, *self.mask_range)


class Augmented(Settings):
    """How crops are augmented."""

    drop_parcels: Share = Field(0.1, description="Augmentation: up to this share of the parcels is set to zero.")
    drop_frames: Share = Field(0.3, description="Augmentation: a block of up to this share of the frames is zeroed.")
    scale: Share = Field(0.2, description="Augmentation: a view is multiplied by 1 ± up to this.")
    noise: float = Field(0.1, ge=0, description="Augmentation: standard deviation of added Gaussian noise (z units).")

    def augmentation(self) -> Augmentation:
        """Return the four augmentations."""
        from boldtable.objectives.augment import Augmentation

        return Augmentation(
            parcel_share=self.drop_parcels,
            frame_share=self.drop_frames,
            gain=(1 - self.scale, 1 + self.scale) if self.scale else None,
            noise_sd=self.noise,
        )
