// The HTTP API of this app, out of its OpenAPI document: to read, to copy, and to try.

import { ask, get, root } from "./api.js";
import { writtenExample } from "./schema.js";
import { Command, html, Problem, useData, useState } from "./ui.js";

const HERE = { from: root };
const GROUPS = ["Starting", "All instances, and the hub", "One instance"];

export function Docs() {
  const { data, error, reload } = useData(() => get("openapi.json", {}, HERE), "openapi");
  const [text, setText] = useState("");
  if (!data) return error && html`<h1>HTTP API</h1><${Problem} error=${error} retry=${reload} />`;
  const wanted = text.trim().toLowerCase();
  const operations = operationsOf(data).filter((each) => `${each.method} ${each.path} ${each.summary}`.toLowerCase().includes(wanted));
  const groups = GROUPS.map((group) => [group, operations.filter((each) => each.group === group)]).filter(([, found]) => found.length);
  const schemas = Object.entries(data.components.schemas).sort(([one], [other]) => (one < other ? -1 : 1));
  return html`<div class="api"><h1>HTTP API</h1>
    <p><${Ticks} text=${data.info.description} /></p>
    <p>${data.security.length ? html`<code>openapi.json</code>` : html`<a href=${new URL("openapi.json", root)}>openapi.json</a>`} has all of this for programs (OpenAPI ${data.openapi}).</p>
    <div class="tools"><input type="search" placeholder="Filter" aria-label="Filter operations" value=${text} onInput=${(event) => setText(event.target.value)} /></div>
    ${groups.map(([group, found]) => html`<section key=${group}><h2>${group}</h2>${found.map((each) => html`<${Lazy} key=${each.key} id=${each.key}
      head=${html`<span class=${`method ${each.method}`}>${each.method}</span><${Path} of=${each.path} /><span class="muted"><${Ticks} text=${each.summary} /></span>`}
      body=${() => html`<${Operation} of=${each} document=${data} />`} />`)}</section>`)}
    ${!groups.length && html`<p class="muted">No operation is like that.</p>`}
    <h2>Types</h2>${schemas.map(([name, schema]) => html`<${Lazy} key=${name} id=${`type-${name}`} head=${html`<code>${name}</code>`}
      body=${() => html`<div class="operation"><pre tabindex="0">${JSON.stringify(schema, null, 2)}</pre></div>`} />`)}</div>`;
}

/** Details whose content is made when they are opened. */
function Lazy({ head, body, id }) {
  const [open, setOpen] = useState(false);
  return html`<details id=${id} open=${open} onToggle=${(event) => setOpen(event.target.open)}><summary>${head}</summary>${open && body()}</details>`;
}

const PREFIX = "/runtime/webhooks/durabletask";

/** A path, of which the part that all have in common may be left out where it is narrow. */
const Path = ({ of }) => (of.startsWith(PREFIX) ? html`<code><span class="base">${PREFIX}</span>${of.slice(PREFIX.length)}</code>` : html`<code>${of}</code>`);

const Ticks = ({ text }) => html`${(text ?? "").split("`").map((part, place) => (place % 2 ? html`<code>${part}</code>` : part))}`;

function operationsOf({ paths }) {
  return Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({
    ...operation,
    path,
    method: method.toUpperCase(),
    key: operation.operationId,
    group: path.includes("/orchestrators/") ? GROUPS[0] : path.includes("{instanceId}") ? GROUPS[2] : GROUPS[1],
  })));
}

function Operation({ of, document }) {
  const { description, parameters = [], requestBody, responses } = of;
  return html`<div class="operation">
    ${description && html`<p><${Ticks} text=${description} /></p>`}
    ${parameters.length > 0 && html`<div><h4>Parameters</h4><dl>${parameters.map((each) => html`<div key=${each.name}><dt>${each.name}</dt><dd><span class="muted">${each.in}</span> <${Ticks} text=${about(each)} /></dd></div>`)}</dl></div>`}
    ${Object.entries(requestBody?.content ?? {}).map(([kind, { schema }]) => html`<div key=${kind}><h4>Body: ${kind}</h4><pre tabindex="0">${JSON.stringify(schema, null, 2)}</pre></div>`)}
    <div><h4>Answers</h4><dl>${Object.entries(responses).map(([status, each]) => html`<div key=${status}><dt>${status}</dt><dd><${Ticks} text=${each.description} /></dd></div>`)}</dl></div>
    <${Try} of=${of} document=${document} /></div>`;
}

/** A parameter in words: what it means, and what it may be. */
function about({ description, schema }) {
  const kind = schema.items ?? schema;
  const limits = ["minimum", "maximum", "maxLength", "pattern"].filter((name) => name in kind).map((name) => `${name} ${kind[name]}`);
  const preset = "default" in schema ? [`default ${JSON.stringify(schema.default)}`] : [];
  const choices = kind.enum ? [kind.enum.join(" or ")] : [];
  return `${description ?? schema.description ?? kind.description ?? ""} (${[kind.type ?? "any", ...choices, ...limits, ...preset].join("; ")})`;
}

const STREAM = "text/event-stream";

function Try({ of, document }) {
  const { method, path, parameters = [], requestBody, responses } = of;
  const schema = requestBody?.content["application/json"]?.schema;
  const [values, setValues] = useState({});
  const [body, setBody] = useState(() => (schema ? writtenExample(schema, document) ?? "" : ""));
  const [state, set] = useState({});
  const stream = Object.values(responses).some((each) => each.content?.[STREAM]);
  const filled = path.replace(/\{(\w+)\}/g, (whole, name) => (values[name] ? encodeURIComponent(values[name]) : whole));
  const missing = /\{\w+\}/.test(filled);
  const query = Object.fromEntries(parameters.filter((each) => each.in === "query" && values[each.name]).map(({ name }) => [name, values[name]]));
  const headers = Object.fromEntries(parameters.filter((each) => each.in === "header" && values[each.name]).map(({ name }) => [name, values[name]]));
  const send = async (event) => {
    event.preventDefault();
    if (state.busy) return;
    set({ busy: true });
    try {
      set({ answer: await ask(method, filled.slice(1), { from: root, query, headers, body: body.trim() && schema !== undefined ? body : undefined }) });
    } catch (error) {
      set({ error });
    }
  };
  return html`<form class="try" onSubmit=${send}><h4>Try it</h4>
    ${parameters.map(({ name, schema: of }) => html`<label class="field" key=${name}><span>${name}</span><input value=${values[name] ?? ""} autocomplete="off"
      placeholder=${"default" in of ? String(of.default) : ""} onInput=${(event) => setValues((old) => ({ ...old, [name]: event.target.value }))} /></label>`)}
    ${schema !== undefined && html`<label class="field"><span>Body</span><textarea rows="4" spellcheck=${false} value=${body} onInput=${(event) => setBody(event.target.value)} /></label>`}
    <${Command}>${curl({ method, filled, query, headers, document, body: schema !== undefined ? body.trim() : "" })}</${Command}>
    ${!stream && html`<footer><button class=${method === "DELETE" ? "danger" : "primary"} disabled=${missing} aria-disabled=${state.busy}>Send</button></footer>`}
    <${Problem} error=${state.error} />
    ${state.answer && html`<div role="status"><p><b>${state.answer.status}</b> ${state.answer.words}</p>${state.answer.text && html`<pre tabindex="0">${state.answer.text}</pre>`}</div>`}</form>`;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The same as a command. */
function curl({ method, filled, query, headers, body, document }) {
  const url = new URL(filled.slice(1), root);
  for (const [name, value] of Object.entries(query)) url.searchParams.append(name, value);
  const shown = url.href.replaceAll("%7B", "{").replaceAll("%7D", "}");
  const all = { ...(document.security.length ? { "x-functions-key": "YOUR KEY" } : {}), ...headers, ...(body ? { "Content-Type": "application/json" } : {}) };
  return ["curl", ...(method === "GET" ? [] : ["-X", method]), quoted(shown), ...Object.entries(all).flatMap(([name, value]) => ["-H", quoted(`${name}: ${value}`)]),
    ...(body ? ["-d", quoted(body)] : [])].join(" ");
}
