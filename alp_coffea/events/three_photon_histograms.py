"""The histograms of the three-photon selection: its variables before and after their cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import hist

from alp_coffea.events.histograms import Variable, mass_histogram, variable_histogram

#: Selection variables: the quantity of the triple, bins, range and label.
VARIABLES = {
    "three_photon_mass": Variable(
        "three_photon_mass", 140, 8.4, 11.2, r"$m_{\gamma\gamma\gamma}$ [GeV]"
    ),
    "photon_energy": Variable("E", 100, 0.0, 8.0, r"$E_\gamma$ [GeV]"),
    "photon_theta": Variable("theta", 120, 0.25, 2.65, r"$\theta_\gamma$ [rad]"),
    "cluster_n_hits": Variable("clusterNHits", 60, 0.0, 60.0, "Weighted number of crystals"),
    "zernike_mva": Variable(
        "zernike_of_most_isolated", 50, 0.0, 1.0, "Zernike MVA of the most isolated photon"
    ),
    "timing_chi": Variable("timing_chi", 60, 0.0, 15.0, r"$t_c$"),
    "delta_theta": Variable("delta_theta", 64, 0.0, 1.6, r"$\Delta\theta$ [rad]"),
    "delta_phi": Variable("delta_phi", 64, 0.0, 3.2, r"$\Delta\varphi$ [rad]"),
}
#: What the kinematic fit adds.
FIT_VARIABLES = {
    "fit_chi2": Variable("fit_chi2", 60, 0.0, 60.0, r"$\chi^2$ of the kinematic fit"),
}
#: The cut on each variable where it has another name.
CUT_ON = {"delta_theta": "delta_theta_phi", "delta_phi": "delta_theta_phi"}
SIDEBAND_VARIABLES = {
    "three_photon_mass_sideband": Variable(
        "three_photon_mass", 100, 0.0, 9.4, r"$m_{\gamma\gamma\gamma}$ [GeV]"
    ),
    "zernike_mva_sideband": Variable(
        "zernike_of_most_isolated", 50, 0.0, 1.0, "Zernike MVA of the most isolated photon"
    ),
}
#: Both separations around the cut.
DELTA_THETA = Variable("delta_theta", 50, 0.0, 0.1, r"$\Delta\theta$ [rad]")
DELTA_PHI = Variable("delta_phi", 40, 0.0, 0.8, r"$\Delta\varphi$ [rad]")
#: Origins of candidates in samples without and with a signal.
ORIGINS = {False: ["other"], True: ["true", "combinatorial", "other"]}


def empty_histograms(
    thresholds: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    signal: bool,
    variables: Mapping[str, Variable] = VARIABLES,
    definitions: Sequence[str] = ("diphoton", "recoil"),
) -> dict[str, hist.Hist]:
    """Masses, and every variable after the loose selection, all other cuts, and all cuts.

    ``thresholds`` are the cuts on each variable by energy set, which N-1 histograms remember.
    """
    sets = list(next(iter(thresholds.values())))
    histograms = {"mass": mass_histogram(sets, ORIGINS[signal], definitions)}
    for name, settings in variables.items():
        histograms[name] = variable_histogram(settings, sets)
        histograms[f"{name}_n_minus_1"] = variable_histogram(
            # either of the two angles keeps a pair: that cut is a corner of the plane below
            settings,
            sets,
            cuts=({} if name in CUT_ON else thresholds[name],),
        )
        histograms[f"{name}_loose"] = hist.Hist(settings.axis(), storage="weight")
    for name, settings in SIDEBAND_VARIABLES.items():
        histograms[name] = variable_histogram(settings, sets)
    histograms["delta_theta_phi_n_minus_1"] = variable_histogram(
        DELTA_THETA, sets, DELTA_PHI, cuts=(thresholds["delta_theta"], thresholds["delta_phi"])
    )
    return histograms
