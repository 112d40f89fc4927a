"""Speed and memory of `parcellate` beside nilearn's NiftiLabelsMasker and a bare gunzip of the same file.

``python -m pytest -m bench tests/benchmarks/bench_parcellate.py -s`` prints the figures and their targets.
"""

from __future__ import annotations

import gzip
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from isal import igzip

from boldtable.atlas.image import label_image, load_labels, save_image
from boldtable.atlas.merge import schaefer400_tian3_buckner7
from boldtable.stages.parcellate.averaging import Averager
from boldtable.stages.parcellate.bold import open_bold

pytestmark = pytest.mark.bench

SHARED_ATLASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "atlases"
SHAPE, N_FRAMES, N_PARCELS = (91, 109, 91), 240, 457
LAS_2MM = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
ROUNDS = 3
CHILD = """
import sys
from pathlib import Path
import numpy as np
from boldtable.atlas.image import load_labels
from boldtable.stages.parcellate import shard
from boldtable.stages.parcellate.averaging import Averager
from boldtable.stages.parcellate.bold import open_bold
import time
averager = Averager(*load_labels(Path(sys.argv[1])), np.arange(1, 458))
start, start_cpu = time.perf_counter(), time.process_time()
for _ in range(3):
    averager.average(open_bold(Path(sys.argv[2])), None)
print((time.perf_counter() - start) / 3, (time.process_time() - start_cpu) / 3)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def synthetic_labels() -> np.ndarray:
    """457 bands of equal size in an ellipsoid as large as a brain."""
    x, y, z = np.indices(SHAPE)
    inside = ((x - 45) / 33) ** 2 + ((y - 54) / 42) ** 2 + ((z - 42) / 34) ** 2 < 1
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[inside] = np.arange(inside.sum()) * N_PARCELS // inside.sum() + 1
    return labels


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "atlas.nii.gz"
    real = SHARED_ATLASES.is_dir()
    save_image(
        schaefer400_tian3_buckner7(SHARED_ATLASES).image if real else label_image(synthetic_labels(), LAS_2MM), path
    )
    print(f"\natlas: {'the published merge' if real else 'synthetic labels'} on {SHAPE}")
    return path


@pytest.fixture(scope="module")
def bold(atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int16, 91x109x91x240: noise within a brain, zero outside, gzipped as nibabel does (level 1)."""
    path = tmp_path_factory.mktemp("bold") / "bold.nii.gz"
    rng = np.random.default_rng(0)
    flat = load_labels(atlas)[0].ravel(order="F")
    brain = np.flatnonzero(np.convolve(flat > 0, np.ones(7), "same") > 0)
    level = rng.normal(8_000, 2_000, brain.size)
    header = nib.Nifti1Header()
    header.set_data_shape((*SHAPE, N_FRAMES))
    header.set_data_dtype(np.int16)
    header.set_sform(LAS_2MM, code=4)
    header["vox_offset"], header["pixdim"][4] = 352, 2.0
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(N_FRAMES):
            volume = np.zeros(flat.size, dtype=np.int16)
            volume[brain] = level + rng.normal(0, 80, brain.size)
            file.write(volume.tobytes())
    print(f"bold: {path.stat().st_size / 1e6:.0f} MB gzipped, {np.prod(SHAPE) * 2 * N_FRAMES / 1e6:.0f} MB raw")
    return path


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def gunzip(path: Path) -> None:
    with igzip.open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def nilearn_means(atlas: Path, bold: Path) -> np.ndarray:
    from nilearn.maskers import NiftiLabelsMasker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = nib.load(atlas)
        wide = nib.Nifti1Image(np.asarray(labels.dataobj, dtype=np.int32), labels.affine)
        masker = NiftiLabelsMasker(wide, standardize=False, resampling_target=None)
        return np.asarray(masker.fit_transform(str(bold)))


def test_speed_beside_nilearn_and_gunzip(atlas: Path, bold: Path) -> None:
    labels, affine = load_labels(atlas)
    ours, bare = [], []
    for _ in range(ROUNDS):
        averager = Averager(labels, affine, np.arange(1, N_PARCELS + 1))  # a fresh one: building counts
        bare.append(seconds(lambda: gunzip(bold)))
        start = time.perf_counter()
        found = averager.average(open_bold(bold), None)
        ours.append(time.perf_counter() - start)
    start = time.perf_counter()
    reference = nilearn_means(atlas, bold)
    nilearn_s = time.perf_counter() - start
    ours_s, bare_s = statistics.median(ours), statistics.median(bare)
    print(f"ours {ours_s:.2f} s, bare isal gunzip {bare_s:.2f} s, nilearn {nilearn_s:.2f} s")
    print(f"{nilearn_s / ours_s:.1f} times as fast as nilearn (target: at least 10)")
    print(f"{ours_s / bare_s:.2f} times a bare gunzip (target: at most 1.5)")
    worst = float(np.abs(found.signal / reference - 1).max())
    print(f"largest relative difference to nilearn {worst:.1e} (float32 rounding: 1.2e-07)")
    np.testing.assert_allclose(found.signal, reference, rtol=1e-6)


def child(atlas: Path, bold: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(atlas), str(bold)], stdout=subprocess.PIPE, text=True)


def figures(process: subprocess.Popen[str]) -> tuple[float, float, float]:
    """Seconds per run, processor seconds per run and peak memory in MB of a child."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    per_run_s, cpu_s, peak_kb = output.split()
    return float(per_run_s), float(cpu_s), float(peak_kb) / 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc/self/status")
def test_memory_and_two_runs_at_once(atlas: Path, bold: Path) -> None:
    alone_s, alone_cpu_s, peak_mb = figures(child(atlas, bold))
    both = [child(atlas, bold) for _ in range(2)]
    together_s, together_cpu_s, _ = map(max, zip(*(figures(process) for process in both), strict=True))
    print(f"\npeak memory {peak_mb:.0f} MB with everything imported (target: at most 300)")
    print(f"alone {alone_s:.2f} s a run, two at once {together_s:.2f} s: {together_s / alone_s - 1:.0%} slower (20 %)")
    print(
        f"in processor time {alone_cpu_s:.2f} s and {together_cpu_s:.2f} s: {together_cpu_s / alone_cpu_s - 1:.0%} more"
    )
