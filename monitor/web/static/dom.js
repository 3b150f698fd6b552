// Nodes are built, never parsed: text stays text whatever it holds.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; children may be nodes, texts, lists and nothing. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Draw an icon of icons.svg; it says nothing to a screen reader, for a word stands beside it. */
export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, s("use", { href: `${ICONS}#${name}` }));
}

const ICONS = new URL("icons.svg", import.meta.url).pathname;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false && c !== "");
}

/**
 * Make what stands in a node look like fresh nodes and keep every element that can stay: focus, selection, scroll and
 * opened details survive a refresh. An element with `data-key` is known by it, the others by their place.
 */
export function morph(parent, fresh) {
  const focused = document.activeElement;
  morphChildren(parent, flat([fresh]).map((c) => (typeof c === "string" ? document.createTextNode(c) : c)));
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function morphChildren(parent, fresh) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let here = parent.firstChild;
  for (const next of fresh) {
    const key = next.dataset?.key;
    const kept = key ? keyed.get(key) : here;
    if (kept && kept.parentNode === parent && alike(kept, next)) {
      if (kept === here) here = here.nextSibling;
      else parent.insertBefore(kept, here);
      become(kept, next);
    } else {
      parent.insertBefore(next, here);
    }
  }
  while (here) {
    const gone = here;
    here = here.nextSibling;
    gone.remove();
  }
}

function alike(kept, next) {
  return kept.nodeName === next.nodeName && kept.dataset?.key === next.dataset?.key;
}

function become(kept, next) {
  if (kept.nodeType === Node.TEXT_NODE) {
    if (kept.data !== next.data) kept.data = next.data;
    return;
  }
  for (const { name } of [...kept.attributes]) {
    if (!next.hasAttribute(name) && !OWNED.has(name)) kept.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (!OWNED.has(name) && kept.getAttribute(name) !== value) kept.setAttribute(name, value);
  }
  morphChildren(kept, [...next.childNodes]);
}

/** What the reader changes and a refresh leaves alone: opened details. */
const OWNED = new Set(["open"]);
