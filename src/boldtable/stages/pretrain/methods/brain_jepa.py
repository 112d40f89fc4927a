"""Brain-JEPA by joint-embedding prediction, as published (arXiv 2409.19407)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from boldtable import store
from boldtable.errors import InputError
from boldtable.progress import progress, say
from boldtable.stages.pretrain.settings import Origin, Pretrain, Share, Steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor

    from boldtable.atlas.table import AtlasTable
    from boldtable.gradients.files import Floats
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.objectives.joint_embedding import JointEmbedding
    from boldtable.stages.pretrain.data import Cohort

_WARMUP_SHARE = 40 / 300  # published: 40 of 300 epochs
_FOLD = 8  # batches that the authors add up in one step


class PretrainBrainJepa(Pretrain):
    """Brain-JEPA: gradient positions, spatiotemporal masks, prediction of a moving average's tokens.

    The defaults are those of Brain-JEPA (arXiv 2409.19407 and the constants of its released code). Where its code does
    something else than it means to (masks, momentum, initial weights) the default is what is meant, and ``code`` what
    it does.
    """

    origin: ClassVar[Origin] = Origin(
        what="Brain-JEPA encoder",
        paper="Brain-JEPA, NeurIPS 2024, https://arxiv.org/abs/2409.19407",
        licence="the authors' repository (Eric-LRL/Brain-JEPA) states no licence; this is an independent "
        "implementation",
        bibtex="""@inproceedings{dong2024brainjepa,
  author = {Dong, Zijian and Li, Ruilin and Wu, Yilei and others},
  title = {Brain-JEPA: Brain Dynamics Foundation Model with Gradient Positioning and Spatiotemporal Masking},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
}""",
    )

    model: Literal["brain-jepa"] = Field(description="Brain-JEPA by joint-embedding prediction.")
    size: Literal["tiny", "small", "base", "large"] = Field(
        "base", description="tiny (demo), small, base (as published: 768 wide, 12 blocks, 12 heads) or large."
    )
    gradients: Path | None = Field(
        None,
        description="File of boldtable gradients that places the parcels (Parquet, joined by name; or a CSV without "
        "header, in the atlas's order). null: made from the connectome of the runs that are learnt from.",
    )
    components: int = Field(30, ge=1, le=10_000, description="Gradients used; fewer than parcels.")
    window_frames: int = Field(
        160, ge=2, le=100_000, description="Length of a window (frames after resampling); whole patches."
    )
    patch_frames: int = Field(16, ge=1, le=100_000, description="Length of a patch (frames).")

    epochs: int = Field(
        300, ge=0, le=1_000_000, description="Passes over the participants; 0 writes the untrained model."
    )
    micro_batch: int | None = Field(
        16,
        ge=1,
        le=1_000_000,
        description="Samples that a process computes at once; their gradients are added up. null: all.",
    )
    lr: float = Field(5e-4, gt=0, description="Peak learning rate per 256 samples (published: 1e-3 for 512).")
    lr_range: tuple[float, float] = Field(
        (2.5e-5, 5e-7), description="Learning rate before the first and at the last step, per 256 samples."
    )
    warmup_epochs: float = Field(
        40, ge=0, description="Epochs of linear warm-up; at most 40/300 of the training where epochs are few."
    )
    weight_decay: tuple[float, float] = Field(
        (0.04, 0.4), description="AdamW weight decay at the first and the last step (cosine between)."
    )
    decayed: Literal["all", "matrices"] = Field(
        "matrices", description="Which weights decay: all, or all but biases, norms and single vectors (as published)."
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Gradients with a larger norm are scaled down to this one; null: never (as published)."
    )
    momentum: Share = Field(0.996, description="Momentum of the teacher at the first step; rises to 1 (linear).")
    momentum_end: Literal["one", "code"] = Field(
        "one",
        description="one: it reaches 1, as the authors mean it; code: it goes an eighth of the way (to 0.9965), as "
        "theirs does.",
    )
    loss: Literal["smooth-l1", "mse"] = Field(
        "smooth-l1", description="Between prediction and target: smooth L1 (their code) or squared (their paper)."
    )
    masks: Literal["paper", "code"] = Field(
        "paper",
        description="paper: Cross-ROI, Cross-Time and Double-Cross as described; code: as released, which never shows "
        "the last patch, swaps the pools of the sides, counts some tokens twice and cuts lists at their ends.",
    )
    mask_group: int = Field(
        16,
        ge=1,
        le=10_000,
        description="Samples that share the sizes of mask blocks and the length of their lists (their GPU's).",
    )
    initial: Literal["rescaled", "code"] = Field(
        "rescaled",
        description="rescaled: deep blocks start with smaller residuals, as the authors mean it; code: all alike, "
        "for theirs draws the weights again.",
    )
    activation_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them: less memory, about a third slower."
    )

    @model_validator(mode="after")
    def _rates(self) -> Self:
        if max(self.lr_range) > self.lr:
            raise ValueError(f"lr {self.lr} is the peak, but lr_range has {max(self.lr_range)}")
        return self

    def files(self) -> Sequence[Path]:
        """Return the gradients, where they are given."""
        return () if self.gradients is None else (self.gradients,)

    def identity(self, **more: Any) -> str:
        """Return the identity of the training, of which the content of the gradients is part."""
        return super().identity(gradients_file=[store.fingerprint(path) for path in self.files()], **more)

    def build(self, table: AtlasTable, cohort: Cohort) -> JointEmbedding:
        """Return student, predictor and teacher; raises `InputError` where gradients are missing or cannot be made."""
        import torch

        from boldtable.models.brain_jepa import BrainJepa, brain_jepa_config
        from boldtable.objectives.joint_embedding import JointEmbedding, joint_embedding_config

        config = brain_jepa_config(
            self.size, table.n_parcels, self.window_frames, self.patch_frames, self.components
        )  # fmt: skip
        places = torch.from_numpy(self._places(table, cohort)).float()
        losses = joint_embedding_config(
            self.size, self.loss, self.initial == "rescaled", self.activation_checkpointing
        )  # fmt: skip
        return JointEmbedding(BrainJepa(config, self.spec(table, cohort), places), losses)

    def _places(self, table: AtlasTable, cohort: Cohort) -> Floats:
        """The gradients (parcel, component): of the file, or of the cohort; 0 for parcels that have none."""
        from boldtable.gradients import files  # its connectomes bring torch along

        if self.gradients is None:
            found = self._own(table, cohort)
        else:
            found = files.read(self.gradients, table.names)[:, : self.components]
            if found.shape[1] < self.components:
                raise InputError(
                    f"{self.gradients} has {found.shape[1]} gradients, 'components: {self.components}' asks for more"
                )
        unknown = [name for name, row in zip(table.names, found, strict=True) if not np.isfinite(row).all()]
        if unknown:
            say(f"gradients: none for {len(unknown)} parcels, such as {unknown[0]}: they are placed at the origin")
        return np.nan_to_num(found)

    def _own(self, table: AtlasTable, cohort: Cohort) -> Floats:
        """The gradients of the mean connectome of every run that is learnt from."""
        from boldtable.gradients import GradientSettings, GroupConnectome, gradients

        group = GroupConnectome(table.n_parcels)
        for signal in progress(runs(cohort), "connectomes", total=cohort.n_runs):
            group.add(signal)
        say(
            f"gradients: {self.components} of the mean connectome of these {group.n_runs} runs (no file is given); the "
            "model folder keeps them"
        )
        return gradients(group.correlations(), GradientSettings.parse({"components": self.components}))

    def sampling(self, objective: Objective) -> Sampling:
        """Return one crop as it is, and spatiotemporal masks drawn group by group."""
        from boldtable.objectives.base import Sampling
        from boldtable.objectives.spatiotemporal_masks import draw_masks

        n_parcels = objective.encoder.config.n_parcels  # type: ignore[attr-defined]
        if n_parcels < 4:
            raise InputError(f"brain-jepa: the atlas has {n_parcels} parcels, its masks need at least 4")
        n_patches, version, group = self.window_frames // self.patch_frames, self.masks, self.mask_group

        def masks(samples: int, generator: Generator) -> tuple[Tensor, ...]:
            return draw_masks(samples, n_parcels, n_patches, generator, version, group)

        return Sampling(masks=masks, together=True)

    def schedule(self, step: int, steps: Steps) -> dict[str, float]:
        """Return lr, weight_decay and momentum."""
        from boldtable.objectives import schedules

        scale, fold = steps.samples / 256, _FOLD if self.momentum_end == "code" else 1
        start, end = (scale * rate for rate in self.lr_range)
        warmup = self.warmup(steps)
        return {
            "lr": schedules.warmed_cosine(step, steps.total, warmup, start, scale * self.lr, end),
            "weight_decay": schedules.cosine_weight_decay(step, steps.total, *self.weight_decay),
            "momentum": schedules.linear_momentum(step, steps.total, self.momentum, 1.0, fold),
        }

    def warmup(self, steps: Steps) -> int:
        """Return the steps of the warm-up."""
        return int(min(self.warmup_epochs * steps.per_epoch, _WARMUP_SHARE * steps.total))


def runs(cohort: Cohort) -> Iterator[Any]:
    """Yield the signal (frame, parcel) of every run as float32, missing parcels NaN, group by group where they are."""
    import torch

    from boldtable.stages.pretrain.stream import Resident

    stream = cohort.stream
    groups = [()] if stream is None else stream.groups(0)
    for shards in groups:
        here = Resident(cohort.frames, cohort.starts) if stream is None else stream.load(shards, None)
        for run in (here.starts >= 0).nonzero().flatten().tolist():
            first = int(here.starts[run])
            signal = here.frames[first : first + int(cohort.lengths[run])].float()
            yield torch.where(cohort.present[run], signal, torch.nan).cpu().numpy()
        del here
