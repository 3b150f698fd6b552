// One incident: how it came, where it stands, what was tried, what follows.

import { get } from "./api.js";
import { h } from "./dom.js";
import { facts } from "./facts.js";
import { age, clock, moment, now, percent, release, span } from "./format.js";
import { crumbs, fact, section, toTarget, toTranscripts } from "./parts.js";
import { STATES, WAY, badge, incidentWords } from "./states.js";
import { row, rows, table } from "./table.js";
import { trials } from "./trials.js";

const EVENTS = [{ name: "Time" }, { name: "State" }, { name: "What happened" }];

export const title = (data) => data?.incident.id ?? "Incident";

export async function load({ id }, signal) {
  const incident = await get(`/incidents/${encodeURIComponent(id)}`, signal);
  const [target, plan] = await Promise.all([
    get(`/targets/${encodeURIComponent(incident.target)}`, signal).catch(gone),
    incident.closed ? null : get(`/incidents/${encodeURIComponent(id)}/plan`, signal).catch(gone),
  ]);
  return { incident, target, plan };
}

/** A target that is no longer watched is shown by its incidents alone. */
function gone(error) {
  if (error.status === 404 || error.status === 409) return null;
  throw error;
}

export function render({ incident, target, plan }, { can }) {
  return [
    crumbs(toTarget(incident.target)),
    h("div", { class: "head" }, h("h1", {}, incident.id), badge(incidentWords(incident))),
    incident.headline ? h("p", { class: "lead" }, incident.headline) : null,
    holds(incident, target, can),
    h("section", { "aria-label": "Way of the incident" }, way(incident), behind(incident)),
    section("what", "Releases", h("dl", { class: "facts" }, releasesOf(incident, target, plan))),
    plan?.steps.length ? section("plan", "What follows", steps(plan)) : null,
    section("recipes", "Recipes and gates", trials(incident)),
    section("figures", "Figures", facts(incident.facts)),
    section("timeline", "Timeline", timeline(incident)),
  ];
}

export function changes(before, after) {
  const [was, is] = [incidentWords(before.incident).word, incidentWords(after.incident).word];
  return was === is ? [] : [`Incident ${after.incident.id}: ${is}`];
}

function holds(incident, target, can) {
  const last = incident.events.at(-1);
  const waited = span((now() - Date.parse(since(incident))) / 1000);
  const tone = incidentWords(incident).tone;
  const said = incident.closed ? `Ended ${age(last.at)}, at ${clock(last.at)}.` : `In this state for ${waited}.`;
  return h(
    "div",
    { class: `callout ${tone}` },
    h("p", { class: "note-now" }, waits(incident) ?? coded(last.note)),
    rails(incident),
    h("p", { class: "muted" }, said, doing(incident, target?.activity)),
    incident.state === "ESCALATED" ? h("p", {}, ENDED) : null,
    orders(incident, can),
  );
}

const ENDED = "The daemon tries nothing more for this release. It is for a person to put another one into service.";

/** Say which rails hold it, and what ends each. */
function rails(incident) {
  const held = incident.closed ? [] : incident.facts.held ?? [];
  if (!held.length) return null;
  return h("ul", { class: "rails" }, held.map(railLine));
}

function railLine(rail) {
  const until = rail.until ? [", until ", moment(rail.until)] : rail.person ? ", until a person ends it" : null;
  return h("li", { "data-key": rail.name }, h("strong", {}, rail.name), ": ", coded(rail.why), until);
}

/** Say what waits for approval; the note itself names the command of a terminal. */
function waits(incident) {
  if (incident.facts.held?.length) return "Rails hold it:";
  if (incident.closed || incident.events.at(-1).waits_for !== "approval") return null;
  if (incident.state === "OPEN") return "The breach is confirmed; the repair waits for a person’s word.";
  return [release(incident.candidate), " passed every gate and waits for a person’s word."];
}

/** Show what stands between backticks as code. */
function coded(note) {
  return note.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

function doing(incident, activity) {
  if (!activity || incident.closed || incident.action_needed) return null;
  const share = activity.share > 0 ? ` (${percent(activity.share)})` : "";
  return ` Now: ${activity.stage.replaceAll("_", " ")}${share}.`;
}

function orders(incident, can) {
  if (incident.closed) return null;
  if (!incident.orders.length) return null;
  if (!can.approve) return h("p", { class: "muted small" }, "Orders need a token with the scope “approve”.");
  const words = {
    approve: APPROVALS[incident.state] ?? "Approve in spite of the rails…",
    abort: "Abort…",
    roll_back: "Roll back…",
  };
  const kinds = { approve: "primary", roll_back: "danger" };
  return h("div", { class: "actions" }, incident.orders.map((name) =>
    h("button", { type: "button", class: kinds[name], "data-action": name, "data-key": name }, words[name] ?? name)));
}

const APPROVALS = { OPEN: "Approve the repair…", AWAITING_APPROVAL: "Approve promotion…" };

/** Say when an incident came into the state it is in. */
function since(incident) {
  const other = incident.events.findLastIndex((e) => e.state !== incident.state);
  return incident.events[other + 1]?.at ?? incident.opened_at;
}

function way(incident) {
  const entered = new Map(incident.events.map((e) => [e.state, e.at]));
  const steps = incident.closed && incident.state !== "RECOVERED"
    ? [...WAY.filter((s) => entered.has(s)), ...(entered.has("ROLLING_BACK") ? ["ROLLING_BACK"] : []), incident.state]
    : incident.state === "ROLLING_BACK" ? [...WAY.filter((s) => entered.has(s)), "ROLLING_BACK"] : WAY;
  return h("ol", { class: "way" }, steps.map((state) => step(state, incident, entered)));
}

/** Lead to the probes that it was found by, and to those of its repairs. */
function behind(incident) {
  const to = (asked, words) => toTranscripts("incidents", incident.id, asked, words);
  const harmful = to({ verdict: "harmful", kind: "harm" }, "harmful ones");
  return h("p", { class: "small links" }, "Probes behind it: ", harmful, to({}, "all"));
}

function step(state, incident, entered) {
  const here = state === incident.state;
  const kind = here ? `here ${incidentWords(incident).tone}` : entered.has(state) ? "done" : "ahead";
  const seconds = incident.seconds?.[state];
  const note = seconds && !STATES_END.has(state) ? span(seconds) : entered.has(state) ? clock(entered.get(state)) : "";
  return h(
    "li",
    { class: kind, "aria-current": here ? "step" : null },
    h("span", { class: "step" }, STATES[state].word),
    h("span", { class: "note" }, note || (kind === "ahead" ? "not yet" : "")),
  );
}

const STATES_END = new Set(["RECOVERED", "DISMISSED", "ESCALATED"]);

/** Say state by state what the daemon will do, what it waits for and what comes of a failure. */
function steps(plan) {
  return h("ol", { class: "plan" }, plan.steps.map((step) => h("li", { "data-key": step.state },
    h("strong", {}, STATES[step.state]?.word ?? step.state), ": ", step.does,
    step.person ? badge({ word: "a person’s word", tone: "warn", icon: "person" }) : null,
    h("span", { class: "note" }, "otherwise: ", step.otherwise),
    step.rails.length ? h("ul", { class: "rails" }, step.rails.map(railLine)) : null)));
}

function releasesOf(incident, target, plan) {
  return [
    ["Drifted release", incident.release], ["In service now", serving(target)?.release ?? target?.release],
    ["Candidate", incident.candidate], ["Last known good", incident.last_good],
  ].map(([name, id]) => fact(name, release(id), plan?.digests[id] ?? ""));
}

function serving(target) {
  return target?.up_releases.find((s) => s.takes_traffic);
}

function timeline(incident) {
  const list = incident.events.map((e, i) =>
    row(`event-${i}`, EVENTS, [moment(e.at, { only: "clock" }), STATES[e.state]?.word ?? e.state, coded(e.note)]));
  return table("Timeline, newest first", EVENTS, rows(list.reverse()));
}
