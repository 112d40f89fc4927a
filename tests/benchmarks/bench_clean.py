"""How long one run takes through clean, beside nilearn.signal.clean on the same array. Run it with `make bench`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from boldtable.stages.clean import Clean, clean_row

N_FRAMES, N_PARCELS, TR_S = 490, 457, 0.735
TARGET_MS = 60
BASES = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "white_matter", "csf", "global_signal")


def _best_ms(work: Callable[[], object], times: int = 20) -> float:
    """The fastest of several goes: what the work costs where nothing else runs."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return 1000 * min(spent)


@pytest.mark.bench
def test_one_run_with_36p_bandpass_and_resampling(capsys: pytest.CaptureFixture[str]) -> None:
    from nilearn.signal import clean as nilearn_clean
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    confounds = {name: rng.normal(size=N_FRAMES).cumsum().astype(np.float32) for name in BASES}
    confounds["framewise_displacement"] = np.where(rng.random(N_FRAMES) < 0.05, 0.9, 0.1).astype(np.float32)
    signal = (1000 + rng.normal(size=(N_FRAMES, N_PARCELS)).cumsum(axis=0)).astype(np.float32)
    row = {
        **dict.fromkeys(("dataset", "participant", "session", "task", "run", "acquisition", "reason")),
        "tr_s": TR_S, "n_frames": N_FRAMES, "signal": signal, "coverage": np.ones(N_PARCELS, dtype=np.float32),
        "confounds": confounds, "status": "ok",
    }  # fmt: skip
    settings = Clean.parse({"atlas": "bench", "confounds": "36P"})
    assert clean_row(settings, row)["status"] == "ok"
    design = np.random.default_rng(1).normal(size=(N_FRAMES, 36)).cumsum(axis=0)
    kept = np.flatnonzero(confounds["framewise_displacement"] < 0.5)

    def reference() -> object:
        options = {"low_pass": 0.1, "high_pass": 0.01, "t_r": TR_S, "standardize": "zscore_sample"}
        return nilearn_clean(signal, confounds=design, sample_mask=kept, **options)

    with threadpool_limits(1):
        ours, theirs = _best_ms(lambda: clean_row(settings, row)), _best_ms(reference)
    with capsys.disabled():
        print(f"\nclean {N_FRAMES} by {N_PARCELS}, 36P, band-pass, 5 % censored, one core:")
        print(f"  boldtable (with resampling to 2 s)      {ours:7.1f} ms, target {TARGET_MS} ms")
        print(f"  nilearn.signal.clean (no resampling)    {theirs:7.1f} ms, {theirs / ours:.1f} times as long")
