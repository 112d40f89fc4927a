"""How gradients are made from a group connectome."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from boldtable.settings import Settings


class GradientSettings(Settings):
    """From a connectome to gradients; the defaults are those of Brain-JEPA's authors as far as they are known.

    They state 30 components of a diffusion map made with BrainSpace, whose defaults the others follow.
    """

    components: int = Field(
        30, ge=1, le=10_000, description="Number of gradients (Brain-JEPA: 30); fewer than parcels."
    )
    sparsity: float = Field(
        0.9, ge=0, lt=1, description="Share of the smallest correlations of each parcel's profile that is set to zero."
    )
    kernel: Literal["normalized-angle", "cosine", "pearson", "spearman", "gaussian", "none"] = Field(
        "normalized-angle",
        description="How alike two parcels' profiles are: 1 - angle / pi, their cosine, a correlation, a Gaussian of "
        "their distance (inverse width 1 / parcels), or none: the profiles themselves.",
    )
    alpha: float = Field(
        0.5, ge=0, le=1, description="How far the density of parcels is divided out: 0 not at all, 1 wholly."
    )
    diffusion_time: float = Field(
        0.0, ge=0, description="Steps of the random walk; 0 takes all together: eigenvalue l counts l / (1 - l)."
    )
