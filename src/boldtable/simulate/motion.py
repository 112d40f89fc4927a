"""Head motion and what it does to the signal, with the summary measures that fMRIPrep reports."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RADIUS_MM: Final = 50.0  # Power et al. 2012: rotations as arcs on a sphere of this radius
BRAIN_MM: Final = 80.0  # Jenkinson 1999: radius of the sphere over which displacement is averaged
PARAMETERS: Final = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def motion(rng: np.random.Generator, n_frames: int, tr_s: float, restless: float) -> Array:
    """Head positions (frame, 6): trans_x, y, z in mm, rot_x, y, z in radians.

    Slow wandering, breathing, and sudden nods that settle over a few frames. `restless` 1 gives a mean framewise
    displacement of roughly 0.12 mm, and scales with it; the nods become more frequent with it too.
    """
    scale = restless * np.array([0.5, 1.0, 1.2, 1.0 / 50, 0.6 / 50, 0.5 / 50])
    steps = rng.standard_normal((n_frames, 6)) * 0.011 * np.sqrt(tr_s)
    wander = np.cumsum(steps, axis=0)
    times = np.arange(n_frames) * tr_s
    breath = np.sin(2 * np.pi * rng.uniform(0.24, 0.32) * times + rng.uniform(0, 2 * np.pi))
    jitter = rng.standard_normal((n_frames, 6)) * 0.006
    position = (wander + jitter) * scale + 0.008 * breath[:, None] * scale
    minutes = n_frames * tr_s / 60
    for _ in range(int(rng.poisson(0.7 * restless * minutes))):
        start = int(rng.integers(3, n_frames))
        settle = np.exp(-np.arange(n_frames - start) * tr_s / rng.uniform(1.0, 4.0))
        kick = rng.standard_normal(6) * rng.uniform(0.15, 0.5) * scale / restless
        position[start:] += kick * (0.8 * settle[:, None] + 0.2)
    return np.asarray(position - position[0])


def framewise_displacement(position: Array) -> Array:
    """FD in mm (frame,), the first NaN: sum of absolute differences, rotations on a 50 mm sphere.

    Power et al. 2012, NeuroImage 59(3).
    """
    change = np.abs(np.diff(position, axis=0))
    change[:, 3:] *= RADIUS_MM
    return np.concatenate([[np.nan], change.sum(axis=1)])


def rmsd(position: Array) -> Array:
    """Root mean square displacement over the brain in mm (frame,), the first NaN (Jenkinson 1999), small rotations."""
    change = np.diff(position, axis=0) ** 2
    squared = change[:, :3].sum(axis=1) + 0.4 * BRAIN_MM**2 * change[:, 3:].sum(axis=1)
    return np.concatenate([[np.nan], np.sqrt(squared)])


def artefact(rng: np.random.Generator, position: Array, n_parcels: int) -> Array:
    """What motion adds to each parcel (frame, parcel), as a share of the baseline.

    A part that follows position and its change linearly (24P regression removes it), and a drop of the whole image
    with every sudden movement, which only censoring removes.
    """
    centred = position - position.mean(axis=0)
    change = np.diff(position, axis=0, prepend=position[:1])
    unit = np.array([1, 1, 1, RADIUS_MM, RADIUS_MM, RADIUS_MM])
    linear = np.einsum("tk,kp->tp", centred * unit, rng.normal(0, 0.006, (6, n_parcels)))
    linear += np.einsum("tk,kp->tp", change * unit, rng.normal(0, 0.006, (6, n_parcels)))
    jump = np.nan_to_num(framewise_displacement(position))
    drop = np.clip(jump - 0.4, 0, None)[:, None] * rng.uniform(0.01, 0.03, n_parcels)
    return np.asarray(linear - drop)
