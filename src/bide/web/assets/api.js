// The public HTTP API, and nothing else: what this page can do, every client can.

import { setNow } from "./time.js";

export const root = new URL(document.baseURI);
const base = new URL("runtime/webhooks/durabletask/", root);
const KEY = "bide.key";
const TOKEN = "x-ms-continuation-token";

/** A refused request: `status`, `message`, where in the data the fault lies (`path`), and the whole `response`. */
export class Refused extends Error {
  constructor(status, problem, response = null) {
    super(problem.Message ?? problem.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.response = response;
    this.path = problem.path;
  }
}

/** Nobody answered: the server is gone, or the way to it. */
export class Unanswered extends Error {
  status = 0;
  constructor(method) {
    super(method === "GET" ? "The server does not answer."
      : "The server does not answer. Whether it has got this is not certain: when it is back, look before you send it again.");
  }
}

/** What a promise of `fetch` gives. Throws `Unanswered`, or if `signal` was aborted what it said. */
const answered = (promise, method, signal) =>
  promise.catch((error) => {
    throw signal?.aborted ? error : new Unanswered(method);
  });

let needKey = () => {};
export const onKeyNeeded = (listener) => (needKey = listener);
export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);
let looksOnly = false;
/** Whether the caller's role may change anything, as far as that is known yet. */
export const mayAct = () => !looksOnly;
export const setRole = (role) => (looksOnly = role === "viewer");
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

function address(path, query, from) {
  // An address would drop them, and so lead elsewhere.
  if (path.split("/").some((part) => part === "." || part === "..")) {
    throw new Refused(400, { Message: "No id and no name can be . or .., because no address can carry them." });
  }
  const url = new URL(path, from);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const each of [value].flat()) if (each !== undefined && each !== "") url.searchParams.append(name, each);
  }
  return url;
}

async function send(method, path, { query, body, headers, signal, from = base } = {}) {
  const key = sessionStorage.getItem(KEY);
  const asked = fetch(address(path, query, from), {
    method,
    body,
    signal,
    cache: "no-store",
    headers: {
      ...(key === null ? {} : { "x-functions-key": key }),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
  });
  const response = await answered(asked, method, signal);
  if (response.ok) return response;
  if (response.headers.has("WWW-Authenticate")) needKey(); // 401, or 429 after many
  throw new Refused(response.status, await response.clone().json().catch(() => ({})), response);
}

async function content(response) {
  const text = await answered(response.text(), "GET");
  return text === "" ? null : JSON.parse(text);
}

export const get = async (path, query, options) => content(await send("GET", path, { query, ...options }));
/** `body` is JSON text. */
export const post = async (path, query, body, options) => content(await send("POST", path, { query, body, ...options }));
export const remove = async (path, query) => content(await send("DELETE", path, { query }));

/** Any answer, also a refusal, as it came: its `status`, the `words` for that, and its `text`. */
export async function ask(method, path, options) {
  const response = await send(method, path, options).catch((error) => {
    if (error instanceof Refused && error.response) return error.response;
    throw error;
  });
  const text = await answered(response.text(), "GET");
  return { status: response.status, words: response.statusText, text: pretty(text) };
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it is none
  }
}

/** One page of a list: `items`, and the token of the `next` one, if there is one. */
export async function page(path, query, token) {
  const response = await send("GET", path, { query, headers: token ? { [TOKEN]: token } : {} });
  return { items: await content(response), next: response.headers.get(TOKEN) };
}

export const instance = (id, rest = "") => `instances/${encodeURIComponent(id)}${rest && `/${rest}`}`;

/**
 * Listen to a stream of server-sent events until `signal` aborts; lost connections are made again. EventSource is not
 * used, because it sends no headers, so a key would have to stand in the address. A page that nobody looks at does
 * not listen: browsers allow few connections to one host.
 *
 * `on(event)` gets `{type, data, id}`; `state` hears "live", "lost" and "gone" (the thing itself is not there).
 */
export async function listen(path, { query, from, lastId = "", signal, on, state = () => {} }) {
  let pause = 250;
  let last = lastId;
  while (!signal.aborted) {
    await visible(signal);
    const looking = new AbortController();
    const stop = () => looking.abort();
    const hide = () => document.hidden && stop();
    signal.addEventListener("abort", stop);
    document.addEventListener("visibilitychange", hide);
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await send("GET", path, { query, from, headers, signal: looking.signal });
      state("live");
      pause = 250;
      for await (const event of events(response.body)) {
        if (event.id) last = event.id;
        if (event.type === "end") state("live");
        if (event.type === "unauthorized") return needKey(), state("gone");
        on(event);
        if (event.type === "end") return;
      }
      if (!signal.aborted && !looking.signal.aborted) state("lost");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && [401, 403, 404, 429].includes(error.status)) return state("gone");
      if (!looking.signal.aborted) state("lost");
    } finally {
      signal.removeEventListener("abort", stop);
      document.removeEventListener("visibilitychange", hide);
    }
    await sleep(pause, signal);
    pause = Math.min(pause * 2, 4000);
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += value;
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return fields.data === undefined ? null : { type: fields.event, id: fields.id, data: JSON.parse(fields.data) };
}

function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const check = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", check);
      resolve();
    };
    document.addEventListener("visibilitychange", check);
    signal.addEventListener("abort", check, { once: true });
  });
}

export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

// --- the hub, told once to all who look

const watchers = new Set();
let listening = null;
let connection = "lost";
let heard = Date.now();
const told = new Set();

/** Call `changed` soon after anything in the hub has changed, and after a lost connection is back. */
export function watchHub(changed) {
  watchers.add(changed);
  return () => watchers.delete(changed);
}

/** Hear how the connection is ("live", "lost" or "gone"), and when the hub was last heard of (in milliseconds). */
export function onConnection(listener) {
  told.add(listener);
  listener(connection, heard);
  return () => told.delete(listener);
}

/** Listen to the hub, anew if that is done already: with another key, or after a worker was killed. */
export function reconnect() {
  listening?.abort();
  listening = listenToHub();
}

function listenToHub() {
  const abort = new AbortController();
  listen("events", {
    query: { every: "500ms" },
    signal: abort.signal,
    on: ({ type, data }) => {
      heard = Date.now();
      if (type !== "changed") return;
      setNow(data.now);
      watchers.forEach((changed) => changed()); // the first time too: something may have changed before we listened
    },
    state: (state) => {
      // A stream that breaks was alive until then.
      if (state === "live" || (state === "lost" && connection === "live")) heard = Date.now();
      connection = state;
      told.forEach((listener) => listener(state, heard));
    },
  });
  return abort;
}
