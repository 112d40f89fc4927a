"""The Semantoks encoder by masked autoencoding: the ablation that asks whether self-distillation is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from boldtable.stages.pretrain.methods.semantoks import ORIGIN
from boldtable.stages.pretrain.methods.tokens import SemanticTokens, TokenMasks
from boldtable.stages.pretrain.settings import Origin

if TYPE_CHECKING:
    from boldtable.atlas.table import AtlasTable
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.objectives.token_autoencoding import TokenAutoencoding
    from boldtable.stages.pretrain.data import Cohort


class PretrainSemantoksMAE(TokenMasks, SemanticTokens):
    """The Semantoks encoder by masked autoencoding.

    One crop as it is; the signals of hidden tokens are reconstructed by a light decoder (He et al. 2022). Everything
    else is as for semantoks, so that only the objective differs.
    """

    origin: ClassVar[Origin] = ORIGIN.by(
        "masked autoencoding", "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377"
    )

    model: Literal["semantoks-mae"] = Field(description="The Semantoks encoder by masked autoencoding.")

    def build(self, table: AtlasTable, cohort: Cohort) -> TokenAutoencoding:
        """Return encoder and decoder."""
        from boldtable.objectives.token_autoencoding import DECODERS, TokenAutoencoding

        return TokenAutoencoding(self.encoder(table, cohort), *DECODERS[self.size])

    def sampling(self, objective: Objective) -> Sampling:
        """Return one crop as it is, and masks of networks or times in every step."""
        from boldtable.objectives.base import Sampling

        architecture = objective.encoder.config
        draw = self.draw(len(architecture.groups), architecture.n_patches)  # type: ignore[attr-defined]
        return Sampling(masks=lambda samples, generator: (draw(samples, generator),))
