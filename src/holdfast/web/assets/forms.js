// A form out of a JSON Schema. What is typed stays text until it is sent, so large numbers and leading zeros live.

import { html, Problem, useState } from "./ui.js";
import { isSecret, resolved } from "./values.js";

const ABSENT = Symbol("absent");

/** What an input is made of: one of text, number, integer, boolean, choice, object, list or json. */
function shapeOf(schema, top) {
  const found = resolved(schema, top);
  const choices = (found.anyOf ?? found.oneOf)?.map((each) => resolved(each, top));
  if (choices) {
    const real = choices.filter((each) => each.type !== "null");
    const optional = real.length < choices.length;
    if (real.length === 1) return { ...shapeOf({ ...real[0], ...titles(found) }, top), optional };
    const kinds = new Set(real.map((each) => each.type));
    if (kinds.has("string") && [...kinds].every((kind) => ["string", "integer", "number"].includes(kind))) {
      return { kind: "text", schema: { ...real.find((each) => each.type === "string"), ...found }, optional };
    }
    return { kind: "json", schema: found, optional };
  }
  const types = [found.type].flat().filter((type) => type !== "null");
  const optional = [found.type].flat().includes("null");
  const of = (kind, more = {}) => ({ kind, schema: found, optional, ...more });
  if (found.const !== undefined) return of("choice", { choices: [found.const] });
  if (found.enum) return of("choice", { choices: found.enum.filter((each) => each !== null) });
  if (types.length === 2 && types.includes("string") && types.some((type) => /integer|number/.test(type))) return of("text");
  if (types.length !== 1) return of("json");
  if (types[0] === "object") return of(found.properties ? "object" : "json");
  if (types[0] === "array") return of(found.items && !found.prefixItems ? "list" : "json");
  return of({ string: "text", integer: "integer", number: "number", boolean: "boolean" }[types[0]] ?? "json");
}

const titles = ({ title, description, default: preset }) =>
  Object.fromEntries(Object.entries({ title, description, default: preset }).filter(([, value]) => value !== undefined));

class Misfit extends Error {
  constructor(path, message) {
    super(message);
    this.path = path;
  }
}

/** The JSON text of what was typed. Throws `Misfit` for what cannot be meant. */
function written(draft, schema, top, path = "$", required = true) {
  const { kind, optional, schema: found } = shapeOf(schema, top);
  const empty = draft === undefined || draft === "";
  if (kind === "object") return writtenObject(draft ?? {}, found, top, path);
  if (kind === "list") return `[${(draft ?? []).map((each, place) => written(each, found.items, top, `${path}[${place}]`)).join(",")}]`;
  if (empty) {
    if (!required) return ABSENT;
    if (optional) return "null";
    if (kind === "text" && draft === "" && !(found.minLength > 0)) return '""';
    throw new Misfit(path, "This is needed.");
  }
  if (kind === "integer" && !/^\s*-?\d+\s*$/.test(draft)) throw new Misfit(path, "A whole number, please.");
  if (kind === "number" && !/^\s*-?\d+(\.\d+)?(e[-+]?\d+)?\s*$/i.test(draft)) throw new Misfit(path, "A number, please.");
  if (kind === "integer" || kind === "number") return draft.trim().replace(/^(-?)0+(?=\d)/, "$1");
  if (kind === "json") return parsedJson(draft, path);
  return kind === "boolean" ? draft : JSON.stringify(draft);
}

function writtenObject(draft, schema, top, path) {
  const required = new Set(schema.required ?? []);
  const members = Object.entries(schema.properties).map(([name, part]) => {
    const text = written(draft[name], part, top, `${path}.${name}`, required.has(name));
    return text === ABSENT ? null : `${JSON.stringify(name)}:${text}`;
  });
  return `{${members.filter((each) => each !== null).join(",")}}`;
}

function parsedJson(text, path) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Misfit(path, `This is not JSON: ${error.message}`);
  }
  return text;
}

/** A value as what somebody might have typed. */
function draftOf(value, schema, top) {
  const { kind, schema: found } = shapeOf(schema, top);
  if (value === undefined || (value === null && kind !== "json")) return undefined;
  if (kind === "object") {
    return Object.fromEntries(Object.entries(found.properties).map(([name, part]) => [name, draftOf(value[name] ?? part.default, part, top)]));
  }
  if (kind === "list") return Array.isArray(value) ? value.map((each) => draftOf(each, found.items, top)) : [];
  if (kind === "json") return JSON.stringify(value, null, 2);
  return kind === "choice" ? value : String(value);
}

/**
 * A form for a value of a type. `send(jsonText)` may throw; its `path` says which field is at fault. `initial` is a
 * value to begin with.
 */
export function SchemaForm({ schema, initial, send, action, children }) {
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
      : html`<${Field} schema=${schema} top=${schema} value=${draft} change=${setDraft} path="$" error=${error} required=${true} />`}
    ${error && (json || !error.path || error.path === "$") && html`<${Problem} error=${error} />`}
    ${children}
    <footer>${!plain && html`<button type="button" class="quiet" onClick=${toggle}>${json ? "As a form" : "As JSON"}</button>`}
      <button class="primary" disabled=${state.busy}>${action}</button></footer>
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

function Field({ schema, top, value, change, path, error, required, name }) {
  const shape = shapeOf(schema, top);
  const { kind, schema: found, optional } = shape;
  const label = name ?? found.title ?? "Value";
  const wrong = error?.path === path && path !== "$" ? error.message : null;
  const id = `f-${path}`;
  if (kind === "object") {
    const wanted = new Set(found.required ?? []);
    return html`<fieldset class=${name ? "" : "top"}>${name && html`<legend>${label}</legend>`}
      ${found.description && html`<p class="muted">${found.description}</p>`}
      ${Object.entries(found.properties).map(([member, part]) => html`<${Field} key=${member} schema=${part} top=${top}
        name=${member} value=${value?.[member]} path=${`${path}.${member}`} error=${error} required=${wanted.has(member)}
        change=${(next) => change((old) => ({ ...old, [member]: typeof next === "function" ? next(old?.[member]) : next }))} />`)}
    </fieldset>`;
  }
  if (kind === "list") return html`<${List} ...${{ found, top, value, change, path, error, label }} />`;
  const hint = [found.description, required && !optional ? "" : "optional", limits(found)].filter(Boolean).join(" · ");
  return html`<div class=${`field ${wrong ? "wrong" : ""}`}>
    <label for=${id}><span>${label}</span>${hint && html`<em>${hint}</em>`}</label>
    <${Input} ...${{ shape, value, change, id, secret: isSecret(schema, top), required }} />
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
    placeholder=${{ "date-time": "2026-11-23T09:30:00Z", time: "09:30:00", duration: "PT90S" }[schema.format] ?? schema.examples?.[0] ?? ""} />`;
}

/** One of a few, all of which can be seen. */
function Segments({ id, value, change, choices }) {
  return html`<div class="segments" role="radiogroup" id=${id}>${choices.map(
    ([each, label], place) => html`<label class=${value === each ? "on" : ""}><input type="radio" name=${id} id=${place ? undefined : `${id}-0`}
      checked=${value === each} onChange=${() => change(each)} />${label}</label>`)}</div>`;
}

function limits({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern, multipleOf }) {
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  const size = minLength !== undefined || maxLength !== undefined;
  return [
    low !== undefined && high !== undefined ? `${low} to ${high}` : low !== undefined ? `at least ${low}` : high !== undefined ? `at most ${high}` : "",
    size ? `${minLength ?? 0} to ${maxLength ?? "any number of"} characters` : "",
    multipleOf ? `in steps of ${multipleOf}` : "",
    pattern ? `like ${pattern}` : "",
  ].filter(Boolean).join(", ");
}
