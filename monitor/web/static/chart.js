// The path of the evidence against its thresholds, as a picture that can also be heard and read as a table.

import { h, s } from "./dom.js";
import { amount, clock, moment, whole } from "./format.js";
import { row, rows, table } from "./table.js";

const BOX = { height: 220, left: 68, right: 12, top: 14, bottom: 28 };
const PADDING = 34;
const { LN10 } = Math;
/** A curve that leaves the picture runs along its upper edge, or the thresholds would lie on one line. */
const BREACHES_MAX = 3;
const ROWS_MAX = 12;
const COLUMNS = [{ name: "Probe", number: true }, { name: "Time" }, { name: "Evidence" }];

/**
 * Draw evidence over the probes of an epoch.
 *
 * @param {Array<{at: string, log: number|null, position: number}>} points Oldest first.
 * @param {{log_warn: number, log_breach: number}} thresholds Natural logs.
 * @param {number} room How wide the picture may be, in pixels: its letters keep their size.
 */
export function evidenceChart(points, thresholds, room) {
  if (points.length < 2) return h("p", { class: "muted" }, "Too few probes in this epoch for a curve.");
  const width = Math.max(240, room - PADDING);
  const first = points[0].position;
  const long = Math.max(1, points.at(-1).position - first);
  const highest = Math.max(thresholds.log_breach, ...points.map((p) => p.log ?? 0));
  const most = Math.min(highest, BREACHES_MAX * thresholds.log_breach);
  const x = (point) => BOX.left + ((width - BOX.left - BOX.right) * (point.position - first)) / long;
  const share = (log) => Math.min(most, Math.max(0, log ?? 0)) / (1.08 * most);
  const y = (log) => BOX.height - BOX.bottom - (BOX.height - BOX.top - BOX.bottom) * share(log);
  const spoken = words(points, thresholds);
  return h(
    "figure",
    { class: "chart" },
    s(
      "svg",
      { viewBox: `0 0 ${width} ${BOX.height}`, width, height: BOX.height, role: "img", "aria-label": spoken },
      levels(thresholds.log_breach, y, width),
      threshold(y(thresholds.log_warn), "soft", width),
      threshold(y(thresholds.log_breach), "hard", width),
      probeAxis(points, width),
      s("path", { class: "area", d: `${line(points, x, y)}V${y(0)}H${x(points[0])}Z` }),
      s("path", { class: "line", d: line(points, x, y) }),
      s("circle", { class: "last", cx: x(points.at(-1)), cy: y(points.at(-1).log), r: 3.5 }),
    ),
    h("figcaption", {}, spoken),
    h(
      "details",
      { "data-key": "chart-table" },
      h("summary", {}, "As a table"),
      table("Evidence over time", COLUMNS, rows(thinned(points).map(pointRow))),
    ),
  );
}

function line(points, x, y) {
  let d = `M${x(points[0]).toFixed(1)},${y(points[0].log).toFixed(1)}`;
  for (const p of points.slice(1)) d += `L${x(p).toFixed(1)},${y(p.log).toFixed(1)}`;
  return d;
}

/** Gridlines at powers of ten: 1, the middle, the threshold. */
function levels(breach, y, width) {
  const tens = breach / LN10;
  const shown = [0, Math.round(tens / 2), tens];
  return shown.map((power) => {
    const at = y(power * LN10);
    return [
      s("line", { class: "grid", x1: BOX.left, x2: width - BOX.right, y1: at, y2: at }),
      s("text", { class: "label", x: BOX.left - 8, y: at + 4, "text-anchor": "end" },
        power ? amount(power * LN10) : "1"),
    ];
  });
}

function threshold(at, kind, width) {
  const word = kind === "hard" ? "breach" : "probe faster";
  return [
    s("line", { class: `threshold ${kind}`, x1: BOX.left, x2: width - BOX.right, y1: at, y2: at }),
    s("text", { class: `label ${kind}`, x: BOX.left + 6, y: at - 5 }, word),
  ];
}

function probeAxis(points, width) {
  const at = BOX.height - 8;
  return [
    s("text", { class: "label", x: BOX.left, y: at }, `probe ${whole(points[0].position)}`),
    s("text", { class: "label", x: width - BOX.right, y: at, "text-anchor": "end" },
      `probe ${whole(points.at(-1).position)}, ${clock(points.at(-1).at)}`),
  ];
}

function words(points, thresholds) {
  const last = points.at(-1);
  const over = points.find((p) => (p.log ?? 0) >= thresholds.log_breach);
  const passed = over && `It passed the threshold at ${clock(over.at)}, with probe ${whole(over.position)}.`;
  const evidence = last.log > 0 ? `Evidence is ${amount(last.log)}` : "Nothing points to drift";
  const figures = `${evidence}; the threshold is ${amount(thresholds.log_breach)}.`;
  return `${figures} ${passed ?? "It is under the threshold."}`;
}

function thinned(points) {
  const step = Math.ceil(points.length / ROWS_MAX);
  return points.filter((_, i) => (points.length - 1 - i) % step === 0);
}

function pointRow(point) {
  return row(`point-${point.position}`, COLUMNS, [whole(point.position), moment(point.at), amount(point.log)]);
}
