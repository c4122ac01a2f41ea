// Answering: the events that are awaited, each with a form of its type; and those that nobody awaited.

import { instance as at, post } from "./api.js";
import { SchemaForm } from "./forms.js";
import { titleOf } from "./schema.js";
import { Copy, Countdown, Empty, html, Problem, Time, useState } from "./ui.js";

export function Answer({ instance: { id, status, story, reload } }) {
  const [sent, setSent] = useState([]);
  const may = status.allowedActions.includes("raiseEvent");
  const raise = async (name, text) => {
    await post(at(id, `raiseEvent/${encodeURIComponent(name)}`), {}, text);
    setSent((old) => [...old, name]);
    reload();
  };
  const waits = status.waits ?? [];
  return html`
    ${sent.length > 0 && html`<p class="sent" role="status">${sent.at(-1)} was accepted, and is kept.</p>`}
    ${status.runtimeStatus === "Suspended" && html`<p class="banner">It is suspended: answers are kept, and taken when it is resumed.</p>`}
    ${waits.map((wait) => html`<${Question} key=${wait.id} id=${id} wait=${wait} may=${may} raise=${raise} />`)}
    ${!waits.length && html`<${Empty} title="It waits for no event"><p>${status.runtimeStatus === "Running" ? "It is busy, or waits for a timer, an activity or another instance." : `It is ${status.runtimeStatus.toLowerCase()}.`}</p></${Empty}>`}
    <${Unawaited} story=${story} />
    ${may && html`<${Other} waits=${waits} raise=${raise} />`}`;
}

function Question({ id, wait: { id: waitId, name, since, deadline, schema, overdue }, may, raise }) {
  return html`<article class="question">
    <header><${Countdown} since=${since} until=${deadline} /><div><h3>${titleOf(schema) ?? name}</h3>
      <p class="muted">${titleOf(schema) && html`${name}, `}asked <${Time} at=${since} />${deadline ? html`, ${overdue ? "was due" : "due"} <${Time} at=${deadline} />` : ", no deadline"}</p></div>
      ${may && html`<${PersonsLink} id=${id} event=${name} waitId=${waitId} />`}</header>
    ${may ? html`<${SchemaForm} schema=${schema} send=${(text) => raise(name, text)} action="Send" what="Answer" />` : html`<p class="muted">Your key may look, but not answer.</p>`}
  </article>`;
}

/** A link that answers this one question and no other, for a person who has no key. */
function PersonsLink({ id, event, waitId }) {
  const [state, set] = useState({});
  const make = () => post(at(id, `responseLinks/${encodeURIComponent(event)}`), { waitId }).then(({ url }) => set({ url }), (error) => set({ error }));
  if (state.url) return html`<${Copy} text=${state.url} label="Copy the link"><a href=${state.url} target="_blank" rel="noopener">Their page</a> </${Copy}>`;
  return html`<span><button onClick=${make}>Link for the person</button><${Problem} error=${state.error} /></span>`;
}

function Unawaited({ story }) {
  if (!story?.unawaited.length) return null;
  return html`<section class="unawaited"><h3>Came, and nobody waits for them</h3>
    <ul>${story.unawaited.map((each, place) => html`<li key=${place}><b>${each.name}</b> <span class="muted"><${Time} at=${each.at / 1000} /></span>
      ${each.near.length > 0 && html`<p class="warn">Nearly ${each.near.map((name) => html`<b>${name}</b>`)}: was that meant?</p>`}</li>`)}</ul>
    <p class="muted">They are kept, and taken if the instance waits for an event of that name later.</p></section>`;
}

/** Any other event, by its name. */
function Other({ waits, raise }) {
  const [name, setName] = useState("");
  const wanted = name.trim();
  const known = waits.some((wait) => wait.name.toLowerCase() === wanted.toLowerCase());
  return html`<details class="other"><summary>Another event</summary>
    <label class="field"><span>Name</span><input value=${name} onInput=${(event) => setName(event.target.value)} maxlength="200" /></label>
    ${wanted && !known && waits.length > 0 && html`<p class="warn">Nobody waits for ${wanted} now. It is kept until somebody does. Awaited: ${waits.map((wait) => wait.name).join(", ")}.</p>`}
    <${SchemaForm} schema=${{}} send=${(text) => {
      if (!wanted) throw new Error("An event has a name.");
      return raise(wanted, text);
    }} action="Send the event" /></details>`;
}
