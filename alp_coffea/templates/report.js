"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const svgNode = (tag, attributes, parent, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
};
const htmlNode = (tag, parent, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  parent.appendChild(node);
  return node;
};

// --- numbers ------------------------------------------------------------------------------------

const good = (value) => value !== null && value !== undefined && Number.isFinite(value);
const superscript = (n) => String(n).replace(/[-0-9]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
const format = (value, digits = 4) => {
  if (!good(value)) return "–";
  const size = Math.abs(value);
  let text;
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    let [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    mantissa = String(parseFloat(mantissa));
    const power = "10" + superscript(parseInt(exponent, 10));
    text = mantissa === "1" ? power : mantissa + "×" + power;
  } else {
    text = String(parseFloat(value.toPrecision(digits)));
  }
  return text.replace("-", "−");
};
const linearTicks = (low, high, count) => {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    ticks.push(parseFloat((k * step).toPrecision(12)));
  }
  return ticks;
};
const logTicks = (low, high, count) => {
  if (high / low < 4) return linearTicks(low, high, count);
  const multiples = high / low < (count > 4 ? 2000 : 100) ? [1, 2, 5] : [1];
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += 1) {
    for (const m of multiples) {
      const tick = parseFloat(`${m}e${e}`);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high, count);
};
const scale = (low, high, from, to, log) => {
  const f = log ? Math.log10 : (v) => v;
  const [a, b] = [f(low), f(high)];
  const forward = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  forward.invert = (pixel) => {
    const v = a + ((pixel - from) / (to - from)) * (b - a);
    return log ? 10 ** v : v;
  };
  return forward;
};

// --- charts -------------------------------------------------------------------------------------

const INK = "#1b1f24";
const MARGIN = { left: 66, right: 14, top: 12, bottom: 44, between: 10 };
let clips = 0;

// runs of neighbouring points whose values are all finite (and positive, on a logarithmic axis), ended
// also before interrupted ones
const runs = (count, usable, interrupted = []) => {
  const found = [];
  for (let i = 0; i < count; i += 1) {
    if (!usable(i)) continue;
    const last = found.length ? found[found.length - 1][1] : -1;
    if (last === i && !interrupted.includes(i)) found[found.length - 1][1] = i + 1;
    else found.push([i, i + 1]);
  }
  return found;
};

const drawers = {
  line(group, s, x, y, ok) {
    for (const [a, b] of runs(s.x.length, (i) => ok(s.y[i]), s.interrupted)) {
      let path = "";
      for (let i = a; i < b; i += 1) path += `${i === a ? "M" : "L"}${x(s.x[i]).toFixed(1)},${y(s.y[i]).toFixed(1)}`;
      if (b - a === 1) svgNode("circle", { cx: x(s.x[a]), cy: y(s.y[a]), r: 2.5, fill: s.color }, group);
      else svgNode("path", { d: path, fill: "none", stroke: s.color, "stroke-width": s.width || 1.5, "stroke-dasharray": s.dash || "none" }, group);
    }
  },
  band(group, s, x, y, ok) {
    for (const [a, b] of runs(s.x.length, (i) => ok(s.low[i]) && ok(s.high[i]), s.interrupted)) {
      const at = (i, values) => `${x(s.x[i]).toFixed(1)},${y(values[i]).toFixed(1)}`;
      const path = [];
      for (let i = a; i < b; i += 1) path.push(at(i, s.high));
      for (let i = b - 1; i >= a; i -= 1) path.push(at(i, s.low));
      if (b - a === 1) svgNode("path", { d: `M${path.join("L")}`, stroke: s.color, "stroke-width": 5 }, group);
      else svgNode("path", { d: `M${path.join("L")}Z`, fill: s.color }, group);
    }
  },
  steps(group, s, x, y) {
    let path = s.fill ? `M${x(s.edges[0])},${y(0)}` : "";
    s.y.forEach((value, i) => {
      const height = y(value).toFixed(1);
      path += `${path ? "L" : "M"}${x(s.edges[i]).toFixed(1)},${height}L${x(s.edges[i + 1]).toFixed(1)},${height}`;
    });
    if (s.fill) path += `L${x(s.edges[s.edges.length - 1])},${y(0)}Z`;
    svgNode("path", { d: path, fill: s.fill ? s.color : "none", "fill-opacity": s.fill ? 0.35 : 1, stroke: s.fill ? "none" : s.color, "stroke-width": 1.6, "stroke-dasharray": s.dash || "none" }, group);
  },
  points(group, s, x, y) {
    s.x.forEach((value, i) => {
      const cx = x(value);
      svgNode("path", { d: `M${cx},${y(s.y[i] - s.down[i])}V${y(s.y[i] + s.up[i])}`, stroke: s.color }, group);
      svgNode("circle", { cx, cy: y(s.y[i]), r: 2.3, fill: s.color }, group);
    });
  },
  crosses(group, s, x, y, ok, bottom) {
    s.x.forEach((value) => {
      const cx = x(value);
      svgNode("path", { d: `M${cx - 4},${bottom - 10}l8,8m0,-8l-8,8`, stroke: s.color, "stroke-width": 1.8 }, group);
    });
  },
};

const extent = (series, low, high, log) => {
  let [bottom, top] = [Infinity, -Infinity];
  const take = (value) => {
    if (good(value) && (!log || value > 0)) {
      bottom = Math.min(bottom, value);
      top = Math.max(top, value);
    }
  };
  for (const s of series) {
    if (s.free || s.type === "crosses") continue;
    const xs = s.edges ? s.y.map((_, i) => (s.edges[i] + s.edges[i + 1]) / 2) : s.x;
    xs.forEach((value, i) => {
      if (value < low || value > high) return;
      if (s.type === "band") [s.low[i], s.high[i]].forEach(take);
      else if (s.type === "points") [s.y[i] - s.down[i], s.y[i] + s.up[i]].forEach(take);
      else take(s.y[i]);
    });
  }
  if (!(top >= bottom)) return log ? [0.1, 1] : [0, 1];
  if (log) return [bottom / 1.25, top * 1.25];
  const room = 0.06 * (top - bottom) || 1;
  return [bottom < 0 ? bottom - room : Math.min(bottom, 0), top + room];
};

// One or more panels over a common axis. `view` = {range, cursor, charts} can be shared by charts.
const makeChart = (root, view, describe) => {
  const svg = svgNode("svg", { role: "img", tabindex: 0 }, root);
  const legend = htmlNode("div", root, undefined, "legend");
  const tip = htmlNode("div", root, undefined, "tip");
  tip.setAttribute("role", "status");
  let geometry = null;
  let dragFrom = null;

  const chart = { draw, showTip };
  view.charts.push(chart);

  function draw() {
    const spec = describe();
    const width = root.clientWidth;
    if (!width) return;
    const left = width < 480 ? 56 : MARGIN.left;
    const [low, high] = view.range || spec.range;
    const x = scale(low, high, left, width - MARGIN.right, spec.log);
    svg.replaceChildren();
    svg.setAttribute("aria-label", spec.name);
    svg.setAttribute("aria-describedby", "chart-help");
    const total = MARGIN.top + MARGIN.bottom + spec.panels.reduce((sum, p) => sum + p.height + MARGIN.between, -MARGIN.between);
    svg.setAttribute("viewBox", `0 0 ${width} ${total}`);
    svg.setAttribute("height", total);
    let top = MARGIN.top;
    const ticks = (spec.log ? logTicks : linearTicks)(low, high, width < 480 ? 4 : 9);
    for (const panel of spec.panels) {
      const bottom = top + panel.height;
      const [yLow, yHigh] = panel.range || extent(panel.series, low, high, panel.log);
      const y = scale(yLow, yHigh, bottom, top, panel.log);
      const ok = (value) => good(value) && (!panel.log || value > 0);
      for (const tick of ticks) {
        svgNode("path", { d: `M${x(tick)},${top}V${bottom}`, stroke: "#eaeef2" }, svg);
      }
      for (const tick of panel.levels || (panel.log ? logTicks : linearTicks)(yLow, yHigh, 6)) {
        svgNode("path", { d: `M${left},${y(tick)}H${width - MARGIN.right}`, stroke: "#eaeef2" }, svg);
        svgNode("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, svg, format(tick, 3));
      }
      const clip = `clip-${(clips += 1)}`;
      svgNode("rect", { x: left, y: top, width: width - left - MARGIN.right, height: panel.height },
        svgNode("clipPath", { id: clip }, svg));
      const group = svgNode("g", { "clip-path": `url(#${clip})` }, svg);
      for (const value of panel.levels || []) {
        svgNode("path", { d: `M${left},${y(value)}H${width - MARGIN.right}`, stroke: "#8c959f", "stroke-dasharray": value ? "3 3" : "none" }, group);
      }
      for (const mark of spec.marks || []) {
        svgNode("path", { d: `M${x(mark.at)},${top}V${bottom}`, stroke: "#57606a", "stroke-dasharray": mark.dash }, group);
      }
      for (const s of panel.series) drawers[s.type](group, s, x, y, ok, bottom);
      svgNode("rect", { x: left, y: top, width: width - left - MARGIN.right, height: panel.height, fill: "none", stroke: "#57606a" }, svg);
      const middle = (top + bottom) / 2;
      svgNode("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, svg, panel.label);
      top = bottom + MARGIN.between;
    }
    const base = top - MARGIN.between;
    for (const tick of ticks) {
      svgNode("text", { x: x(tick), y: base + 17, "text-anchor": "middle" }, svg, format(tick, 4));
    }
    svgNode("text", { x: width - MARGIN.right, y: base + 37, "text-anchor": "end" }, svg, spec.xLabel);
    geometry = { spec, x, left, width, top: MARGIN.top, base, low, high };
    geometry.line = svgNode("path", { stroke: INK, "stroke-opacity": 0.55, d: "M0,0" }, svg);
    geometry.box = svgNode("rect", { y: MARGIN.top, height: base - MARGIN.top, width: 0, fill: "#0072b2", "fill-opacity": 0.15 }, svg);
    legend.replaceChildren();
    for (const s of [...spec.panels.flatMap((p) => p.series), ...(spec.marks || [])]) {
      if (!s.name) continue;
      const entry = htmlNode("span", legend);
      const swatch = htmlNode("i", entry);
      if (s.type === "band" || s.fill) {
        swatch.className = "area";
        swatch.style.background = s.color;
        if (s.fill) swatch.style.opacity = 0.35;
      } else if (s.type === "points" || s.type === "crosses") {
        swatch.className = "dot";
        swatch.style.background = s.color;
      } else {
        swatch.style.borderColor = s.color || "#57606a";
        swatch.style.borderTopStyle = s.dash && s.dash !== "none" ? "dashed" : "solid";
      }
      htmlNode("span", entry, s.name);
    }
    showTip(false);
  }

  function showTip(mine) {
    if (!geometry) return;
    const i = view.cursor;
    const at = i === null ? null : geometry.spec.hover[i];
    if (at === null || at === undefined || at < geometry.low || at > geometry.high) {
      geometry.line.setAttribute("d", "M0,0");
      tip.style.visibility = "hidden";
      return;
    }
    const pixel = geometry.x(at);
    geometry.line.setAttribute("d", `M${pixel},${geometry.top}V${geometry.base}`);
    if (!mine) {
      tip.style.visibility = "hidden";
      return;
    }
    const [title, ...rows] = geometry.spec.tip(i);
    tip.replaceChildren();
    htmlNode("b", tip, title);
    for (const row of rows) htmlNode("div", tip, row);
    tip.style.visibility = "visible";
    const right = pixel + 14 + tip.offsetWidth < geometry.width;
    tip.style.left = `${Math.max(2, right ? pixel + 12 : pixel - 12 - tip.offsetWidth)}px`;
    tip.style.top = `${geometry.top + 8}px`;
  }

  const pixelOf = (event) => event.clientX - svg.getBoundingClientRect().left;
  const nearest = (pixel) => {
    let best = null;
    geometry.spec.hover.forEach((value, i) => {
      if (value < geometry.low || value > geometry.high) return;
      const distance = Math.abs(geometry.x(value) - pixel);
      if (best === null || distance < best[0]) best = [distance, i];
    });
    return best === null ? null : best[1];
  };
  const point = (index) => {
    view.cursor = index;
    view.charts.forEach((other) => other.showTip(other === chart));
  };
  svg.addEventListener("pointermove", (event) => {
    point(nearest(pixelOf(event)));
    if (dragFrom !== null) {
      const [a, b] = [dragFrom, pixelOf(event)].sort((p, q) => p - q);
      geometry.box.setAttribute("x", a);
      geometry.box.setAttribute("width", b - a);
    }
  });
  svg.addEventListener("pointerleave", () => { if (dragFrom === null) point(null); });
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    dragFrom = pixelOf(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointercancel", () => {
    dragFrom = null;
    geometry.box.setAttribute("width", 0);
  });
  svg.addEventListener("pointerup", (event) => {
    if (dragFrom === null) return;
    const [a, b] = [dragFrom, pixelOf(event)].sort((p, q) => p - q);
    dragFrom = null;
    geometry.box.setAttribute("width", 0);
    if (b - a > 8) {
      zoomTo(view, [Math.max(geometry.low, geometry.x.invert(a)), Math.min(geometry.high, geometry.x.invert(b))]);
    } else if (geometry.spec.pick) {
      const index = nearest(pixelOf(event));
      if (index !== null) geometry.spec.pick(index);
    }
  });
  svg.addEventListener("dblclick", () => zoomTo(view, null));
  svg.addEventListener("keydown", (event) => {
    const hover = geometry.spec.hover;
    const visible = hover.map((_, i) => i).filter((i) => hover[i] >= geometry.low && hover[i] <= geometry.high);
    if (!visible.length) return;
    const here = view.cursor === null ? -1 : visible.indexOf(view.cursor);
    const actions = {
      ArrowRight: () => point(visible[Math.min(here + 1, visible.length - 1)]),
      ArrowLeft: () => point(visible[Math.max(here - 1, 0)]),
      Home: () => point(visible[0]),
      End: () => point(visible[visible.length - 1]),
      "+": () => zoomBy(view, geometry, 0.5),
      "-": () => zoomBy(view, geometry, 2),
      Escape: () => zoomTo(view, null),
      Enter: () => { if (geometry.spec.pick && view.cursor !== null) geometry.spec.pick(view.cursor); },
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  chart.geometry = () => geometry;
  let lastWidth = 0;
  new ResizeObserver(() => {
    if (root.clientWidth !== lastWidth) {
      lastWidth = root.clientWidth;
      draw();
    }
  }).observe(root);
  return chart;
};

const zoomTo = (view, range) => {
  view.range = range;
  view.charts.forEach((chart) => chart.draw());
};
// around the cursor, or the middle; `factor` < 1 zooms in
const zoomBy = (view, geometry, factor) => {
  const [left, right] = [geometry.x(geometry.low), geometry.x(geometry.high)];
  const centre = view.cursor === null ? (left + right) / 2 : geometry.x(geometry.spec.hover[view.cursor]);
  const half = ((right - left) / 2) * factor;
  const [low, high] = geometry.spec.range;
  const range = [Math.max(low, geometry.x.invert(centre - half)), Math.min(high, geometry.x.invert(centre + half))];
  zoomTo(view, range[0] <= low * (1 + 1e-9) && range[1] >= high * (1 - 1e-9) ? null : range);
};

// --- limits and significance --------------------------------------------------------------------

let showFit = null;
const scan = data.scan;
if (scan) {
  const view = { range: null, cursor: null, charts: [] };
  const log = () => byId("log-mass").checked;
  const full = () => {
    const [low, high] = [scan.mass[0], scan.mass[scan.mass.length - 1]];
    if (low === high) return [0.9 * low, 1.1 * high];
    return log() ? [low * 0.95, high * 1.05] : [low - 0.02 * (high - low), high + 0.02 * (high - low)];
  };
  const names = { g: ["Coupling limit", "g", "1/GeV"], sigma: ["Cross-section limit", "σ", "pb"] };
  const failed = scan.mass.filter((_, i) => !scan.drawn[i]);
  const missing = failed.length ? [{ type: "crosses", x: failed, color: "#b3261e", name: "no result" }] : [];
  const common = () => ({ log: log(), range: full(), xLabel: "mass [GeV]", marks: scan.marks, hover: scan.mass, pick: (i) => showFit && showFit(scan.mass[i], true) });
  const about = (i) => [`${format(scan.mass[i], 5)} GeV (${scan.definition[i]}, ${scan.energy_set[i]})`];

  const limitChart = makeChart(byId("limit-chart"), view, () => {
    const key = byId("quantity").value;
    const [name, symbol, unit] = names[key];
    const { obs, exp } = scan[key];
    const others = key === "g" ? data.published : [];
    return {
      ...common(),
      name: `${name} over mass with expected bands`,
      panels: [{
        height: 340, log: true, label: `${scan.level} CL limit on ${symbol} [${unit}]`,
        series: [
          { type: "band", x: scan.mass, interrupted: scan.interrupted, low: exp[0], high: exp[4], color: "#f5bb54", name: "expected ±2σ" },
          { type: "band", x: scan.mass, interrupted: scan.interrupted, low: exp[1], high: exp[3], color: "#607641", name: "expected ±1σ" },
          ...others.map((o) => ({ type: "line", x: o.mass, y: o.g, color: o.color, width: 1.2, name: o.name, free: true })),
          { type: "line", x: scan.mass, interrupted: scan.interrupted, y: exp[2], color: INK, dash: "5 4", name: "expected" },
          { type: "line", x: scan.mass, interrupted: scan.interrupted, y: obs, color: INK, width: 1.8, name: "observed" },
          ...missing,
        ],
      }],
      tip: (i) => scan.drawn[i]
        ? [...about(i), `observed ${format(obs[i])} ${unit}`, `expected ${format(exp[2][i])} ${unit}`,
          `±1σ ${format(exp[1][i])} … ${format(exp[3][i])}`, `±2σ ${format(exp[0][i])} … ${format(exp[4][i])}`]
        : [...about(i), `no result: ${scan.status[i]}`],
    };
  });
  const limit = Math.max(3.2, ...scan.z.filter(good).map((z) => 1.1 * Math.abs(z)));
  makeChart(byId("significance-chart"), view, () => ({
    ...common(),
    name: "Signed local significance over mass",
    panels: [{
      height: 170, label: "local Z (signed)", range: [-limit, limit], levels: [-2, 0, 2],
      series: [{ type: "line", x: scan.mass, interrupted: scan.interrupted, y: scan.z, color: "#0072b2" }, ...missing.map((s) => ({ ...s, name: "" }))],
    }],
    tip: (i) => scan.drawn[i]
      ? [...about(i), `Z = ${format(scan.z[i], 3)}`, `local p = ${format(scan.p[i], 3)}`, `yield ${format(scan.yield[i], 3)} ± ${format(scan.yield_error[i], 3)}`]
      : [...about(i), `no result: ${scan.status[i]}`],
  }));
  byId("quantity").addEventListener("change", () => zoomTo(view, view.range));
  byId("log-mass").addEventListener("change", () => zoomTo(view, view.range));
  byId("zoom-in").addEventListener("click", () => zoomBy(view, limitChart.geometry(), 0.5));
  byId("zoom-out").addEventListener("click", () => zoomBy(view, limitChart.geometry(), 2));
  byId("zoom-reset").addEventListener("click", () => zoomTo(view, null));
}

// --- window fits --------------------------------------------------------------------------------

const fits = data.windows;
if (fits.length) {
  const view = { range: null, cursor: null, charts: [] };
  const slider = byId("fit-slider");
  let current = 0;
  const chart = makeChart(byId("fit-chart"), view, () => {
    const fit = fits[current];
    const widths = fit.data.map((_, i) => fit.edges[i + 1] - fit.edges[i]);
    const nominal = [...widths].sort((a, b) => a - b)[widths.length >> 1];
    const density = (values) => values.map((v, i) => (v * nominal) / widths[i]);
    const centre = fit.data.map((_, i) => (fit.edges[i] + fit.edges[i + 1]) / 2);
    const total = fit.background.map((b, i) => b + fit.signal[i]);
    const pull = total.map((t, i) => (t > 0 ? (fit.data[i] - t) / Math.sqrt(t) : 0));
    const reach = Math.max(3.5, ...pull.map((p) => 1.1 * Math.abs(p)));
    const symbol = fit.definition === "recoil" ? "m²(recoil)" : "m²(γγ)";
    return {
      name: `Window fit at ${format(fit.mass, 5)} GeV: data, fit and pulls`,
      log: false, range: [fit.edges[0], fit.edges[fit.edges.length - 1]], xLabel: `${symbol} [GeV²]`, hover: centre,
      panels: [
        { height: 300, label: `candidates / ${format(nominal, 3)} GeV²`, series: [
          { type: "steps", edges: fit.edges, y: density(fit.signal), color: "#d55e00", fill: true, name: "signal" },
          { type: "steps", edges: fit.edges, y: density(fit.background), color: "#0072b2", dash: "5 4", name: "background" },
          { type: "steps", edges: fit.edges, y: density(total), color: "#d55e00", name: "signal + background" },
          { type: "points", x: centre, y: density(fit.data), down: density(fit.data.map((n) => data.errors[n][0])), up: density(fit.data.map((n) => data.errors[n][1])), color: INK, name: "data" },
        ] },
        { height: 90, label: "pull", range: [-reach, reach], levels: [-2, 0, 2], series: [
          { type: "steps", edges: fit.edges, y: pull, color: "#0072b2", fill: true } ] },
      ],
      tip: (i) => [`${format(fit.edges[i], 5)} … ${format(fit.edges[i + 1], 5)} GeV²`, `data ${format(fit.data[i])}`,
        `background ${format(fit.background[i])}`, `signal ${format(fit.signal[i])}`, `pull ${format(pull[i], 3)}`],
    };
  });
  const show = (index) => {
    current = Math.min(Math.max(index, 0), fits.length - 1);
    const fit = fits[current];
    slider.value = current;
    slider.setAttribute("aria-valuetext", `${format(fit.mass, 5)} GeV`);
    byId("fit-mass").value = parseFloat(fit.mass.toPrecision(6));
    const facts = byId("fit-facts");
    facts.textContent = `${format(fit.mass, 5)} GeV, ${fit.definition}: Z = ${format(fit.z, 3)}, fitted σ = ${format(fit.sigma, 3)} pb, status ${fit.status}`;
    facts.className = fit.status === "ok" ? "" : "loss";
    if (fit.workspace) {
      facts.append(" · ");
      htmlNode("a", facts, "workspace").href = fit.workspace;
    }
    view.range = null;
    view.cursor = null;
    chart.draw();
  };
  const closest = (mass) => fits.reduce((best, fit, i) => (Math.abs(fit.mass - mass) < Math.abs(fits[best].mass - mass) ? i : best), 0);
  showFit = (mass, jump) => {
    show(closest(mass));
    if (jump) byId("fits").scrollIntoView({ behavior: "smooth" });
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  byId("fit-previous").addEventListener("click", () => show(current - 1));
  byId("fit-next").addEventListener("click", () => show(current + 1));
  byId("fit-mass").addEventListener("change", (event) => {
    if (good(event.target.valueAsNumber)) show(closest(event.target.valueAsNumber));
  });
  show(data.first_window);
}

// --- scan table ---------------------------------------------------------------------------------

const table = byId("scan-table");
if (table) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, text: [...row.cells].map((cell) => cell.textContent) }));
  const value = (text) => (text === "–" ? null : Number.isNaN(Number(text)) ? text : Number(text));
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      rows.sort((a, b) => {
        const [u, v] = [value(a.text[column]), value(b.text[column])];
        if (u === null || v === null) return (u === null) - (v === null); // missing values last
        if (typeof u === "number" && typeof v === "number") return direction * (u - v);
        return direction * String(u).localeCompare(String(v));
      });
      body.append(...rows.map((entry) => entry.row));
    });
  });
  const position = (column) => data.columns.indexOf(column);
  const inputs = ["low", "high", "z", "status", "text"].map((name) => byId(`filter-${name}`));
  const filter = () => {
    const [low, high, z, status, text] = inputs.map((input) => input.value.trim());
    let shown = 0;
    for (const { row, text: cells } of rows) {
      const mass = value(cells[position("mass")]);
      const significance = value(cells[position("z_local")]);
      const ok = cells[position("status")] === "ok";
      const keep = (low === "" || mass >= Number(low)) && (high === "" || mass <= Number(high))
        && (z === "" || (significance !== null && Math.abs(significance) >= Number(z)))
        && (status === "" || (status === "ok") === ok)
        && cells.join(" ").toLowerCase().includes(text.toLowerCase());
      row.hidden = !keep;
      shown += keep;
    }
    byId("filter-count").textContent = `${shown} of ${rows.length} rows`;
  };
  inputs.forEach((input) => input.addEventListener("input", filter));
  filter();
  const brief = new Set(data.brief_columns.map(position));
  const columns = () => {
    const all = byId("all-columns").checked;
    for (const row of table.rows) {
      [...row.cells].forEach((cell, column) => { cell.hidden = !all && !brief.has(column); });
    }
  };
  byId("all-columns").addEventListener("change", columns);
  columns();
}
})();
