"""Encoders with weights as functions of the kept runs of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError, SettingsError
from boldtable.progress import say
from boldtable.stages.embed.inputs import reader
from boldtable.stages.embed.tables import Block, Floats, Row, keys

if TYPE_CHECKING:
    from torch import Tensor

    from boldtable.models import Encoder, InputSpec
    from boldtable.stages.embed import Embed

_TR_TOLERANCE = 0.01  # share of the model's TR


class Network:
    """Windows of runs through an encoder with weights."""

    def __init__(self, settings: Embed, weights: Path, table: AtlasTable, made: Sequence[Row],
                 shown: npt.NDArray[np.bool_] | None = None) -> None:  # fmt: skip
        from boldtable.models import load_model, untrained_model

        self._shown, self.about = shown, dict[str, str]()
        self._settings, self.device = settings, _device(settings.device)
        # A snapshot is called by its model and step.
        self._model = weights.name if settings.snapshot is None else "/".join(weights.parts[-3:])
        _refuse_other(settings.encoder, weights)
        if settings.untrained_seed is None:
            encoder = load_model(weights, device=self.device)
        else:
            encoder = untrained_model(weights, settings.untrained_seed, device=self.device)
        self.encoder: Encoder = _pooled(encoder, settings.pooling, self._model)
        self._spec: InputSpec = self.encoder.spec
        self._length = settings.window_frames or self._spec.n_frames
        self._signal = reader(self._model, weights, self._spec, table, made)
        if shown is not None:
            self._shown = shown[self._spec.columns(table.names)]
        self.size = self.encoder.n_features
        self.features: list[str] | str = f"{self.size} features of model '{self._model}'"

    def _check_tr(self, row: Row) -> None:
        ours, theirs = self._spec.tr_s, row["tr_s"]
        if ours is None or theirs is None:
            same = ours is None and theirs is None
        else:
            same = abs(theirs - ours) <= _TR_TOLERANCE * ours
        if same or self._settings.tr == "native":
            return
        sides = [f"{tr_s:g} s" if tr_s is not None else "unknown" for tr_s in (ours, theirs)]
        raise InputError(
            f"model '{self._model}' was trained at TR {sides[0]}, {store.label(row)} has TR {sides[1]}: "
            "resample in the recipe (tr_s), give collect the TR where it is unknown, or set tr: native for this row"
        )

    def _check_missing(self, row: Row, present: npt.NDArray[np.bool_]) -> None:
        missing = int((~present).sum())
        if missing > self._settings.max_missing * len(present):
            raise InputError(
                f"{store.label(row)} lacks {missing} of {len(present)} parcels, model '{self._model}' is given at most "
                f"{self._settings.max_missing:.0%} missing: lower max_empty_parcels of qc, or raise max_missing"
            )

    def block(self, rows: list[Row]) -> Block:
        """All windows of the runs, in batches across runs."""
        found = [(keys(row, number, start_s), *window) for row in rows for number, start_s, window in self.windows(row)]
        size = self._settings.batch_size
        parts = [self._embed(found[first : first + size]) for first in range(0, len(found), size)]
        places, values = [entry[0] for entry in found], np.concatenate(parts)
        bad = dict.fromkeys(store.label(places[index]) for index in np.flatnonzero(~np.isfinite(values).all(axis=1)))
        if bad:
            names = ", ".join(list(bad)[:5])
            raise InputError(
                f"model '{self._model}' gives embeddings that are not finite for {len(bad)} run(s), such as {names}: "
                "its training diverged or its precision is too low; look at its training.parquet"
            )
        return Block(places, values)

    def windows(self, row: Row) -> Iterator[tuple[int, float | None, tuple[Floats, Any, Any]]]:
        """Number, start (s) and (signal (parcel, frame), parcel mask, frame mask) of each window of a run."""
        self._check_tr(row)
        signal, length = self._signal(row), self._length
        present: npt.NDArray[np.bool_] = np.asarray(np.isfinite(signal).all(axis=0))
        self._check_missing(row, present)
        clean = np.where(present, signal, np.float32(0)).T
        for number, start in enumerate(window_starts(len(signal), length, self._settings.windows)):
            window = np.zeros((clean.shape[0], length), dtype=np.float32)
            piece = clean[:, start : start + length]
            window[:, : piece.shape[1]] = piece
            start_s = None if row["tr_s"] is None else start * row["tr_s"]
            yield number, start_s, (window, present, np.arange(length) < piece.shape[1])

    def _embed(self, batch: Sequence[tuple[Any, ...]]) -> Floats:
        import torch

        arrays = [torch.from_numpy(np.stack([entry[part] for entry in batch])) for part in (1, 2, 3)]
        low = self._settings.precision == "bfloat16"
        cast = torch.autocast(self.device, dtype=torch.bfloat16) if low else nullcontext()
        with torch.inference_mode(), cast:
            features = self._features(*(array.to(self.device) for array in arrays))
        found: Floats = features.float().cpu().numpy()
        return found

    def _features(self, x: Tensor, parcel_mask: Tensor, frame_mask: Tensor) -> Tensor:
        """The features of windows, without the networks that are hidden: behind mask tokens, or else as missing."""
        import torch

        from boldtable.models import MaskingEncoder

        if self._shown is None:
            return self.encoder.embed(x, parcel_mask, frame_mask)
        shown = torch.from_numpy(self._shown).to(x.device)
        if isinstance(self.encoder, MaskingEncoder):
            return self.encoder.embed_shown(x, parcel_mask, frame_mask, shown)
        return self.encoder.embed(x, parcel_mask & shown, frame_mask)


def _refuse_other(encoder: str | None, folder: Path) -> None:
    """Refuse the folder of another model than the one that the settings name; without a name its folder's counts."""
    from boldtable.models.description import CONFIG, read

    if encoder is None or not (folder / CONFIG).exists():  # reading the weights says what is missing
        return
    place = folder.parent.parent if folder.parent.name == "snapshots" else folder
    found = read(folder).name or place.resolve().name
    if found != encoder:
        raise InputError(
            f"{folder} holds model '{found}', but the settings have encoder '{encoder}': give that model's folder, or "
            "name this one by 'weights' in place of 'encoder'"
        )


def _pooled(encoder: Encoder, pooling: str | None, name: str) -> Encoder:
    """The encoder with another pooling than it was made with, where one is wanted."""
    if pooling is None:
        return encoder
    config: Any = getattr(encoder, "config", None)
    if not hasattr(config, "pooling"):
        raise SettingsError(f"model '{name}' has one kind of features only: leave pooling null")
    encoder.config = replace(config, pooling=pooling)  # type: ignore[attr-defined]
    return encoder


def window_starts(n_frames: int, length: int, windows: int) -> list[int]:
    """First frames of up to `windows` evenly spaced windows; fewer where two would be the same, one in a short run."""
    if n_frames <= length:
        return [0]
    return [int(start) for start in np.unique(np.linspace(0, n_frames - length, windows).round())]


def _device(wanted: str) -> str:
    import torch

    if torch.cuda.is_available() and wanted != "cpu":
        return "cuda"
    if wanted == "cuda":
        raise SettingsError("device: cuda, but there is no GPU here; set device: auto")
    if wanted == "auto":
        say("no GPU here: embedding on the CPU")
    return "cpu"
