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
    ${data.items.length ? html`<${Table} label="Timers" columns=${[["Left", "figures"], ["Due"], ["Function"], ["Instance", "id"]]}
      rows=${data.items.map((each) => ({
        key: `${each.instanceId} ${each.id}`,
        "data-row": true,
        class: each.overdue ? "late" : "",
        cells: [left(each, present), html`<${Time} at=${each.fireAt} />`, each.orchestrator, html`<${Link} to=${["instances", each.instanceId]}>${each.instanceId}</${Link}>`],
      }))} />`
    : html`<${Empty} title="No timer is open"><p>A timer stands here from when it is made until it fires or is cancelled.</p></${Empty}>`}
    ${data.next && top < MOST && html`<p class="more"><button onClick=${() => setTop(Math.min(MOST, top * 2))}>Show more</button></p>`}`;
}

const left = ({ fireAt }, present) => (Date.parse(fireAt) > present ? countdown(Date.parse(fireAt) - present) : html`<b class="warn">overdue</b>`);
