"""Real data, where they lie beside the repository: participants are found again three months later."""

from pathlib import Path

import pytest
from test_benchmarks import BENCHMARKS, ROOT, primary, snakemake

SERIES = ROOT / ".." / "shared/data/stages_fep"
MODELS = ["connectome", "semantoks-untrained", "semantoks"]


@pytest.mark.slow
@pytest.mark.skipif(not SERIES.is_dir(), reason="needs ../shared/data/stages_fep beside the repository")
def test_participants_are_found_again(tmp_path: Path) -> None:
    """The documented command as it stands, on all 24 participants at two sessions; chance is 1 in 24."""
    folder = tmp_path / "stages_fep"
    (folder / "data").mkdir(parents=True)
    (folder / "data/stages_fep").symlink_to(SERIES.resolve())
    snakemake(folder, BENCHMARKS / "stages_fep.yaml")
    rows = primary(folder, "stages_fep").set_index("model")
    print(rows[["mean", "ci_low", "ci_high", "chance"]].to_string())
    assert rows.index.tolist() == MODELS
    assert (rows["n_test"] == 24).all()
    assert rows["chance"].tolist() == pytest.approx([1 / 24] * 3, rel=1e-4)
    assert rows.loc["connectome", "mean"] > 0.7
    assert (rows["ci_low"] > rows["chance"]).all()
    assert rows.loc["semantoks", "mean"] > rows.loc["semantoks-untrained", "mean"]
    page = (folder / "results/tables/stages_fep.html").read_text(encoding="utf-8")
    assert all(model in page for model in MODELS)
