// All instances: filters are chips and stand in the address; what is shown can be ended or deleted in bulk.

import { Bulk } from "./bulk.js";
import { get, instance, page } from "./api.js";
import { Empty, html, Link, Problem, Status, Table, Time, useData, useEffect, useState } from "./ui.js";
import { go, href, setQuery, usePlace } from "./router.js";
import { HowToStart, STATES } from "./home.js";

const PAGE = 50;
const FILTERS = ["name", "instanceIdPrefix", "tag", "createdTimeFrom", "createdTimeTo", "held"];
const LABELS = {
  name: "Function",
  instanceIdPrefix: "Id begins with",
  tag: "Tag",
  createdTimeFrom: "Created from",
  createdTimeTo: "Created to",
  held: "Held",
};

/** The filter in the address, under the API's own names. */
function filterOf(query) {
  const filter = { runtimeStatus: query.getAll("runtimeStatus") };
  for (const name of FILTERS) filter[name] = name === "tag" ? query.getAll(name) : query.get(name) ?? "";
  return filter;
}

/** Where a text that was searched for leads: an instance's id, a function's name, or the beginning of ids. */
export async function search(text) {
  const found = await get(instance(text), { showInput: false }).catch(() => null);
  if (found) return href(["instances", found.instanceId]);
  const known = await get("orchestrators");
  const name = known.find((each) => each.name.toLowerCase() === text.toLowerCase())?.name;
  return href("instances", name ? { name } : { instanceIdPrefix: text });
}

export function Instances() {
  const filter = filterOf(usePlace().query);
  const key = JSON.stringify(filter);
  const [pages, setPages] = useState(1);
  const [selected, select] = useState(new Set());
  useEffect(() => (setPages(1), select(new Set())), [key]);
  const { data, error, reload } = useData(() => load(filter, pages), `${key} ${pages}`, { live: true });
  const [shown, setShown] = useState(null);
  useEffect(() => data && setShown({ ...data, key }), [data]);
  const list = data ?? (shown?.key === key ? shown : null);
  const toggle = (id) => select((old) => new Set(old.has(id) ? [...old].filter((each) => each !== id) : [...old, id]));
  return html`
    <h1>Instances</h1>
    <${Filters} filter=${filter} counts=${list?.counts} />
    <${Problem} error=${error} retry=${reload} />
    ${list && html`
      <${Bulk} filter=${filter} counts=${list.chosen} selected=${selected} clear=${() => select(new Set())} done=${reload} />
      ${list.items.length ? html`<${List} items=${list.items} selected=${selected} toggle=${toggle} />`
        : html`<${None} filtered=${Object.values(filter).flat().some(Boolean)} />`}
      ${list.next && html`<p class="more"><button onClick=${() => setPages(pages + 1)}>Show more</button></p>`}`}`;
}

const None = ({ filtered }) =>
  filtered
    ? html`<${Empty} title="No instance is like that"><p><${Link} to="instances">Show all</${Link}> or <${Link} to="start">start one</${Link}>.</p></${Empty}>`
    : html`<${Empty} title="Nothing has been started yet"><${HowToStart} /></${Empty}>`;

async function load(filter, pages) {
  const [counts, chosen, list] = await Promise.all([get("counts", { ...filter, runtimeStatus: [] }), get("counts", filter), firstPages(filter, pages)]);
  return { ...list, counts, chosen };
}

/** The first pages, anew: what has come or gone since changes where they end. */
async function firstPages(filter, pages) {
  const items = [];
  let next;
  for (let left = pages * PAGE; left > 0; left -= 1000) {
    const found = await page("instances", { ...filter, top: Math.min(left, 1000), showInput: false }, next);
    items.push(...found.items);
    next = found.next;
    if (!next) break;
  }
  return { items, next };
}

function Filters({ filter, counts }) {
  const [adding, setAdding] = useState("");
  const states = new Set(filter.runtimeStatus);
  const flip = (state) => setQuery({ runtimeStatus: states.has(state) ? [...states].filter((each) => each !== state) : [...states, state] });
  const set = FILTERS.flatMap((name) => [filter[name]].flat().filter(Boolean).map((value) => [name, value]));
  const drop = (name, value) => setQuery({ [name]: [filter[name]].flat().filter((each) => each !== value) });
  const add = (event) => {
    event.preventDefault();
    const value = new FormData(event.target).get("value").trim();
    if (value) setQuery({ [adding]: adding === "tag" ? [...filter.tag, value] : time(adding) ? new Date(value).toISOString() : value });
    setAdding("");
  };
  const time = (name) => name.startsWith("createdTime");
  return html`<div class="filters">
    <div class="chips" role="group" aria-label="States">${STATES.map((state) => html`<button key=${state} class="chip"
      aria-pressed=${states.has(state)} onClick=${() => flip(state)}><${Status} of=${state} /> ${counts && html`<span>${(counts[state] ?? 0).toLocaleString()}</span>`}</button>`)}</div>
    <div class="chips">
      ${set.map(([name, value]) => html`<span class="chip on" key=${name + value}>${LABELS[name]} ${name !== "held" && html`<b>${value}</b>`}
        <button class="quiet" aria-label=${`Remove ${LABELS[name]} ${value}`} onClick=${() => drop(name, value)}>✕</button></span>`)}
      ${adding ? html`<form class="chip" onSubmit=${add}><label>${LABELS[adding]} <input name="value" autofocus
            type=${time(adding) ? "datetime-local" : "text"} placeholder=${adding === "tag" ? "name:value" : ""} /></label><button class="quiet">Add</button></form>`
        : html`<select aria-label="Add a filter" value="" onChange=${({ target }) => (target.value === "held" ? setQuery({ held: true }) : setAdding(target.value))}>
            <option value="">+ Filter</option>${FILTERS.map((name) => html`<option value=${name}>${LABELS[name]}</option>`)}</select>`}
    </div></div>`;
}

function List({ items, selected, toggle }) {
  const columns = [[html`<span class="sr-only">Selected</span>`, "tick"], ["State"], ["Function"], ["Id", "id"], ["Created"], ["Last change"]];
  const rows = items.map((each) => ({
    key: each.instanceId,
    "data-row": true,
    onClick: (event) => open(event, each.instanceId),
    cells: [
      html`<input type="checkbox" aria-label=${`Select ${each.instanceId}`} checked=${selected.has(each.instanceId)} onChange=${() => toggle(each.instanceId)} />`,
      html`<${Status} of=${each.runtimeStatus} />${each.held && html`<span class="held" title=${each.held}>held</span>`}`,
      each.name,
      html`<${Link} to=${["instances", each.instanceId]}>${each.instanceId}</${Link}>`,
      html`<${Time} at=${each.createdTime} />`,
      html`<${Time} at=${each.lastUpdatedTime} />`,
    ],
  }));
  return html`<${Table} label="Instances" kind="instances" columns=${columns} rows=${rows} />`;
}

function open(event, id) {
  if (!event.target.closest("a, input, button, .tick")) go(href(["instances", id]));
}
