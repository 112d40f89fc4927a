"""BrainLM by masked autoencoding, as published (Ortega Caro et al., ICLR 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from boldtable.errors import InputError
from boldtable.stages.pretrain.settings import Origin, Pretrain, Share

if TYPE_CHECKING:
    from boldtable.atlas.table import AtlasTable
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.objectives.masked_autoencoding import MaskedAutoencoding
    from boldtable.stages.pretrain.data import Cohort

_POSITION = ["x_mm", "y_mm", "z_mm"]


class PretrainBrainLM(Pretrain):
    """BrainLM: masked autoencoding of parcels and patches.

    The defaults are those of the 13 M class of BrainLM (ICLR 2024) and its released code. Any atlas with positions
    will do. Its features do not depend on chance: `embed` hides nothing and reads the tokens in the order of the atlas.
    """

    origin: ClassVar[Origin] = Origin(
        what="BrainLM",
        paper="BrainLM: A foundation model for brain activity recordings, ICLR 2024, "
        "https://doi.org/10.1101/2023.09.12.557460",
        licence="the authors' code (vandijklab/BrainLM) is Apache-2.0 and their weights CC BY-NC-ND 4.0; this is an "
        "independent implementation, and these weights are none of theirs",
        bibtex="""@inproceedings{ortegacaro2024brainlm,
  author = {Ortega Caro, Josue and Fonseca, Antonio Henrique de Oliveira and Rizvi, Syed A. and Rosati, Matteo and
    Averill, Christopher and Cross, James L. and Mittal, Prateek and Zappala, Emanuele and Dhodapkar, Rahul Madhav and
    Abdallah, Chadi G. and van Dijk, David},
  title = {{BrainLM}: A foundation model for brain activity recordings},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
}""",
        note="Features hide nothing and read the tokens parcel by parcel in the order of the atlas, patches of a "
        "parcel one after the other: the convolution over the tokens sees their order, so that in the shuffled order "
        "of the released model features would depend on chance. It is the order in which the decoder was trained.",
    )

    model: Literal["brainlm"] = Field(description="BrainLM by masked autoencoding.")
    size: Literal["tiny", "small", "base"] = Field(
        "base", description="tiny (demo), small, or base (as published: 512 wide, 4 layers and 4 heads; 13 M weights)."
    )
    pooling: Literal["cls", "avg", "cls_avg"] = Field(
        "cls",
        description="Features of the finished model: the summary token (as published), the mean of the others, or "
        "both; training is the same.",
    )
    window_frames: int = Field(200, ge=2, le=100_000, description="Length of a window (frames); whole patches.")
    patch_frames: int = Field(20, ge=1, le=100_000, description="Length of a patch (frames).")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate per 256 samples; a step of B takes lr x B / 256.")
    warmup_epochs: float = Field(5, ge=0, description="Epochs of linear warm-up; at most a tenth where epochs are few.")
    weight_decay: tuple[float, float] = Field(
        (0.05, 0.05), description="AdamW weight decay at the first and the last step (cosine between)."
    )
    decayed: Literal["all", "matrices"] = Field(
        "matrices", description="Which weights decay: all, or all but biases, norms and single vectors."
    )
    mask_ratio: float = Field(
        0.75, gt=0, lt=1, description="Share of the tokens that is hidden; the paper compares 0.2, 0.75 and 0.9."
    )
    token_order: Literal["shuffled", "atlas"] = Field(
        "shuffled",
        description="Order in which the tokens that are not hidden are read: shuffled (the released code) or that of "
        "the atlas; the convolution over the tokens sees it.",
    )
    loss: Literal["mse", "mae"] = Field("mse", description="Squared or absolute error of the hidden values.")
    dropout: Share = Field(0.1, lt=1, description="Dropout of the tokens with their positions (the released code).")
    activation_checkpointing: bool = Field(
        False,
        description="Compute activations twice instead of keeping them: less memory, about a third slower.",
    )

    def build(self, table: AtlasTable, cohort: Cohort) -> MaskedAutoencoding:
        """Return the model with its decoder; raises `InputError` where a parcel has no position."""
        import torch

        from boldtable.models.brainlm import BrainLM, brainlm_config
        from boldtable.objectives.masked_autoencoding import MaskedAutoencoding, Masking

        places = table.parcels[_POSITION].to_numpy(dtype="float64")
        lost = [name for name, place in zip(table.names, places, strict=True) if not (abs(place) < 1e3).all()]
        if lost:
            raise InputError(
                f"atlas '{table.name}' has no position for {len(lost)} parcel(s), such as {lost[0]}: BrainLM needs "
                "x_mm, y_mm and z_mm of all of them"
            )
        config = brainlm_config(self.size, table.n_parcels, self.window_frames, self.patch_frames, self.pooling)
        model = BrainLM(config, self.spec(table, cohort), torch.tensor(places))
        model.spare_memory = self.activation_checkpointing
        return MaskedAutoencoding(model, Masking(self.mask_ratio, self.token_order), self.loss, self.dropout)

    def sampling(self, objective: Objective) -> Sampling:
        """Return one crop as it is, and what hides its tokens, in every step."""
        from boldtable.objectives.base import Sampling
        from boldtable.objectives.masked_autoencoding import MaskedAutoencoding

        return Sampling(masks=objective.draws if isinstance(objective, MaskedAutoencoding) else None)
