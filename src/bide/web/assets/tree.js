// Parents and children: from the outermost parent down.

import { get, instance as at } from "./api.js";
import { html, Link, Problem, Status, Time, useData, useState } from "./ui.js";

const DEEP = 20;
const MANY = 50;
const FEW = 4; // brothers and sisters who are unfolded by themselves: each is two requests, and so is each of their children

export function Tree({ instance: { id, history } }) {
  const { data, error } = useData(() => outermost(id), `root of ${id} ${history.steps?.length}`);
  if (!data) return html`<${Problem} error=${error} />`;
  return html`<ul class="tree" role="tree"><${Node} id=${data.instanceId} here=${id} depth=${0} version=${history.steps?.length} /></ul>`;
}

async function outermost(id) {
  let found = await get(at(id), { showInput: false });
  for (let depth = 0; found.parent && depth < DEEP; depth++) {
    const parent = await get(at(found.parent.instanceId), { showInput: false }).catch(() => null);
    if (!parent) break;
    found = parent;
  }
  return found;
}

async function withChildren(id) {
  const [status, history] = await Promise.all([get(at(id), { showInput: false }), get(at(id, "history"))]);
  const created = history.steps.flatMap((step) => step.facts).filter((fact) => fact.type === "SubOrchestrationInstanceCreated");
  return { status, children: created.map((fact) => ({ id: fact.instance_id, name: fact.name })) };
}

function Node({ id, name, here, depth, siblings = 1, version }) {
  const [open, setOpen] = useState(depth < 3 && siblings <= FEW);
  const [all, setAll] = useState(false);
  const { data, error } = useData(() => withChildren(id), `${id} ${id === here || depth === 0 ? version : ""}`, { live: depth < 2 });
  if (!data) return html`<li role="treeitem"><span class="muted">${name ?? id} ${error && (error.status === 404 ? "(not started yet, or purged)" : error.message)}</span></li>`;
  const { status, children } = data;
  return html`<li role="treeitem" aria-expanded=${children.length ? open : undefined} aria-selected=${id === here}>
    <div class=${`node ${id === here ? "here" : ""}`}>
      ${children.length > 0 ? html`<button class="quiet" aria-label=${open ? "Fold" : "Unfold"} onClick=${() => setOpen(!open)}>${open ? "▾" : "▸"}</button>` : html`<span class="leaf"></span>`}
      <${Status} of=${status.runtimeStatus} /> <${Link} to=${["instances", id]} class="title">${status.name}</${Link}>
      <span class="id muted">${id}</span> <span class="muted"><${Time} at=${status.lastUpdatedTime} /></span></div>
    ${open && children.length > 0 && html`<ul role="group">${(all ? children : children.slice(0, MANY)).map((child) => html`<${Node} key=${child.id} ...${child} here=${here} depth=${depth + 1} siblings=${children.length} version=${version} />`)}
      ${!all && children.length > MANY && html`<li><button class="quiet" onClick=${() => setAll(true)}>${children.length - MANY} more</button></li>`}</ul>`}
  </li>`;
}
