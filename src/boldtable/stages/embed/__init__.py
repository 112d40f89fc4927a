"""embed: tensors of a dataset × one model → embeddings, one row per run and window."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from boldtable import store
from boldtable.atlas.table import load_table
from boldtable.errors import SettingsError
from boldtable.settings import Settings
from boldtable.stages.embed import encoders, tables

__all__ = ["Embed", "run"]


class Embed(Settings):
    """One row of the result table: which encoder reads which tensors, and how."""

    recipe: str = Field(description="Key of the clean block whose tensors are embedded.")
    encoder: str = Field(
        description="nuisance (motion, run length, site), connectome (Fisher-z correlations), or a pretrain key."
    )
    windows: int = Field(8, ge=1, description="Evenly spaced windows per run, for encoders with weights.")
    batch_size: int = Field(64, ge=1, description="Windows embedded at once.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the encoder; bfloat16 means autocast. Embeddings are stored as float32."
    )


def run(
    settings: Embed, *, atlas: Path, tensors: Path, qc: Path, participants: Path, weights: Path | None, out: Path
) -> None:
    """Embed every run that quality control kept and write ``embeddings`` to `out`, a row group per shard.

    `connectome` and `nuisance` give one row per run (window 0, the whole run); an encoder with weights (`weights`, a
    model folder) gives one row per window of `InputSpec.n_frames`; a shorter run is padded, its padding masked. The
    metadata key ``features`` says what the dimensions are. Raises `InputError` where the tensors are not what the
    model was trained on, where a kept run is missing, and where an embedding is not finite.
    """
    built_in = settings.encoder in ("nuisance", "connectome")
    if built_in != (weights is None):
        way_out = "takes no --weights" if built_in else "needs its model folder: give --weights"
        raise SettingsError(f"encoder '{settings.encoder}' {way_out}")
    kept = tables.kept_runs(qc)
    if settings.encoder == "nuisance":
        features, blocks = encoders.nuisance_blocks(kept, participants)
        about: dict[str, Any] = {"features": features}
        size, inputs = len(features), [qc, participants]
    else:
        table, paths = load_table(atlas), tables.shard_paths(tensors, kept)
        made = tables.checked(paths, table)
        encoder = encoders.Network(settings, weights, table, made) if weights else encoders.Connectome(table)
        about = {"features": encoder.features, "tensors_sha256": store.sha256_json(made)}
        inputs = [qc, atlas, *([weights / "model.safetensors"] if weights else [])]
        blocks, size = (encoder.block(rows) for rows in tables.shards(paths, kept)), encoder.size
    tables.write(out, blocks, size, store.Provenance("embed", settings, inputs, **about), kept["shard"].nunique())
