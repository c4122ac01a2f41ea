// Starting: the functions of this app, each with a form of its input's type.

import { get, instance as at, post } from "./api.js";
import { SchemaForm } from "./forms.js";
import { examplesOf } from "./schema.js";
import { go, href, setQuery, usePlace } from "./router.js";
import { Command, Empty, html, Problem, useData, useState } from "./ui.js";

export function Start() {
  const { query } = usePlace();
  const like = query.get("like");
  const { data, error, reload } = useData(() => load(like), `start ${like}`);
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  const { orchestrators, model } = data;
  const name = query.get("name") ?? model?.name ?? (orchestrators.length === 1 ? orchestrators[0].name : null);
  const chosen = orchestrators.find((each) => each.name === name);
  return html`<h1>Start an instance</h1>
    ${!orchestrators.length && html`<${Empty} title="This app has no orchestrators"><p>Declare one, and serve the file:</p><${Command}>bide new --template approval</${Command}></${Empty}>`}
    ${model && html`<p class="muted">Like <span class="id">${model.instanceId}</span>.</p>`}
    <div class="columns start"><ul class="functions" aria-label="Functions">${orchestrators.map((each) => html`<li key=${each.name}>
      <button aria-pressed=${each.name === name} onClick=${() => setQuery({ name: each.name, like: each.name === model?.name ? like : null })}>${each.name}</button></li>`)}</ul>
      ${chosen ? html`<${Form} key=${chosen.name + like} of=${chosen} model=${model?.name === chosen.name ? model : null} />` : orchestrators.length > 0 && html`<p class="muted">Choose a function.</p>`}</div>`;
}

async function load(like) {
  const [orchestrators, model] = await Promise.all([get("orchestrators"), like ? get(at(like)) : null]);
  return { orchestrators, model };
}

function Form({ of, model }) {
  const [id, setId] = useState("");
  const [tags, setTags] = useState(Object.entries(model?.tags ?? {}).map(([name, value]) => `${name}:${value}`).join(", "));
  const send = async (text) => {
    const path = ["orchestrators", of.name, id.trim()].filter(Boolean).map(encodeURIComponent).join("/");
    const tag = tags.split(",").map((each) => each.trim()).filter(Boolean);
    const started = await post(path, { tag }, text);
    go(href(["instances", started.id]));
  };
  return html`<section class="card"><h2>${of.name}</h2>
    <${SchemaForm} schema=${of.inputSchema} initial=${model?.input ?? examplesOf(of.inputSchema, of.inputSchema)[0]} send=${send} action="Start" what="Input">
      <details><summary>Id and tags</summary>
        <label class="field"><span>Instance id</span><em>made up if empty</em><input value=${id} onInput=${(event) => setId(event.target.value)} maxlength="100" /></label>
        <label class="field"><span>Tags</span><em>name:value, name:value</em><input value=${tags} onInput=${(event) => setTags(event.target.value)} /></label></details>
    </${SchemaForm}></section>`;
}
