// The daemon's API as the page uses it.

import { zone } from "./format.js";

const ROOT = "/api/v1";
const TIMEOUT_MS = 10000;

/** The API said no, or said nothing: `status` is 0 where nobody answered. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let csrf = "";

/** Read something. */
export function get(path, signal) {
  return ask("GET", path, undefined, signal);
}

/** Change something; the session's token goes with it. */
export function change(method, path, body) {
  return ask(method, path, body);
}

/** Say who asks, and with which scopes; keep the token that changes must carry. */
export async function whoami(signal) {
  return keep(await ask("GET", "/whoami", undefined, signal));
}

/** Begin a session with a token, which is kept nowhere. */
export async function signIn(token) {
  return keep(await ask("POST", "/session", { token }));
}

/** End the session. */
export async function signOut() {
  await ask("DELETE", "/session");
  csrf = "";
}

function keep(session) {
  if (session?.csrf) csrf = session.csrf;
  return session;
}

async function ask(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  try {
    response = await fetch(ROOT + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin",
      cache: "no-store", redirect: "error", signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The daemon does not answer.");
  }
  learnTime(response.headers.get("Date"));
  const said = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, words(response.status, said));
  return said;
}

/** Take over the server's clock where it differs by more than the header's precision. */
function learnTime(date) {
  const ahead = Date.parse(date ?? "") - Date.now();
  if (Number.isFinite(ahead)) zone.ahead = Math.abs(ahead) > 2000 ? ahead : 0;
}

function words(status, said) {
  const detail = said?.detail ?? said?.error;
  if (typeof detail === "string") return detail;
  return `The daemon answered with status ${status}.`;
}
