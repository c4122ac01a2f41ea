// Durable timers, the next one first.

import { page } from "./api.js";
import { Empty, html, Link, Problem, Table, Time, useData, useState } from "./ui.js";
import { countdown, useNow } from "./time.js";

const MOST = 1000;

export function Timers() {
  const [top, setTop] = useState(100);
  const { data, error, reload } = useData(() => page("timers", { top }), `timers ${top}`, { live: true });
  const present = useNow();
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  return html`<h1>Timers</h1>
    ${data.items.length ? html`<${Table} label="Timers" heads=${["Left", "Due", "Function", "Instance"]}>
      ${data.items.map((each) => html`<tr key=${`${each.instanceId} ${each.id}`} data-row class=${each.overdue ? "late" : ""}>
        <td class="figures">${Date.parse(each.fireAt) > present ? countdown(Date.parse(each.fireAt) - present) : html`<b class="warn">overdue</b>`}</td><td><${Time} at=${each.fireAt} /></td>
        <td>${each.orchestrator}</td><td class="id"><${Link} to=${["instances", each.instanceId]}>${each.instanceId}</${Link}></td></tr>`)}</${Table}>`
    : html`<${Empty} title="No timer is open"><p>A timer stands here from when it is made until it fires or is cancelled.</p></${Empty}>`}
    ${data.next && top < MOST && html`<p class="more"><button onClick=${() => setTop(Math.min(MOST, top * 2))}>Show more</button></p>`}`;
}
