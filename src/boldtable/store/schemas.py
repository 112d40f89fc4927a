"""The columns of every Parquet artefact, once.

Arrays keep their shape in the type: a run's signal is ``list<fixed_size_list<float32>[P]>`` (frame-major,
one inner list per frame), coverage is ``fixed_size_list<float32>[P]``. Missing parcels are NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

KEYS = ("dataset", "participant", "session", "task", "run", "acquisition")

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_KEYS = [(key, _TEXT) for key in KEYS]
_OUTCOME = [("status", _TEXT), ("reason", _TEXT)]


def vector(size: int) -> pa.DataType:
    """The type of one value per parcel (or per embedding dimension)."""
    return pa.list_(pa.float32(), size)


def _runs(_: int) -> list[tuple[str, pa.DataType]]:
    return [
        *_KEYS, ("space", _TEXT), ("resolution", _TEXT), ("bold", _TEXT), ("mask", _TEXT), ("confounds", _TEXT),
        ("tr_s", _FLOAT), ("n_frames", _INT), ("shard", _TEXT), ("fingerprint", _TEXT), *_OUTCOME,
    ]  # fmt: skip


def _participants(_: int) -> list[tuple[str, pa.DataType]]:
    return [(n, _TEXT) for n in ("participant", "session", "site", "family")] + [
        ("age_years", _FLOAT),
        ("sex", _TEXT),
        ("fd_mm_mean", _FLOAT),
    ]


def _parcels(size: int) -> list[tuple[str, pa.DataType]]:
    confounds = pa.map_(_TEXT, pa.list_(pa.float32()))
    signal = pa.list_(vector(size))
    return [
        *_KEYS, ("tr_s", _FLOAT), ("n_frames", _INT), ("signal", signal), ("coverage", vector(size)),
        ("confounds", confounds), ("fingerprint", _TEXT), *_OUTCOME,
    ]  # fmt: skip


def _tensors(size: int) -> list[tuple[str, pa.DataType]]:
    return [
        *_KEYS, ("tr_s", _FLOAT), ("n_frames", _INT), ("n_dummy_frames", _INT), ("signal", pa.list_(vector(size))),
        ("mean", vector(size)), ("std", vector(size)), ("coverage", vector(size)),
        ("interpolated", pa.list_(_BOOL)), *_OUTCOME,
    ]  # fmt: skip


def _population(_: int) -> list[tuple[str, pa.DataType]]:
    return [("column", _INT), ("median", _FLOAT), ("iqr", _FLOAT), ("n_frames", _INT), ("n_runs", _INT)]


def _qc(_: int) -> list[tuple[str, pa.DataType]]:
    measures = (
        "minutes", "minutes_kept", "fd_mm_mean", "fd_mm_max", "fd_share_over", "dvars", "tsnr",
        "global_signal_share", "min_coverage",
    )  # fmt: skip
    counts = ("n_frames", "n_dummy_frames", "n_empty_parcels", "n_spikes")
    return [
        *_KEYS, ("shard", _TEXT), ("tr_s", _FLOAT), *((name, _INT) for name in counts),
        *((name, _FLOAT) for name in measures), ("signal_sha256", _TEXT), ("keep", _BOOL),
        ("stage", _TEXT), ("status", _TEXT), ("reasons", _TEXT),
    ]  # fmt: skip


def _kept(_: int) -> list[tuple[str, pa.DataType]]:
    return [*_KEYS, ("shard", _TEXT), ("fingerprint", _TEXT)]


def _qc_summary(_: int) -> list[tuple[str, pa.DataType]]:
    texts = [(name, _TEXT) for name in ("dataset", "measure", "variable", "group", "level")]
    return [*texts, ("value", _FLOAT), ("n", _INT)]


def _embeddings(size: int) -> list[tuple[str, pa.DataType]]:
    return [*_KEYS, ("half", _INT), ("window", _INT), ("start_s", _FLOAT), ("embedding", vector(size))]


def _splits(_: int) -> list[tuple[str, pa.DataType]]:
    texts = ("held_out", "dataset", "participant", "site", "group", "part", "target")
    return [("task", _TEXT), ("split", _INT), *((name, _TEXT) for name in texts)]


def _scores(_: int) -> list[tuple[str, pa.DataType]]:
    return [
        ("model", _TEXT), ("task", _TEXT), ("split", _INT), ("seed", _INT), ("metric", _TEXT), ("value", _FLOAT),
        ("n_train", _INT), ("n_val", _INT), ("n_test", _INT), ("hyperparameters", _TEXT),
    ]  # fmt: skip


def _predictions(_: int) -> list[tuple[str, pa.DataType]]:
    names = ("model", "task", "dataset", "participant", "site", "group", "target", "prediction")
    probabilities = pa.list_(_FLOAT)  # in the order of the file's metadata key ``classes``
    return [*((name, _TEXT) for name in names), ("split", _INT), ("score", _FLOAT), ("probabilities", probabilities)]


def _ledger(_: int) -> list[tuple[str, pa.DataType]]:
    return [*_KEYS, ("stage", _TEXT), *_OUTCOME]


def _atlas(_: int) -> list[tuple[str, pa.DataType]]:
    texts = [(name, _TEXT) for name in ("name", "hemisphere", "network")]
    return [("index", _INT), *texts, ("x_mm", _FLOAT), ("y_mm", _FLOAT), ("z_mm", _FLOAT), ("n_voxels", _INT)]


def _gradients(size: int) -> list[tuple[str, pa.DataType]]:
    return [("index", _INT), ("name", _TEXT), *((f"gradient_{number + 1}", _FLOAT) for number in range(size))]


def _reconstruction(_: int) -> list[tuple[str, pa.DataType]]:
    return [
        *((name, _TEXT) for name in ("model", "dataset")), ("test_mask_ratio", _FLOAT), ("r2", _FLOAT), ("mse", _FLOAT),
        ("n_runs", _INT),
    ]  # fmt: skip


_ARTEFACTS: dict[str, Callable[[int], list[tuple[str, pa.DataType]]]] = {
    "runs": _runs,
    "participants": _participants,
    "parcels": _parcels,
    "tensors": _tensors,
    "population": _population,
    "qc": _qc,
    "kept": _kept,
    "qc_summary": _qc_summary,
    "embeddings": _embeddings,
    "splits": _splits,
    "scores": _scores,
    "predictions": _predictions,
    "ledger": _ledger,
    "atlas": _atlas,
    "gradients": _gradients,
    "reconstruction": _reconstruction,
}
OPEN = {"participants"}  # further columns (phenotypes) are kept as given


def schema(artefact: str, size: int = 1) -> pa.Schema:
    """The Arrow schema of an artefact; `size` is the number of parcels or embedding dimensions."""
    return pa.schema(_ARTEFACTS[artefact](size))
