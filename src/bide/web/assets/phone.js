// The dev phone: the person, the telephone and the engine on one screen.

import { get, instance as at, listen, post, reconnect, root } from "./api.js";
import { useInstance } from "./instance.js";
import { setQuery, usePlace } from "./router.js";
import { Timeline } from "./timeline.js";
import { Countdown, html, Link, Problem, Status, Time, useData, useEffect, useRef, useState } from "./ui.js";
import { setNow, useNow } from "./time.js";

const NUMBER = "+12025550123"; // out of the range that is kept for fiction
const HERE = { from: root };

export function Phone({ hub }) {
  const { query } = usePlace();
  const state = useData(() => get("dev/phone/state", {}, HERE), "phone state", { live: true });
  const number = query.get("to") ?? NUMBER;
  const id = query.get("instance");
  const phone = useMessages();
  const instance = useInstance(id);
  const numbers = [...new Set([number, ...phone.messages.map((each) => each.to)])];
  if (!state.data) return html`<${Problem} error=${state.error} retry=${state.reload} />`;
  const { orchestrator, event } = state.data;
  const answer = (code) => post(at(id, `raiseEvent/${event}`), {}, JSON.stringify(code));
  const messages = phone.messages.filter((each) => each.to === number);
  const started = instance.status ? Date.parse(instance.status.createdTime) : Infinity;
  const arrived = messages.some((each) => Date.parse(each.at) >= started);
  return html`<h1 class="sr-only">Dev phone</h1>
    <p class="notice">Messages to this phone are delivered to nobody. It is for development on this machine.</p>
    <div class="stage">
      <${Person} ...${{ id, number, orchestrator, event, answer, instance, arrived }} />
      <${Handset} ...${{ number, numbers, messages, fresh: phone.fresh, answer, live: Boolean(id) && !instance.ended }} />
      ${id ? html`<${Engine} instance=${instance} />` : html`<section class="engine idle"><h2>The engine</h2><p class="muted">Send a code, and see what it does.</p></section>`}
    </div>
    <${Trouble} ...${{ state: state.data, reload: state.reload, demo: hub.development.includes("/dev/demo"), open: Boolean(id) && !instance.ended, messages, answer }} />`;
}

/** The messages as they arrive. */
function useMessages() {
  const [state, set] = useState({ messages: [], fresh: null });
  useEffect(() => {
    const abort = new AbortController();
    const add = (more, fresh) => set((old) => {
      const known = new Set(old.messages.map((each) => each.id));
      return { messages: [...old.messages, ...more.filter((each) => !known.has(each.id))], fresh };
    });
    const read = () => get("dev/phone/messages", {}, HERE).then((all) => add(all, null), () => {});
    read();
    listen("dev/phone/events", {
      ...HERE,
      signal: abort.signal,
      on: ({ type, data }) => type === "message" && add([data], data.id),
      state: (connection) => connection === "live" && read(),
    });
    return () => abort.abort();
  }, []);
  return state;
}

// --- the person at a browser

const TRIES = 4;

/** What the person's page would say: how the verification stands. */
function verdictOf({ status, error }, event, arrived) {
  if (error && !status) return { tone: "bad", text: error.message };
  if (!status) return null;
  const { runtimeStatus, output, customStatus, waits = [] } = status;
  const { triesLeft, hint } = customStatus ?? {};
  if (runtimeStatus === "Completed" && output === true) return { tone: "good", text: "Thank you: this number is yours." };
  if (runtimeStatus === "Completed") return { tone: "bad", text: triesLeft === 0 ? "This number is not verified: too many codes were wrong." : "This number is not verified: the time is up." };
  if (runtimeStatus === "Failed") return { tone: "bad", text: "No message could be sent to this number. Is it right?" };
  if (runtimeStatus === "Terminated") return { tone: "bad", text: "The verification was ended." };
  if (typeof hint === "string") return { tone: "warn", text: hint };
  if (triesLeft < TRIES) return { tone: "warn", text: `That was not the code. ${left(triesLeft)}.` };
  const asked = waits.some((wait) => wait.name === event);
  return arrived ? null : { tone: "", text: asked ? "The message is on its way…" : "The message is being sent…" };
}

const left = (tries) => `${tries} ${tries === 1 ? "try" : "tries"} left`;

function Person({ id, number, orchestrator, event, answer, instance, arrived }) {
  const [to, setTo] = useState(number);
  const [code, setCode] = useState("");
  const [state, set] = useState({});
  const codeInput = useRef();
  const open = Boolean(id) && !instance.ended;
  const attempt = (what) => async (submitted) => {
    submitted.preventDefault();
    if (state.busy) return;
    set({ busy: true });
    try {
      await what();
      set({});
    } catch (error) {
      set({ error });
    }
  };
  const start = attempt(async () => {
    const started = `phone-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, "0")}`;
    await post(`orchestrators/${orchestrator}/${started}`, {}, JSON.stringify(to.trim()));
    setCode("");
    setQuery({ instance: started, to: to.trim() });
  });
  const begun = useRef(id);
  useEffect(() => {
    if (open && id !== begun.current) codeInput.current.focus(); // what is to be done next
    if (open) begun.current = id;
  }, [id, open]);
  const send = attempt(async () => {
    if (!code.trim()) return codeInput.current.focus();
    await answer(code.trim());
    setCode("");
    codeInput.current?.focus();
  });
  const verdict = id ? verdictOf(instance, event, arrived) : null;
  return html`<section class="person"><h2>The person</h2>
    <form onSubmit=${start}><label class="field"><span>Phone number</span>
      <input type="tel" value=${to} onInput=${({ target }) => setTo(target.value)} autocomplete="off" /></label>
      <button class=${open ? "" : "primary"} aria-disabled=${state.busy} disabled=${!orchestrator}>${id ? "Send another code" : "Send code"}</button></form>
    ${open && html`<form onSubmit=${send}><label class="field"><span>The code from the message</span>
      <input ref=${codeInput} class="code" inputmode="numeric" autocomplete="one-time-code" maxlength="10" value=${code} onInput=${({ target }) => setCode(target.value)} /></label>
      <button class="primary" aria-disabled=${state.busy}>Answer</button></form>`}
    <${Problem} error=${state.error} />
    <p class=${`verdict ${verdict?.tone ?? ""}`} role="status">${verdict?.text}</p>
    <p class="muted small">This is what your own page would do, over the public HTTP API.</p></section>`;
}

// --- the telephone

function Handset({ number, numbers, messages, fresh, answer, live }) {
  const screen = useRef();
  useEffect(() => screen.current?.scrollTo(0, screen.current.scrollHeight), [messages.length]);
  const [error, setError] = useState(null);
  const tap = (code) => answer(code).then(() => setError(null), setError);
  return html`<section class="handset-frame"><h2 class="sr-only">The telephone</h2>
    ${numbers.length > 1 && html`<div class="chips numbers" role="group" aria-label="Telephones">${numbers.map((each) => html`<button key=${each} class="chip"
      aria-pressed=${each === number} onClick=${() => setQuery({ to: each })}>${each}</button>`)}</div>`}
    <div class=${`handset ${messages.at(-1)?.id === fresh && fresh ? "buzz" : ""}`} key=${fresh}>
      <div class="ear" aria-hidden="true"></div>
      <div class="title"><b>Messages</b><span>${number}</span></div>
      <ol class="screen" ref=${screen} aria-live="polite" tabindex="0" aria-label="Messages">${messages.map((each) => html`<${Bubble} key=${each.id} message=${each} tap=${live ? tap : null} />`)}
        ${!messages.length && html`<li class="quiet-screen">No messages</li>`}</ol></div>
    <${Problem} error=${error} /></section>`;
}

function Bubble({ message: { body, code, at: when, status, errorCode }, tap }) {
  if (status === "undelivered") return html`<li class="bubble failed">Not delivered (error ${errorCode}). <${Time} at=${when} /></li>`;
  const place = code ? body.indexOf(code) : -1;
  const text = place < 0 ? body : html`${body.slice(0, place)}<button class="code-chip" disabled=${!tap} onClick=${() => tap(code)}
    aria-label=${`Answer with ${code}`}>${code}</button>${body.slice(place + code.length)}`;
  return html`<li class="bubble">${text}<small><${Time} at=${when} /></small></li>`;
}

// --- the engine

function Engine({ instance: { id, status, story, history, ended, error } }) {
  const present = useNow();
  if (!status) return html`<section class="engine"><h2>The engine</h2><${Problem} error=${error} /></section>`;
  const wait = status.waits?.[0];
  const { triesLeft: tries, hint } = status.customStatus ?? {};
  const down = history.connection === "lost" && !ended;
  return html`<section class="engine"><header><h2>The engine</h2><${Status} of=${status.runtimeStatus} />
      <${Link} to=${["instances", id]} class="id">${id}</${Link}></header>
    ${down && html`<div class="banner" role="alert"><b>The worker is down.</b> The countdown goes on; what was accepted is kept.</div>`}
    ${ended ? html`<${Outcome} status=${status} />` : html`<div class="gauge">
      ${wait ? html`<${Countdown} since=${wait.since} until=${wait.deadline} size=${112} />` : html`<span class="ring none">…</span>`}
      <div><b>${wait ? `Waiting for ${wait.name}` : "Working"}</b>${tries !== undefined && tries !== null && html`<p class="tries">${Array.from({ length: TRIES }, (_, place) => html`<i key=${place} class=${place < tries ? "" : "spent"}></i>`)}
        <span>${left(tries)}</span></p>`}
        ${typeof hint === "string" && html`<p class="muted" role="status">${hint}</p>`}</div></div>`}
    ${story && html`<${Timeline} story=${story} now=${ended ? story.end : present * 1000} fold=${false} />`}</section>`;
}

const Outcome = ({ status: { runtimeStatus, output } }) => {
  const good = runtimeStatus === "Completed" && output === true;
  const text = good ? "Verified" : runtimeStatus === "Completed" ? "Not verified" : runtimeStatus;
  return html`<div class=${`outcome ${good ? "good" : "bad"}`} role="status"><svg viewBox="0 0 48 48" aria-hidden="true"><circle cx="24" cy="24" r="22" />
    <path d=${good ? "M14 25l7 7 14-15" : "M16 16l16 16M32 16L16 32"} /></svg><div><b>${text}</b><p>${good ? "The right code came in time." : runtimeStatus === "Completed" ? "No right code came in time, or four were wrong." : String(output ?? "")}</p></div></div>`;
};

// --- trouble to try

const FAULTS = [
  ["late", "Deliver late", "The next SMS arrives 10 seconds later."],
  ["lost", "Lose it", "The next SMS is accepted, and never arrives."],
  [21211, "Refuse: 21211", "The provider refuses the next SMS: no such number."],
  [30003, "Fail: 30003", "The next SMS is accepted, and then not delivered: handset not reached."],
];

function Trouble({ state, reload, demo, open, messages, answer }) {
  const [error, setError] = useState(null);
  const attempt = (what) => () => what().then(() => setError(null), setError);
  const arm = (next) => attempt(async () => (await post("dev/phone/faults", {}, JSON.stringify({ next: state.next === next ? null : next }), HERE), reload()));
  const wrong = () => String((Number(messages.at(-1)?.code ?? 0) + 1) % 10_000).padStart(4, "0");
  const kill = attempt(async () => {
    await post("dev/demo/kill", {}, undefined, HERE);
    setTimeout(reconnect, 300);
  });
  const skip = attempt(async () => setNow((await post("dev/demo/skip", { seconds: 85 }, undefined, HERE)).now));
  return html`<section class="trouble"><h2>Make trouble</h2>
    <div class="group"><h3>Now</h3>
      <button disabled=${!open} onClick=${attempt(() => answer(wrong()))}>Wrong code</button>
      ${demo && html`<button onClick=${skip}>Skip 85 s</button>`}
      ${demo && html`<button onClick=${kill} title="kill -9 of the process that runs the engine and serves this page"><span aria-hidden="true">⚡</span> Kill the worker</button>`}</div>
    <div class="group"><h3>The next SMS</h3>${FAULTS.map(([next, label, text]) => html`<button key=${next} title=${text} aria-pressed=${state.next === next} onClick=${arm(next)}>${label}</button>`)}</div>
    <${Problem} error=${error} /></section>`;
}
