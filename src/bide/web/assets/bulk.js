// One action on many instances: first how many it is about, then how far it is.

import { instance, mayAct, page, post, remove } from "./api.js";
import { Dialog, html, Problem, useRef, useState } from "./ui.js";

const STEP = 100;
const ACTIONS = {
  suspend: { label: "Suspend", on: ["Running"], reason: true },
  resume: { label: "Resume", on: ["Suspended"], reason: true },
  terminate: { label: "Terminate", on: ["Running", "Pending", "Suspended"], reason: true, danger: true },
  rewind: { label: "Rewind", on: ["Failed"], reason: true },
  purge: { label: "Purge", on: ["Completed", "Failed", "Terminated"], danger: true },
};

/** The buttons above the list: about the selected instances, or all that the filter means. */
export function Bulk({ filter, counts, selected, clear, done }) {
  const whole = !selected.size && !Object.values(filter).flat().some(Boolean);
  const [action, choose] = useState(null);
  const total = Object.values(counts).reduce((sum, each) => sum + each, 0);
  const some = selected.size > 0;
  const actions = html`<span class="actions">${Object.entries(ACTIONS).map(([verb, { label, on, danger }]) => html`<button key=${verb} class=${danger ? "danger-quiet" : ""}
    disabled=${!some && !on.some((state) => counts[state])} onClick=${() => choose(verb)}>${label}${some ? "" : " all"}…</button>`)}</span>`;
  return html`<div class="bulk"><span>${some ? html`<b>${selected.size}</b> selected <button class="quiet" onClick=${clear}>Clear</button>`
      : html`<b>${total.toLocaleString()}</b> ${total === 1 ? "instance" : "instances"}`}</span>
    ${(some || total > 0) && mayAct() && (whole ? html`<details class="menu"><summary class="button">Act on all…</summary>${actions}</details>` : actions)}
    ${action && html`<${Run} verb=${action} ...${{ filter, counts, selected }} close=${() => (choose(null), clear(), done())} />`}
  </div>`;
}

function Run({ verb, filter, counts, selected, close }) {
  const { label, on, reason: asks, danger } = ACTIONS[verb];
  const [reason, setReason] = useState("");
  const [state, set] = useState({ phase: "asking", done: 0, refused: 0 });
  const stopped = useRef(false);
  const states = on.filter((each) => !filter.runtimeStatus.length || filter.runtimeStatus.includes(each));
  const meant = selected.size || states.reduce((sum, each) => sum + (counts[each] ?? 0), 0);
  const left = selected.size ? 0 : Object.values(counts).reduce((sum, each) => sum + each, 0) - meant;
  const run = async (event) => {
    event.preventDefault();
    const tell = (done, refused) => set({ phase: "running", done, refused });
    tell(0, 0);
    try {
      const where = { ...filter, runtimeStatus: states };
      const source = selected.size ? each([...selected], verb, reason) : verb === "purge" ? purged(where) : found(where, verb, reason);
      let [done, refused] = [0, 0];
      for await (const [more, less] of source) {
        tell((done += more), (refused += less));
        if (stopped.current) break;
      }
      set({ phase: "done", done, refused });
    } catch (error) {
      set((old) => ({ ...old, phase: "done", error }));
    }
  };
  const { phase, done, refused, error } = state;
  return html`<${Dialog} title=${`${label} ${meant.toLocaleString()} ${meant === 1 ? "instance" : "instances"}`} close=${() => ((stopped.current = true), close())}>
    <form onSubmit=${run}>
      ${phase === "asking" && html`<p>${selected.size ? "The selected ones." : Preview(states, counts)}
        ${left > 0 && ` The other ${left.toLocaleString()} ${left === 1 ? "is" : "are"} in no state for it, and left alone.`}
        ${verb === "purge" && " Their history and their audit are deleted for good."}</p>
        ${asks && html`<label class="field"><span>Reason <em>kept in each history and the audit</em></span>
          <input value=${reason} maxlength="1000" autofocus onInput=${(event) => setReason(event.target.value)} /></label>`}`}
      ${phase !== "asking" && html`<progress max=${Math.max(meant, 1)} value=${done + refused}></progress>
        <p role="status"><b>${done.toLocaleString()}</b> of ${meant.toLocaleString()}${phase === "done" && ", done"}
          ${refused > 0 && html`; ${refused.toLocaleString()} refused: they had changed meanwhile`}.</p>
        <${Problem} error=${error} />`}
      <footer>${phase === "asking" && html`<button type="button" onClick=${close}>Cancel</button>
          <button class=${danger ? "danger" : "primary"} disabled=${!meant}>${label} ${meant.toLocaleString()}</button>`}
        ${phase === "running" && html`<button type="button" onClick=${() => (stopped.current = true)}>Stop</button>`}
        ${phase === "done" && html`<button type="button" class="primary" onClick=${close}>Close</button>`}</footer>
    </form></${Dialog}>`;
}

const Preview = (states, counts) =>
  states.filter((each) => counts[each]).map((each) => `${counts[each].toLocaleString()} ${each}`).join(", ") + ".";

/** Purge by the filter, in steps that can be counted. */
async function* purged(where) {
  const query = { ...where, createdTimeFrom: where.createdTimeFrom || "1970-01-01T00:00:00Z", top: STEP };
  for (;;) {
    const answer = await remove("instances", query).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    });
    if (!answer) return;
    yield [answer.instancesDeleted, 0];
  }
}

/** The verb on each instance that the filter means. What has changed meanwhile refuses, and is counted. */
async function* found(where, verb, reason) {
  let next;
  do {
    const { items, next: following } = await page("instances", { ...where, top: STEP, showInput: false }, next);
    yield* each(items.map((item) => item.instanceId), verb, reason);
    next = following;
  } while (next);
}

async function* each(ids, verb, reason) {
  for (let place = 0; place < ids.length; place += 10) {
    const results = await Promise.allSettled(ids.slice(place, place + 10).map((id) => act(id, verb, reason)));
    const failed = results.find(({ reason: error }) => error && ![400, 404, 409, 410].includes(error.status));
    if (failed) throw failed.reason;
    const done = results.filter(({ status }) => status === "fulfilled").length;
    yield [done, results.length - done];
  }
}

const act = (id, verb, reason) =>
  verb === "purge" ? remove(instance(id)) : post(instance(id, verb), { reason });
