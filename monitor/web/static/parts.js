// Parts that several views are made of.

import { h } from "./dom.js";

/** Link to a target. */
export function toTarget(name) {
  return h("a", { href: `/targets/${encodeURIComponent(name)}` }, name);
}

/** Link to an incident. */
export function toIncident(id, words = id) {
  return h("a", { href: `/incidents/${encodeURIComponent(id)}` }, words);
}

/** Name a fact and say it. */
export function fact(name, value, note = "") {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("span", { class: "note" }, note) : null));
}

/** A part of a view under its heading. */
export function section(id, heading, content) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, heading), content);
}

/** The way back. */
export function crumbs(...links) {
  return h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "/" }, "Fleet"), links);
}
