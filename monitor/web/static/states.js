// How a target and an incident stand, in words: what needs a person comes first.

import { h, icon } from "./dom.js";

/** Groups of targets, the most urgent first. */
export const GROUPS = [
  { id: "person", word: "Needs a person", icon: "person", tone: "bad" },
  { id: "handled", word: "Incident under way", icon: "handled", tone: "busy" },
  { id: "down", word: "Not measured", icon: "down", tone: "warn" },
  { id: "watch", word: "Evidence rising", icon: "watch", tone: "warn" },
  { id: "paused", word: "Paused", icon: "paused", tone: "calm" },
  { id: "unknown", word: "Not enough evidence yet", icon: "unknown", tone: "calm" },
  { id: "healthy", word: "Healthy", icon: "healthy", tone: "good" },
];

/**
 * Return the group that a target belongs to.
 *
 * @param {object} target
 * @param {Array} incidents Newest first. One that was handed to a person still needs one while its release is served,
 *   and so does a quarantine that nothing is under way to end.
 */
export function groupOf(target, incidents) {
  const last = incidents.find((i) => i.target === target.name);
  const found = () => {
    if (target.action_needed || (target.quarantine && (target.held_since || !target.incident)) ||
      (last?.state === "ESCALATED" && last.release === target.release)) return "person";
    if (target.incident) return "handled";
    if (target.paused) return "paused";
    if (!target.up) return "down";
    if (target.phase === "burst" || target.phase === "breach") return "watch";
    return target.verdict === "safe" ? "healthy" : "unknown";
  };
  const id = found();
  return GROUPS.find((g) => g.id === id);
}

/** Incident states: what the daemon does in each, and where it stands on the way. */
export const STATES = {
  DETECTED: { word: "Confirming the breach", tone: "busy", icon: "watch" },
  OPEN: { word: "Containing", tone: "busy", icon: "handled" },
  PATCHING: { word: "Making a repair", tone: "busy", icon: "handled" },
  STAGING: { word: "Staging the candidate", tone: "busy", icon: "handled" },
  VERIFYING: { word: "Verifying the candidate", tone: "busy", icon: "handled" },
  AWAITING_APPROVAL: { word: "Waits for approval", tone: "bad", icon: "person" },
  PROMOTING: { word: "Promoting", tone: "busy", icon: "handled" },
  CONFIRMING: { word: "Confirming on live traffic", tone: "busy", icon: "handled" },
  ROLLING_BACK: { word: "Rolling back", tone: "busy", icon: "handled" },
  RECOVERED: { word: "Recovered", tone: "good", icon: "healthy" },
  DISMISSED: { word: "Dismissed", tone: "calm", icon: "ended" },
  ESCALATED: { word: "Escalated", tone: "bad", icon: "person" },
};

/** The way of an incident that goes well. */
export const WAY = [
  "DETECTED", "OPEN", "PATCHING", "STAGING", "VERIFYING", "AWAITING_APPROVAL", "PROMOTING", "CONFIRMING", "RECOVERED",
];

/** Say in words what an incident does now. */
export function incidentWords(incident) {
  const state = STATES[incident.state] ?? { word: incident.state, tone: "calm", icon: "unknown" };
  if (incident.state === "OPEN" && incident.action_needed) {
    return { ...STATES.AWAITING_APPROVAL, word: "Waits for a person" };
  }
  return incident.action_needed ? { ...state, tone: "bad", icon: "person" } : state;
}

/** Draw a word with its icon and colour; the colour says nothing that the word does not. */
export function badge({ word, tone, icon: name }) {
  return h("span", { class: `badge ${tone}` }, icon(name), word);
}
