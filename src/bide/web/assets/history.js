// The facts of an instance, one row each; thousands of them scroll, because only what is seen is rendered.

import { describe } from "./story.js";
import { setQuery, usePlace } from "./router.js";
import { Copy, Dialog, html, Time, useMemo, Window } from "./ui.js";
import { withoutSecrets } from "./schema.js";
import { span } from "./time.js";
import { Value } from "./values.js";

const ROW = 34;

export function History({ instance: { status, history }, types }) {
  const { query } = usePlace();
  const text = query.get("facts") ?? "";
  const failed = query.get("failed") === "1";
  const facts = useMemo(() => (history.steps ?? []).flatMap(({ seq, at, facts }) => facts.map((fact, place) => ({ seq, at, fact, place, words: describe(fact) }))), [history.steps]);
  const names = useMemo(() => new Map(facts.filter(({ fact }) => fact.name && fact.id).map(({ fact }) => [fact.id, fact])), [facts]);
  const wanted = text.trim().toLowerCase();
  const rows = useMemo(() => facts.filter(({ fact, words }) => (!failed || fact.failure) &&
    (!wanted || `${fact.type} ${words.title} ${words.detail ?? ""} ${fact.name ?? ""}`.toLowerCase().includes(wanted))), [facts, wanted, failed]);
  if (!history.steps) return null;
  const start = history.steps[0]?.at ?? 0;
  const chosen = query.get("seq");
  const open = facts.filter(({ seq }) => String(seq) === chosen);
  const row = (index) => {
    const { seq, at, fact, place, words } = rows[index];
    return html`<button key=${`${seq}.${place}`} class=${`fact ${fact.failure ? "bad" : ""} ${place ? "" : "message"}`} style=${{ height: `${ROW}px` }}
      data-row onClick=${() => setQuery({ seq })}>
      <span class="seq">${place ? "" : seq}</span><span class="at" title=${new Date(at / 1000).toISOString()}>+${span((at - start) / 1000)}</span>
      <span class="type">${fact.type}</span><span class="words">${words.title}${words.detail && html` <span class="muted">${words.detail}</span>`}</span></button>`;
  };
  return html`<div class="tools">
      <input type="search" placeholder="Filter facts" aria-label="Filter facts" value=${text} onInput=${(event) => setQuery({ facts: event.target.value }, { replace: true })} />
      <label><input type="checkbox" checked=${failed} onChange=${() => setQuery({ failed: failed ? null : "1" })} /> Failures only</label>
      <span class="muted">${rows.length.toLocaleString()} of ${facts.length.toLocaleString()} facts${history.generation > 0 ? `, generation ${history.generation}` : ""}</span>
      <${Copy} text=${() => JSON.stringify(copied(history.steps, names, status, types), null, 2)} label="Copy as JSON" /></div>
    <${Window} count=${rows.length} height=${ROW} row=${row} />
    ${open.length > 0 && html`<${Dialog} title=${`Step ${chosen}`} close=${() => setQuery({ seq: null })}>
      <p><${Time} at=${open[0].at / 1000} /> · ${new Date(open[0].at / 1000).toISOString()}</p>
      ${open.map(({ fact, place }) => html`<section key=${place} class="one-fact"><h3>${fact.type}</h3><${Members} fact=${fact} names=${names} status=${status} types=${types} /></section>`)}
    </${Dialog}>`}`;
}

function Members({ fact, names, status, types }) {
  const { type, ...members } = fact;
  return html`<dl>${Object.entries(members).map(([name, value]) => html`<div key=${name}><dt>${name}</dt>
    <dd>${PAYLOADS.has(name) ? html`<${Value} value=${value} ...${typeOf(fact, name, names, status, types)} />`
      : name.endsWith("_at") ? html`<${Time} at=${value / 1000} />`
      : name === "stack" || name === "failure" ? html`<${Failure} failure=${value} />`
      : html`<${Value} value=${value} />`}</dd></div>`)}</dl>`;
}

/** The steps as they are, but for secrets. */
const copied = (steps, names, status, types) =>
  steps.map((step) => ({ ...step, facts: step.facts.map((fact) => Object.fromEntries(Object.entries(fact).map(([name, value]) =>
    [name, PAYLOADS.has(name) ? withoutSecrets(value, typeOf(fact, name, names, status, types).schema) : value]))) }));

const Failure = ({ failure }) => html`<p class="error">${failure.type}: ${failure.message}</p>
  ${failure.stack && html`<details><summary>Where</summary><pre>${failure.stack}</pre></details>`}
  ${failure.members && html`<ol>${failure.members.map((member) => html`<li><${Failure} failure=${member} /></li>`)}</ol>`}
  ${failure.cause && html`<p class="muted">caused by</p><${Failure} failure=${failure.cause} />`}`;

const PAYLOADS = new Set(["input", "result"]);

/** The type of a payload, or that it is not known, and so nothing of it is shown unasked. */
export function typeOf(fact, member, names, status, types) {
  if (!types) return { hidden: true };
  const asked = names.get(fact.id);
  const own = types.orchestrators[status.name];
  const of = {
    ExecutionStarted: () => own?.inputSchema,
    ContinuedAsNew: () => own?.inputSchema,
    ExecutionCompleted: () => own?.outputSchema,
    EventRaised: () => Object.entries(own?.events ?? {}).find(([name]) => name.toLowerCase() === fact.name.toLowerCase())?.[1],
    TaskScheduled: () => types.activities[fact.name]?.inputSchema,
    TaskCompleted: () => types.activities[asked?.name]?.outputSchema,
    SubOrchestrationInstanceCreated: () => types.orchestrators[fact.name]?.inputSchema,
    SubOrchestrationInstanceCompleted: () => types.orchestrators[asked?.name]?.outputSchema,
  }[fact.type]?.();
  return of === undefined ? { hidden: true } : { schema: of };
}
