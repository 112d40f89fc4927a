"""One run as the scanner and fMRIPrep would leave it: planted signals plus everything that disturbs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from boldtable.simulate import atlas, motion
from boldtable.simulate.signal import Person, parcel_signals, smooth

Array = npt.NDArray[np.float64]

BASELINE: Final = 10000.0
SIGNAL, GLOBAL, DRIFT, PHYSIOLOGY, NOISE = 0.010, 0.003, 0.006, 0.0015, 0.015  # shares of the baseline (sd)
WHITE_MATTER, CSF = 0, 1  # the columns after the parcels
_VENTRICLE_MM: Final = 12.0


@dataclass(frozen=True)
class Head:
    """The grid everyone is scanned on; everybody has the same anatomy.

    `positions` (x, y, z) is 1 + the column a voxel shows (parcels in atlas order, white matter, CSF), 0 outside the
    brain; `weights` (column,) counts voxels; `networks` names each parcel's network.
    """

    positions: npt.NDArray[np.int64]
    affine: Array
    weights: Array
    networks: tuple[str, ...]

    def below(self, z_mm: float) -> npt.NDArray[np.bool_]:
        """The voxels (x, y, z) that a field of view ending at `z_mm` misses."""
        z = self.affine[2, 2] * np.arange(self.positions.shape[2]) + self.affine[2, 3]
        return np.broadcast_to(z < z_mm, self.positions.shape)


@lru_cache(maxsize=2)
def head(voxel_mm: float) -> Head:
    """Parcels of `demo457`, and the brain around them as white matter and CSF."""
    labels, affine = atlas.build(voxel_mm)
    inside, _ = atlas.brain(voxel_mm)
    table, _ = atlas.demo457(voxel_mm)
    positions = labels.astype(np.int64)
    x = np.abs(affine[0, 0] * np.arange(labels.shape[0]) + affine[0, 3])
    middle = np.broadcast_to((x < _VENTRICLE_MM)[:, None, None], labels.shape)
    rest = inside & (labels == 0)
    positions[rest & ~middle] = table.n_parcels + 1 + WHITE_MATTER
    positions[rest & middle] = table.n_parcels + 1 + CSF
    weights = np.bincount(positions.reshape(-1), minlength=table.n_parcels + 3)[1:].astype(np.float64)
    return Head(positions, affine, weights, tuple(table.networks))


@dataclass(frozen=True)
class Scan:
    """One run before it is written: `signals` (frame, column) in image units, `position` (frame, 6), `physiology`.

    `planted` (frame, parcel) are the signals of interest alone, in units of their standard deviation.
    """

    signals: Array
    planted: Array
    position: Array
    physiology: Array
    tr_s: float
    noise_sd: float


def scan(
    someone: Person, anatomy: Head, *, n_frames: int, tr_s: float, restless: float, rng: np.random.Generator
) -> Scan:
    """Simulate one run of a person; `restless` scales head motion (about 1 for most people)."""
    planted = parcel_signals(someone, anatomy.networks, n_frames=n_frames, tr_s=tr_s, rng=rng)
    position = motion.motion(rng, n_frames, tr_s, restless * float(np.exp(rng.normal(0, 0.25))))
    n_columns = len(anatomy.weights)
    physiology = smooth(rng, n_frames, 4, tr_s, high_hz=min(0.3, 0.45 / tr_s))
    share = motion.artefact(rng, position, n_columns)
    share += GLOBAL * smooth(rng, n_frames, 1, tr_s)
    share += DRIFT * _drift(rng, n_frames, n_columns)
    gain = np.full(n_columns, PHYSIOLOGY)
    gain[-2:] *= (3.0, 6.0)  # white matter and CSF show mostly physiology
    share += np.einsum("tk,kp->tp", physiology, rng.normal(0, 0.5, (4, n_columns))) * gain
    share[:, : planted.shape[1]] += SIGNAL * planted
    baseline = BASELINE * np.concatenate([1 + rng.normal(0, 0.08, planted.shape[1]), [0.9, 1.3]])
    return Scan(baseline * (1 + share), planted, position, physiology, tr_s, NOISE * BASELINE)


def _drift(rng: np.random.Generator, n_frames: int, n_columns: int) -> Array:
    """Slow trends (frame, column): a line and half a wave, mostly shared by the whole image."""
    time = np.linspace(-1, 1, n_frames)[:, None]
    weights = rng.standard_normal((2, 1)) + 0.3 * rng.standard_normal((2, n_columns))
    return np.asarray(time * weights[0] + np.cos(np.pi * time / 2) * weights[1])


def voxel_offsets(anatomy: Head, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """How much brighter or darker than its parcel each voxel is (x, y, z), in image units."""
    shape: Any = anatomy.positions.shape
    return np.asarray(rng.standard_normal(shape, dtype=np.float32) * np.float32(0.04 * BASELINE))
