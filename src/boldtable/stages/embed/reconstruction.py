"""How well models with a decoder reconstruct what is hidden: R² at several shares, the shape of BrainLM's Table 1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from boldtable import store
from boldtable.atlas.table import load_table
from boldtable.errors import InputError
from boldtable.progress import progress, say
from boldtable.settings import Settings
from boldtable.stages.embed import tables

if TYPE_CHECKING:
    from torch import Tensor

    from boldtable.objectives.masked_autoencoding import MaskedModel
    from boldtable.stages.embed.encoders import Network


class Reconstruct(Settings):
    """What is hidden, in which windows of the kept runs, and how it is computed."""

    test_mask_ratios: list[float] = Field(
        [0.2, 0.5, 0.75, 0.9],
        min_length=1,
        description="Shares of the tokens that are hidden, each a row of the table.",
    )
    windows: int = Field(1, ge=1, le=10_000, description="Evenly spaced windows per run.")
    token_order: Literal["shuffled", "atlas"] = Field(
        "shuffled",
        description="Order in which the tokens that are not hidden are read: shuffled, as in the released training, or "
        "that of the atlas; take what the model was trained with.",
    )
    seed: int = Field(
        21, ge=0, le=2**31, description="Seed of what is hidden; a run's draws depend on it and the run alone."
    )
    tr: Literal["model", "native"] = Field(
        "model",
        description="model: tensors of another TR than the model's are refused; native: they are taken frame by frame.",
    )
    max_missing: float = Field(0.5, ge=0, le=1, description="A run with a larger share of missing parcels is refused.")
    batch_size: int = Field(8, ge=1, le=100_000, description="Windows reconstructed at once.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Arithmetic; bfloat16 means autocast.")


class Source(NamedTuple):
    """One dataset: its tensors (folder), its QC table and the name of the recipe."""

    tensors: Path
    qc: Path
    recipe: str


def run(settings: Reconstruct, weights: Sequence[Path], atlas: Path, sources: Sequence[Source], out: Path) -> None:
    """Reconstruct the kept runs of all `sources` with all models and write one row per model, dataset and share.

    R² is over all hidden values that are present, of all runs together: 1 - squared error / squared deviation from
    their mean, not clipped at 0. The same tokens are hidden for every model of the same token grid, and those of a
    smaller share are hidden at every larger one. `out` is a Parquet table (columns in `store.schemas`) or, named .csv,
    the same as text. Raises `InputError` where a model has no decoder or other parcels.
    """
    for ratio in settings.test_mask_ratios:
        if not 0 < ratio < 1:
            raise InputError(f"test_mask_ratios: {ratio:g} is not between 0 and 1")
    rows = [row for folder in weights for source in sources for row in _of_one(settings, folder, atlas, source)]
    inputs = [atlas, *(source.qc for source in sources), *(folder / "model.safetensors" for folder in weights)]
    if out.suffix == ".csv":
        store.write_text(out, pd.DataFrame(rows).to_csv(index=False))
    else:
        store.write(out, "reconstruction", rows, store.Provenance("reconstruct", settings, inputs))
    for row in rows:
        say(
            f"{row['model']} on {row['dataset']}: {row['test_mask_ratio']:.0%} hidden, R² {row['r2']:.3f} "
            f"({row['n_runs']} runs)"
        )


def _of_one(settings: Reconstruct, weights: Path, atlas: Path, source: Source) -> list[dict[str, Any]]:
    """The rows of one model and dataset."""
    from boldtable.objectives.masked_autoencoding import r_squared

    table, kept = load_table(atlas), store.kept_runs(source.qc)
    paths = tables.shard_paths(source.tensors, kept)
    network = _network(settings, weights, table, source, tables.checked(paths, table))
    model, sums = _with_decoder(network, weights), dict[float, Any]()
    shards = progress(tables.shards(paths, kept), "reconstructing shards", total=len(paths))
    for batch in _batches(settings, network, (row for rows in shards for row in rows)):
        for ratio, found in _sums(settings, network.device, model, batch).items():
            sums[ratio] = sums[ratio] + found if ratio in sums else found
    return [
        {
            "model": weights.name,
            "dataset": str(kept["dataset"].iloc[0]),
            "test_mask_ratio": ratio,
            "r2": float(r_squared(found)),
            "mse": float(found[0] / found[3]),
            "n_runs": len(kept),
        }
        for ratio, found in sums.items()
    ]


def _network(settings: Reconstruct, weights: Path, table: Any, source: Source, made: list[tables.Row]) -> Network:
    """The model with the windows of runs that it reads, and all checks that `embed` makes."""
    from boldtable.stages.embed import Embed
    from boldtable.stages.embed.encoders import Network

    shared = settings.model_dump(include={"windows", "tr", "max_missing", "batch_size", "device", "precision"})
    return Network(Embed(recipe=source.recipe, weights=weights, **shared), weights, table, made)


def _with_decoder(network: Network, weights: Path) -> MaskedModel:
    from boldtable.models.brainlm import BrainLM
    from boldtable.models.brainlm_vit import BrainLMImages

    if not isinstance(network.encoder, BrainLM | BrainLMImages):
        raise InputError(f"model {weights} has no decoder: only BrainLM reconstructs a signal")
    return network.encoder


class _Window(NamedTuple):
    """A window (parcel, frame), which parcels and frames are present, and the seed of what is hidden in it."""

    signal: Any
    parcels: Any
    frames: Any
    seed: int


def _batches(settings: Reconstruct, network: Network, rows: Iterator[tables.Row]) -> Iterator[list[_Window]]:
    waiting: list[_Window] = []
    for row in rows:
        name = store.label(row)
        for number, _, window in network.windows(row):
            waiting.append(_Window(*window, _seed(f"{settings.seed} {name} {number}")))
            if len(waiting) == settings.batch_size:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def _sums(settings: Reconstruct, device: str, model: MaskedModel, batch: list[_Window]) -> dict[float, Tensor]:
    """Share hidden → the sums of `explained`, on the CPU."""
    import torch

    from boldtable.objectives.masked_autoencoding import Masking, explained, reconstruct

    x, parcels, frames = (torch.from_numpy(np.stack(part)).to(device) for part in list(zip(*batch, strict=True))[:3])
    # On the CPU, so that the same is hidden whatever the device.
    draws = [torch.rand(model.n_tokens, generator=torch.Generator().manual_seed(window.seed)) for window in batch]
    noise, found = torch.stack(draws).to(device), {}
    low = torch.autocast(device, dtype=torch.bfloat16) if settings.precision == "bfloat16" else nullcontext()
    for ratio in settings.test_mask_ratios:
        with torch.inference_mode(), low:
            made = reconstruct(model, x, noise, Masking(ratio, settings.token_order), parcels, frames)
            found[ratio] = explained(made.signal, x, made.counted).cpu()
    return found
