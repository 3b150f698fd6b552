// One target: what is known of it, and what a person may do.

import { get } from "./api.js";
import { evidenceChart } from "./chart.js";
import { h } from "./dom.js";
import { asrCell, evidenceCell, recent } from "./fleet.js";
import { NONE, amount, clock, interval, moment, percent, release, whole } from "./format.js";
import { crumbs, fact, section, toIncident, toTranscripts } from "./parts.js";
import { badge, groupOf } from "./states.js";
import { row, rows, table } from "./table.js";

const STRATA = [
  { name: "Stratum" }, { name: "Harmful of n", number: true }, { name: "Rate" },
  { name: "Healthy up to", number: true }, { name: "Evidence", number: true }, { name: "Missing", number: true },
];
const RELEASES = [
  { name: "Release" }, { name: "Mark" }, { name: "ASR", number: true }, { name: "Over-refusal", number: true },
  { name: "Utility", number: true }, { name: "Marked" },
];

const PHASES = { idle: "nothing points to drift", burst: "probing faster", breach: "over the threshold" };
const VERDICTS = {
  safe: { word: "safe", tone: "good", icon: "healthy" }, unsafe: { word: "unsafe", tone: "bad", icon: "breach" },
  inconclusive: { word: "inconclusive", tone: "calm", icon: "unknown" },
};

export const title = (data) => data?.target.name ?? "Target";

export async function load({ name }, signal) {
  const id = encodeURIComponent(name);
  const [target, evidence, incidents] = await Promise.all([
    get(`/targets/${id}`, signal), get(`/targets/${id}/evidence`, signal), get(`/incidents?target=${id}`, signal),
  ]);
  return { target, evidence, incidents: incidents.incidents };
}

export function render({ target, evidence, incidents }, { can, width }) {
  return [
    crumbs(),
    h("div", { class: "head" }, h("h1", {}, target.name), badge(groupOf(target, incidents)), actions(target, can)),
    reason(target),
    h("section", { "aria-label": "Figures" }, h("dl", { class: "figures" }, figures(target))),
    section("evidence", "Evidence against the threshold", silent(target)
      ? h("p", { class: "muted" }, "No probe of this epoch was answered: nothing is known.")
      : [evidenceChart(evidence.points, evidence, width), behind(target)]),
    section("strata", "Strata", strata(target)),
    section("releases", "Releases", releases(target)),
    section("judge", "Judge and servers", h("dl", { class: "facts" }, standing(target))),
    section("incidents", "Incidents", recent(incidents, { ofOne: true })),
  ];
}

export function changes(before, after) {
  const [was, is] = [before, after].map((d) => groupOf(d.target, d.incidents).word);
  return was === is ? [] : [`${after.target.name}: ${is}`];
}

function actions(target, can) {
  if (!can.operate) return null;
  return h(
    "div",
    { class: "actions" },
    target.quarantine && !target.quarantine.lift ? button("lift", "Lift quarantine…", target) : null,
    target.paused ? null : button("sweep", "Sweep now…", target),
    target.paused ? button("resume", "Resume…", target) : button("pause", "Pause…", target),
  );
}

function button(action, word, target) {
  return h("button", { type: "button", "data-action": action, "data-target": target.name }, word);
}

function reason(target) {
  const said = [
    quarantineWords(target.quarantine), target.frozen, pausedWords(target.paused), target.why,
    unanswered(target.newest_sweep), target.check_failed,
  ].filter(Boolean);
  const open = target.incident
    ? h("p", {}, "Incident ", toIncident(target.incident), " is open.")
    : null;
  if (!said.length && !open) return null;
  return h("div", { class: "callout" }, open, said.map((s) => h("p", {}, s)));
}

function quarantineWords(quarantine) {
  if (!quarantine) return "";
  const { why, lift } = quarantine;
  return `Quarantined, users get 503: ${why}.` + (lift ? ` ${lift.by} lifts it: ${lift.why}.` : "");
}

/** Say why answers of the newest sweep are missing; where all are, the target's own words do. */
function unanswered(sweep) {
  if (!sweep?.missing || sweep.missing === sweep.probes) return "";
  const reasons = Object.entries(sweep.reasons).sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
  const counts = reasons.map(([reason, n]) => `${reason} ${whole(n)}`).join(", ");
  const missing = `${whole(sweep.missing)} of ${whole(sweep.probes)} probes`;
  return `${missing} of the newest sweep got no usable answer (${counts}).`;
}

function pausedWords(pause) {
  if (!pause) return "";
  const said = `Paused by ${pause.by} ${pause.until ? `until ${clock(pause.until)}` : "until somebody resumes it"}`;
  return pause.why ? `${said}: ${pause.why}` : `${said}.`;
}

function figures(target) {
  return [
    fact("ASR, 95 % interval", asrCell(target.asr), counted(target.asr)),
    fact("Evidence / threshold", evidenceCell(target.evidence),
      silent(target) ? "nothing is known" : PHASES[target.phase] ?? target.phase),
    fact("HS, 1 to 5", score(target.hs)),
    fact("Verdict", badge(VERDICTS[target.verdict] ?? VERDICTS.inconclusive), target.certified ? "certified" : ""),
    fact("Release", release(target.release)),
    lastGood(target),
    fact("Last sweep", moment(target.last_sweep_at)),
    fact("Mode", target.mode, `${target.suite}, ${target.attack}`),
  ];
}

/** Whether no probe of the epoch was answered. */
function silent(target) {
  return target.evidence?.everything === null;
}

function lastGood(target) {
  const served = target.releases.some((r) => r.good && r.release === target.release);
  if (target.last_known_good || !served) return fact("Last known good", release(target.last_known_good));
  return fact("Last known good", release(target.release), "in service");
}

function counted(asr) {
  return asr ? `n ${whole(asr.n)}, ${whole(asr.missing)} missing` : "";
}

function score(hs) {
  if (hs?.value == null) return NONE;
  return `${hs.value.toFixed(1)} (${hs.lower.toFixed(1)}–${hs.upper.toFixed(1)})`;
}

/** Lead to the probes that the evidence is made of. */
function behind(target) {
  const epoch = { purpose: "routine", since: target.epoch_started_at };
  const to = (verdict, words) => toTranscripts("targets", target.name, { ...epoch, verdict }, words);
  return h("p", { class: "small links" }, "Probes of this epoch: ", to("harmful", "harmful ones"), to("", "all"));
}

function strata(target) {
  const { strata: list, epoch_started_at: since } = target;
  if (!list.length) return h("p", { class: "muted" }, "No probes yet.");
  const counted = (s) => {
    const words = `${whole(s.harmful)} of ${whole(s.n)}`;
    const pooled = !s.stratum.includes("/");
    return pooled ? words : toTranscripts("targets", target.name, { stratum: s.stratum, since }, words);
  };
  return table("Strata, most evidence first", STRATA, rows(list.map((s) =>
    row(`stratum-${s.stratum}`, STRATA, [
      s.stratum, counted(s),
      s.value === null ? NONE : `${percent(s.value)} (${interval(s)})`,
      s.null === null ? NONE : percent(s.null), s.log === null ? NONE : amount(s.log), whole(s.missing),
    ]),
  )));
}

function releases(target) {
  if (!target.releases.length) return h("p", { class: "muted" }, "None is known yet.");
  const served = target.up_releases.filter((s) => s.takes_traffic).map((s) => s.release);
  return table("Releases, newest mark first", RELEASES, rows(target.releases.map((r) =>
    row(`release-${r.release}`, RELEASES, [
      [release(r.release), served.includes(r.release) ? h("span", { class: "note" }, "in service") : null],
      r.good ? badge({ word: "good", tone: "good", icon: "healthy" }) : h("span", { class: "muted" }, "not good"),
      estimate(r.asr), estimate(r.over_refusal), estimate(r.utility),
      marked(r.marked_at),
    ]),
  )));
}

function marked(at) {
  return Date.parse(at) <= 0 ? h("span", { class: "muted" }, "by the settings") : moment(at);
}

function estimate(found) {
  return found?.value == null ? NONE : `${percent(found.value)} (${interval(found)})`;
}

function standing(target) {
  return [
    fact("Judge", target.judge, target.frozen || "not frozen"),
    fact("Held against", target.baseline ? release(target.baseline) : "the fixed rate p0"),
    fact("Epoch began", moment(target.epoch_started_at)),
    fact("Sweeps since the daemon’s start", whole(target.sweeps), `${whole(target.sweeps_failed)} failed`),
    ...target.up_releases.map((s) =>
      fact(s.takes_traffic ? "Serves users" : "Up without traffic", release(s.release), s.endpoint)),
  ];
}
