// JSON as people read it: folded where it is large, dots where its type says that it is secret.

import { isHidden, isSecret, partOf, withoutSecrets } from "./schema.js";
import { Copy, html, useState } from "./ui.js";

const LONG = 300;
const SHORT = 60;
const MANY = 30;

/** A value with its type's JSON Schema, where that is known. `hidden`: it is not, so nothing is shown unasked. */
export function Value({ value, schema = {}, hidden = false, name }) {
  const [show, set] = useState(false);
  if (isHidden(value)) return html`<span class="value"><${Dots} /></span>`;
  if (hidden && !show && value !== null) {
    return html`<span class="value"><${Dots} /> <button class="quiet" onClick=${() => set(true)}>Show</button></span>`;
  }
  const secret = isSecret(schema, schema);
  return html`<div class="value">
    <${Part} value=${value} schema=${schema} top=${schema} depth=${0} />
    ${!secret && value !== null && typeof value === "object" &&
    html`<${Copy} text=${JSON.stringify(withoutSecrets(value, schema), null, 2)} label=${name ? `Copy ${name}` : "Copy"} />`}
  </div>`;
}

const Dots = () => html`<span class="dots" role="img" aria-label="a secret">••••••</span>`;

function Part({ value, schema, top, depth }) {
  if (value !== null && isSecret(schema, top)) return html`<${Dots} />`;
  if (isSmall(value)) return html`<${Line} ...${{ value, schema, top }} />`;
  if (Array.isArray(value)) return html`<${Fold} entries=${[...value.entries()]} marks="[]" ...${{ schema, top, depth }} />`;
  if (value !== null && typeof value === "object") {
    return html`<${Fold} entries=${Object.entries(value)} marks="{}" ...${{ schema, top, depth }} />`;
  }
  if (typeof value === "string") return html`<${Text} text=${value} />`;
  return html`<span class=${`json ${value === null ? "null" : typeof value}`}>${String(value)}</span>`;
}

/** Whether it fits on a line. */
const isSmall = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value) && JSON.stringify(value).length <= SHORT &&
  Object.values(value).every((each) => each === null || typeof each !== "object");

const Line = ({ value, schema, top }) => html`<span class="json line">${Object.entries(value).map(([name, each], place) => html`<span key=${name}>${place ? ", " : ""}<span
  class="json name">${name}</span><span class="muted">: </span><${Part} value=${each} schema=${partOf(schema, top, name)} top=${top} /></span>`)}${!Object.keys(value).length && "{}"}</span>`;

function Text({ text }) {
  const [whole, set] = useState(text.length <= LONG);
  return html`<span class="json string">${JSON.stringify(whole ? text : text.slice(0, LONG))}</span>
    ${!whole && html` <button class="quiet" onClick=${() => set(true)}>all ${text.length.toLocaleString()} characters</button>`}`;
}

function Fold({ entries, marks, schema, top, depth }) {
  const [open, setOpen] = useState(depth < 2 && entries.length <= MANY);
  const [all, setAll] = useState(entries.length <= MANY);
  if (!entries.length) return html`<span class="json">${marks}</span>`;
  const list = marks === "[]";
  return html`<details class="fold" open=${open} onToggle=${(event) => setOpen(event.target.open)}>
    <summary><span class="json">${marks[0]}${open ? "" : " … "}${open ? "" : marks[1]}</span>
      <span class="muted"> ${entries.length} ${list ? "item" : "member"}${entries.length > 1 ? "s" : ""}</span></summary>
    ${open && html`<ul>${(all ? entries : entries.slice(0, MANY)).map(
      ([name, value]) => html`<li key=${name}>${!list && html`<span class="json name">${name}</span><span class="muted">: </span>`}
        <${Part} value=${value} schema=${partOf(schema, top, name)} top=${top} depth=${depth + 1} /></li>`,
    )}
    ${!all && html`<li><button class="quiet" onClick=${() => setAll(true)}>${entries.length - MANY} more</button></li>`}</ul>`}
  </details>`;
}
