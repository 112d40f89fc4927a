"""The settings of qc: which measures are taken, and which run is kept."""

from __future__ import annotations

from pydantic import Field

from boldtable.settings import Settings


class QC(Settings):
    """Thresholds that decide whether a run is kept."""

    recipe: str = Field(description="Key of the clean block whose tensors (and atlas) are measured.")
    max_fd_mm_mean: float = Field(
        0.5, gt=0, description="Runs with a larger mean framewise displacement are dropped (mm)."
    )
    max_fd_mm_max: float | None = Field(
        None, gt=0, description="Runs with a larger framewise displacement in any frame are dropped (mm); null: none."
    )
    fd_mm: float = Field(
        0.5, gt=0, description="Threshold for the share of frames with high framewise displacement (mm)."
    )
    max_share_over: float = Field(0.5, gt=0, le=1, description="Runs with a larger share of such frames are dropped.")
    spike_dvars: float = Field(
        1.5, gt=0, description="A frame is a spike over fd_mm or over this standardised DVARS (fMRIPrep's outliers)."
    )
    max_dvars: float | None = Field(
        None, gt=0, description="Runs with a larger mean DVARS (standardised where known) are dropped; null: none."
    )
    min_tsnr: float | None = Field(
        None, gt=0, description="Runs with a smaller median temporal signal-to-noise ratio are dropped; null: none."
    )
    max_global_signal_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Runs whose global signal still explains a larger share of the cleaned variance are dropped; "
        "null: none.",
    )
    min_minutes_kept: float = Field(
        2.0, ge=0, description="Runs with less data left after censoring are dropped (minutes)."
    )
    max_empty_parcels: float = Field(
        0.1, ge=0, le=1, description="Runs with a larger share of uncovered parcels are dropped."
    )
    qcfc: bool = Field(
        True, description="Correlate motion with every edge across participants, before and after cleaning (QC-FC)."
    )
    qcfc_p: float = Field(
        0.05, gt=0, lt=1, description="Level, uncorrected, of the share of edges that depend on motion."
    )
