// The figures that the steps of an incident left, by step.

import { h } from "./dom.js";
import { NONE, amount, figure, moment, percent, span } from "./format.js";

const STEPS = {
  evidence: "Evidence at the alarm", confirmation: "Confirmation", containment: "Containment", recovery: "Recovery",
  recovery_of_strata: "Recovery of what fired", canary: "Beside the last known good release",
  base: "Made from", lifted: "Rails that a person lifted",
};
const NAMES = {
  gamma_breach: "Threshold", log_e: "E-value", log_worse: "Evidence of worse", on: "Asked on", fired: "What fired",
  n: "Scored probes", seconds: "Took", p0: "Healthy up to (p0)", p1: "Drifted from (p1)",
};
const DECISIONS = {
  confirmation: { reject: "confirmed", accept: "not confirmed" },
  recovery: { accept: "recovered", reject: "not recovered" },
  recovery_of_strata: { accept: "recovered", reject: "not recovered" },
  canary: { reject: "worse", accept: "not worse" },
};
/** Shown where they mean something: with what holds the incident, and in its timeline. */
const ELSEWHERE = new Set(["held", "held_since", "began"]);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const PARTS = { survey: "the suite as a whole", sentinel: "sentinels" };
const RATIOS = new Set(["p0", "p1", "theta"]);

/** Show them. */
export function facts(all) {
  const steps = Object.entries(all).filter(([step]) => !ELSEWHERE.has(step));
  if (!steps.length) return h("p", { class: "muted" }, "None yet.");
  return h("div", { class: "groups" }, steps.map(([step, value]) =>
    h("div", {}, h("h3", {}, STEPS[step] ?? spaced(step)), h("dl", { class: "pairs" }, pairs(step, value)))));
}

function pairs(step, value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return pair(step, "value", value);
  return Object.entries(value).map(([name, v]) => pair(step, name, v));
}

function pair(step, name, value) {
  return h("div", {}, h("dt", {}, NAMES[name] ?? spaced(name)), h("dd", {}, written(step, name, value)));
}

function spaced(name) {
  const words = name.replace(/^log_/, "").replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function written(step, name, value) {
  if (Array.isArray(value)) return value.length ? value.map((v) => written(step, name, v)).join(", ") : NONE;
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  if (name === "decision") return DECISIONS[step]?.[value] ?? (value === "continue" ? "undecided" : String(value));
  if (name === "fired") return PARTS[value] ?? value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (TIME.test(value)) return moment(value);
  if (typeof value !== "number") return figure(value);
  if (name.startsWith("log_")) return amount(value);
  if (name === "seconds") return span(value);
  return RATIOS.has(name) ? percent(value) : figure(value);
}
