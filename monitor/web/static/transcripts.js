// The probes behind a target's evidence or an incident, one by one: how each was judged, never its text.

import { get } from "./api.js";
import { h } from "./dom.js";
import { NONE, clock, figure, moment, release, whole } from "./format.js";
import { crumbs, toIncident, toTarget, transcriptsOf } from "./parts.js";
import { badge } from "./states.js";
import { row, rows, table } from "./table.js";

/** Each look is put down in the audit log: it is not repeated every five seconds. */
export const still = true;

const COLUMNS = [
  { name: "Probe" }, { name: "Verdict" }, { name: "Category" }, { name: "Attack" }, { name: "Prompt" },
  { name: "Answer" },
];
const VERDICTS = {
  harmful: { word: "harmful", tone: "bad", icon: "breach" }, safe: { word: "safe", tone: "good", icon: "healthy" },
  unscored: { word: "unscored", tone: "calm", icon: "unknown" },
  missing: { word: "missing", tone: "warn", icon: "down" },
};
const SEALS = {
  key_missing: { word: "key missing", tone: "warn", icon: "down" },
  altered: { word: "altered", tone: "bad", icon: "breach" },
  unknown_format: { word: "of a later version", tone: "warn", icon: "unknown" },
};
const PURPOSES = ["routine", "certify", "confirm", "profile", "gates", "recovery", "audit"];
const KINDS = { harm: "", benign: "harmless prompt", task: "task" };
const ASKED = ["purpose", "verdict", "kind", "stratum", "sweep", "since", "before"];
/** A page may be empty and have a next one: so many are looked through before a person is asked. */
const LOOKS_MAX = 4;

export const title = (data) => data?.page.incident || data?.page.target || "Probes";

export async function load({ of, id }, signal) {
  const said = new URLSearchParams(location.search);
  const asked = Object.fromEntries(ASKED.filter((name) => said.get(name)).map((name) => [name, said.get(name)]));
  const page = await read(of, id, asked, signal);
  return { of, id, asked, page };
}

async function read(of, id, asked, signal) {
  let page = await get(transcriptsOf(of, id, asked), signal);
  for (let i = 1; i < LOOKS_MAX && !page.transcripts.length && page.before; i += 1) {
    page = await get(transcriptsOf(of, id, { ...asked, before: page.before }), signal);
  }
  return page;
}

export function changes() {
  return [];
}

export function render(data) {
  const { page, of, id } = data;
  return [
    crumbs(toTarget(page.target), of === "incidents" ? toIncident(id) : null),
    h("div", { class: "head" }, h("h1", {}, of === "incidents" ? `Probes behind ${id}` : `Probes of ${id}`)),
    h("p", { class: "lead" }, bounds(data)),
    notes(page),
    page.keep === "nothing" && !page.oldest ? null : [
      choices(data, "verdict", "Verdict", Object.keys(VERDICTS)),
      choices(data, "kind", "Suite", Object.keys(KINDS)),
      choices(data, "purpose", "Asked for", PURPOSES),
      narrowed(data),
    ],
    h("section", { "aria-label": "Probes" }, list(data)),
    pager(data),
  ];
}

function bounds({ page, asked }) {
  const from = page.since ? `from ${clock(page.since)} ` : "";
  const to = page.until ? `to ${clock(page.until)}` : from ? "until now" : "";
  const span = from || to ? `Sweeps ${from}${to}, newest first. ` : "Newest first. ";
  return `${span}What was asked and answered is not shown: only digests, and an answer’s length where it is kept.${
    asked.before ? " Older page." : ""}`;
}

/** Say what is not there, and what would bring it. */
function notes(page) {
  const said = [off(page), ...gone(page), failed(page), damaged(page), ...seals(page)].filter(Boolean);
  const shown = page.transcripts[0]?.probe ?? "PROBE";
  const how = page.keep === "encrypted" || page.transcripts.some((t) => t.texts === "sealed")
    ? ["To read one, on the daemon’s machine: ", h("code", {}, `alignd transcripts show ${shown}`)]
    : page.keep === "hashes"
      ? ["Texts are not kept, only their hashes. To keep them sealed from now on, set ",
        h("code", {}, "transcripts.keep: encrypted"), " and a key."]
      : null;
  if (!said.length && !how) return null;
  return h("div", { class: `callout ${faulty(page) ? "bad" : ""}` }, said.map((s) => h("p", {}, s)),
    how ? h("p", { class: "muted" }, how) : null);
}

/** Whether something is wrong, and not only as it was set. */
function faulty(page) {
  return page.failed || page.damaged || page.transcripts.some((t) => SEALS[t.texts]);
}

function off(page) {
  if (page.keep !== "nothing") return null;
  return ["Transcripts are off: nothing is kept of what is asked and answered. To keep them from now on, set ",
    h("code", {}, "transcripts.keep: hashes"), " or ", h("code", {}, "encrypted"),
    " in alignd.yaml and have the daemon read it again."];
}

function gone(page) {
  if (!page.since || page.keep === "nothing") return [];
  const first = page.since.slice(0, 10);
  if (page.oldest && page.oldest <= first) return [];
  const kept = page.oldest ? `the oldest that there are, are of ${page.oldest}` : "there are none";
  return [`Transcripts are kept for ${whole(page.days)} days: ${kept}.`];
}

function failed(page) {
  if (!page.failed) return null;
  return `${whole(page.failed)} transcripts could not be written since the daemon’s start; its log says why.`;
}

function damaged(page) {
  return page.damaged ? `${whole(page.damaged)} damaged lines were passed over.` : null;
}

function seals(page) {
  const count = (texts) => page.transcripts.filter((t) => t.texts === texts);
  const [missing, altered] = [count("key_missing"), count("altered")];
  const keys = [...new Set(missing.map((t) => t.key))].join(", ");
  return [
    missing.length ? [`${missing.length} are sealed with the key ${keys}, which is not at hand: add it to `,
      h("code", {}, "transcripts.old_keys"), "."] : null,
    altered.length ? `${altered.length} were changed after they were written: believe nothing that they say.` : null,
  ];
}

function choices({ of, id, asked }, name, words, values) {
  const chosen = asked[name] ?? "";
  const link = (value) => h("a", {
    href: transcriptsOf(of, id, { ...asked, before: "", [name]: value }),
    "aria-current": value === chosen ? "true" : null, "data-key": `${name}-${value}`,
  }, value || "all");
  return h("nav", { class: "choices", "aria-label": words }, h("span", {}, words), ["", ...values].map(link));
}

/** Say by what else it is narrowed down, and lead out of it. */
function narrowed({ of, id, asked }) {
  const names = { stratum: "Stratum", sweep: "Sweep" };
  const found = Object.keys(names).filter((name) => asked[name]);
  if (!found.length) return null;
  return h("p", { class: "choices" }, found.map((name) => [
    h("span", {}, names[name]), h("strong", {}, asked[name]),
    h("a", { href: transcriptsOf(of, id, { ...asked, before: "", [name]: "" }) }, `every ${name}`)]));
}

function list({ page, of, id, asked }) {
  if (!page.transcripts.length) {
    const why = page.before ? "None among those that were looked at; there are older ones." : "There is none.";
    return h("p", { class: "muted" }, why);
  }
  const answers = Map.groupBy(page.transcripts.filter((t) => t.answer), (t) => t.answer.digest);
  return table("Probes, newest first", COLUMNS, rows(page.transcripts.map((t) =>
    row(`probe-${t.probe}`, COLUMNS, [
      [h("code", {}, t.probe), h("span", { class: "note" }, moment(t.at, { only: "clock" }), toSweep(t, of, id, asked)),
        t.release ? h("span", { class: "note" }, release(t.release)) : null],
      verdict(t), [t.category || h("span", { class: "muted" }, NONE), h("span", { class: "note" }, t.suite)],
      t.attack, prompt(t), answer(t, answers),
    ]))));
}

function toSweep(t, of, id, asked) {
  if (asked.sweep) return null;
  const href = transcriptsOf(of, id, { sweep: t.sweep });
  return [" · ", h("a", { href, "aria-label": `sweep ${t.sweep}` }, "its sweep")];
}

function verdict(t) {
  const found = VERDICTS[t.verdict] ?? { word: t.verdict, tone: "calm", icon: "unknown" };
  const counts = t.kind === "harm" || t.verdict === "missing" ? found : { ...found, tone: "calm", icon: "ended" };
  const said = [t.score === null ? "" : `${figure(t.score)} of 5`, t.missing || t.judge, KINDS[t.kind]].filter(Boolean);
  return [badge(counts), h("span", { class: "note" }, said.join(" · "))];
}

function prompt(t) {
  return [`${t.prompt.length} message${t.prompt.length === 1 ? "" : "s"}`, digest(t.prompt.at(-1)?.digest)];
}

function answer(t, answers) {
  if (!t.answer) return h("span", { class: "muted" }, "none came");
  const same = answers.get(t.answer.digest).length;
  return [
    SEALS[t.texts] ? badge(SEALS[t.texts]) : null,
    t.answer.characters === null ? null : `${whole(t.answer.characters)} characters`,
    ["", "stop"].includes(t.answer.finish_reason) ? null : `, ended by ${t.answer.finish_reason}`,
    digest(t.answer.digest),
    same > 1 ? h("span", { class: "note" }, `the same in ${same} probes here`) : null,
  ];
}

/** Twelve digits of a digest tell two texts apart. */
function digest(value) {
  return value ? h("code", { class: "note", title: value }, value.slice(0, 12)) : null;
}

function pager({ page, of, id, asked }) {
  const newest = asked.before ? h("a", { href: transcriptsOf(of, id, { ...asked, before: "" }) }, "Newest") : null;
  const words = page.transcripts.length ? "Older" : "Look further back";
  const older = page.before ? h("a", { href: transcriptsOf(of, id, { ...asked, before: page.before }) }, words) : null;
  if (!newest && !older) return null;
  return h("nav", { class: "links", "aria-label": "Pages" }, newest, older);
}
