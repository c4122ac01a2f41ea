// Home: who is waited for, until when, and what went wrong lately.

import { get, hasKey, mayAct, page, root } from "./api.js";
import { questionOf, writtenExample } from "./schema.js";
import { Command, Countdown, Empty, html, Link, Problem, Status, Time, useData, useState } from "./ui.js";

export const STATES = ["Running", "Pending", "Suspended", "Completed", "Failed", "Terminated"];
const FIRST = 50;
const MOST_HELD = 1000;

export function Home() {
  const [top, setTop] = useState(FIRST);
  const { data, error, reload } = useData(() => load(top), `home ${top}`, { live: true });
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  const { waits, more, counts, failures, held, unserved } = data;
  const heldIds = new Set(held.map((each) => each.instanceId));
  return html`
    <h1 class="sr-only">Home</h1>
    <nav class="counts" aria-label="Instances by state">${STATES.map((state) => html`<${Link} key=${state} to="instances"
      query=${{ runtimeStatus: state }} class=${counts[state] ? "" : "none"}>
      <b>${(counts[state] ?? 0).toLocaleString()}</b><${Status} of=${state} /></${Link}>`)}</nav>
    <${Unserved} names=${unserved} />
    <${Held} instances=${held} />
    <div class="columns">
      <section aria-labelledby="waiting"><h2 id="waiting">Waiting on people
        ${waits.length > 0 && html`<span class="count">${waits.length}${more ? "+" : ""}</span>`}</h2>
        ${waits.length ? html`<ul class="waits">${waits.map((wait) => html`<${Wait} key=${`${wait.instanceId} ${wait.name} ${wait.since}`} wait=${wait} held=${heldIds.has(wait.instanceId)} />`)}</ul>`
          : html`<${Nobody} counts=${counts} />`}
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
  const [waits, counts, failures, workers, held] = await Promise.all([
    page("waits", { top }),
    get("counts"),
    page("failures", { since: "24h", top: 8 }),
    get("workers"),
    get("instances", { held: true, top: MOST_HELD, showInput: false }),
  ]);
  const pending = counts.Pending ? await get("instances", { runtimeStatus: "Pending", top: 20, showInput: false }) : [];
  const served = new Set(workers.filter((each) => each.alive).flatMap((each) => each.orchestrators));
  const wanted = [...waits.items.map((each) => each.orchestrator), ...pending.map((each) => each.name)];
  const unserved = [...new Set(wanted.filter((name) => !served.has(name)))];
  return { waits: waits.items, more: Boolean(waits.next) && top < 1000, counts, failures, held, unserved };
}

function Unserved({ names }) {
  if (!names.length) return null;
  return html`<div class="banner" role="alert"><b>No worker runs ${names.join(", ")}.</b> What is sent to these instances is
    kept, but they do not go on until a worker has their code. <${Link} to="workers">Workers</${Link}></div>`;
}

function Held({ instances }) {
  if (!instances.length) return null;
  const [first] = instances;
  const many = instances.length > 1;
  return html`<div class="banner" role="alert"><b>${many ? `${instances.length}${instances.length === MOST_HELD ? "+" : ""} instances are held.` : "An instance is held."}</b>
    ${many ? " They do" : " It does"} not go on before something is changed; what comes is kept. ${many ? "The newest" : "It"} is <${Link} to=${["instances", first.instanceId]}><span class="id">${first.instanceId}</span></${Link}>,
    where the reason stands. ${many && html`<${Link} to="instances" query=${{ held: true }}>All that are held</${Link}>`}</div>`;
}

function Wait({ wait, held }) {
  const { name, instanceId, orchestrator, since, deadline, overdue, schema } = wait;
  const question = questionOf(schema);
  return html`<li class=${overdue ? "overdue" : ""}>
    <${Countdown} since=${since} until=${deadline} />
    <div class="what"><${Link} to=${["instances", instanceId]} class="title">${question ?? name}</${Link}>${held && html`<span class="held">held</span>`}
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

function Nobody({ counts }) {
  return Object.values(counts).some(Boolean)
    ? html`<${Empty} title="Nobody is waited for"><p>When an orchestrator waits for an event, it stands here until somebody answers.</p><${HowToStart} /></${Empty}>`
    : html`<${Empty} title="Nothing has been started yet"><p>Start an instance, and this page shows who it waits for.</p><${HowToStart} /></${Empty}>`;
}

/** How an instance of this app is started: by a command that works as it is, if one is known, and by a form. */
export function HowToStart() {
  const { data: orchestrators, error } = useData(() => get("orchestrators"), "orchestrators");
  if (!orchestrators) return html`<${Problem} error=${error} />`;
  if (!orchestrators.length) return html`<p>This app has no orchestrators yet. <code>bide new</code> makes an app to begin with.</p>`;
  const command = startCommand(orchestrators, root.href.replace(/\/$/, ""));
  return html`${command && html`<${Command}>${command}</${Command}>${hasKey() && html`<p>It takes a key of the role operator, in the environment variable <code>BIDE_KEY</code>.</p>`}`}
    ${mayAct() && html`<p><${Link} to="start" class="button primary">Start one here</${Link}></p>`}`;
}

/** A command that starts the first function of which an input that fits is known; undefined if there is none. */
function startCommand(orchestrators, url) {
  for (const { name, inputSchema } of orchestrators) {
    const input = writtenExample(inputSchema, inputSchema);
    if (input !== undefined) return ["bide start", quoted(name), ...(input === "null" ? [] : [quoted(plain(input))]), "--url", quoted(url)].join(" ");
  }
  return undefined;
}

/** JSON as it is typed at a command line, where simple text needs no quotes of its own. */
function plain(json) {
  const value = JSON.parse(json);
  return typeof value === "string" && /^\+?[A-Za-z0-9][\w.@+-]*$/.test(value) && !/^(true|false|null|-?\d.*)$/.test(value) ? value : json;
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
