"""Other tools on the same workspaces: limits of one point and the CPU time they take.

Each function takes a workspace and returns (observed, expected (5,), CPU seconds) or raises.
Peers that are not installed are reported as absent.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import time
from typing import Any

import numpy as np
import pyhf

LEVEL = 0.95


def available() -> dict[str, Any]:
    """Peers by name, in order of appearance."""
    peers: dict[str, Any] = {"pyhf toms748": pyhf_toms748, "pyhf linear, 41 points": pyhf_linear}
    if importlib.util.find_spec("cabinetry"):
        peers["cabinetry"] = cabinetry_limit
    if importlib.util.find_spec("ROOT"):
        peers["ROOT, 40 points"] = root_limit
    return peers


def _model(workspace: dict[str, Any]) -> tuple[Any, list[float]]:
    opened = pyhf.Workspace(workspace)
    model = opened.model()
    return model, opened.data(model)


def pyhf_toms748(workspace: dict[str, Any]) -> tuple[float, np.ndarray, float]:
    """pyhf's default limit: root finding from the bounds of the parameter of interest."""
    model, data = _model(workspace)
    start = time.process_time()
    observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(
        data, model, 1e-3, 20.0, level=1.0 - LEVEL, rtol=1e-8
    )
    pyhf.infer.mle.fit(data, model)
    return float(observed), np.array(expected, float), time.process_time() - start


def pyhf_linear(workspace: dict[str, Any]) -> tuple[float, np.ndarray, float]:
    """Interpolation between 41 points in [0, 5]."""
    model, data = _model(workspace)
    start = time.process_time()
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(
        data, model, np.linspace(0.0, 5.0, 41), level=1.0 - LEVEL
    )
    return float(observed), np.array(expected, float), time.process_time() - start


def cabinetry_limit(workspace: dict[str, Any]) -> tuple[float, np.ndarray, float]:
    """cabinetry's bracketed limits at its default tolerance, plus its fit."""
    import cabinetry

    logging.getLogger("cabinetry").setLevel(logging.ERROR)
    logging.getLogger("pyhf").setLevel(logging.ERROR)
    model, data = cabinetry.model_utils.model_and_data(workspace)
    start = time.process_time()
    cabinetry.fit.fit(model, data)
    result = cabinetry.fit.limit(model, data, bracket=(0.05, 5.0))
    seconds = time.process_time() - start
    return float(result.observed_limit), np.array(result.expected_limit, float), seconds


def _root_measurement(root: Any, workspace: dict[str, Any]) -> Any:
    """The workspace (normfactor, normsys, histosys) as a HistFactory measurement."""
    factory = root.RooStats.HistFactory
    settings = {p["name"]: p for p in workspace["measurements"][0]["config"]["parameters"]}
    count = [0]

    def histogram(values: list[float]) -> Any:
        made = root.TH1D(f"h{count[0]}", "", len(values), 0.0, 1.0)
        for i, value in enumerate(values):
            made.SetBinContent(i + 1, value)
        made.SetDirectory(root.nullptr)
        root.SetOwnership(made, False)  # HistFactory deletes what it is given
        count[0] += 1
        return made

    measurement = factory.Measurement("point", "point")
    measurement.SetPOI("sigma")
    measurement.SetLumi(1.0)
    measurement.SetLumiRelErr(0.01)
    measurement.AddConstantParam("Lumi")
    for content, observation in zip(workspace["channels"], workspace["observations"], strict=True):
        channel = factory.Channel(content["name"])
        channel.SetData(histogram(observation["data"]))
        for entry in content["samples"]:
            sample = factory.Sample(entry["name"])
            sample.SetNormalizeByTheory(False)
            sample.SetHisto(histogram(entry["data"]))
            for modifier in entry["modifiers"]:
                name, data = modifier["name"], modifier["data"]
                if modifier["type"] == "normfactor":
                    low, high = settings[name]["bounds"][0]
                    sample.AddNormFactor(name, settings[name]["inits"][0], low, high)
                elif modifier["type"] == "normsys":
                    sample.AddOverallSys(name, data["lo"], data["hi"])
                elif modifier["type"] == "histosys":
                    shift = factory.HistoSys()
                    shift.SetName(name)
                    shift.SetHistoLow(histogram(data["lo_data"]))
                    shift.SetHistoHigh(histogram(data["hi_data"]))
                    sample.AddHistoSys(shift)
                else:
                    raise ValueError(f"no translation to ROOT for '{modifier['type']}'")
            channel.AddSample(sample)
        measurement.AddChannel(channel)
    return measurement


def root_limit(workspace: dict[str, Any]) -> tuple[float, np.ndarray, float]:
    """HistFactory and RooStats: asymptotic CLs on 40 points in [0, 5]; building is not timed."""
    import ROOT

    ROOT.gROOT.SetBatch(True)
    ROOT.gErrorIgnoreLevel = ROOT.kFatal
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.FATAL)
    ROOT.RooStats.AsymptoticCalculator.SetPrintLevel(-1)
    ROOT.Math.MinimizerOptions.SetDefaultPrintLevel(-1)
    with _quiet():
        measurement = _root_measurement(ROOT, workspace)
        opened = ROOT.RooStats.HistFactory.MakeModelAndMeasurementFast(measurement)
        model = opened.obj("ModelConfig")
        data = opened.data("obsData")
        poi = model.GetParametersOfInterest().first()
        background = model.Clone("background")
        poi.setVal(0.0)
        background.SetSnapshot(ROOT.RooArgSet(poi))
        poi.setVal(1.0)
        model.SetSnapshot(ROOT.RooArgSet(poi))
        start = time.process_time()
        calculator = ROOT.RooStats.AsymptoticCalculator(data, background, model)
        calculator.SetOneSided(True)
        inverter = ROOT.RooStats.HypoTestInverter(calculator)
        inverter.SetConfidenceLevel(LEVEL)
        inverter.UseCLs(True)
        inverter.SetVerbose(False)
        inverter.SetFixedScan(40, 0.0, 5.0)
        result = inverter.GetInterval()
        observed = result.UpperLimit()
        expected = np.array([result.GetExpectedUpperLimit(n) for n in range(-2, 3)])
        seconds = time.process_time() - start
    return float(observed), expected, seconds


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence what ROOT prints from C++ and Python."""
    saved = os.dup(1)
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(io.StringIO()):  # noqa: PTH123
        os.dup2(sink.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)
