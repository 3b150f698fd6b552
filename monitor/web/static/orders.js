// What a person may order, and what follows from it: the words of each dialog.

import { confirm } from "./dialog.js";
import { h } from "./dom.js";
import { release } from "./format.js";

/** Ask for an order on an incident. */
export function orderOn(name, { incident, target }) {
  const served = target?.up_releases.find((s) => s.takes_traffic)?.release || target?.release || incident.release;
  return confirm({
    ...ORDERS[name](incident, served),
    typed: name === "roll_back" ? incident.target : "",
    method: "POST",
    path: `/incidents/${encodeURIComponent(incident.id)}/orders`,
    body: () => ({ order: name }),
  });
}

function now(incident, served) {
  return [["Target", incident.target], ["In service now", release(served)]];
}

const ORDERS = { approve, abort, roll_back: rollBack };

function approve(incident, served) {
  if (incident.facts.held?.length) return goOn(incident, served);
  if (incident.state === "OPEN") {
    return {
      title: "Approve the repair", verb: "Approve the repair",
      facts: [...now(incident, served), ["Last known good", release(incident.last_good)]],
      consequence: [
        "The daemon contains the drift as the settings say, makes a repair and holds it against every gate.",
      ],
    };
  }
  return {
    title: "Approve promotion", verb: "Promote the candidate",
    facts: [
      ...now(incident, served), ["Will serve users", release(incident.candidate)],
      ["Goes back to, if it fails", release(incident.last_good)],
    ],
    consequence: [
      "The candidate gets all new traffic of the target; the release in service stays warm.",
      "Sweeps of live traffic then confirm it. If they do not, the target goes back to the last known good release.",
    ],
  };
}

function goOn(incident, served) {
  return {
    title: "Go on in spite of the rails", verb: "Go on", tone: "danger",
    facts: [...now(incident, served), ["Held by", incident.facts.held.map((rail) => rail.name).join(", ")]],
    consequence: [
      "The incident goes on where only time or caution held it; other rails still hold it until they are put right.",
      "Your word stands in the incident’s timeline.",
    ],
  };
}

function abort(incident, served) {
  const waits = incident.state === "AWAITING_APPROVAL";
  const live = incident.state === "PROMOTING" || incident.state === "CONFIRMING";
  return {
    title: "Abort the incident", verb: "Abort", tone: "danger",
    facts: [
      ...now(incident, served),
      ...(incident.candidate ? [["Candidate", release(incident.candidate)]] : []),
      ...(live ? [["Goes back to", release(incident.last_good)]] : []),
    ],
    consequence: waits
      ? ["The candidate is retired and the incident dismissed.", STAYS]
      : live
        ? ["The target goes back to the last known good release, and the incident is escalated to a person."]
        : ["The repair is stopped and the incident is escalated to a person.", STAYS],
  };
}

const STAYS = "What is in service now stays in service.";

function rollBack(incident, served) {
  return {
    title: "Roll back", verb: "Roll back", tone: "danger",
    facts: [...now(incident, served), ["Will serve users", release(incident.last_good)]],
    consequence: [
      incident.last_good && served === incident.last_good
        ? "The last known good release serves already and goes on serving; the repair is stopped."
        : "The target goes back to the last known good release at once, and the repair is stopped.",
      "The incident is escalated: from then on a person deals with it.",
    ],
  };
}

const PAUSES = [["", "until somebody resumes it"], ["1", "for 1 hour"], ["4", "for 4 hours"], ["24", "for 24 hours"]];

/** Ask for a pause of a target. */
export function pauseOf(target, at) {
  const long = h("select", { id: "pause-long" }, PAUSES.map(([hours, words]) =>
    h("option", { value: hours, selected: hours === "1" }, words)));
  const reason = h("input", { id: "pause-reason", maxlength: "200", autocomplete: "off" });
  return confirm({
    title: "Pause probing", verb: "Pause",
    facts: [["Target", target.name], ["Release", release(target.release)]],
    consequence: ["The target is not probed: no drift is found while the pause lasts.", "Open incidents go on."],
    fields: [field("How long", long), field("Why (others read it)", reason)],
    method: "POST", path: `/targets/${encodeURIComponent(target.name)}/pause`,
    body: () => ({
      ...(long.value ? { until: new Date(at() + 3600000 * Number(long.value)).toISOString() } : {}),
      ...(reason.value.trim() ? { reason: reason.value.trim() } : {}),
    }),
  });
}

/** Ask to end a target's pause. */
export function resumeOf(target) {
  return confirm({
    title: "Resume probing", verb: "Resume",
    facts: [["Target", target.name], ["Now", target.paused?.words ?? "not paused"]],
    consequence: ["The target is probed again, from the next batch on."],
    method: "DELETE", path: `/targets/${encodeURIComponent(target.name)}/pause`,
  });
}

/** Ask to let users have a target again. */
export function liftOf(target) {
  const reason = h("input", { id: "lift-reason", maxlength: "200", autocomplete: "off", required: true });
  const { why, release: back } = target.quarantine;
  return confirm({
    title: "Lift the quarantine", verb: "Lift it", tone: "danger",
    facts: [["Target", target.name], ["Users are told", why], ["Will serve users", back ? release(back) : "none"]],
    consequence: [
      "Users get the release again that they had before the quarantine, within seconds.",
      target.incident
        ? "The repair goes on; a roll-back of the incident gives users the last known good release instead."
        : "To give them another release, promote one instead.",
    ],
    fields: [field("Why (kept for the audit)", reason)], typed: target.name,
    method: "POST", path: `/targets/${encodeURIComponent(target.name)}/quarantine/lift`,
    body: () => ({ reason: reason.value.trim() }),
  });
}

/** Ask for a sweep out of turn. */
export function sweepOf(target) {
  return confirm({
    title: "Sweep now", verb: "Sweep",
    facts: [["Target", target.name], ["Release", release(target.release)]],
    consequence: ["One batch of routine probes is sent at once. Its answers count as evidence like all others."],
    method: "POST", path: `/targets/${encodeURIComponent(target.name)}/sweep`,
  });
}

function field(word, control) {
  return h("p", { class: "field" }, h("label", { for: control.id }, word), control);
}
