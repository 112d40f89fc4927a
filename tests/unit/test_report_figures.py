"""The page's curves over portions, its attribution to networks, its marks, and its size for a thousand participants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_report import CONFIG, Task, write_qc, write_scores

from boldtable import store
from boldtable.stages import report
from boldtable.stages.report import Report, curves, networks

SEX = Task(dataset="aurora", kind="classification", target="sex")
BASE = {"recipe": "r", "datasets": ["aurora"], "size": "tiny"}
PORTIONS = {"half-1": (0.5, 1, 20), "half-2": (0.5, 2, 22), "quarter": (0.25, 1, 10), "whole": (1.0, 0, 40)}
SEEN = {"hide_networks": 0.6, "only_networks": 0.55}


def build(results: Path) -> tuple[Report, dict[str, Any]]:
    """A model trained on portions, one that was trained otherwise, and the networks Vis and Limbic of the first."""
    pretrain: dict[str, Any] = {
        name: BASE | {"portion": share, "portion_seed": seed} for name, (share, seed, _) in PORTIONS.items()
    }
    pretrain |= {"other": BASE | {"size": "small"}, "whole-untrained": BASE | {"epochs": 0}}
    embed: dict[str, Any] = {name: {"recipe": "r", "encoder": name} for name in pretrain}
    for network in ("Vis", "Limbic"):
        for kind in SEEN:
            embed[f"{kind[:4]}-{network}"] = embed["whole"] | {kind: [network]}
    for row, about in embed.items():
        level = next((SEEN[kind] for kind in SEEN if kind in about), 0.5 + PORTIONS.get(row, (0, 0, 0))[0] / 4)
        values = [level, level + 0.02, level - 0.02, level + 0.01, level - 0.01]
        values = values[::-1] if row == "other" else values
        write_scores(results, row, "aurora-sex", SEX, {"balanced_accuracy": values, "auroc": values})
    for name, (_, _, n) in PORTIONS.items():
        seen = {"trained": True, "participants": {"aurora": [f"x{i}" for i in range(n)]}}
        store.write_text(results / f"models/{name}/data.json", json.dumps(seen))
    report.ledger([write_qc(results, "aurora")], results / "ledger.parquet")
    listed = ["whole", "other", "whole-untrained"]
    settings = Report(
        models=listed, tasks=["aurora-sex"], reference="other", curves=[row for row in embed if row not in listed]
    )
    return settings, CONFIG | {"pretrain": pretrain, "embed": embed}


def page(settings: Report, results: Path, config: dict[str, Any]) -> str:
    (results / "config.yaml").write_text(yaml.safe_dump(config))
    report.run(settings, table="t", results=results, config=results / "config.yaml", out=results / "t")
    return (results / "t.html").read_text(encoding="utf-8")


def test_portions_are_drawn_against_who_was_learnt_from(tmp_path: Path) -> None:
    settings, config = build(tmp_path)
    found = curves.portions(settings, tmp_path, config)
    assert found == {"whole": {"quarter": 10, "half-1": 20, "half-2": 22, "whole": 40}}
    (tmp_path / "models/half-1/data.json").unlink()
    assert curves.portions(settings, tmp_path, config)["whole"]["quarter"] == 0.25
    html = page(settings, tmp_path, config)
    assert html.count("whole, aurora-sex: balanced accuracy (%) against the participants learnt from") == 1
    assert '<section id="scaling">' in html


def test_networks_are_drawn_and_listed(tmp_path: Path) -> None:
    settings, config = build(tmp_path)
    (found,) = networks.attributions(settings, config)
    assert found.row == "whole"
    assert found.hidden == {"Vis": "hide-Vis", "Limbic": "hide-Limbic"}
    assert found.only == {"Vis": "only-Vis", "Limbic": "only-Limbic"}
    html = page(settings, tmp_path, config)
    assert html.count("whole, aurora-sex: balanced accuracy (%) by network") == 1
    row = re.search(r'<th scope="row">Vis</th><td class="right nowrap">(.*?)</td>', html)
    assert row is not None
    assert row[1] == '55.0 <span class="sd">/ 60.0</span>'


def test_without_such_rows_nothing_is_drawn(tmp_path: Path) -> None:
    settings, config = build(tmp_path)
    html = page(settings.model_copy(update={"curves": []}), tmp_path, config)
    assert 'id="scaling"' not in html
    assert 'id="networks"' not in html


def test_the_bar_in_a_cell_spans_its_interval(tmp_path: Path) -> None:
    settings, config = build(tmp_path)
    html = page(settings, tmp_path, config)
    cells = re.findall(
        r'<i class="reach" style="left:([\d.]+)%;right:([\d.]+)%"></i><i class="dot" style="left:([\d.]+)%', html
    )
    assert len(cells) == 3
    for left, right, middle in cells:
        assert 0 <= float(left) < float(middle) < 100 - float(right) <= 100
    assert re.search(r'title="75.0 ± 1.6 \[.*\]\n28 train / 9 validation / 10 test, 5 splits; 40 participants', html)
    assert "Better than other after correction: whole on 1 of 1 tasks." in html


def test_a_thousand_participants_fit_in_ten_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n, splits = 1000, 100
    for model in ("connectome", "semantoks", "majority"):
        values = list(0.6 + 0.05 * rng.normal(size=splits))
        write_scores(tmp_path, model, "aurora-sex", SEX, {"balanced_accuracy": values}, n_train=600, n_test=200)
    rows = [
        {"dataset": "aurora", "participant": f"{i:04d}", "session": "1", "task": "rest", "shard": "000", "tr_s": 2.0,
         "n_frames": 300, "minutes": 10.0, "minutes_kept": 8.0 + rng.random(), "fd_mm_mean": float(rng.gamma(3, 0.06)),
         "min_coverage": 0.9, "keep": False, "stage": "qc", "status": "dropped",
         "reasons": "mean framewise displacement 0.62 mm > 0.5 mm, 3.1 minutes left after censoring, fewer than 4"}
        for i in range(n)
    ]  # fmt: skip
    store.write(tmp_path / "aurora/qc.parquet", "qc", rows, store.Provenance("qc"))
    report.ledger([tmp_path / "aurora/qc.parquet"], tmp_path / "ledger.parquet")
    settings = Report(models=["connectome", "semantoks", "majority"], tasks=["aurora-sex"])
    report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    assert (tmp_path / "t.html").read_text().count("<td>0999</td>") == 1
    # ten tasks and ten more models would multiply the plots alone: well below the limit here
    assert (tmp_path / "t.html").stat().st_size < 1_000_000


@pytest.mark.parametrize("levels", [[0.5, 0.5, 0.5], [0.5, 0.6, 0.7]])
def test_a_column_without_spread_has_bars_all_the_same(tmp_path: Path, levels: list[float]) -> None:
    for model in ("a", "b"):
        write_scores(tmp_path, model, "aurora-sex", SEX, {"balanced_accuracy": levels})
    report.ledger([write_qc(tmp_path, "aurora")], tmp_path / "ledger.parquet")
    settings = Report(models=["a", "b"], tasks=["aurora-sex"], reference="a")
    report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    assert (tmp_path / "t.html").read_text().count('class="dot"') == 2
