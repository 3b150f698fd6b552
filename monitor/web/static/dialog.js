// Nothing is changed without a dialog that says on what, to what and what follows.

import { change } from "./api.js";
import { h } from "./dom.js";
import { fact } from "./parts.js";

/**
 * Ask, then do.
 *
 * @param {{title: string, facts: Array<[string, *]>, consequence: string[], verb: string, tone?: string,
 *   fields?: Node[], typed?: string, method: string, path: string, body?: Function}} question
 *   `typed` is what has to be typed first; `body` makes the body when it is sent.
 * @returns {Promise<boolean>} Whether it was done.
 */
export function confirm(question) {
  const { promise, resolve } = Promise.withResolvers();
  const fault = h("p", { class: "fault", role: "alert" });
  const typed = question.typed ? typedField(question.typed) : null;
  const kind = `primary ${question.tone ?? ""}`;
  const act = h("button", { type: "submit", class: kind, disabled: Boolean(typed) }, question.verb);
  const cancel = h("button", { type: "button", autofocus: !typed }, "Cancel");
  const form = h(
    "form",
    {},
    h("h2", { id: "dialog-title" }, question.title),
    h("dl", { class: "facts" }, question.facts.map(([name, value]) => fact(name, value))),
    h("div", { id: "dialog-text" }, question.consequence.map((line) => h("p", {}, line))),
    question.fields ?? [],
    typed,
    fault,
    h("div", { class: "actions" }, cancel, act),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" }, form);
  const input = typed?.querySelector("input");
  input?.addEventListener("input", () => { act.disabled = input.value !== question.typed; });
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "done"); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(question, { act, dialog, fault });
  });
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}

async function send(question, { act, dialog, fault }) {
  fault.textContent = "";
  act.disabled = true;
  try {
    await change(question.method, question.path, question.body?.());
    dialog.close("done");
  } catch (error) {
    fault.textContent = error.message;
    act.disabled = false;
  }
}

function typedField(word) {
  return h(
    "p",
    { class: "field" },
    h("label", { for: "typed" }, "Type ", h("strong", {}, word), " to confirm"),
    h("input", { id: "typed", autocomplete: "off", autocapitalize: "off", spellcheck: "false", autofocus: true }),
  );
}
