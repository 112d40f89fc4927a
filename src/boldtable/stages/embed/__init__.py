"""embed: tensors of a dataset × one model → embeddings, one row per run and window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from boldtable import store
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError, SettingsError, nearest
from boldtable.expansion import BASELINES
from boldtable.settings import Settings
from boldtable.stages.embed import baselines, encoders, reconstruction, tables
from boldtable.stages.embed.reconstruction import Reconstruct, Source

__all__ = ["Embed", "Reconstruct", "Source", "import_weights", "reconstruct", "run"]

OF_TABLES = ("majority", "nuisance", "demographics")  # encoders that look at no signal


class Embed(Settings):
    """One row of the result table: which encoder reads which tensors, and how."""

    recipe: str = Field(description="Key of the clean block whose tensors are embedded.")
    encoder: str | None = Field(
        None,
        description="A baseline or a pretrain key; null where weights are given. majority (nothing), nuisance (motion, "
        "run length, temporal SNR, site), demographics (age and sex, without a task's target), connectome (Fisher-z "
        "Pearson correlations), connectome-partial (partial correlations from a shrunk covariance), or "
        "connectome-tangent (shrunk covariances, projected per split).",
    )
    weights: Path | None = Field(
        None, description="Instead of encoder: a model folder made elsewhere, such as by boldtable import-weights."
    )
    snapshot: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="Which of the model's snapshots is taken, from 0 (before the first step); null takes the finished "
        "model.",
    )
    untrained_seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="Random weights of this seed in place of the model's own: what its architecture alone gives.",
    )
    hide_networks: list[str] = Field(
        [],
        description="Networks of the atlas that the encoder does not see. A model that learnt with hidden tokens is "
        "given its mask token in their place and leaves them out of the mean, another one is told that the parcels are "
        "missing; a connectome lacks every edge that touches them.",
    )
    only_networks: list[str] = Field([], description="As hide_networks, with every network hidden but these.")
    pooling: Literal["cls_avg", "cls", "avg"] | None = Field(
        None,
        description="Features: cls (the summary token), avg (mean over the other tokens) or cls_avg (both); null takes "
        "what the model was made with.",
    )
    windows: int = Field(8, ge=1, le=10_000, description="Evenly spaced windows per run, for encoders with weights.")
    window_frames: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description="Length of a window (frames); null takes the length the model was trained on.",
    )
    tr: Literal["model", "native"] = Field(
        "model",
        description="model: tensors of another TR than the model's are refused; native: they are taken frame by frame.",
    )
    halves: bool = Field(
        False,
        description="Embed the two halves of every run too, for fingerprint tasks across halves; the other tasks do "
        "not see them.",
    )
    absent: Literal["refuse", "leave-out"] = Field(
        "refuse",
        description="A kept run that failed in this recipe (which another one than that of qc may do) is refused, or "
        "left out with a line; its tasks then need absent: leave-out too.",
    )
    max_missing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A run with a larger share of missing parcels is refused, for encoders with weights.",
    )
    batch_size: int = Field(64, ge=1, le=100_000, description="Windows embedded at once.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the encoder; bfloat16 means autocast. Embeddings are stored as float32."
    )

    @model_validator(mode="after")
    def _one_encoder(self) -> Self:
        if (self.encoder is None) == (self.weights is None):
            raise ValueError("give either encoder or weights")
        only = [
            name
            for name in ("snapshot", "untrained_seed", "pooling", "window_frames")
            if getattr(self, name) is not None
        ]
        if self.encoder in BASELINES and only:
            raise ValueError(f"encoder '{self.encoder}' has no weights, so it takes no {only[0]}")
        if self.snapshot is not None and self.untrained_seed is not None:
            raise ValueError("give either snapshot or untrained_seed")
        if self.hide_networks and self.only_networks:
            raise ValueError("give either hide_networks or only_networks")
        if self.encoder in OF_TABLES and (self.hide_networks or self.only_networks):
            raise ValueError(f"encoder '{self.encoder}' sees no network, so none can be hidden")
        if self.encoder in OF_TABLES and self.halves:
            raise ValueError(f"encoder '{self.encoder}' knows whole runs only: leave halves false")
        return self


def run(
    settings: Embed, *, atlas: Path, tensors: Path, qc: Path, participants: Path, weights: Path | None, out: Path
) -> None:
    """Embed every run that quality control kept and write ``embeddings`` to `out`, a row group per shard.

    `qc` is the list of kept runs or the whole table of quality control, which the encoder nuisance needs.

    Baselines give one row per run (window 0, the whole run); an encoder with weights (`weights` or
    ``settings.weights``, a model folder) gives one row per window; a shorter run is padded, its padding masked, parcels
    are joined by name, and the population statistics in a model's folder scale z-scored or unscaled tensors. The
    metadata key ``features`` says what the dimensions are: names, or words; ``known`` which of nuisance's any run has.
    ``transform`` is ``tangent`` where they are matrices that a probe has to project. Raises `InputError` where the
    tensors are not what the model was trained on, where a kept run is missing, and where an embedding is not finite.
    """
    folder = _folder(settings, weights)
    kept = store.kept_runs(qc)
    if settings.encoder in OF_TABLES:
        if settings.encoder == "nuisance" and "keep" not in kept:
            raise InputError(f"{qc} lists runs without their measures, which nuisance needs: give the table of qc")
        features, blocks = baselines.table_blocks(settings.encoder, kept, participants)
        about: dict[str, Any] = {"features": features}
        if settings.encoder == "nuisance":
            about["known"] = baselines.known_nuisance(kept, features)
        size, inputs = len(features), [qc, participants]
    else:
        table, paths = load_table(atlas), tables.shard_paths(tensors, kept)
        made = tables.checked(paths, table)
        shown = _shown(settings, table)
        encoder = (
            encoders.Network(settings, folder, table, made, shown)
            if folder
            else baselines.Connectome(str(settings.encoder), table, shown)
        )
        about = {"features": encoder.features, "tensors_sha256": store.sha256_json(made), **encoder.about}
        inputs = [qc, atlas, *([folder / "model.safetensors"] if folder else [])]
        read = tables.shards(paths, kept, settings.halves, settings.absent == "leave-out")
        blocks, size = (encoder.block(rows) for rows in read), encoder.size
    tables.write(out, blocks, size, store.Provenance("embed", settings, inputs, **about), kept["shard"].nunique())


def _folder(settings: Embed, weights: Path | None) -> Path | None:
    """The model folder: of the settings or the command line, or of the snapshot inside it; None for built-in ones."""
    if settings.weights is not None and weights is not None:
        raise SettingsError(f"the settings name the weights {settings.weights}: leave out --weights {weights}")
    given = settings.weights or weights
    built_in = settings.encoder in BASELINES
    if built_in != (given is None):
        way_out = "takes no --weights" if built_in else "needs its model folder: give --weights"
        raise SettingsError(f"encoder '{settings.encoder}' {way_out}")
    if given is None or settings.snapshot is None:
        return given
    there = sorted((given / "snapshots").glob("[0-9]*"))
    if settings.snapshot >= len(there):
        raise InputError(
            f"{given} has {len(there)} snapshots, none with number {settings.snapshot} (counted from 0): pretrain with "
            "snapshots, or set snapshot lower"
        )
    return there[settings.snapshot]


def _shown(settings: Embed, table: AtlasTable) -> npt.NDArray[np.bool_] | None:
    """Which parcels the encoder may see, (parcel,); None for all. Raises `SettingsError` for an unknown network."""
    named = settings.hide_networks or settings.only_networks
    if not named:
        return None
    for network in named:
        if network not in table.networks:
            raise SettingsError(
                f"atlas '{table.name}' has no network '{network}'{nearest(network, set(table.networks))}"
            )
    shown = np.isin(table.networks, named, invert=bool(settings.hide_networks))
    if not shown.any():
        raise SettingsError(f"hide_networks leaves no parcel of atlas '{table.name}': leave one network out of it")
    return shown


def reconstruct(
    settings: Reconstruct, *, weights: Sequence[Path], atlas: Path, sources: Sequence[Source], out: Path
) -> None:
    """Write R² of what models with a decoder (BrainLM) reconstruct, one row per model, dataset and share hidden.

    `reconstruction.run` says what is counted. `sources` are datasets of one atlas, `out` a .parquet or .csv file.
    """
    reconstruction.run(settings, weights, atlas, sources, out)


def import_weights(
    checkpoint: Path,
    *,
    atlas: Path,
    out: Path,
    networks: Sequence[str] | None = None,
    order: Sequence[str] | None = None,
    gradients: Path | None = None,
    population: Path | None = None,
) -> None:
    """Write published weights as the model folder `out` for the parcels of `atlas`, whichever known model they are of.

    `checkpoint` is a file or a folder with one: Brain-Semantoks (.pth), BrainLM (pytorch_model.bin or
    model.safetensors, config.json beside it where there is one) or Brain-JEPA (.pth.tar). `networks` (Brain-Semantoks
    only) names the networks of the atlas table in the order of the checkpoint; None takes those of the built-in atlas.
    `order` and `gradients` (Brain-JEPA only) name its parcels in the order of the checkpoint and the file that places
    them. `population` (BrainLM only) is a file of `clean.fit` to go with the weights: `embed` then scales by it. Every
    tensor of the checkpoint is accounted for; nothing but tensors and plain values is unpickled. Raises `InputError`
    naming the tensors that are missing, unknown or misshapen, and where the atlas is not the one the weights were
    learnt on.
    """
    from boldtable.stages.embed import formats, imports  # torch: who only checks settings need not wait for it

    request = imports.Request(
        atlas,
        out,
        networks=None if networks is None else tuple(networks),
        order=None if order is None else tuple(order),
        gradients=gradients,
        population=population,
    )
    formats.write(checkpoint, request)
