// Tables that stay tables for those who hear them, also where narrow screens show each row as a card.

import { h } from "./dom.js";

/**
 * Make a table.
 *
 * @param {string} caption What it shows; heard, and seen where `shown`.
 * @param {Array<{name: string, number?: boolean}>} columns
 * @param {Array} bodies Row groups, as `rows` and `group` make them.
 */
export function table(caption, columns, bodies, { shown = false } = {}) {
  const heads = columns.map((c) =>
    h("th", { role: "columnheader", scope: "col", class: c.number ? "number" : null }, c.name),
  );
  return h(
    "table",
    { role: "table", class: "cards" },
    h("caption", { class: shown ? null : "heard" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    bodies,
  );
}

/** Make a row group with a heading of its own. */
export function group(key, heading, columns, rows) {
  const head = h(
    "tr",
    { role: "row", class: "group", "data-key": `group-${key}` },
    h("th", { role: "rowheader", scope: "rowgroup", colspan: columns.length }, heading),
  );
  return h("tbody", { role: "rowgroup", "data-key": key }, head, rows);
}

/** Make a plain row group. */
export function rows(list) {
  return h("tbody", { role: "rowgroup" }, list);
}

/** Make a row: the first cell names it. */
export function row(key, columns, cells, attributes = {}) {
  return h(
    "tr",
    { role: "row", "data-key": key, ...attributes },
    cells.map((content, i) => {
      const shared = { "data-label": columns[i].name, class: columns[i].number ? "number" : null };
      return i === 0
        ? h("th", { role: "rowheader", scope: "row", ...shared }, content)
        : h("td", { role: "cell", ...shared }, h("div", { class: "value" }, content));
    }),
  );
}
