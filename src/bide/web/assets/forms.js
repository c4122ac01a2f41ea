// A form out of a JSON Schema. What is typed stays text until it is sent, so large numbers and leading zeros live.

import { html, Problem, useState } from "./ui.js";
import { draftOf, inWords, isSecret, limits, parsedJson, resolved, shapeOf, titleOf, written } from "./schema.js";

/**
 * A form for a value of a type. `send(jsonText)` may throw; its `path` says which field is at fault. `initial` is a
 * value to begin with; `what` is what a value without a title is called.
 */
export function SchemaForm({ schema, initial, send, action, what = "Value", children }) {
  const plain = !Object.keys(schema ?? {}).length;
  const [json, setJson] = useState(plain);
  const [draft, setDraft] = useState(() => draftOf(initial ?? resolved(schema, schema).default ?? objectOrNone(schema), schema, schema));
  const [text, setText] = useState(() => (initial === undefined ? "" : JSON.stringify(initial, null, 2)));
  const [state, setState] = useState({ busy: false, error: null, done: false });
  const toggle = () => {
    if (!json) setText(attempt(() => JSON.stringify(JSON.parse(written(draft, schema, schema)), null, 2)) ?? text);
    else setDraft(attempt(() => draftOf(JSON.parse(text), schema, schema)) ?? draft);
    setJson(!json);
  };
  const submit = async (event) => {
    event.preventDefault();
    if (state.busy) return;
    setState({ busy: true });
    try {
      await send(json ? parsedJson(text.trim() || "null", "$") : written(draft, schema, schema));
      setState({ done: true });
    } catch (error) {
      setState({ error });
    }
  };
  const { error } = state;
  return html`<form class="schema-form" onSubmit=${submit} noValidate>
    ${json
      ? html`<label class="field"><span>JSON</span><textarea rows="5" spellcheck=${false} value=${text} placeholder="null"
          onInput=${(event) => setText(event.target.value)} /></label>`
      : html`<${Field} schema=${schema} top=${schema} value=${draft} change=${setDraft} path="$" error=${error} required=${true} name=${what} />`}
    ${error && (json || !error.path || error.path === "$") && html`<${Problem} error=${error} />`}
    ${children}
    <footer>${!plain && html`<button type="button" class="quiet" onClick=${toggle}>${json ? "As a form" : "As JSON"}</button>`}
      <button class="primary" aria-disabled=${state.busy}>${action}</button></footer>
  </form>`;
}

const attempt = (what) => {
  try {
    return what();
  } catch {
    return undefined; // not finished yet: the other mode begins with what it had
  }
};

const objectOrNone = (schema) => (shapeOf(schema, schema).kind === "object" ? {} : undefined);

function Field({ schema, top: definitions, value, change, path, error, required, name }) {
  const shape = shapeOf(schema, definitions);
  const { kind, schema: found, optional } = shape;
  const label = titleOf(schema) ?? inWords(name);
  const wrong = error?.path === path && path !== "$" ? error.message : null;
  const id = `f-${path}`;
  if (kind === "object") {
    const wanted = new Set(found.required ?? []);
    const top = path === "$";
    return html`<fieldset class=${top ? "top" : ""}>${!top && html`<legend>${label}</legend>`}
      ${found.description && html`<p class="muted">${found.description}</p>`}
      ${Object.entries(found.properties).map(([member, part]) => html`<${Field} key=${member} schema=${part} top=${definitions}
        name=${member} value=${value?.[member]} path=${`${path}.${member}`} error=${error} required=${wanted.has(member)}
        change=${(next) => change((old) => ({ ...old, [member]: typeof next === "function" ? next(old?.[member]) : next }))} />`)}
    </fieldset>`;
  }
  if (kind === "list") return html`<${List} ...${{ found, top: definitions, value, change, path, error, label }} />`;
  const hint = [found.description, required && !optional ? "" : "optional", limits(found)].filter(Boolean).join(" · ");
  return html`<div class=${`field ${wrong ? "wrong" : ""}`}>
    <label for=${id}><span>${label}</span>${hint && html`<em>${hint}</em>`}</label>
    <${Input} ...${{ shape, value, change, id, secret: isSecret(schema, definitions), required }} />
    ${wrong && html`<p class="wrong" role="alert">${wrong}</p>`}
  </div>`;
}

function List({ found, top, value, change, path, error, label }) {
  const items = value ?? [];
  const put = (place, next) => change((old = []) => old.map((each, at) => (at === place ? (typeof next === "function" ? next(each) : next) : each)));
  return html`<fieldset><legend>${label}</legend>
    ${items.map((each, place) => html`<div class="item"><${Field} key=${place} schema=${found.items} top=${top} value=${each}
      name=${`${place + 1}`} path=${`${path}[${place}]`} error=${error} required=${true} change=${(next) => put(place, next)} />
      <button type="button" class="quiet" aria-label=${`Remove ${place + 1}`} onClick=${() => change(items.filter((_, at) => at !== place))}>✕</button></div>`)}
    <button type="button" class="quiet" onClick=${() => change([...items, undefined])}>+ Add</button>
  </fieldset>`;
}

function Input({ shape: { kind, schema, choices, optional }, value, change, id, secret, required }) {
  const typed = (event) => change(event.target.value);
  if (kind === "boolean") return html`<${Segments} id=${id} value=${value} change=${change} choices=${[["true", "Yes"], ["false", "No"]]} />`;
  if (kind === "choice" && choices.length <= 4) {
    return html`<${Segments} id=${id} value=${value} change=${change} choices=${choices.map((each) => [each, String(each)])} />`;
  }
  if (kind === "choice") {
    const chosen = choices.findIndex((each) => each === value);
    return html`<select id=${id} value=${chosen} onChange=${(event) => change(choices[event.target.value])}>
      <option value="-1">${required && !optional ? "Choose…" : "–"}</option>
      ${choices.map((each, place) => html`<option value=${place}>${String(each)}</option>`)}</select>`;
  }
  if (kind === "json") return html`<textarea id=${id} rows="3" spellcheck=${false} value=${value ?? ""} placeholder="JSON" onInput=${typed} />`;
  if (kind === "text" && schema.maxLength > 200 && !secret) return html`<textarea id=${id} rows="3" value=${value ?? ""} onInput=${typed} />`;
  const type = secret ? "password" : { date: "date", email: "email", uri: "url" }[schema.format] ?? "text";
  return html`<input id=${id} type=${type} value=${value ?? ""} onInput=${typed} autocomplete="off"
    inputmode=${kind === "integer" ? "numeric" : kind === "number" ? "decimal" : undefined}
    placeholder=${{ "date-time": "2026-11-23T09:30:00Z", time: "09:30:00", duration: "PT90S" }[schema.format] ?? String(schema.examples?.find((each) => each !== null) ?? "")} />`;
}

/** One of a few, all of which can be seen. */
function Segments({ id, value, change, choices }) {
  return html`<div class="segments" role="radiogroup" id=${id}>${choices.map(
    ([each, label], place) => html`<label class=${value === each ? "on" : ""}><input type="radio" name=${id} id=${place ? undefined : `${id}-0`}
      checked=${value === each} onChange=${() => change(each)} />${label}</label>`)}</div>`;
}
