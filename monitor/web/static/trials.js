// What each recipe came to, and what every gate said of its candidate.

import { h } from "./dom.js";
import { NONE, figure, percent, release, whole } from "./format.js";
import { badge } from "./states.js";
import { row, rows, table } from "./table.js";

const GATES = [
  { name: "Gate" }, { name: "Verdict" }, { name: "Measured", number: true }, { name: "Limit", number: true },
  { name: "n", number: true }, { name: "In words" },
];
const MISSING = [{ name: "Gate" }, { name: "Why not" }];
const RATIOS = /^(harm|over-refusal|utility|degeneration|triggers|attacks|persistence|quantisation)/;
const VERDICTS = {
  passed: { word: "passed", tone: "good", icon: "healthy" },
  failed: { word: "failed", tone: "bad", icon: "down" },
  "not measured": { word: "not measured", tone: "calm", icon: "ended" },
};

/** Show the ladder: each recipe with its outcome, the gates inside. */
export function trials(incident) {
  const begun = incident.trials.map((trial, i) => one(trial, i, incident));
  const ahead = incident.recipes.slice(incident.trials.length).map((recipe) =>
    h("li", { class: "trial" }, h("div", { class: "line" }, h("span", { class: "name" }, recipe),
      h("span", { class: "muted" }, incident.closed ? "not tried" : "not tried yet"))));
  if (!begun.length && !ahead.length) return h("p", { class: "muted" }, "No recipe is set: only a person ends it.");
  return h("ol", { class: "ladder" }, begun, ahead);
}

function one(trial, i, incident) {
  const line = h(
    "span",
    { class: "line" },
    h("span", { class: "name" }, trial.recipe),
    badge(outcome(trial, i, incident)),
    trial.candidate ? release(trial.candidate) : null,
  );
  const why = trial.why ? h("p", { class: "small" }, trial.why) : null;
  if (!trial.gates.length) return h("li", { class: "trial", "data-key": `trial-${i}` }, h("div", {}, line, why));
  return h(
    "li",
    { class: "trial", "data-key": `trial-${i}` },
    line,
    why,
    h("details", { "data-key": `gates-${i}`, open: trial.accepted && incident.state === "AWAITING_APPROVAL" },
      h("summary", {}, summary(trial.gates)), gates(trial.gates)),
  );
}

function outcome(trial, i, incident) {
  if (trial.accepted) return { word: "passed the gates", tone: "good", icon: "healthy" };
  if (trial.accepted === false) return { word: "failed a gate", tone: "bad", icon: "down" };
  if (trial.why) return { word: trial.candidate ? "not accepted" : "not staged", tone: "bad", icon: "down" };
  return i === incident.recipe && !incident.closed
    ? { word: "under way", tone: "busy", icon: "handled" }
    : { word: "ended without a word", tone: "calm", icon: "ended" };
}

function summary(list) {
  const count = (status) => list.filter((g) => g.status === status).length;
  return `Gates: ${count("passed")} passed, ${count("failed")} failed, ${count("not measured")} not measured`;
}

function gates(list) {
  const order = (g) => (g.blocks ? 0 : g.status === "failed" ? 1 : g.status === "passed" ? 2 : 3);
  const sorted = [...list].sort((a, b) => order(a) - order(b));
  const missing = sorted.filter((g) => g.status === "not measured");
  return [
    table("Gates, those in the way first", GATES, rows(sorted.filter((g) => !missing.includes(g)).map(gate))),
    missing.length ? h("details", { "data-key": "missing" },
      h("summary", {}, `The ${missing.length} that were not measured`),
      table("Gates that were not measured", MISSING, rows(missing.map(notMeasured)))) : null,
  ];
}

function named(g) {
  const need = g.need === "required" ? null : h("span", { class: "note" }, g.need);
  return [h("span", { class: "muted" }, g.number, " "), g.name, need];
}

function notMeasured(g) {
  return row(`gate-${g.name}`, MISSING, [named(g), g.detail]);
}

function gate(g) {
  return row(`gate-${g.name}`, GATES, [
      named(g),
      badge(VERDICTS[g.status] ?? { word: g.status, tone: "calm", icon: "unknown" }),
      value(g, g.measured), g.limit === null ? NONE : [g.least ? "≥ " : "≤ ", value(g, g.limit)],
      g.n ? whole(g.n) : NONE, g.detail,
  ]);
}

function value(gate, number) {
  if (number === null || number === undefined) return NONE;
  return RATIOS.test(gate.name) ? percent(number) : figure(number);
}
