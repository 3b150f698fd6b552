// Small pictures of one figure each; the figure stands beside them in words.

import { s } from "./dom.js";

const WIDTH = 100;
const HEIGHT = 10;
/** Share of the width at which the threshold stands. */
const THRESHOLD = 0.8;

/** Draw evidence on a log scale: the bar reaches the mark at the threshold. */
export function evidenceBar(evidence) {
  const log = Math.max(0, evidence.log ?? 0);
  const x = (value) => WIDTH * Math.min(1, (THRESHOLD * value) / evidence.log_breach);
  const tone = log >= evidence.log_breach ? "bad" : log >= evidence.log_warn ? "warn" : "good";
  return picture(
    s("rect", { class: "track", x: 0, y: 3, width: WIDTH, height: 4, rx: 2 }),
    s("rect", { class: `fill ${tone}`, x: 0, y: 3, width: x(log).toFixed(2), height: 4, rx: 2 }),
    tick(x(evidence.log_warn), "soft"),
    tick(x(evidence.log_breach), "hard"),
  );
}

/** Draw an estimate and its interval between 0 and 1. */
export function intervalBar(estimate) {
  const lower = WIDTH * estimate.lower;
  const width = Math.max(1, WIDTH * (estimate.upper - estimate.lower));
  return picture(
    s("rect", { class: "track", x: 0, y: 4, width: WIDTH, height: 2, rx: 1 }),
    s("rect", { class: "range", x: lower.toFixed(2), y: 2.5, width: width.toFixed(2), height: 5, rx: 2 }),
    s("rect", { class: "point", x: (WIDTH * estimate.value - 1).toFixed(2), y: 1, width: 2, height: 8 }),
  );
}

function tick(x, kind) {
  return s("line", { class: `tick ${kind}`, x1: x.toFixed(2), x2: x.toFixed(2), y1: 0, y2: HEIGHT });
}

function picture(...shapes) {
  return s(
    "svg",
    { class: "bar", viewBox: `-1 0 ${WIDTH + 2} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    shapes,
  );
}
