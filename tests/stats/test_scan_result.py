"""Scan results: access, health, files and the largest excess."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alp_coffea.errors import ModelError, UnreadableFileError
from alp_coffea.stats.scan_result import COLUMNS, ScanResult, window_fit
from alp_coffea.stats.significance import from_up_crossings

Z = [0.1, 1.0, -0.5, 2.5, 0.2, 0.7, -1.0]


def result(**changes: Any) -> ScanResult:
    rows = []
    for i, z in enumerate(Z):
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {"mass": 1.0 + i, "z_local": z, "status": "ok", "definition": "diphoton"}
        rows.append(row | changes)
    return ScanResult(tuple(rows), 10.58, synthetic=True)


def test_columns_are_arrays_with_nan_for_missing_values() -> None:
    scan = result()
    assert scan["mass"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.isnan(scan["sigma_obs"]).all()
    assert scan["status"].tolist() == ["ok"] * 7
    assert scan.ok.all()
    with pytest.raises(KeyError, match="scan has no column 'sigma_observed'"):
        scan["sigma_observed"]


def test_largest_excess_knows_the_look_elsewhere_effect() -> None:
    excess = result().largest_excess()
    assert excess is not None
    assert (excess.mass, excess.z) == (4.0, 2.5)
    # Z crosses 0.5 from below three times
    assert excess.global_p == from_up_crossings(2.5, 3, 0.5)
    assert "largest local significance 2.50 at 4.000 GeV, global p" in repr(result())


def test_nothing_observed_has_no_excess() -> None:
    blinded = result(z_local=None, status="blinded")
    assert blinded.largest_excess() is None
    assert "blinded" in repr(blinded)
    assert ScanResult((), 10.58).largest_excess() is None
    assert repr(ScanResult((), 10.58)) == "ScanResult(empty)"


def test_failures_are_named_in_the_text() -> None:
    failed = result(status="fit did not converge")
    assert "7 not ok" in repr(failed)
    assert "1.000 GeV: fit did not converge" in repr(failed)
    assert "and 2 more" in repr(failed)
    assert "fit did not converge" in failed._repr_html_()


def test_files_hold_the_same_rows(tmp_path: Path) -> None:
    scan = result()
    scan.save(tmp_path)
    assert ScanResult.load(tmp_path / "scan.json") == scan
    with (tmp_path / "scan.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["z_local"]) for row in rows] == Z
    assert rows[0]["sigma_obs"] == ""


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"rows": 3}'])
def test_what_is_no_scan_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scan.json"
    path.write_text(content, "utf-8")
    with pytest.raises(UnreadableFileError, match=r"not a readable scan\.json"):
        ScanResult.load(path)


def test_a_row_without_a_fit_cannot_be_drawn() -> None:
    with pytest.raises(ModelError, match="mass 1 GeV has no fit: blinded"):
        window_fit(result(status="blinded").rows[0], {"channels": []}, synthetic=True)


def test_slices_by_mass() -> None:
    scan = result()
    assert scan.between(2.0, 4.0)["mass"].tolist() == [2, 3, 4]
    assert scan.between(2.0, 4.0).synthetic
    assert len(scan.between(20.0, 40.0)) == 0


def test_parquet_holds_the_same_columns(tmp_path: Path) -> None:
    scan = result(sigma_obs=0.5, background_order=4, note="")
    scan.save_parquet(tmp_path / "scan.parquet")
    again = ScanResult.load_parquet(tmp_path / "scan.parquet")
    assert again == scan
    (tmp_path / "other.parquet").write_text("no", "utf-8")
    with pytest.raises(UnreadableFileError, match="not a readable scan in parquet"):
        ScanResult.load_parquet(tmp_path / "other.parquet")


def test_comparison_interpolates_the_other_scan() -> None:
    ours = result(sigma_exp=2.0, sigma_obs=1.0, g_exp=1e-3)
    rows = []
    for mass, sigma in ((0.5, 1.0), (4.5, 4.0)):
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        rows.append(row | {"mass": mass, "sigma_exp": sigma, "z_local": 0.5, "status": "ok"})
    found = ours.compared(ScanResult(tuple(rows), 10.58))
    assert [row.mass for row in found] == [1, 2, 3, 4]  # the other ends at 4.5
    # half-way in mass is the geometric mean of 1 and 4
    middle = ours.between(2.5, 2.5).compared(ScanResult(tuple(rows), 10.58))
    assert middle == []
    assert found[0].sigma_exp == pytest.approx(2.0 / 4 ** (0.5 / 4))
    assert np.isnan(found[0].sigma_obs)
    assert found[3].z_change == pytest.approx(2.0)
    assert ours.compared(ScanResult((), 10.58)) == []


def test_health_in_text_and_html() -> None:
    scan = replace(result(gof_p=0.002, spurious_z=-0.8), meta={"spurious_noise": 0.14})
    for text in (repr(scan), scan._repr_html_()):
        assert "goodness of fit: 100.0% of p below 0.01, smallest 0.002" in text
        assert "spurious signal above 0.5 standard errors at 7 masses, largest 0.80" in text
        assert "(noise of the simulation 0.14)" in text


def changing(spurious: float, at: float = 4.0) -> ScanResult:
    """Definitions change at 5 GeV; one mass has a spurious signal."""
    rows = [
        {**row, "definition": "diphoton" if row["mass"] < 5 else "recoil",
         "spurious_z": spurious if row["mass"] == at else 0.1}
        for row in result()
    ]  # fmt: skip
    return ScanResult(tuple(rows), 10.58, meta={"expected_crossing": 5.43})


def test_spurious_signals_near_the_change_of_definitions_are_a_warning() -> None:
    assert changing(0.49, at=5.0).warnings == []
    # far from the change it is one of the numbers, and so it is without a change
    assert changing(-0.8, at=2.0).warnings == []
    assert result(spurious_z=0.8).warnings == []
    scan = changing(-0.8, at=5.0)
    (warning,) = scan.warnings
    assert "changes at 5.000 GeV" in warning
    assert "-0.80 standard errors for a signal (at 5.000 GeV, recoil; " in warning
    for text in (repr(scan), scan._repr_html_()):
        assert "warning: the definition changes" in text
        assert "definitions change at 5.000 GeV, expected limits cross at 5.43 GeV" in text
    (known,) = replace(scan, meta={"spurious_nuisance": True}).warnings
    assert "set 'nuisances" in warning
    assert known.endswith("it is a nuisance of the fit; moving 'transition' may exclude more")
