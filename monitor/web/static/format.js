// Numbers and times as people read them.

import { h } from "./dom.js";

export const NONE = "–";

/** Write a ratio in percent: a decimal where it is small enough to matter. */
export function percent(ratio) {
  if (ratio === null || ratio === undefined) return NONE;
  return `${percentNumber(ratio)} %`;
}

function percentNumber(ratio) {
  const value = 100 * ratio;
  return value > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0);
}

/** Write an interval of ratios, in percent. */
export function interval(estimate) {
  if (!estimate || estimate.lower === null || estimate.upper === null) return NONE;
  return `${percentNumber(estimate.lower)}–${percentNumber(estimate.upper)} %`;
}

const SIZES = [[1e12, "trillion"], [1e9, "billion"], [1e6, "million"]];

/** Write a number of which the natural log is given. */
export function amount(log) {
  if (log === null || log === undefined || log <= 0) return "none";
  if (log / Math.LN10 >= 15) return `10^${(log / Math.LN10).toFixed(0)}`;
  const value = Math.exp(log);
  for (const [size, word] of SIZES) {
    if (value >= size * (1 - 1e-6)) return `${trim(value / size)} ${word}`;
  }
  return value >= 10 ? whole(value) : trim(value, 2);
}

function trim(value, digits = 3) {
  return String(Number(value.toPrecision(digits)));
}

const COUNT = new Intl.NumberFormat("en-GB");

/** Write a count. */
export function whole(value) {
  if (value === null || value === undefined) return NONE;
  return COUNT.format(Math.round(value)).replaceAll(",", "\u202f");
}

/** Write a figure of unknown size: three digits that count. */
export function figure(value) {
  if (typeof value !== "number") return value === null || value === undefined ? NONE : String(value);
  return Number.isInteger(value) ? whole(value) : trim(value);
}

/** Write a span of seconds by its two largest units. */
export function span(seconds) {
  const total = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, size]) => total >= size);
  if (at < 0) return "0 s";
  const [unit, size] = units[at];
  const rest = Math.floor((total % size) / (units[at + 1]?.[1] ?? 1));
  const more = rest && at < 3 && total < 10 * size ? ` ${rest} ${units[at + 1][0]}` : "";
  return `${Math.floor(total / size)} ${unit}${more}`;
}

/** How times are written: in UTC, as logs have them, or as the reader's clock does. */
export const zone = {
  local: false,
  /** The server's time less this machine's, in milliseconds: ages are the server's. */
  ahead: 0,
};

/** Say what time it is at the server. */
export function now() {
  return Date.now() + zone.ahead;
}

/** Write a moment with its zone; the day where it is another one. */
export function clock(iso) {
  const date = new Date(iso);
  const today = new Date(now());
  const time = written("time", date);
  if (written("day", date) === written("day", today)) return time;
  return `${written(written("year", date) === written("year", today) ? "short" : "day", date)}, ${time}`;
}

const PARTS = {
  time: { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" },
  day: { day: "numeric", month: "short", year: "numeric" },
  short: { day: "numeric", month: "short" },
  year: { year: "numeric" },
};
/** Making one is slow, and a fleet has many times. */
const formats = new Map();

function written(part, date) {
  const key = `${part} ${zone.local}`;
  if (!formats.has(key)) {
    formats.set(key, new Intl.DateTimeFormat("en-GB", { ...PARTS[part], ...(zone.local ? {} : { timeZone: "UTC" }) }));
  }
  return formats.get(key).format(date);
}

/** Say how long ago a moment was. */
export function age(iso) {
  const seconds = (now() - Date.parse(iso)) / 1000;
  return seconds < -1 ? `in ${span(-seconds)}` : seconds < 1 ? "now" : `${span(seconds)} ago`;
}

/** Write a moment for people and machines: age and clock time. */
export function moment(iso, { only = "" } = {}) {
  if (!iso) return NONE;
  const words = only === "age" ? age(iso) : only === "clock" ? clock(iso) : `${age(iso)} (${clock(iso)})`;
  return h("time", { datetime: iso, title: `${clock(iso)}, ${age(iso)}` }, words);
}

/** Write a release id: name, then digest. */
export function release(id) {
  if (!id) return h("span", { class: "muted" }, "none");
  const [name, digest] = id.split("@");
  return h("span", { class: "release", title: id }, name, digest ? h("span", { class: "digest" }, `@${digest}`) : null);
}

/** Say an estimate in words, for those who hear the page. */
export function estimateWords(estimate) {
  if (!estimate || estimate.value === null) return "not enough probes";
  const confidence = Math.round(100 * (estimate.confidence ?? 0.95));
  return `${percent(estimate.value)}, ${confidence} % interval ${interval(estimate)}, n ${whole(estimate.n)}`;
}
