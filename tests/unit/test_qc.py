"""The stage qc: what is measured, and which run is kept, noted, dropped or missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qc_files import N_FRAMES, Cohort, Row

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.stages import qc
from boldtable.stages.qc import QC


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path)


def _verdict(row: Row) -> tuple[bool, str | None, str, str | None]:
    return row["keep"], row["stage"], row["status"], row["reasons"]


class TestMeasures:
    def test_all_is_well(self, cohort: Cohort) -> None:
        rows = cohort.rows()
        assert list(rows) == ["01", "02", "03"]
        for row in rows.values():
            assert _verdict(row) == (True, None, "ok", None)
            assert (row["n_frames"], row["tr_s"], row["minutes"], row["minutes_kept"]) == (150, 2.0, 5.0, 5.0)
            assert row["fd_mm_mean"] == pytest.approx(0.1)
            assert row["fd_mm_max"] == pytest.approx(0.1)
            assert (row["fd_share_over"], row["n_spikes"], row["n_empty_parcels"]) == (0, 0, 0)
            assert row["dvars"] == pytest.approx(1.2)
            assert row["tsnr"] == pytest.approx(100, rel=0.1)
            assert row["global_signal_share"] == pytest.approx(0.1, abs=0.03)
            assert row["min_coverage"] == 1
        assert (rows["01"]["shard"], rows["03"]["shard"]) == ("0000", "0001")

    def test_spikes_empty_parcels_and_minutes(self, cohort: Cohort) -> None:
        parcels, tensors = cohort.parcels["02"], cohort.tensors["02"]
        parcels["confounds"]["framewise_displacement"][[10, 20, 30]] = 2.5
        tensors["interpolated"][:30] = True
        parcels["signal"][:, 4] = tensors["signal"][:, 4] = np.nan
        parcels["coverage"][4] = 0.25
        row = cohort.rows()["02"]
        assert (row["n_spikes"], row["fd_share_over"], row["fd_mm_max"]) == (3, 3 / 150, 2.5)
        assert (row["n_empty_parcels"], row["min_coverage"]) == (1, 0.25)
        assert row["minutes_kept"] == pytest.approx(4)
        assert row["keep"]

    def test_one_recording_under_two_names_has_one_hash(self, cohort: Cohort) -> None:
        cohort.parcels["02"]["signal"] = cohort.parcels["01"]["signal"].copy()
        digests = [row["signal_sha256"] for row in cohort.rows().values()]
        assert digests[0] == digests[1] != digests[2]
        cohort.parcels["02"]["signal"][0, 0] += 0.01
        assert len({row["signal_sha256"] for row in cohort.rows().values()}) == 3
        cohort.parcels["01"]["signal"][:] = cohort.parcels["02"]["signal"][:] = 7
        assert cohort.rows()["01"]["signal_sha256"] is None

    def test_plain_dvars_where_no_standardised_one(self, cohort: Cohort) -> None:
        cohort.parcels["01"]["confounds"]["dvars"] = cohort.parcels["01"]["confounds"].pop("std_dvars") * 20
        assert cohort.rows()["01"]["dvars"] == pytest.approx(24)

    def test_nothing_known_nothing_failed(self, cohort: Cohort) -> None:
        for name in ("01", "02", "03"):
            for row in (cohort.runs[name], cohort.parcels[name], cohort.tensors[name]):
                row["tr_s"] = None
            cohort.parcels[name]["confounds"] = {}
        row = cohort.rows()["01"]
        unknown = ("tr_s", "minutes", "minutes_kept", "fd_mm_mean", "fd_mm_max", "fd_share_over", "n_spikes", "dvars")
        assert all(row[name] is None for name in unknown)
        assert _verdict(row) == (True, None, "ok", None)

    def test_plain_pandas_opens_it(self, cohort: Cohort) -> None:
        cohort.rows()
        table = pd.read_parquet(cohort.folder / "qc.parquet")
        assert list(table.columns) == store.schema("qc").names
        assert table["keep"].tolist() == [True] * 3


class TestRules:
    def test_excluded_by_collect(self, cohort: Cohort) -> None:
        cohort.runs["02"].update(status="excluded", reason="run of 0.8 min is too short", shard=None)
        del cohort.parcels["02"], cohort.tensors["02"]
        rows = cohort.rows()
        assert _verdict(rows["02"]) == (False, "collect", "excluded", "run of 0.8 min is too short")
        assert rows["02"]["n_frames"] == N_FRAMES
        assert rows["02"]["tsnr"] is None
        assert rows["01"]["keep"]

    def test_failed_in_parcellate_and_carried_through_clean(self, cohort: Cohort) -> None:
        for stage in ("parcellate", "clean"):
            cohort.fail("01", stage, "truncated gzip")
        assert _verdict(cohort.rows()["01"]) == (False, "parcellate", "failed", "truncated gzip")

    def test_failed_in_clean_keeps_the_measures_of_its_parcels(self, cohort: Cohort) -> None:
        cohort.fail("01", "clean", "only 1.2 min left after censoring (minimum 2.0)")
        row = cohort.rows()["01"]
        assert _verdict(row)[:3] == (False, "clean", "failed")
        assert row["tsnr"] is not None
        assert row["minutes_kept"] is None

    def test_partial_is_kept_and_noted(self, cohort: Cohort) -> None:
        cohort.parcels["01"].update(status="partial", reason="1 parcel without coverage: 1 Cerebellum")
        cohort.parcels["01"]["signal"][:, 0] = cohort.tensors["01"]["signal"][:, 0] = np.nan
        expected = (True, "parcellate", "partial", "1 parcel without coverage: 1 Cerebellum")
        assert _verdict(cohort.rows()["01"]) == expected

    def test_unlabelled_is_kept_and_noted(self, cohort: Cohort) -> None:
        cohort.labelled.remove("02")
        cohort.runs["03"]["reason"] = "participant missing from participants.tsv"
        rows = cohort.rows()
        assert _verdict(rows["02"]) == (True, "collect", "unlabelled", f"participant 02 {qc.UNLABELLED}")
        assert _verdict(rows["03"]) == (True, "collect", "unlabelled", "participant missing from participants.tsv")

    def test_two_notes_are_joined(self, cohort: Cohort) -> None:
        cohort.runs["01"]["reason"] = "no row"
        cohort.parcels["01"].update(status="partial", reason="3 parcels cut")
        assert _verdict(cohort.rows()["01"]) == (True, "collect", "unlabelled", "no row; 3 parcels cut")

    def test_dropped_with_every_threshold_and_its_value(self, cohort: Cohort) -> None:
        cohort.parcels["02"]["confounds"]["framewise_displacement"][:100] = 1.0
        cohort.tensors["02"]["interpolated"][:100] = True
        cohort.tensors["02"]["signal"][:, :2] = np.nan
        expected = [
            "mean framewise displacement 0.70 mm over 0.5",
            "66.7 % of frames over 0.5 mm framewise displacement, more than 50 %",
            "only 1.7 min left after censoring (minimum 2.0)",
            "2 of 10 parcels empty, more than 10 %",
        ]
        assert _verdict(cohort.rows()["02"]) == (False, "qc", "dropped", "; ".join(expected))

    def test_thresholds_come_from_the_settings(self, cohort: Cohort) -> None:
        rows = cohort.rows(max_fd_mm_mean=0.05)
        assert rows["01"]["reasons"] == "mean framewise displacement 0.10 mm over 0.05"
        assert not any(row["keep"] for row in rows.values())


class TestFaults:
    @pytest.mark.parametrize("artefact", ["parcels", "tensors"])
    def test_missing_shard_is_named(self, cohort: Cohort, artefact: str) -> None:
        paths = cohort.write()
        (paths[artefact] / "0001.parquet").unlink()
        with pytest.raises(InputError, match=rf"{artefact} file not found: .*0001\.parquet"):
            qc.run(QC.parse({"recipe": "toy"}), **paths, out=cohort.folder / "qc.parquet")
        assert not (cohort.folder / "qc.parquet").exists()

    @pytest.mark.parametrize(
        ("lose", "stage"),
        [
            (lambda c: (c.parcels.pop("02"), c.tensors.pop("02")), "parcellate"),
            (lambda c: c.tensors.pop("02"), "run clean again"),
            (lambda c: c.parcels.pop("02"), "run clean again"),
        ],
    )
    def test_a_run_that_its_shard_lacks_is_named(
        self, cohort: Cohort, lose: Callable[[Cohort], Any], stage: str
    ) -> None:
        lose(cohort)
        with pytest.raises(InputError, match=rf"toy sub-02 task-rest.*{stage}"):
            cohort.rows()

    def test_another_atlas_is_refused(self, cohort: Cohort) -> None:
        paths = cohort.write()
        small = pd.DataFrame({"index": [1], "name": "p", "hemisphere": "L", "network": "n"})
        AtlasTable("toy1", "MNI", small).save(paths["atlas"], store.Provenance("atlas"))
        with pytest.raises(InputError, match="has 10 parcels, the atlas 1"):
            qc.run(QC.parse({"recipe": "toy"}), **paths, out=cohort.folder / "qc.parquet")
