// The way in: a token for a session.

import { signIn } from "./api.js";
import { h } from "./dom.js";

/**
 * Show the form.
 *
 * @param {Function} done Called with the session.
 */
export function signInForm(done) {
  const fault = h("p", { class: "fault", role: "alert", id: "token-fault" });
  const token = h("input", {
    id: "token", name: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false",
    "aria-describedby": "token-hint token-fault",
  });
  const form = h(
    "form",
    { class: "sign-in" },
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("label", { for: "token" }, "Token"),
    token,
    h("p", { class: "muted small", id: "token-hint" },
      "“alignd token new” makes one. It is sent once and not kept here."),
    fault,
    h("button", { type: "submit", class: "primary" }, "Sign in"),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.textContent = "";
    try {
      const session = await signIn(token.value.trim());
      token.value = "";
      done(session);
    } catch (error) {
      fault.textContent = error.message;
      token.select();
    }
  });
  return form;
}
