"""What the settings of every pretraining have in common (data, optimisation, machine), and what a method adds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings
from boldtable.store import sha256_json

if TYPE_CHECKING:
    from boldtable.atlas.table import AtlasTable
    from boldtable.models import InputSpec
    from boldtable.objectives.base import Objective, Sampling
    from boldtable.stages.pretrain.data import Cohort

Share = Annotated[float, Field(ge=0, le=1)]
MACHINE = frozenset({"checkpoint_s", "compile"})  # change neither what is learnt nor what may be resumed
_WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class Origin:
    """What the model card says of a method: what it trains, where it is from, and under which licence that is.

    `note` is what a user of the features has to know besides.
    """

    what: str
    paper: str
    licence: str
    bibtex: str
    note: str = ""

    def by(self, objective: str, paper: str) -> Origin:
        """Return the origin of the same encoder under another objective, with the paper that this one is from."""
        return replace(self, what=f"{self.what} by {objective}", paper=f"encoder: {self.paper}; objective: {paper}")


class Steps(NamedTuple):
    """The length of a training: steps in `total` and `per_epoch`, and the samples of a step over all processes."""

    total: int
    per_epoch: int
    samples: int


class Pretrain(Settings):
    """How one model is trained from scratch; the config key of this block is the model's name in paths.

    A method is a subclass of this one: fields of its own, other defaults where its paper has others, and `build`.
    """

    origin: ClassVar[Origin]

    recipe: str = Field(description="Key of the clean block whose tensors are learnt from.")
    datasets: list[str] = Field(min_length=1, description="Keys of the collect block; every kept run of them is used.")
    model: str = Field(description="Which model is trained, by which method.")
    portion: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of every dataset's participants that is learnt from (scaling curves); who is in a smaller "
        "share is in every larger one.",
    )
    portion_seed: int = Field(0, ge=0, le=2**31, description="Seed of that choice, apart from the training's own.")
    size: str = Field(description="Size of the model.")
    window_frames: int = Field(
        100, ge=2, le=100_000, description="Length of a view (frames after resampling); whole patches."
    )
    patch_frames: int = Field(20, ge=1, le=100_000, description="Length of a patch (frames).")

    epochs: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="Passes over the participants (one recording each); 0 writes the untrained model.",
    )
    batch_size: int = Field(
        512, ge=2, le=1_000_000, description="Participants per step; all of them where there are fewer."
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Samples that a process computes at once, to fit its memory; their gradients are added up to those "
        "of its whole batch. null: all. Not for losses that compare the samples of a batch.",
    )
    seed: int = Field(21, ge=0, lt=2**32, description="Seed of the weights, the order, the crops and the masks.")

    lr: float = Field(7e-4, gt=0, description="Peak learning rate per 256 samples; a step of B takes lr x B / 256.")
    warmup_epochs: float = Field(3, ge=0, description="Epochs of linear warm-up; at most a tenth where epochs are few.")
    weight_decay: tuple[float, float] = Field(
        (0.05, 0.3), description="AdamW weight decay at the first and the last step (cosine between)."
    )
    decayed: Literal["all", "matrices"] = Field(
        "all", description="Which weights decay: all, or all but biases, norms and single vectors."
    )
    clip_norm: float | None = Field(
        1.0, gt=0, description="Gradients with a larger norm are scaled down to this one; null: never."
    )

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto takes a GPU where there is one. Several, on one or more nodes: start the same command with "
        "torchrun (see the README); each process takes the GPU of its local rank and its share of every batch.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16 means autocast; auto is bfloat16 on a GPU and float32 on a CPU (exact to the bit for "
        "one number of threads).",
    )
    buffer: Literal["float16", "bfloat16", "float32"] = Field(
        "float16", description="Type in which all tensors are held in memory, once."
    )
    buffer_gb: float | None = Field(
        None,
        gt=0,
        description="Memory of the device for the tensors (GB). Where they exceed it, an epoch goes over groups of "
        "shards of half this size, the next one read while one trains. null: all in memory.",
    )
    compile: bool = Field(False, description="Compile the model with torch.compile (pays on a GPU, for long runs).")
    checkpoint_s: float = Field(
        60.0,
        ge=0,
        description="Seconds between checkpoints, at least; never more than 2 % of the time is spent on them.",
    )

    snapshots: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Models written on the way, evenly spaced from the untrained one on, into the model's "
        "snapshots/{step}: 4 gives those after 0, 25, 50 and 75 % of the steps.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.window_frames % self.patch_frames:
            raise ValueError(f"window_frames {self.window_frames} is no multiple of patch_frames {self.patch_frames}")
        if len(set(self.datasets)) < len(self.datasets):
            raise ValueError(f"datasets names one twice: {', '.join(self.datasets)}")
        return self

    @classmethod
    def parse(cls, values: Any, where: str = "settings") -> Self:
        """Validate a mapping as the settings of the method that its `model` names; see `Settings.parse`."""
        if cls is not Pretrain:
            return super().parse(values, where)
        from boldtable.stages.pretrain.methods import method

        found: Any = method(values, where).parse(values, where)
        return found  # type: ignore[no-any-return]

    @abstractmethod
    def build(self, table: AtlasTable, cohort: Cohort) -> Objective:
        """Return the objective with random weights; the caller has set the seed.

        `table` has the parcels in the order of the tensors, `cohort` what the data are like. Raises `InputError` where
        the data cannot be learnt from. Import torch in here, so that settings are read without it.
        """

    def sampling(self, objective: Objective) -> Sampling:
        """Return how samples are drawn for this objective: one crop as it is, no masks, unless overridden."""
        from boldtable.objectives.base import Sampling

        return Sampling()

    def schedule(self, step: int, steps: Steps) -> dict[str, float]:
        """Return what changes with the step: ``lr``, ``weight_decay``, and what the objective has `scheduled`.

        ``momentum`` is passed to the objective's update. The default: linear warm-up, then a cosine to 0, and a cosine
        from the first weight decay to the second.
        """
        from boldtable.objectives import schedules

        peak = self.lr * steps.samples / 256
        return {
            "lr": peak * schedules.learning_rate_factor(step, steps.total, self.warmup(steps)),
            "weight_decay": schedules.weight_decay(step, steps.total, *self.weight_decay),
        }

    def warmup(self, steps: Steps) -> int:
        """Return the steps of the warm-up."""
        return int(min(self.warmup_epochs * steps.per_epoch, _WARMUP_SHARE * steps.total))

    def files(self) -> Sequence[Path]:
        """Return the files that the settings name; the training log lists them among its inputs."""
        return ()

    def spec(self, table: AtlasTable, cohort: Cohort) -> InputSpec:
        """Return the input that the encoder is trained on."""
        from boldtable.models import InputSpec

        return InputSpec(
            atlas=table.name,
            parcels=tuple(table.names),
            networks=tuple(table.networks),
            tr_s=cohort.tr_s,
            n_frames=self.window_frames,
            normalisation=cohort.normalisation,
            recipe=self.recipe,
        )

    def identity(self, **more: Any) -> str:
        """The sha256 of everything that decides the weights; a checkpoint of another identity is not resumed."""
        return sha256_json({**self.model_dump(mode="json", exclude=set(MACHINE)), **more})
