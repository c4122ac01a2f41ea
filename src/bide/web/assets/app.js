// The frame around all views: where to go, how times and colours are shown, and the keys of the keyboard.

import { Audit } from "./audit.js";
import { forgetKey, get, hasKey, mayAct, onConnection, onKeyNeeded, reconnect, setKey, setRole } from "./api.js";
import { Docs } from "./docs.js";
import { Home } from "./home.js";
import { Instances, search } from "./instances.js";
import { InstanceView, TAB_NAMES } from "./instance.js";
import { Metrics } from "./metrics.js";
import { Phone } from "./phone.js";
import { go, href, place, usePlace } from "./router.js";
import { Start } from "./start.js";
import { Timers } from "./timers.js";
import { Boundary, Dialog, Empty, html, Link, nextTimeMode, render, Strip, Time, timeMode, useEffect, useRef, useState } from "./ui.js";
import { Workers } from "./workers.js";
import { setNow } from "./time.js";

const VIEWS = [
  ["", "Home", Home, "h"],
  ["instances", "Instances", Instances, "i"],
  ["start", "Start", Start, "s"],
  ["timers", "Timers", Timers, "t"],
  ["workers", "Workers", Workers, "w"],
  ["metrics", "Metrics", Metrics, "m"],
  ["audit", "Audit", Audit, "a"],
  ["docs", "API", Docs, "d"],
];
const PHONE = ["dev", "phone"];
const THEMES = ["system", "light", "dark"];

function App() {
  const { parts, query } = usePlace();
  const [locked, lock] = useState(null);
  const heard = useLost();
  const [epoch, renew] = useState(0);
  const [hub, setHub] = useState(null);
  const phone = hub?.development.includes("/dev/phone") ?? false;
  const [help, showHelp] = useState(false);
  const [, draw] = useState(0);
  const redraw = () => draw((old) => old + 1);
  useEffect(() => (onKeyNeeded(() => lock((old) => old ?? (hasKey() ? OLD_KEY : NO_KEY))), reconnect()), []);
  useEffect(() => {
    get("hub").then((found) => (setNow(found.now), setRole(found.role), setHub(found)), () => {});
  }, [epoch]);
  useEffect(() => keyboard({ help: () => showHelp(true), redraw, phone }), [phone]);
  useEffect(() => void (document.title = title(parts)), [parts.join("/")]);
  const unlock = () => {
    lock(null);
    reconnect();
    renew(epoch + 1);
  };
  return html`<a class="skip" href="#main">To the content</a>
    <${Bar} parts=${parts} hub=${hub} phone=${phone} redraw=${redraw} help=${() => showHelp(true)} />
    ${heard !== null && !locked && !(parts[0] === "dev" && query.has("instance")) && html`<${Gone} heard=${heard} />`}
    <main id="main" tabindex="-1" class=${heard !== null ? "stale" : ""}>${locked ? html`<${Lock} why=${locked} unlock=${unlock} />`
      : html`<${Boundary} at=${parts.join("/")} key=${epoch}><${View} parts=${parts} hub=${hub} /></${Boundary}>`}</main>
    ${help && html`<${Help} close=${() => showHelp(false)} phone=${phone} />`}`;
}

function View({ parts, hub }) {
  const [first = "", second, third] = parts;
  if (first === "dev" && second === "phone" && parts.length === 2) return hub && html`<${Phone} hub=${hub} />`;
  if (first === "instances" && second && parts.length <= 3) return html`<${InstanceView} key=${second} id=${second} tab=${third} />`;
  const [, , Found] = VIEWS.find(([path]) => path === parts.join("/")) ?? [];
  return Found ? html`<${Found} />` : html`<${Empty} as="h1" title="There is no such page"><p>Nothing is under <span class="id">/${parts.join("/")}</span>.</p>
    <p><${Link} to="" class="button primary">Home</${Link}></p></${Empty}>`;
}

const title = ([first = "", second, third]) =>
  [second && first === "instances" ? second : first === "dev" ? "Dev phone" : VIEWS.find(([path]) => path === first)?.[1], third, "Bide"].filter(Boolean).join(" · ");

function Bar({ parts, hub, phone, redraw, help }) {
  const [first = "", second] = parts;
  const link = (path, label) => html`<${Link} key=${label} to=${path} aria-current=${[path].flat().join("/") === (first === "dev" ? `dev/${second}` : first) ? "page" : undefined}>${label}</${Link}>`;
  return html`<header class="bar">
    <${Link} to="" class="brand" aria-label="Bide, home"><img src=${document.querySelector("link[rel=icon]").href} alt="" width="24" height="24" /><span>Bide</span></${Link}>
    <${Strip} aria-label="Views">${VIEWS.filter(([path]) => (path !== "audit" || hub?.role === "admin") && (path !== "start" || mayAct())).map(([path, label]) => link(path, label))}${phone && link(PHONE, "Dev phone")}</${Strip}>
    <${Search} />
    <div class="tools"><${Connection} />
      <button class="quiet" onClick=${() => (nextTimeMode(), redraw())} title="Times: relative, local or UTC (z)">${{ relative: "Relative", local: "Local", utc: "UTC" }[timeMode()]}</button>
      <button class="quiet" onClick=${() => (nextTheme(), redraw())} title="Colours: as the system, light or dark (d)" aria-label=${`Colours: ${theme()}`}>${{ system: "◐", light: "☀", dark: "☾" }[theme()]}</button>
      <button class="quiet" onClick=${help} title="Keys (?)" aria-label="Keys of the keyboard">?</button>
      ${hasKey() && html`<button class="quiet" onClick=${() => (forgetKey(), location.reload())}>Leave</button>`}</div></header>`;
}

function Search() {
  const [text, setText] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    if (!text.trim()) return;
    go(await search(text.trim()));
    setText("");
    event.target.querySelector("input").blur();
  };
  return html`<form role="search" onSubmit=${submit}><input type="search" id="search" value=${text} onInput=${(event) => setText(event.target.value)}
    placeholder="Id, its beginning, or a function" aria-label="Find instances" /></form>`;
}

function Connection() {
  const [state, set] = useState("live");
  useEffect(() => onConnection(set), []);
  if (state === "gone") return null;
  return html`<span class=${`connection ${state}`} role="status"><span class=${`dot ${state === "live" ? "ok" : "bad"}`}></span><span>${state === "live" ? "live" : "reconnecting"}</span></span>`;
}

const PATIENCE = 1500;

/** Since when (in milliseconds) nothing was heard of the hub, or null: a short break is not worth a word. */
function useLost() {
  const [since, set] = useState(null);
  useEffect(() => {
    let timer = null;
    const forget = onConnection((state, heard) => {
      if (state === "lost") timer ??= setTimeout(() => set(heard), PATIENCE);
      else (clearTimeout(timer), (timer = null), set(null));
    });
    return () => (clearTimeout(timer), forget());
  }, []);
  return since;
}

const Gone = ({ heard }) => html`<div class="banner gone" role="alert"><b>The server does not answer.</b> What you see is
  what it said until <${Time} at=${heard} />, and may be old. This page goes on by itself when the server is back.</div>`;

const NO_KEY = "no key";
const OLD_KEY = "The key that this tab had is not valid any more.";
const WRONG_KEY = "This key is not valid here. It may be mistyped, of another hub, revoked, or expired.";

function Lock({ why, unlock }) {
  const [key, setKeyText] = useState("");
  const [wrong, tell] = useState(why === NO_KEY ? null : why);
  const input = useRef();
  useEffect(() => input.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    if (!key.trim()) return input.current.focus();
    tell(null);
    setKey(key.trim());
    try {
      await get("hub");
      return unlock();
    } catch (error) {
      forgetKey();
      tell(error.status === 401 ? WRONG_KEY : error.message);
    }
    input.current.focus();
    input.current.select();
  };
  return html`<section class="card lock"><h1>A key, please</h1><p>This hub is open to callers with a key only. It stays in this tab until it is closed.</p>
    <form onSubmit=${submit}>
      <div class=${`field ${wrong ? "wrong" : ""}`}><label for="key"><span>Key</span></label><input id="key" ref=${input} type="password" autocomplete="off" value=${key} aria-invalid=${wrong !== null}
        aria-describedby="key-wrong" onInput=${(event) => setKeyText(event.target.value)} />
        <p id="key-wrong" class="wrong" role="alert">${wrong}</p></div>
      <footer><button class="primary">Go on</button></footer></form>
    <p class="muted">On the server, <code>bide keys create NAME --role viewer</code> makes one.</p></section>`;
}

const theme = () => document.documentElement.dataset.theme;
function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  document.documentElement.dataset.theme = next;
  localStorage.setItem("bide.theme", next);
}

// --- keyboard

const KEYS = [
  ["?", "these keys"],
  ["/", "find instances"],
  ["j, k", "next and previous row"],
  ["Enter", "open the row"],
  ["1 … 7", "views of an instance"],
  ["r", "answer what the instance waits for"],
  ["z", "times: relative, local, UTC"],
  ["d", "colours: system, light, dark"],
  ["Esc", "close"],
];

const Help = ({ close, phone }) => html`<${Dialog} title="Keys" close=${close}><dl class="keys">
  ${[...VIEWS.map(([, label, , key]) => [`g ${key}`, label]), ...(phone ? [["g p", "Dev phone"]] : []), ...KEYS].map(([key, text]) => html`<div key=${key}><dt>${key.split(" ").map((each) => html`<kbd>${each}</kbd> `)}</dt><dd>${text}</dd></div>`)}</dl></${Dialog}>`;

function keyboard({ help, redraw, phone }) {
  let going = false;
  const pressed = (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.target.closest("input, textarea, select, dialog[open]")) return;
    const { key } = event;
    const done = going ? goTo(key, phone) : single(key, { help, redraw });
    going = !going && key === "g";
    if (done) event.preventDefault();
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

function goTo(key, phone) {
  const found = VIEWS.find(([, , , each]) => each === key);
  if (found) go(href(found[0]));
  else if (key === "p" && phone) go(href(PHONE));
  return true;
}

function single(key, { help, redraw }) {
  const [first, id] = place().parts;
  if (key === "?") help();
  else if (key === "/") document.getElementById("search").focus();
  else if (key === "z") (nextTimeMode(), redraw());
  else if (key === "d") (nextTheme(), redraw());
  else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
  else if (first === "instances" && id && TAB_NAMES[Number(key) - 1]) go(href(["instances", id, TAB_NAMES[Number(key) - 1]]));
  else if (first === "instances" && id && key === "r") go(href(["instances", id, "answer"]));
  else return false;
  return true;
}

/** Rows are reached through the link or the button in them. */
function move(by) {
  const rows = [...document.querySelectorAll("main [data-row], main .waits li, main .failures li")];
  const focusable = rows.map((row) => (row.matches("button") ? row : row.querySelector("a"))).filter(Boolean);
  const next = focusable[Math.max(0, Math.min(focusable.length - 1, focusable.indexOf(document.activeElement) + by))];
  next?.focus();
}

/** Focus that has nowhere to be, because what had it has gone, goes to the content, and never back to the top. */
function keepFocus(app) {
  let last = null;
  addEventListener("focusin", ({ target }) => (last = target));
  new MutationObserver(() => {
    if (document.activeElement !== document.body || !last || last.isConnected) return;
    last = null;
    document.getElementById("main").focus({ preventScroll: true });
  }).observe(app, { childList: true, subtree: true });
}

render(html`<${App} />`, document.getElementById("app"));
keepFocus(document.getElementById("app"));
