// The page's one loop: which view, its figures, how old they are, and what a person does.

import { ApiError, signOut, whoami } from "./api.js";
import { h, morph } from "./dom.js";
import { clock, now, span, zone } from "./format.js";
import * as fleet from "./fleet.js";
import * as incident from "./incident.js";
import { liftOf, orderOn, pauseOf, resumeOf, sweepOf } from "./orders.js";
import { signInForm } from "./signin.js";
import * as target from "./target.js";
import * as transcripts from "./transcripts.js";

const REFRESH_MS = 5000;
const SAID_MS = 8000;
const ROUTES = [
  [/^\/$/, fleet, () => ({})],
  [/^\/targets\/([^/]+)$/, target, (name) => ({ name })],
  [/^\/incidents\/([^/]+)$/, incident, (id) => ({ id })],
  [/^\/(targets|incidents)\/([^/]+)\/transcripts$/, transcripts, (of, id) => ({ of, id })],
];
const ACTIONS = {
  approve: () => orderOn("approve", view.data),
  abort: () => orderOn("abort", view.data),
  roll_back: () => orderOn("roll_back", view.data),
  pause: () => pauseOf(view.data.target, now),
  resume: () => resumeOf(view.data.target),
  sweep: () => sweepOf(view.data.target),
  lift: () => liftOf(view.data.target),
};

const main = document.querySelector("main");
const state = document.querySelector("#state");
const banner = document.querySelector("#banner");
const live = document.querySelector("#live");
const view = {
  module: null, params: {}, data: null, readAt: 0, failedAt: 0, stop: new AbortController(), timer: 0, saying: 0,
};
let session = null;

/** Show what the address says. */
function show({ focus = true } = {}) {
  view.stop.abort();
  Object.assign(view, { module: null, data: null, readAt: 0, stop: new AbortController() });
  for (const [pattern, module, named] of ROUTES) {
    const found = location.pathname.match(pattern);
    if (found) Object.assign(view, { module, params: named(...found.slice(1).map(decodeURIComponent)) });
  }
  if (!view.module) return refuse("Not found", "There is no such page.", focus);
  place([h("p", { class: "loading", role: "status" }, "Loading…")], false);
  main.setAttribute("aria-busy", "true");
  return refresh({ focus });
}

/** Read the view's figures and show them; what is shown stays where nothing can be read. */
async function refresh({ focus = false } = {}) {
  clearTimeout(view.timer);
  const { stop } = view;
  if (stop.signal.aborted) return;
  try {
    session ??= await whoami(stop.signal);
    const data = await view.module.load(view.params, stop.signal);
    if (stop.signal.aborted) return;
    took(data, focus);
  } catch (error) {
    if (stop.signal.aborted) return;
    failed(error, focus);
    if (stop.signal.aborted) return;
  }
  frame();
  if (!settled()) view.timer = setTimeout(() => (document.hidden ? undefined : refresh()), REFRESH_MS);
}

/** Whether the view stays as it was read until somebody asks again. */
function settled() {
  return Boolean(view.module?.still && view.data);
}

function took(data, focus) {
  const before = view.data;
  Object.assign(view, { data, readAt: Date.now(), failedAt: 0 });
  if (before) say(view.module.changes(before, data).join(". "));
  draw(!before && focus);
}

function failed(error, focus) {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) return askForToken();
  if (error.status === 0 || error.status === 429 || error.status >= 500) {
    view.failedAt ||= Date.now();
    if (view.data) return draw(false);
  }
  return refuse(error.status === 404 ? "Not found" : "Can’t be shown", error.message, focus);
}

function refuse(heading, why, focus) {
  place([h("h1", {}, heading), h("p", {}, why), h("p", {}, h("a", { href: "/" }, "Fleet"))], focus);
}

function draw(focus) {
  const scopes = session?.scopes ?? [];
  const can = { operate: scopes.includes("operate"), approve: scopes.includes("approve") };
  place(view.module.render(view.data, { can, width: main.clientWidth }), focus);
}

function place(nodes, focus) {
  main.removeAttribute("aria-busy");
  morph(main, nodes);
  const heading = main.querySelector("h1");
  document.title = `${heading?.textContent ?? "Loading"} – alignd`;
  if (focus && heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

/** Say above the view how old its figures are and who reads them. */
function frame() {
  const old = view.failedAt > 0;
  banner.hidden = !old;
  const said = old ? `The daemon does not answer. ${view.readAt ? ofWhen() : "The page goes on asking."}` : "";
  if (banner.textContent !== said) banner.textContent = said;
  morph(state, view.readAt && !old ? `Updated ${clock(new Date(now()).toISOString())}` : old ? "Not up to date" : "");
  morph(document.querySelector("#who"), session?.csrf ? [
    h("span", {}, session.name), h("button", { type: "button", "data-action": "sign-out", class: "quiet" }, "Sign out"),
  ] : session ? h("button", { type: "button", "data-action": "sign-in", class: "quiet" }, "Sign in") : null);
}

/** Tell everybody what changed, seen and heard, for a while. */
function say(words) {
  if (!words) return;
  live.textContent = words;
  clearTimeout(view.saying);
  view.saying = setTimeout(() => { live.textContent = ""; }, SAID_MS);
}

function ofWhen() {
  const at = new Date(view.readAt + zone.ahead).toISOString();
  return `Figures are of ${clock(at)}, ${span((Date.now() - view.readAt) / 1000)} old.`;
}

function askForToken() {
  session = null;
  Object.assign(view, { data: null, readAt: 0, failedAt: 0 });
  view.stop.abort();
  frame();
  main.replaceChildren(signInForm((begun) => { session = begun; show(); }));
  main.removeAttribute("aria-busy");
  document.title = "Sign in – alignd";
  main.querySelector("input").focus();
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[href^='/']");
  if (link && event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    history.pushState(null, "", link.href);
    show();
    return;
  }
  const action = event.target.closest("[data-action]")?.dataset.action;
  if (action === "theme") switchTheme();
  if (action === "zone") switchZone();
  if (action === "sign-in") askForToken();
  if (action === "sign-out") {
    await signOut().catch(() => null);
    session = null;
    show();
  }
  if (ACTIONS[action] && (await ACTIONS[action]())) {
    say("The daemon has taken it; it acts within seconds.");
    refresh();
  }
});

function switchTheme() {
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const chosen = (document.documentElement.dataset.theme ?? preferred) === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  localStorage.setItem("alignd.theme", chosen);
}

function switchZone() {
  zone.local = !zone.local;
  localStorage.setItem("alignd.zone", zone.local ? "local" : "utc");
  if (view.data) draw(false);
  showZone();
  frame();
}

function showZone() {
  document.querySelector("[data-action='zone']").textContent = zone.local ? "Times: local" : "Times: UTC";
}

main.addEventListener("input", (event) => { if (view.data && view.module.typed?.(event.target)) draw(false); });
addEventListener("resize", () => { if (view.data) draw(false); });
addEventListener("popstate", () => show());
document.addEventListener("visibilitychange", () => { if (!document.hidden && view.module && !settled()) refresh(); });
zone.local = localStorage.getItem("alignd.zone") === "local";
showZone();
show({ focus: false });
