// Who runs the functions: the live workers, and those that have gone, in order or not.

import { get } from "./api.js";
import { Empty, html, Problem, Table, Time, useData, useEffect } from "./ui.js";
import { span } from "./time.js";

export function Workers() {
  const { data, error, reload } = useData(() => get("workers"), "workers", { live: true });
  useEffect(() => {
    const timer = setInterval(reload, 2000);
    return () => clearInterval(timer);
  }, []);
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  const [live, gone] = [data.filter((each) => each.alive), data.filter((each) => !each.alive)];
  const versions = new Set(live.map((each) => each.version));
  return html`<h1>Workers</h1>
    ${!live.length && html`<${Empty} title="No worker is alive"><p>Nothing goes on until one is started.</p></${Empty}>`}
    ${versions.size > 1 && html`<div class="banner"><b>${versions.size} versions of the code run side by side.</b></div>`}
    <ul class="workers">${live.map((each) => html`<${Worker} key=${each.name} worker=${each} />`)}</ul>
    ${gone.length > 0 && html`<h2>Gone</h2><${Table} label="Workers that are gone" columns=${[["How"], ["Worker"], ["Started"], ["Last seen"], ["Lived"], ["Version", "id"]]}
      rows=${gone.map((each) => ({ key: each.name, cells: wentHow(each) }))} />`}`;
}

function wentHow({ host, process, startedAt, seenAt, endedAt, version }) {
  const last = endedAt ?? seenAt;
  return [
    endedAt ? "ended in order" : html`<b class="warn">killed, or cut off</b>`,
    `${host}, process ${process}`,
    html`<${Time} at=${startedAt} />`,
    html`<${Time} at=${last} />`,
    span(Date.parse(last) - Date.parse(startedAt)),
    version,
  ];
}

const Worker = ({ worker: { host, process, startedAt, seenAt, version, orchestrators, activities, partitions, liveInstances, runningActivities, outlivedActivities, queuedMessages } }) => html`<li class="card">
  <header><span class="dot ok"></span><h2>${host}, process ${process}</h2><span class="muted">version <span class="id">${version}</span></span></header>
  <dl class="facts"><div><dt>Started</dt><dd><${Time} at=${startedAt} /></dd></div><div><dt>Last sign of life</dt><dd><${Time} at=${seenAt} /></dd></div>
    <div><dt>Partitions</dt><dd>${partitions} of 256</dd></div><div><dt>Instances in memory</dt><dd>${liveInstances.toLocaleString()}</dd></div><div><dt>Activities running</dt><dd>${runningActivities.toLocaleString()}${outlivedActivities > 0 && ` and ${outlivedActivities.toLocaleString()} that nobody waits for`}</dd></div>
    <div><dt>Messages queued</dt><dd>${queuedMessages.toLocaleString()}</dd></div></dl>
  <h3>Orchestrators</h3><p class="chips">${orchestrators.map((name) => html`<span class="chip" key=${name}>${name}</span>`)}${!orchestrators.length && "none"}</p>
  <h3>Activities</h3><p class="chips">${activities.map((name) => html`<span class="chip" key=${name}>${name}</span>`)}${!activities.length && "none"}</p></li>`;
