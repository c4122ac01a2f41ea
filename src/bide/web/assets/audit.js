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
    ${data.items.length ? html`<${Table} label="Audit" heads=${["When", "Who", "From", "What", ...(id ? [] : ["Instance"]), "Reason", "Outcome"]}>
      ${data.items.map((each) => html`<tr key=${each.id}><td><${Time} at=${each.at} /></td><td>${each.caller}</td><td class="muted">${each.address}</td><td>${each.verb}</td>
        ${!id && html`<td class="id">${each.instanceId ? html`<${Link} to=${["instances", each.instanceId]}>${each.instanceId}</${Link}>` : "the hub"}</td>`}
        <td>${each.reason}</td><td class=${each.result === "ok" || each.result === "accepted" ? "" : "warn"}>${each.result}</td></tr>`)}</${Table}>`
    : html`<${Empty} title="Nobody has done anything yet"><p>What is started, answered, ended or deleted over HTTP stands here.</p></${Empty}>`}
    ${data.next && top < MOST && html`<p class="more"><button onClick=${() => setTop(Math.min(MOST, top * 2))}>Show more</button></p>`}`;
}
