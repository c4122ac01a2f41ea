// Home: who is waited for, until when, and what went wrong lately.

import { get, mayAct, page, root } from "./api.js";
import { questionOf } from "./schema.js";
import { Command, Countdown, Empty, html, Link, Problem, Status, Time, useData, useState } from "./ui.js";

export const STATES = ["Running", "Pending", "Suspended", "Completed", "Failed", "Terminated"];
const FIRST = 50;

export function Home() {
  const [top, setTop] = useState(FIRST);
  const { data, error, reload } = useData(() => load(top), `home ${top}`, { live: true });
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  const { waits, more, counts, failures, orchestrators, unserved } = data;
  return html`
    <h1 class="sr-only">Home</h1>
    <nav class="counts" aria-label="Instances by state">${STATES.map((state) => html`<${Link} key=${state} to="instances"
      query=${{ runtimeStatus: state }} class=${counts[state] ? "" : "none"}>
      <b>${(counts[state] ?? 0).toLocaleString()}</b><${Status} of=${state} /></${Link}>`)}</nav>
    <${Unserved} names=${unserved} />
    <div class="columns">
      <section aria-labelledby="waiting"><h2 id="waiting">Waiting on people
        ${waits.length > 0 && html`<span class="count">${waits.length}${more ? "+" : ""}</span>`}</h2>
        ${waits.length ? html`<ul class="waits">${waits.map((wait) => html`<${Wait} key=${`${wait.instanceId} ${wait.name} ${wait.since}`} wait=${wait} />`)}</ul>`
          : html`<${Nobody} counts=${counts} orchestrators=${orchestrators} />`}
        ${more && html`<button onClick=${() => setTop(Math.min(top * 4, 1000))}>Show more</button>`}
      </section>
      <section aria-labelledby="failed"><h2 id="failed">Failed in the last 24 hours
        ${failures.items.length > 0 && html`<span class="count bad">${failures.items.length}${failures.next ? "+" : ""}</span>`}</h2>
        ${failures.items.length ? html`<ul class="failures">${failures.items.map((each) => html`<${Failure} key=${each.instanceId} instance=${each} />`)}</ul>`
          : html`<p class="muted">Nothing failed.</p>`}
        ${failures.next && html`<p><${Link} to="instances" query=${{ runtimeStatus: "Failed" }}>All that failed</${Link}></p>`}
      </section>
    </div>`;
}

async function load(top) {
  const [waits, counts, failures, workers, orchestrators] = await Promise.all([
    page("waits", { top }),
    get("counts"),
    page("failures", { since: "24h", top: 8 }),
    get("workers"),
    get("orchestrators"),
  ]);
  const pending = counts.Pending ? await get("instances", { runtimeStatus: "Pending", top: 20, showInput: false }) : [];
  const served = new Set(workers.filter((each) => each.alive).flatMap((each) => each.orchestrators));
  const wanted = [...waits.items.map((each) => each.orchestrator), ...pending.map((each) => each.name)];
  const unserved = [...new Set(wanted.filter((name) => !served.has(name)))];
  return { waits: waits.items, more: Boolean(waits.next) && top < 1000, counts, failures, orchestrators, unserved };
}

function Unserved({ names }) {
  if (!names.length) return null;
  return html`<div class="banner" role="alert"><b>No worker runs ${names.join(", ")}.</b> What is sent to these instances is
    kept, but they do not go on until a worker has their code. <${Link} to="workers">Workers</${Link}></div>`;
}

function Wait({ wait }) {
  const { name, instanceId, orchestrator, since, deadline, overdue, schema } = wait;
  const question = questionOf(schema);
  return html`<li class=${overdue ? "overdue" : ""}>
    <${Countdown} since=${since} until=${deadline} />
    <div class="what"><${Link} to=${["instances", instanceId]} class="title">${question ?? name}</${Link}>
      <div class="muted">${question && html`<span>${name}</span> · `}<span>${orchestrator}</span> · <span class="id">${instanceId}</span></div></div>
    <div class="when muted">asked <${Time} at=${since} />${deadline && html`<span>due <${Time} at=${deadline} /></span>`}</div>
    ${mayAct() && html`<${Link} to=${["instances", instanceId, "answer"]} class="button" aria-label=${`Answer ${name} of ${instanceId}`}>Answer</${Link}>`}
  </li>`;
}

function Failure({ instance }) {
  return html`<li><${Link} to=${["instances", instance.instanceId]} class="title">${instance.name}</${Link}>
    <span class="muted"> <${Time} at=${instance.lastUpdatedTime} /> · <span class="id">${instance.instanceId}</span></span>
    <p class="error">${typeof instance.output === "string" ? instance.output.split("\n")[0] : ""}</p></li>`;
}

function Nobody({ counts, orchestrators }) {
  const any = Object.values(counts).some(Boolean);
  const name = orchestrators[0]?.name;
  return html`<${Empty} title=${any ? "Nobody is waited for" : "Nothing has been started yet"}>
    <p>${any ? "When an orchestrator waits for an event, it stands here until somebody answers." : "Start an instance, and this page shows who it waits for."}</p>
    ${name ? html`<${Command}>bide start ${name} --url ${root.href.replace(/\/$/, "")}</${Command}>
        ${mayAct() && html`<p><${Link} to="start" class="button primary">Start one here</${Link}></p>`}`
      : html`<p>This app has no orchestrators yet. <code>bide new</code> makes an app to begin with.</p>`}
  </${Empty}>`;
}
