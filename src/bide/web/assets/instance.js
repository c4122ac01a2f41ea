// One instance: what it is, who it waits for, what may be done with it, and its story in several views.

import { Answer } from "./answer.js";
import { Audit } from "./audit.js";
import { get, instance as at, listen, post, remove, sleep } from "./api.js";
import { History } from "./history.js";
import { Sequence } from "./sequence.js";
import { storyOf } from "./story.js";
import { Timeline } from "./timeline.js";
import { Tree } from "./tree.js";
import { Value } from "./values.js";
import { go, href, setQuery, usePlace } from "./router.js";
import { Confirm, Copy, Countdown, html, Link, Problem, Status, Strip, Time, useData, useEffect, useMemo, useRef, useState } from "./ui.js";
import { now, span, useNow } from "./time.js";

const TABS = [
  ["timeline", "Timeline"],
  ["answer", "Answer"],
  ["history", "History"],
  ["sequence", "Sequence"],
  ["tree", "Tree"],
  ["data", "Input and output"],
  ["audit", "Audit"],
];
export const TAB_NAMES = TABS.map(([name]) => name);
const LOOK = 3000;
const RETRY = 2000;
const LONG = 10_000; // as the worker warns
const NONE = [];
const ENDED = new Set(["Completed", "Failed", "Terminated"]);

/** What is known of an instance (null: none yet), kept up to date: its state, its history and its story. */
export function useInstance(id) {
  const [version, bump] = useState(0);
  const history = useHistory(id, () => bump((old) => old + 1));
  const status = useStatus(id, version);
  const ended = status.data && ENDED.has(status.data.runtimeStatus);
  const workers = useWorkers(history.connection, ended);
  const story = useMemo(
    () => history.steps && storyOf(history, { now: now(), workers, finished: ended, waits: status.data?.waits ?? [] }),
    [history.steps, workers, ended, status.data?.waits],
  );
  return { id, status: status.data, error: status.error ?? history.error, history, story, ended, reload: () => bump((old) => old + 1) };
}

/** Who has worked, again every few seconds while it matters: a killed worker is known by its silence alone. */
function useWorkers(connection, ended) {
  const { data, reload } = useData(() => get("workers"), `workers ${connection}`);
  useEffect(() => {
    const look = () => document.hidden || reload();
    const timer = ended ? setTimeout(look, LOOK) : setInterval(look, LOOK);
    return () => clearInterval(timer);
  }, [ended]);
  return data ?? NONE;
}

function useStatus(id, version) {
  const [state, set] = useState({});
  useEffect(() => {
    if (!id) return undefined;
    let gone = false;
    const timer = setTimeout(async () => {
      try {
        const data = await get(at(id));
        if (!gone) set({ id, data });
      } catch (error) {
        if (!gone) set((old) => ({ id, data: old.id === id ? old.data : undefined, error }));
      }
    }, version ? 60 : 0);
    return () => ((gone = true), clearTimeout(timer));
  }, [id, version]);
  return state.id === id ? state : {};
}

/** The history as it grows: read once, then each step as it is told. */
function useHistory(id, changed) {
  const [state, set] = useState({ connection: "lost" });
  const latest = useRef();
  latest.current = changed;
  useEffect(() => {
    if (!id) return undefined;
    const abort = new AbortController();
    let steps = [];
    let generation = 0;
    let birth = ""; // another one: the id was used again
    let drawing = 0;
    const draw = () => {
      drawing ||= requestAnimationFrame(() => {
        drawing = 0;
        set((old) => ({ ...old, id, generation, steps: [...steps], error: null }));
        latest.current();
      });
    };
    const take = ({ type, data, id: mark }) => {
      if (type !== "step") return draw();
      const [of, , born] = mark.split(".");
      if (Number(of) !== generation || born !== birth) [generation, birth, steps] = [Number(of), born, []];
      if (!steps.length || steps.at(-1).seq < data.seq) steps.push(data);
      draw();
    };
    const begin = async () => {
      try {
        if (abort.signal.aborted) return;
        const first = await get(at(id, "history"));
        ({ generation, steps } = first);
        birth = steps[0]?.facts[0].birth ?? "";
        draw();
        const lastId = steps.length ? `${generation}.${steps.at(-1).seq}.${birth}` : "";
        const state = (connection) => {
          set((old) => ({ ...old, connection }));
          if (connection !== "live") latest.current();
        };
        await listen(at(id, "events"), { signal: abort.signal, lastId, on: take, state });
      } catch (error) {
        if (abort.signal.aborted) return;
        set({ id, error, connection: error.status ? "gone" : "lost" });
        if (!error.status) sleep(RETRY, abort.signal).then(begin);
      }
    };
    begin();
    return () => (abort.abort(), cancelAnimationFrame(drawing));
  }, [id]);
  return state.id === id ? state : { connection: "lost" };
}

/** The types of this app's functions, to know what is secret. */
export const useTypes = () =>
  useData(async () => {
    const [orchestrators, activities] = await Promise.all([get("orchestrators"), get("activities")]);
    const byName = (list) => Object.fromEntries(list.map((each) => [each.name, each]));
    return { orchestrators: byName(orchestrators), activities: byName(activities) };
  }, "types").data;

export function InstanceView({ id, tab = "timeline" }) {
  const instance = useInstance(id);
  const types = useTypes();
  const { status, error, reload } = instance;
  if (!status) {
    return error?.status === 404
      ? html`<h1>No such instance</h1><p>There is no instance <span class="id">${id}</span>. It may have been purged.</p>
          <p><${Link} to="instances">All instances</${Link}></p>`
      : html`<${Problem} error=${error} retry=${reload} />`;
  }
  const awaited = status.waits?.length ?? 0;
  const View = VIEWS[tab] ?? TimelineTab;
  return html`
    <${Header} instance=${instance} types=${types} />
    <${Tabs} ...${{ id, tab, awaited }} />
    <section class="tab"><${View} instance=${instance} types=${types} /></section>`;
}

function Tabs({ id, tab, awaited }) {
  return html`<${Strip} class="tabs" aria-label="Views of the instance">${TABS.map(([name, label]) => html`<${Link} key=${name}
    to=${name === "timeline" ? ["instances", id] : ["instances", id, name]} aria-current=${name === tab ? "page" : undefined}>${label}
    ${name === "answer" && awaited > 0 && html`<span class="count">${awaited}</span>`}</${Link}>`)}</${Strip}>`;
}

function Header({ instance: { id, status, story, history, ended, reload }, types }) {
  const steps = history.steps?.length ?? 0;
  const from = story?.start ? story.start / 1000 : Date.parse(status.createdTime);
  const waits = status.waits ?? [];
  return html`<header class="instance">
    <div><h1><${Status} of=${status.runtimeStatus} /> ${status.name}</h1>
      <p class="id"><${Copy} text=${id}>${id}</${Copy}></p></div>
    <${Actions} ...${{ id, status, history, ended, reload }} />
    ${!ended && steps > LONG && html`<div class="banner" role="alert"><b>${steps.toLocaleString()} steps.</b> All of them are repeated whenever it comes back into
      memory. Code that goes on for ever should end a run now and then, with <code>continue_as_new</code>.</div>`}
    ${status.held && html`<div class="banner" role="alert"><b>Held.</b> ${status.held}</div>`}
    <dl class="facts">
      ${waits.length > 0 && html`<div class="waiting"><dt>Waiting for</dt><dd>${waits.map((wait) => html`<${WaitingFor} key=${wait.name + wait.since} id=${id} wait=${wait} />`)}</dd></div>`}
      <div><dt>Started</dt><dd><${Time} at=${from} /></dd></div>
      <div><dt>${ended ? "Took" : "Running for"}</dt><dd><${Duration} from=${from} to=${ended ? story?.end ? story.end / 1000 : Date.parse(status.lastUpdatedTime) : null} /></dd></div>
      ${status.parent && html`<div><dt>Called by</dt><dd><${Link} to=${["instances", status.parent.instanceId]} class="id">${status.parent.instanceId}</${Link}></dd></div>`}
      ${Object.keys(status.tags).length > 0 && html`<div><dt>Tags</dt><dd class="chips">${Object.entries(status.tags).map(([name, value]) => html`<${Link}
        key=${name} to="instances" query=${{ tag: `${name}:${value}` }} class="chip">${name}: ${value}</${Link}>`)}</dd></div>`}
      ${status.customStatus !== null && html`<div><dt>Custom status</dt><dd><${Value} value=${status.customStatus} /></dd></div>`}
      ${ended && html`<div><dt>${status.runtimeStatus === "Failed" ? "Error" : status.runtimeStatus === "Terminated" ? "Reason" : "Result"}</dt>
        <dd><${Result} ...${{ status, types }} /></dd></div>`}
    </dl></header>`;
}

function Result({ status: { name, runtimeStatus, output }, types }) {
  if (runtimeStatus === "Completed") return html`<${Value} value=${output} ...${outputType(name, types)} />`;
  return html`<pre class=${runtimeStatus === "Failed" ? "error" : ""}>${output || "–"}</pre>`;
}

/** The type of a function's output; where its code is not here, it is not known, and nothing is shown unasked. */
const outputType = (name, types) => (types?.orchestrators[name] ? { schema: types.orchestrators[name].outputSchema } : { hidden: true });

const WaitingFor = ({ id, wait: { name, since, deadline } }) => html`<div class="waiting-for">
  <${Countdown} since=${since} until=${deadline} />
  <div><${Link} to=${["instances", id, "answer"]} class="title">${name}</${Link}>
    <div class="muted">since <${Time} at=${since} />${deadline ? html`, due <${Time} at=${deadline} />` : ", for as long as it takes"}</div></div></div>`;

function Duration({ from, to }) {
  const present = useNow();
  return html`${span((to ?? present) - from)}`;
}

const ACTIONS = {
  suspend: { label: "Suspend", text: "It takes its messages, but does not go on until it is resumed.", reason: true },
  resume: { label: "Resume", text: "It goes on, with what has come meanwhile.", reason: true },
  terminate: { label: "Terminate", text: "It ends now, for good. What it waits for is not waited for any more.", reason: true, danger: true },
  rewind: { label: "Rewind", text: "It goes back to where it went wrong, and what failed runs again.", reason: true },
  restart: { label: "Start again", text: "With the same input, as a new instance." },
  orphans: { label: "End its children", text: "What it has called, and still runs, is terminated now, with all below that.", reason: true, danger: true },
  purge: { label: "Purge", text: "It is deleted with its history and its audit, for good.", danger: true },
};

function Actions({ id, status, history, ended, reload }) {
  const [asked, ask] = useState(null);
  const mayEnd = ended && status.allowedActions.includes("restart") && history.steps?.some((step) => step.facts.some((fact) => fact.type === "SubOrchestrationInstanceCreated"));
  const allowed = Object.keys(ACTIONS).filter((verb) => verb === "orphans" ? mayEnd : status.allowedActions.includes(verb));
  const run = async (reason) => {
    if (asked === "purge") {
      await remove(at(id));
      go(href("instances"));
    } else if (asked === "restart") {
      const { id: started } = await post(at(id, "restart"));
      go(href(["instances", started]));
    } else {
      await (asked === "orphans" ? post(at(id, "terminate"), { reason, recurse: true }) : post(at(id, asked), { reason }));
      reload();
    }
  };
  const action = ACTIONS[asked];
  return html`<div class="actions">${allowed.map((verb) => html`<button key=${verb} class=${ACTIONS[verb].danger ? "danger-quiet" : ""}
      onClick=${() => ask(verb)}>${ACTIONS[verb].label}…</button>`)}
    ${status.allowedActions.includes("restart") && html`<${Link} class="button" to="start" query=${{ like: id }}>Start like this one</${Link}>`}
    ${asked && html`<${Confirm} title=${`${action.label}: ${status.name}`} text=${action.text} action=${action.label} danger=${action.danger}
      withReason=${action.reason} run=${run} close=${() => ask(null)}><p class="id">${id}</p></${Confirm}>`}</div>`;
}

function TimelineTab({ instance: { id, story, ended, history, status } }) {
  const present = useNow();
  const { query } = usePlace();
  const fold = query.get("fold") !== "0";
  const [selected, select] = useState(null);
  if (!story) return null;
  const open = (row) => (select(row), row && row.kind === "child" ? go(href(["instances", row.input?.instanceId ?? row.instanceId ?? ""])) : null);
  return html`<div class="tools"><label><input type="checkbox" checked=${fold} onChange=${() => setQuery({ fold: fold ? "0" : null })} /> Fold idle time</label>
      ${history.connection === "lost" && !ended && html`<span class="muted">reconnecting…</span>`}</div>
    <${Timeline} story=${story} now=${ended ? story.end : present * 1000} fold=${fold} selected=${selected} onSelect=${open} />
    ${selected && html`<${RowDetail} id=${id} row=${selected} close=${() => select(null)} />`}
    ${status.waits?.length > 0 && html`<p class="hint"><${Link} class="button primary" to=${["instances", id, "answer"]}>Answer</${Link}></p>`}`;
}

const RowDetail = ({ id, row, close }) => html`<aside class="detail" aria-label=${row.label}>
  <header><h3>${row.label} <span class="muted">${row.kind}, ${row.outcome}</span></h3><button class="quiet" aria-label="Close" onClick=${close}>✕</button></header>
  ${row.attempts?.length > 1 && html`<ol class="attempts">${row.attempts.map((each, place) => html`<li key=${place}>attempt ${place + 1}: ${each.outcome} ${each.message && html`<span class="error">${each.message}</span>`}</li>`)}</ol>`}
  ${row.failure && html`<pre class="error">${row.failure.message}</pre>`}
  <p><${Link} to=${["instances", id, "history"]} query=${{ seq: row.steps[0] }}>In the history: step ${row.steps.filter((each) => each !== undefined && each !== null).join(" and ")}</${Link}></p></aside>`;

const SequenceTab = ({ instance: { history } }) => history.steps && html`<${Sequence} history=${history} />`;

function Data({ instance: { status, history, ended }, types }) {
  const own = types?.orchestrators[status.name];
  const unknown = types && !own;
  return html`<div class="columns even">
    <section><h3>Input</h3><${Value} value=${status.input} schema=${own?.inputSchema ?? {}} hidden=${unknown} name="the input" /></section>
    <section><h3>Output</h3>${ended ? html`<${Result} ...${{ status, types }} />` : html`<p class="muted">It has none yet.</p>`}</section>
    <section><h3>Custom status</h3><${Value} value=${status.customStatus} /></section>
    <section><h3>In figures</h3><p>${history.steps?.length.toLocaleString()} steps, generation ${history.generation}</p></section></div>`;
}

const AuditTab = ({ instance: { id } }) => html`<${Audit} id=${id} />`;

const VIEWS = { timeline: TimelineTab, answer: Answer, history: History, sequence: SequenceTab, tree: Tree, data: Data, audit: AuditTab };
