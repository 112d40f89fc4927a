"""Planted parcel signals: network factors whose synchrony and coupling depend on the phenotypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from boldtable.simulate.atlas import NETWORKS

Array = npt.NDArray[np.float64]

LOW_HZ, HIGH_HZ = 0.012, 0.09
_PAD_S = 80.0  # made and thrown away, so that the ends of a run are not joined by the Fourier transform
WITHIN = 0.40  # share of a parcel's variance that it has in common with its network
_BETWEEN: Final = {
    ("Vis", "DorsAttn"): 0.35, ("Vis", "SomMot"): 0.25, ("SomMot", "SalVentAttn"): 0.35, ("DorsAttn", "Cont"): 0.3,
    ("SalVentAttn", "Cont"): 0.25, ("Cont", "Default"): 0.25, ("Limbic", "Default"): 0.35,
    ("DorsAttn", "Default"): -0.3, ("SalVentAttn", "Default"): -0.15, ("Subcortex", "SalVentAttn"): 0.25,
    ("Subcortex", "Limbic"): 0.2, ("Cerebellum", "SomMot"): 0.25, ("Cerebellum", "Cont"): 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """What one unit of a phenotype adds to the synchrony within networks and to the coupling between them."""

    within: dict[str, float]
    between: dict[tuple[str, str], float]


# One unit is: patient against control, F against M, and 60 years of age. `coin` is not here: it alters nothing.
EFFECTS: Final = {
    "diagnosis": Effect({"Default": -0.16, "Cont": 0.14}, {("Cont", "Default"): 0.35, ("DorsAttn", "Default"): 0.25}),
    "sex": Effect({"SomMot": 0.14, "Vis": -0.14}, {("Vis", "SomMot"): -0.35}),
    "age_years": Effect(
        {"DorsAttn": -0.4, "SalVentAttn": 0.4, "Subcortex": -0.35, "Cerebellum": 0.3},
        {("DorsAttn", "SalVentAttn"): 0.6, ("Subcortex", "SalVentAttn"): -0.5, ("Limbic", "Vis"): 0.5},
    ),
}
# How much people differ in what no phenotype explains (standard deviations).
PERSON_WITHIN, PERSON_BETWEEN, PERSON_PARCEL = 0.05, 0.10, 0.10


@dataclass(frozen=True)
class Traits:
    """The phenotypes of one participant: diagnosis control/patient, sex F/M, age 20-80 years, coin heads/tails."""

    diagnosis: str
    sex: str
    age_years: float
    coin: str
    site: str = ""

    def units(self) -> dict[str, float]:
        """Each phenotype that alters the signal on a scale centred on zero, one unit wide."""
        return {
            "diagnosis": 0.5 if self.diagnosis == "patient" else -0.5,
            "sex": 0.5 if self.sex == "F" else -0.5,
            "age_years": (self.age_years - 50.0) / 60.0,
        }


@dataclass(frozen=True)
class Coupling:
    """Network structure: `within` (network,) shares of common variance, `between` (network, network) correlations."""

    within: Array
    between: Array


def coupling(traits: Traits, rng: np.random.Generator | None = None) -> Coupling:
    """The network structure that the phenotypes ask for, plus what is the person's own where `rng` is given.

    `between` is a correlation matrix (symmetric, unit diagonal, positive definite).
    """
    size = len(NETWORKS)
    within, between = np.full(size, WITHIN), np.eye(size)
    _add(between, _BETWEEN, 1.0)
    for name, units in traits.units().items():
        effect = EFFECTS[name]
        for network, value in effect.within.items():
            within[NETWORKS.index(network)] += units * value
        _add(between, effect.between, units)
    if rng is not None:
        within = within + rng.normal(0, PERSON_WITHIN, size)
        own = np.triu(rng.normal(0, PERSON_BETWEEN, (size, size)), 1)
        between = between + own + own.T
    return Coupling(np.clip(within, 0.08, 0.85), _correlation(between))


def _add(between: Array, pairs: dict[tuple[str, str], float], factor: float) -> None:
    for (one, other), value in pairs.items():
        i, j = NETWORKS.index(one), NETWORKS.index(other)
        between[i, j] += factor * value
        between[j, i] += factor * value


def _correlation(matrix: Array) -> Array:
    """The nearest thing to `matrix` that is a correlation matrix: eigenvalues at least 0.05, unit diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    positive = np.einsum("ik,k,jk->ij", vectors, np.clip(values, 0.05, None), vectors)
    scale = np.sqrt(np.diag(positive))
    return np.asarray(positive / np.outer(scale, scale))


@dataclass(frozen=True)
class Person:
    """What stays the same over all runs of a participant: network structure and loadings (parcel,)."""

    traits: Traits
    coupling: Coupling
    loading: Array


def person(traits: Traits, networks: Sequence[str], rng: np.random.Generator) -> Person:
    """Draw a participant: the structure its phenotypes ask for and its own deviations, parcel by parcel."""
    own = coupling(traits, rng)
    share = own.within[_numbers(networks)] + rng.normal(0, PERSON_PARCEL, len(networks))
    return Person(traits, own, np.sqrt(np.clip(share, 0.03, 0.92)))


def parcel_signals(
    someone: Person, networks: Sequence[str], *, n_frames: int, tr_s: float, rng: np.random.Generator
) -> Array:
    """The planted signals of one run (frame, parcel): unit variance, 0.01-0.1 Hz, no nuisance at all.

    Each parcel is its network's factor, times its loading, plus a signal of its own; factors are correlated as
    ``someone.coupling.between`` says. `networks` names the network of each parcel.
    """
    factors = smooth(rng, n_frames, len(NETWORKS), tr_s)
    root = np.linalg.cholesky(someone.coupling.between)
    factors = np.einsum("tk,nk->tn", factors, root)
    own = smooth(rng, n_frames, len(networks), tr_s)
    return np.asarray(factors[:, _numbers(networks)] * someone.loading + own * np.sqrt(1 - someone.loading**2))


def smooth(
    rng: np.random.Generator, n_frames: int, n: int, tr_s: float, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Array:
    """Noise as smooth as the haemodynamic response leaves it (frame, n): band-limited, falling with frequency.

    Its expected variance is one; the variance of a short run scatters around that, as it does in people.
    """
    length = n_frames + int(np.ceil(_PAD_S / tr_s))
    hertz = np.fft.rfftfreq(length, tr_s)
    inside = np.clip(hertz / low_hz, 0, 1) ** 2 / (1 + (hertz / high_hz) ** 8)
    gain = inside / np.sqrt(1 + (hertz / 0.05) ** 2)
    weights = np.full(len(hertz), 2.0)
    weights[0] = 1.0
    if length % 2 == 0:
        weights[-1] = 1.0
    gain /= np.sqrt((weights * gain**2).sum() / length)
    white = np.fft.rfft(rng.standard_normal((length, n)), axis=0)
    return np.asarray(np.fft.irfft(white * gain[:, None], n=length, axis=0)[:n_frames])


def _numbers(networks: Sequence[str]) -> npt.NDArray[np.int64]:
    """The position of each parcel's network among the nine; an unknown name raises `ValueError`."""
    unknown = sorted(set(networks) - set(NETWORKS))
    if unknown:
        raise ValueError(f"no network '{unknown[0]}' is simulated; known: {', '.join(NETWORKS)}")
    return np.array([NETWORKS.index(network) for network in networks], dtype=np.int64)
