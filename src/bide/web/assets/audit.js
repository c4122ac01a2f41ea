// Who did what, from where, and what became of it.

import { instance as at, page } from "./api.js";
import { Empty, html, Link, Problem, Table, Time, useData, useState } from "./ui.js";

const PAGE = 50;
const MOST = 1000;

/** The audit of an instance, or (no id) of the hub. */
export function Audit({ id }) {
  const [top, setTop] = useState(PAGE);
  const { data, error, reload } = useData(() => page(id ? at(id, "audit") : "audit", { top }), `audit ${id} ${top}`, { live: true });
  if (!data) return error?.status === 403 ? html`<p class="muted">The audit is for keys of the role admin.</p>` : html`<${Problem} error=${error} retry=${reload} />`;
  return html`${!id && html`<h1>Audit</h1>`}
    ${data.items.length ? html`<${Table} label="Audit" columns=${[["When"], ["Who"], ["From", "muted"], ["What"], ...(id ? [] : [["Instance", "id"]]), ["Reason"], ["Outcome"]]}
      rows=${data.items.map((each) => ({ key: each.id, cells: [html`<${Time} at=${each.at} />`, each.caller, each.address, each.verb, ...(id ? [] : [where(each)]), each.reason, outcome(each)] }))} />`
    : html`<${Empty} title="Nobody has done anything yet"><p>What is started, answered, ended or deleted over HTTP stands here.</p></${Empty}>`}
    ${data.next && top < MOST && html`<p class="more"><button onClick=${() => setTop(Math.min(MOST, top * 2))}>Show more</button></p>`}`;
}

const where = ({ instanceId }) => (instanceId ? html`<${Link} to=${["instances", instanceId]}>${instanceId}</${Link}>` : "the hub");
const outcome = ({ result }) => (result === "ok" || result === "accepted" ? result : html`<span class="warn">${result}</span>`);
