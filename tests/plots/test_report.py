"""The page of a run: what it says, what it never does, and how it behaves in a browser."""

from __future__ import annotations

import base64
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import EXECUTABLE, Browser
from PIL import Image
from plot_inputs import cutflows, manifest, scan_result, signal_model, window_fits

from alp_coffea import plots
from alp_coffea.report import write_report
from alp_coffea.stats.scan import COLUMNS

FAILED = (10, 11, 13)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements with attributes and text; fails on unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: dict[str, list[dict[str, str | None]]] = defaultdict(list)
        self.text: dict[str, list[str]] = defaultdict(list)
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag].append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]].append(data)

    @property
    def words(self) -> str:
        """All text that a reader sees."""
        shown = {tag: parts for tag, parts in self.text.items() if tag not in ("script", "style")}
        return " ".join(" ".join(part.split()) for parts in shown.values() for part in parts)

    @property
    def data(self):
        """What the scripts draw."""
        return json.loads(next(t for t in self.text["script"] if t.startswith("{")))


@pytest.fixture(scope="module")
def figure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return plots.save(plots.limits(scan_result(12)), folder / "plots", "limits_g")[1]


def write(folder: Path, **changes) -> Path:
    scan = scan_result(40, failed=FAILED)
    content = {
        "manifest": manifest(),
        "cutflows": cutflows("data", "ggg"),
        "scan": scan,
        "windows": window_fits(scan),
        "model": signal_model(),
    }
    return write_report(folder / "report.html", **(content | changes))


def read(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


def pixels(image: Path | io.BytesIO) -> np.ndarray:
    with Image.open(image) as opened:
        return np.asarray(opened.convert("RGB"))


def test_page_holds_everything_and_asks_for_nothing(figure: Path) -> None:
    folder = figure.parent.parent
    page = read(write(folder, figures=[figure]))
    (image,) = page.elements["img"]
    inlined = base64.b64decode(image["src"].removeprefix("data:image/webp;base64,"))
    assert len(inlined) < 0.5 * figure.stat().st_size
    assert np.array_equal(pixels(io.BytesIO(inlined)), pixels(figure))  # nothing is lost
    assert image["alt"] == "limits g"
    links = [a["href"] for a in page.elements["a"]]
    assert "plots/limits_g.pdf" in links
    assert all("://" not in link for link in links)
    assert all("src" not in script for script in page.elements["script"])
    assert [link["href"] for link in page.elements["link"]] == ["data:,"]
    (policy,) = [m["content"] for m in page.elements["meta"] if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_what_ran_on_what(tmp_path: Path) -> None:
    words = read(write(tmp_path)).words
    for expected in (
        "python -m alp_coffea.run --demo",
        "445 pb⁻¹",
        "60,000 of 60,000",
        "2026-01-02 03:04:05 UTC to 2026-01-02 03:05:06 UTC",
        "Simulation (synthetic)",
        "this <generator>",
        "Input complete",
    ):
        assert expected in words
    assert "Input incomplete" not in words


def test_real_data_are_not_called_synthetic(tmp_path: Path) -> None:
    page = read(
        write(
            tmp_path,
            manifest=manifest() | {"synthetic": False},
            scan=scan_result(5, synthetic=False),
        )
    )
    assert "Simulation (synthetic)" not in page.words


def test_an_injected_signal_is_announced(tmp_path: Path) -> None:
    injected = replace(scan_result(5), meta={"injected": ["mass=3,sigma=0.5"]})
    page = read(write(tmp_path, scan=injected))
    assert "with injected signal: 0.5 pb at 3 GeV" in page.text["span"]
    assert "injected signal" not in read(write(tmp_path, scan=scan_result(5))).words


def test_losses_are_said_in_red(tmp_path: Path) -> None:
    page = read(write(tmp_path, manifest=manifest(lost=True)))
    assert "Input incomplete" in page.words
    assert "45,000 of 60,000" in page.words
    assert "out/demo/ggg.root (sample ggg): 5,000 of 20,000 entries read" in page.words
    assert "truncated after 5 baskets" in page.words
    red = [row for row in page.elements["tr"] if row.get("class") == "loss"]
    assert len(red) == 2 + len(FAILED)  # sample, file, scan points
    none = read(write(tmp_path, scan=scan_result(5)))
    assert not [row for row in none.elements["tr"] if row.get("class") == "loss"]
    assert "Losses" not in none.words


def test_warnings_of_a_scan_are_in_the_summary(tmp_path: Path) -> None:
    rows = tuple({**row, "spurious_z": 0.7} for row in scan_result(40))
    scan = replace(scan_result(40), rows=rows, meta={"expected_crossing": 7.66})
    assert len(scan.transitions) == 1
    page = read(write(tmp_path, scan=scan))
    assert "warnings" in page.words
    assert scan.warnings[0] in page.words
    assert "limits cross at 7.66 GeV" in page.words


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    bad = manifest(title=HOSTILE) | {"command": HOSTILE, "analysis": HOSTILE}
    bad["ledger"][0] |= {
        "path": HOSTILE,
        "reason": HOSTILE,
        "sample": HOSTILE,
        "status": "unusable",
    }
    bad["samples"][0] |= {"name": HOSTILE}
    scan = scan_result(5)
    scan.rows[2].update(status=HOSTILE, note=HOSTILE, definition=HOSTILE)
    path = write(
        tmp_path,
        manifest=bad,
        cutflows=cutflows(HOSTILE),
        scan=scan,
        windows=[],
        published=[(HOSTILE, [1.0], [1e-3])],
    )
    text = path.read_text("utf-8")
    page = Page(text)
    assert len(page.elements["script"]) == 2
    assert not page.elements["img"]
    assert "<script>alert" not in text
    assert page.data["published"][0]["name"] == HOSTILE
    assert page.data["scan"]["status"][2] == HOSTILE


def test_scan_table_has_every_row_and_column(tmp_path: Path) -> None:
    page = read(write(tmp_path))
    (found,) = [t for t in page.elements["table"] if t.get("id") == "scan-table"]
    assert found["class"] == "alp"
    assert page.data["columns"] == list(COLUMNS)
    for failed in FAILED:
        mass = scan_result(40)["mass"][failed]
        assert f"{mass:.4g}" in page.text["td"]
    assert page.words.count("fit did not converge (<b>KKT</b> residual 3e-4)") == 2 * len(FAILED)


def test_plot_data_are_the_scan(tmp_path: Path) -> None:
    scan = scan_result(40, failed=FAILED)
    data = read(write(tmp_path)).data["scan"]
    assert np.array_equal(data["mass"], scan["mass"])
    assert data["drawn"] == scan.ok.tolist()
    for quantity in ("sigma", "g"):
        for shown, column in zip(
            [data[quantity]["obs"], *data[quantity]["exp"]],
            ["obs", "exp_m2", "exp_m1", "exp", "exp_p1", "exp_p2"],
            strict=True,
        ):
            values = np.array(shown, dtype=float)
            assert np.allclose(values, scan[f"{quantity}_{column}"], rtol=1e-4, equal_nan=True)
            assert np.isnan(values[list(FAILED)]).all()


def test_window_data_are_the_fits(tmp_path: Path) -> None:
    scan = scan_result(40, failed=FAILED)
    fits = window_fits(scan)
    data = read(write(tmp_path)).data
    assert [w["mass"] for w in data["windows"]] == [fit.mass for fit in fits]
    shown, fit = data["windows"][7], fits[7]
    assert np.allclose(shown["edges"], fit.edges, rtol=1e-6)
    assert np.array_equal(shown["data"], fit.data)
    assert np.allclose(shown["background"], fit.background, rtol=1e-4)
    assert {str(n) for w in data["windows"] for n in w["data"]} == set(data["errors"])
    strongest = max(range(len(fits)), key=lambda i: abs(fits[i].z_local))
    assert data["first_window"] == strongest


def test_links_to_workspaces_that_exist(tmp_path: Path) -> None:
    assert "workspaces" not in [a["href"] for a in read(write(tmp_path)).elements["a"]]
    (tmp_path / "workspaces").mkdir()
    first = window_fits(scan_result(40))[0].mass
    (tmp_path / "workspaces" / f"m_{first:.4f}.json").write_text("{}")
    page = read(write(tmp_path))
    assert "workspaces/" in [a["href"] for a in page.elements["a"]]
    assert page.data["windows"][0]["workspace"] == f"workspaces/m_{first:.4f}.json"
    assert page.data["windows"][1]["workspace"] is None
    (tmp_path / "workspaces" / "workspaces.zip").write_bytes(b"")
    assert "workspaces/workspaces.zip" in [a["href"] for a in read(write(tmp_path)).elements["a"]]


def test_run_without_a_scan(tmp_path: Path) -> None:
    page = read(write(tmp_path, scan=None, windows=(), model=None))
    assert page.data["scan"] is None
    assert "Window fits" not in page.words
    assert "Input" in page.words


def test_an_interrupted_write_leaves_the_old_page(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileNotFoundError):
        write(tmp_path, figures=[tmp_path / "missing.png"])
    assert path.read_bytes() == before


def test_every_control_has_a_name(tmp_path: Path) -> None:
    """Inputs and selections stand in a label or carry an aria-label."""
    text = write(tmp_path).read_text("utf-8")
    labelled = [part.split("</label>")[0] for part in text.split("<label>")[1:]]
    inside = sum(part.count("<input") + part.count("<select") for part in labelled)
    page = Page(text)
    controls = page.elements["input"] + page.elements["select"]
    named = [control for control in controls if "aria-label" in control]
    assert len(controls) == inside + len(named)
    identifiers = [e["id"] for group in page.elements.values() for e in group if "id" in e]
    assert len(identifiers) == len(set(identifiers))


# --- in a browser --------------------------------------------------------------------------------

in_browser = pytest.mark.skipif(
    EXECUTABLE is None, reason="needs Chromium (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, figure: Path) -> Path:
    return write(
        tmp_path_factory.mktemp("page"),
        manifest=manifest(lost=True),
        figures=[figure],
        published=[("other", [0.1, 1.0, 10.0], [1e-3, 1e-3, 1e-2])],
    )


def column(browser: Browser, position: int) -> list[str]:
    return browser.js(
        "[...document.querySelectorAll('#scan-table tbody tr')].filter((r) => !r.hidden)"
        f".map((r) => r.cells[{position}].textContent)"
    )


def box(browser: Browser, selector: str) -> dict[str, float]:
    return browser.js(
        f"(() => {{ const node = document.querySelector('{selector}');"
        " node.scrollIntoView({block: 'center'});"
        " return node.getBoundingClientRect().toJSON(); })()"
    )


@in_browser
@pytest.mark.parametrize("width", [1200, 360])
def test_opens_without_problems_at_any_width(browser: Browser, page: Path, width: int) -> None:
    browser.problems.clear()
    browser.open(page, width=width)
    assert browser.problems == []
    assert browser.js("document.documentElement.scrollWidth") <= width
    for chart in ("limit", "significance", "fit"):
        assert browser.js(f"document.querySelectorAll('#{chart}-chart svg path').length") > 5
        # not scaled down with the window
        assert (
            browser.js(
                f"Math.min(...[...document.querySelectorAll('#{chart}-chart svg text')]"
                ".map((t) => Number.parseFloat(getComputedStyle(t).fontSize)))"
            )
            >= 11
        )
    # labels of an axis do not run into each other
    assert browser.js(
        """['limit', 'significance', 'fit'].every((name) => {
          const texts = document.querySelectorAll(`#${name}-chart svg text[text-anchor=middle]`);
          const ticks = [...texts].filter((t) => !t.hasAttribute('transform'))
            .map((t) => t.getBoundingClientRect());
          return ticks.every((a, i) => !i || a.left > ticks[i - 1].right + 2);
        })"""
    )


@in_browser
def test_problems_are_noticed(browser: Browser, tmp_path: Path) -> None:
    """The check above can fail: an exception and a request are both seen."""
    broken = tmp_path / "broken.html"
    broken.write_text("<script>nothing.here()</script><img src='http://127.0.0.1:9/x.png'>")
    browser.problems.clear()
    browser.open(broken)
    assert any("nothing is not defined" in p for p in browser.problems)
    assert any("request to http://127.0.0.1:9/x.png" in p for p in browser.problems)
    browser.problems.clear()


@in_browser
def test_hovering_shows_the_values_of_the_point(browser: Browser, page: Path) -> None:
    browser.open(page)
    scan = scan_result(40, failed=FAILED)
    target = box(browser, "#limit-chart svg")
    browser.mouse("mouseMoved", target["x"] + 0.6 * target["width"], target["y"] + 100)
    tip = browser.js("document.querySelector('#limit-chart .tip').innerText").splitlines()
    assert browser.js("document.querySelector('#limit-chart .tip').style.visibility") == "visible"
    mass = float(tip[0].split()[0])
    i = int(np.argmin(np.abs(scan["mass"] - mass)))
    assert mass == pytest.approx(scan["mass"][i], rel=1e-4)
    assert tip[1].startswith("observed")
    assert float(tip[1].split()[1]) == pytest.approx(scan["g_obs"][i], rel=1e-3)
    assert float(tip[2].split()[1]) == pytest.approx(scan["g_exp"][i], rel=1e-3)
    # the mass under the pointer, on a logarithmic axis
    left, right = np.log(scan["mass"][0] * 0.95), np.log(scan["mass"][-1] * 1.05)
    share = (0.6 * target["width"] - 66) / (target["width"] - 66 - 14)
    assert np.log(mass) == pytest.approx(left + share * (right - left), abs=np.log(97 / 2) / 39)


@in_browser
def test_a_failed_point_says_why(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("document.querySelector('#limit-chart svg').focus()")
    browser.key("Home")
    for _ in range(FAILED[0]):
        browser.key("ArrowRight")
    tip = browser.js("document.querySelector('#limit-chart .tip').innerText")
    assert "no result: fit did not converge (<b>KKT</b> residual 3e-4)" in tip


@in_browser
def test_dragging_zooms_and_escape_resets(browser: Browser, page: Path) -> None:
    browser.open(page)
    ticks = (
        "[...document.querySelectorAll('#significance-chart svg text[text-anchor=middle]')]"
        ".filter((t) => !t.hasAttribute('transform')).map((t) => Number(t.textContent))"
    )
    whole = browser.js(ticks)
    target = box(browser, "#limit-chart svg")
    y = target["y"] + 150
    browser.mouse("mouseMoved", target["x"] + 400, y)
    browser.mouse("mousePressed", target["x"] + 400, y)
    browser.mouse("mouseMoved", target["x"] + 500, y)
    browser.mouse("mouseReleased", target["x"] + 500, y)
    zoomed = browser.js(ticks)
    assert min(zoomed) > min(whole)
    assert max(zoomed) < max(whole)
    browser.js("document.querySelector('#limit-chart svg').focus()")
    browser.key("Escape")
    assert browser.js(ticks) == whole


@in_browser
def test_choosing_the_cross_section_redraws(browser: Browser, page: Path) -> None:
    browser.open(page)
    label = "document.querySelector('#limit-chart svg text[transform]').textContent"
    assert browser.js(label) == "95% CL limit on g [1/GeV]"
    browser.js(
        "(() => { const q = document.getElementById('quantity'); q.value = 'sigma';"
        " q.dispatchEvent(new Event('change')); })()"
    )
    assert browser.js(label) == "95% CL limit on σ [pb]"


@in_browser
def test_sorting_puts_numbers_in_order_and_missing_last(browser: Browser, page: Path) -> None:
    browser.open(page)
    position = COLUMNS.index("z_local")
    header = f"document.querySelectorAll('#scan-table th')[{position}]"
    for direction, sign in (("ascending", 1), ("descending", -1)):
        browser.js(f"{header}.querySelector('button').click()")
        assert browser.js(f"{header}.getAttribute('aria-sort')") == direction
        shown = column(browser, position)
        assert shown[-len(FAILED) :] == ["–"] * len(FAILED)
        values = sign * np.array([float(text) for text in shown[: -len(FAILED)]])
        assert np.all(np.diff(values) >= 0)
    assert len(shown) == 40


@in_browser
def test_filters_select_rows(browser: Browser, page: Path) -> None:
    browser.open(page)
    scan = scan_result(40, failed=FAILED)

    def set_filter(name: str, value: str) -> list[str]:
        browser.js(
            f"(() => {{ const f = document.getElementById('filter-{name}'); f.value = '{value}';"
            " f.dispatchEvent(new Event('input')); })()"
        )
        return column(browser, 0)

    assert len(set_filter("low", "1")) == (scan["mass"] >= 1).sum()
    assert len(set_filter("high", "5")) == ((scan["mass"] >= 1) & (scan["mass"] <= 5)).sum()
    assert set_filter("low", "") == set_filter("high", "")[: (scan["mass"] <= 5).sum()]
    assert len(set_filter("z", "1.5")) == (np.abs(np.nan_to_num(scan["z_local"])) >= 1.5).sum()
    set_filter("z", "")
    assert len(set_filter("status", "bad")) == len(FAILED)
    assert browser.js("document.getElementById('filter-count').textContent") == "3 of 40 rows"
    set_filter("status", "")
    assert len(set_filter("text", "RECOIL")) == (scan["definition"] == "recoil").sum()


@in_browser
def test_all_columns_on_request(browser: Browser, page: Path) -> None:
    browser.open(page)
    visible = "[...document.querySelectorAll('#scan-table th')].filter((h) => !h.hidden).length"
    brief = browser.js(visible)
    browser.js("document.getElementById('all-columns').click()")
    assert brief < browser.js(visible) == len(COLUMNS)


@in_browser
def test_browsing_fits(browser: Browser, page: Path) -> None:
    browser.open(page)
    fits = window_fits(scan_result(40, failed=FAILED))
    facts = "document.getElementById('fit-facts').textContent"
    strongest = max(fits, key=lambda fit: abs(fit.z_local))
    assert f"Z = {strongest.z_local:.3g}".replace("-", "−") in browser.js(facts)
    browser.js(
        "(() => { const m = document.getElementById('fit-mass'); m.value = '3.1';"
        " m.dispatchEvent(new Event('change')); })()"
    )
    nearest = min(range(len(fits)), key=lambda i: abs(fits[i].mass - 3.1))
    assert browser.js(facts).startswith(f"{fits[nearest].mass:.5g} GeV, diphoton")
    browser.js("document.getElementById('fit-next').click()")
    assert browser.js(facts).startswith(f"{fits[nearest + 1].mass:.5g} GeV")
    assert browser.js("Number(document.getElementById('fit-slider').value)") == nearest + 1
    # one point per bin, at its count
    circles = browser.js("document.querySelectorAll('#fit-chart svg circle').length")
    assert circles == len(fits[nearest + 1].data)


@in_browser
def test_clicking_a_mass_opens_its_fit(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("document.querySelector('#limit-chart svg').focus()")
    browser.key("Home")
    browser.key("Enter")
    assert browser.js("document.getElementById('fit-facts').textContent").startswith("0.2 GeV")


@in_browser
def test_browser_meets_no_hostile_script(browser: Browser, tmp_path: Path) -> None:
    bad = manifest(title=HOSTILE)
    scan = scan_result(5)
    scan.rows[2].update(status=HOSTILE, definition=HOSTILE)
    path = write(
        tmp_path,
        manifest=bad,
        scan=scan,
        cutflows=cutflows(HOSTILE),
        windows=[],
        published=[(HOSTILE, [0.3, 1.0], [1e-3, 1e-3])],
    )
    browser.problems.clear()
    browser.open(path)
    assert browser.js("document.title") == HOSTILE
    assert (
        browser.js("document.querySelectorAll('img, script:not([type]):not(:last-of-type)').length")
        == 0
    )
    assert browser.problems == []
