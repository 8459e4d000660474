from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alp_coffea.events.conversion.naming import CODES, COUNTERS, mangle, normalise, unmangle

# variable and branch as basf2 writes them
TABLE = [
    ("useCMSFrame(E)", "useCMSFrame__boE__bc"),
    ("useCMSFrame(theta)", "useCMSFrame__botheta__bc"),
    ("useCMSFrame(clusterE)", "useCMSFrame__boclusterE__bc"),
    ("daughter(0, E)", "daughter__bo0__cm__spE__bc"),
    ("daughter(0,p)", "daughter__bo0__cmp__bc"),
    ("daughter(1, useCMSFrame(E))", "daughter__bo1__cm__spuseCMSFrame__boE__bc__bc"),
    (
        "daughter(0, daughter(1, clusterTiming))",
        "daughter__bo0__cm__spdaughter__bo1__cm__spclusterTiming__bc__bc",
    ),
    ("L1FTDL(hie)", "L1FTDL__bohie__bc"),
    ("L1PSNM(lml1)", "L1PSNM__bolml1__bc"),
    ("L1FTDL(ggsel)", "L1FTDL__boggsel__bc"),
    (
        "nCleanedTracks(abs(dz) < 2.0 and abs(dr) < 0.5 and pt > 0.15)",
        (
            "nCleanedTracks__boabs__bodz__bc__sp__st__sp2__pt0__spand__spabs__bodr__bc__sp__st"
            "__sp0__pt5__spand__sppt__sp__gt__sp0__pt15__bc"
        ),
    ),
    ("mcMother(PDG)", "mcMother__boPDG__bc"),
    ("mcMother(mcPDG)", "mcMother__bomcPDG__bc"),
    ("genMotherPDG(1)", "genMotherPDG__bo1__bc"),
    ("extraInfo(decayModeID)", "extraInfo__bodecayModeID__bc"),
    (
        "SoftwareTriggerResult(filter all_result)",
        "SoftwareTriggerResult__bofilter__spall_result__bc",
    ),
    (
        "SoftwareTriggerResult(software_trigger_cut&filter&total_result)",
        "SoftwareTriggerResult__bosoftware_trigger_cut__amfilter__amtotal_result__bc",
    ),
    (
        "totalEnergyOfParticlesInList(gamma:all)",
        "totalEnergyOfParticlesInList__bogamma__clall__bc",
    ),
    (
        "formula(clusterTiming/clusterErrorTiming)",
        "formula__boclusterTiming__slclusterErrorTiming__bc",
    ),
    ("daughterSumOf(clusterE)", "daughterSumOf__boclusterE__bc"),
    (
        "useRestFrame(daughter(0, cosTheta))",
        "useRestFrame__bodaughter__bo0__cm__spcosTheta__bc__bc",
    ),
    ("CleoConeCS(1, cleanMask)", "CleoConeCS__bo1__cm__spcleanMask__bc"),
    ("useCMSFrame(p)", "useCMSFrame__bop__bc"),
    (
        "totalEnergyOfParticlesInList(gamma:evtshape_kinematics)",
        "totalEnergyOfParticlesInList__bogamma__clevtshape_kinematics__bc",
    ),
]


@pytest.mark.parametrize(("variable", "branch"), TABLE)
def test_published_rows_both_ways(variable, branch):
    assert mangle(variable) == branch
    assert unmangle(branch) == variable


@pytest.mark.parametrize("character", CODES)
def test_every_special_character(character):
    assert mangle(f"a{character}b") == f"a__{CODES[character]}b"
    assert unmangle(f"a__{CODES[character]}b") == f"a{character}b"


def test_codes_are_distinct():
    assert len(set(CODES.values())) == len(CODES)


def test_minus_reads_in_both_spellings():
    assert mangle("-") == "__mi"
    assert unmangle("a__mib__dac") == "a-b-c"


names = st.text(
    st.sampled_from("abcxyzABCMEZ0129_" + "".join(CODES)), min_size=1, max_size=60
).filter(lambda name: "__" not in name)


@given(names)
def test_round_trip(name):
    branch = mangle(name)
    assert re.fullmatch(r"[A-Za-z0-9_]+", branch)
    assert unmangle(branch) == name
    assert mangle(branch) == branch


@given(st.text(max_size=60))
def test_any_text_becomes_a_root_name(name):
    assert re.fullmatch(r"[A-Za-z0-9_]*", mangle(name))


@pytest.mark.parametrize("counter", sorted(COUNTERS))
def test_counters_are_left_alone(counter):
    assert unmangle(counter) == counter


@pytest.mark.parametrize("branch", ["E", "clusterTiming", "gamma_E", "nCDCHits", "theta_", "a_b"])
def test_plain_names_are_left_alone(branch):
    assert unmangle(branch) == mangle(branch) == branch


def test_normal_form_ignores_meaningless_blanks():
    assert normalise("daughter(0, p)") == normalise("daughter(0,p)") == "daughter(0,p)"
    # blanks between words carry meaning
    assert normalise("nCleanedTracks(dr < 1 and dz < 3)") == "nCleanedTracks(dr < 1 and dz < 3)"
