"""The settings of one pretraining: data, model, objective, optimisation, machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from boldtable.errors import nearest
from boldtable.settings import Settings
from boldtable.store import sha256_json

TOKENIZERS = ("network", "single", "parcel-linear")
Share = Annotated[float, Field(ge=0, le=1)]
MACHINE = frozenset({"checkpoint_s", "compile"})  # change neither what is learnt nor what may be resumed


class Pretrain(Settings):
    """How one model is trained from scratch; the config key of this block is the model's name in paths.

    The defaults are those of Brain-Semantoks (arXiv 2512.11582 and the constants of its released code). Where paper
    and code differ the description says which one the default follows.
    """

    recipe: str = Field(description="Key of the clean block whose tensors are learnt from.")
    datasets: list[str] = Field(min_length=1, description="Keys of the collect block; every kept run of them is used.")
    model: Literal["semantoks"] = Field("semantoks", description="Which model is trained.")
    portion: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of every dataset's participants that is learnt from (scaling curves); who is in a smaller "
        "share is in every larger one.",
    )
    portion_seed: int = Field(0, ge=0, description="Seed of that choice, apart from the training's own.")
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
    window_frames: int = Field(100, ge=2, description="Length of a view (frames after resampling); whole patches.")
    patch_frames: int = Field(20, ge=1, description="Length of a patch (frames).")

    epochs: int = Field(
        100, ge=0, description="Passes over the participants (one recording each); 0 writes the untrained model."
    )
    batch_size: int = Field(512, ge=2, description="Participants per step; all of them where there are fewer.")
    seed: int = Field(21, ge=0, lt=2**32, description="Seed of the weights, the order, the crops and the masks.")

    lr: float = Field(7e-4, gt=0, description="Peak learning rate per 256 samples; a step of B takes lr x B / 256.")
    warmup_epochs: float = Field(3, ge=0, description="Epochs of linear warm-up; at most a tenth where epochs are few.")
    weight_decay: tuple[float, float] = Field(
        (0.05, 0.3), description="AdamW weight decay at the first and the last step (cosine between), on all weights."
    )
    momentum: Share = Field(0.99, description="Momentum of the teacher at the first step; rises to 1 (cosine).")
    clip_norm: float = Field(1.0, gt=0, description="Gradients with a larger norm are scaled down to this one.")

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

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto takes a GPU where there is one. Several, on one or more nodes: start the same command with "
        "torchrun (see the README); each process takes the GPU of its local rank and its share of every batch.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16 means autocast; auto is bfloat16 on a GPU and float32 (exact to the bit) on a CPU.",
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
        description="Models written on the way, evenly spaced from the untrained one on, into the model's "
        "snapshots/{step}: 4 gives those after 0, 25, 50 and 75 % of the steps.",
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.tokenizer not in TOKENIZERS and not self.tokenizer.endswith(".tsv"):
            hint = nearest(self.tokenizer, TOKENIZERS)
            raise ValueError(f"tokenizer '{self.tokenizer}' is neither known nor the path of a .tsv{hint}")
        if self.window_frames % self.patch_frames:
            raise ValueError(f"window_frames {self.window_frames} is no multiple of patch_frames {self.patch_frames}")
        low, high = self.mask_range
        if low > high:
            raise ValueError(f"mask_range must go from low to high, not [{low}, {high}]")
        if len(set(self.datasets)) < len(self.datasets):
            raise ValueError(f"datasets names one twice: {', '.join(self.datasets)}")
        return self

    def identity(self, **more: Any) -> str:
        """The sha256 of everything that decides the weights; a checkpoint of another identity is not resumed."""
        return sha256_json({**self.model_dump(mode="json", exclude=set(MACHINE)), **more})
