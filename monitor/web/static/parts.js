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

/** Link to the probes of a target or an incident; `asked` says which. */
export function toTranscripts(of, id, asked, words) {
  return h("a", { href: transcriptsOf(of, id, asked) }, words);
}

/** The address of a page of probes; what is empty is left out. */
export function transcriptsOf(of, id, asked) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
  return `/${of}/${encodeURIComponent(id)}/transcripts${query.size ? `?${query}` : ""}`;
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
