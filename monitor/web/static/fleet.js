// All targets, those that need a person first.

import { get } from "./api.js";
import { evidenceBar, intervalBar } from "./bars.js";
import { h } from "./dom.js";
import { NONE, amount, estimateWords, interval, moment, percent, release } from "./format.js";
import { section, toIncident, toTarget } from "./parts.js";
import { GROUPS, badge, groupOf, incidentWords } from "./states.js";
import { group, row, rows, table } from "./table.js";

const COLUMNS = [
  { name: "Target" }, { name: "ASR" }, { name: "Evidence" }, { name: "Release" }, { name: "Last sweep" },
  { name: "Incident" },
];
const COUNTED = {
  handled: "with an incident under way", down: "not measured", watch: "with evidence rising", paused: "paused",
  unknown: "with not enough evidence yet", healthy: "healthy",
};
const FIRST = "Targets, those that need a person first";
const PAST = [{ name: "Incident" }, { name: "State" }, { name: "Opened" }, { name: "Why" }, { name: "Target" }];

export const title = () => "Fleet";

export async function load(_, signal) {
  const [targets, incidents] = await Promise.all([get("/targets", signal), get("/incidents", signal)]);
  return { targets: targets.targets, incidents: incidents.incidents };
}

/** Where there are more targets, a person may say which to show. */
const FILTER_FROM = 10;
let wanted = "";

/** Take over what a person typed; say whether the view is another one now. */
export function typed(input) {
  if (input.id !== "filter") return false;
  wanted = input.value.trim().toLowerCase();
  return true;
}

export function render({ targets, incidents }) {
  if (!targets.length) return [h("h1", {}, "Fleet"), empty()];
  const shown = targets.filter((t) => `${t.name} ${t.release}`.toLowerCase().includes(wanted));
  return [
    h("h1", {}, "Fleet"),
    h("p", { class: "lead" }, summary(targets, incidents)),
    targets.length >= FILTER_FROM || wanted ? filter(shown.length) : null,
    h("section", { "aria-label": "Targets" }, table(FIRST, COLUMNS, groups(shown, incidents))),
    section("recent", "Recent incidents", recent(incidents)),
  ];
}

/** Say what changed since the last look, for those who hear the page. */
export function changes(before, after) {
  const was = new Map(before.targets.map((t) => [t.name, groupOf(t, before.incidents).word]));
  return after.targets
    .map((t) => [t.name, groupOf(t, after.incidents).word])
    .filter(([name, word]) => was.has(name) && was.get(name) !== word)
    .map(([name, word]) => `${name}: ${word}`);
}

function filter(found) {
  return h("search", { class: "filter" },
    h("label", { for: "filter" }, "Filter by name or release"),
    h("input", { id: "filter", type: "search", autocomplete: "off", spellcheck: "false", "aria-describedby": "found" }),
    h("span", { id: "found", class: "muted", role: "status" }, wanted ? `${found} shown` : ""));
}

function empty() {
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "No targets are watched."),
    h("p", { class: "muted" }, "Add one under ", h("code", {}, "targets"), " in alignd.yaml, then start the daemon."),
  );
}

function summary(targets, incidents) {
  const found = targets.map((t) => groupOf(t, incidents).id);
  const count = (id) => found.filter((f) => f === id).length;
  const open = incidents.filter((i) => !i.closed).length;
  const out = targets.filter((t) => t.quarantine).length;
  const people = count("person");
  const parts = [
    people ? `${people} ${people === 1 ? "needs" : "need"} a person` : "none needs a person",
    ...Object.entries(COUNTED).filter(([id]) => count(id)).map(([id, words]) => `${count(id)} ${words}`),
  ];
  const of = `${targets.length} target${targets.length === 1 ? "" : "s"}`;
  const kept = out ? `; users of ${out} get 503` : "";
  return `${of}: ${parts.join(", ")}; ${open} open incident${open === 1 ? "" : "s"}${kept}.`;
}

function groups(targets, incidents) {
  const grouped = Map.groupBy(targets, (t) => groupOf(t, incidents).id);
  return GROUPS.filter((g) => grouped.has(g.id)).map((g) => {
    const members = grouped.get(g.id).sort(mostEvidenceFirst);
    const heading = [badge(g), h("span", { class: "count" }, String(members.length))];
    return group(g.id, heading, COLUMNS, members.map((t) => targetRow(t, incidents)));
  });
}

function mostEvidenceFirst(a, b) {
  const share = (target) => (target.evidence?.log ?? -1) / (target.evidence?.log_breach ?? 1);
  return share(b) - share(a) || a.name.localeCompare(b.name);
}

function targetRow(target, incidents) {
  return row(`target-${target.name}`, COLUMNS, [
    [
      toTarget(target.name),
      target.quarantine ? badge({ word: "Users get 503", tone: "bad", icon: "down" }) : null,
      h("span", { class: "why" }, whyOf(target)),
    ],
    asrCell(target.asr),
    evidenceCell(target.evidence),
    release(target.release),
    target.last_sweep_at ? moment(target.last_sweep_at, { only: "age" }) : h("span", { class: "muted" }, "never"),
    incidentCell(target, incidents),
  ]);
}

function whyOf(target) {
  return target.frozen || target.paused?.words || target.why;
}

export function asrCell(asr) {
  if (!asr || asr.value === null) return h("span", { class: "muted" }, "not enough probes");
  return [
    h("span", { class: "figure" }, percent(asr.value), h("span", { class: "muted" }, ` (${interval(asr)})`)),
    intervalBar(asr),
    h("span", { class: "heard" }, `: ${estimateWords(asr)}`),
  ];
}

export function evidenceCell(evidence) {
  if (!evidence) return h("span", { class: "muted" }, NONE);
  const over = (evidence.log ?? 0) >= evidence.log_breach;
  return [
    h(
      "span",
      { class: "figure" },
      amount(evidence.log),
      h("span", { class: "muted" }, ` / ${amount(evidence.log_breach)}`),
    ),
    evidenceBar(evidence),
    over ? h("span", { class: "heard" }, ", over the threshold") : null,
  ];
}

function incidentCell(target, incidents) {
  const incident = incidents.find((i) => i.id === target.incident) ?? lastEscalated(target, incidents);
  if (!incident) return h("span", { class: "muted" }, target.incident ?? "none");
  return [
    toIncident(incident.id, incidentWords(incident).word),
    h("span", { class: "note" }, "opened ", moment(incident.opened_at, { only: "age" })),
  ];
}

/** An incident that was handed to a person is shown until another one follows it. */
function lastEscalated(target, incidents) {
  const last = incidents.find((i) => i.target === target.name);
  return last?.state === "ESCALATED" ? last : null;
}

export function recent(incidents, { ofOne = false } = {}) {
  if (!incidents.length) return h("p", { class: "muted" }, "There was none.");
  const columns = ofOne ? PAST.slice(0, -1) : PAST;
  const list = incidents.map((i) =>
    row(`incident-${i.id}`, columns, [
      toIncident(i.id),
      badge(incidentWords(i)),
      moment(i.opened_at),
      i.headline || h("span", { class: "muted" }, NONE),
      toTarget(i.target),
    ].slice(0, columns.length)),
  );
  return table("Incidents, newest first", columns, rows(list));
}
