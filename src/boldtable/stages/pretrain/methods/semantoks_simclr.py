"""The Semantoks encoder by contrast of two crops: the ablation that asks whether a teacher is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from boldtable.stages.pretrain.methods.semantoks import ORIGIN
from boldtable.stages.pretrain.methods.tokens import Augmented, SemanticTokens
from boldtable.stages.pretrain.settings import Origin

if TYPE_CHECKING:
    from boldtable.atlas.table import AtlasTable
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.objectives.contrast import Contrast
    from boldtable.stages.pretrain.data import Cohort


class PretrainSemantoksSimCLR(Augmented, SemanticTokens):
    """The Semantoks encoder by contrast of two crops.

    The crops and augmentations are those of semantoks; two crops of a run shall be alike, all others of the batch
    unlike (SimCLR, Chen et al. 2020).
    """

    origin: ClassVar[Origin] = ORIGIN.by(
        "contrast of two crops",
        "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, arXiv 2002.05709",
    )

    model: Literal["semantoks-simclr"] = Field(description="The Semantoks encoder by contrast of two crops.")
    temperature: float = Field(0.1, gt=0, description="Temperature of the contrast (NT-Xent); lower is sharper.")

    def build(self, table: AtlasTable, cohort: Cohort) -> Contrast:
        """Return encoder and projection head."""
        from boldtable.objectives.contrast import Contrast
        from boldtable.objectives.heads import head_size

        return Contrast(self.encoder(table, cohort), *head_size(self.size), self.temperature)

    def sampling(self, objective: Objective) -> Sampling:
        """Return two augmented crops."""
        from boldtable.objectives.base import Sampling

        return Sampling(views=2, augmentation=self.augmentation())
