// The small parts that all views are made of.

import { Component, h } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { sleep, watchHub } from "./api.js";
import { href } from "./router.js";
import { local, relative, shortCountdown, span, useNow, utc } from "./time.js";

export * from "./vendor/hooks.js";
export { Component, Fragment, render } from "./vendor/preact.js";
export const html = htm.bind(h);

// --- data

/**
 * What `load` gives, again whenever `key` changes, and with `live` soon after anything in the hub has changed. What
 * was shown stays until the new is there, so nothing flickers. What failed is loaded again when the hub is heard from.
 */
export function useData(load, key, { live = false } = {}) {
  const [state, set] = useState({ data: undefined, error: null, key: undefined });
  const latest = useRef();
  latest.current = load;
  const run = useRef();
  useEffect(() => {
    let running = false;
    let again = false;
    let gone = false;
    let failed = false;
    const now = async () => {
      if (running) return void (again = true);
      running = true;
      do {
        again = false;
        const begun = performance.now();
        try {
          const data = await latest.current();
          failed = false;
          if (!gone) set({ data, error: null, key });
        } catch (error) {
          failed = true;
          if (!gone) set((old) => ({ ...(old.key === key ? old : { data: undefined, key }), error }));
        }
        // A busy hub changes all the time: looking again takes a tenth of it at most.
        if (again) await sleep((performance.now() - begun) * 9);
      } while (again && !gone);
      running = false;
    };
    run.current = now;
    now();
    const forget = watchHub(() => (live || failed) && now());
    return () => ((gone = true), forget());
  }, [key, live]);
  return { data: state.key === key ? state.data : undefined, error: state.error, reload: () => run.current?.() };
}

// --- words and signs

const GLYPHS = {
  Pending: "M8 3.5v4.7l3 1.8",
  Running: "M6 5l5 3-5 3z",
  Suspended: "M6 5v6M10 5v6",
  Completed: "M4.8 8.4l2.2 2.2 4.4-4.8",
  Failed: "M5.5 5.5l5 5M10.5 5.5l-5 5",
  Terminated: "M5.6 5.6h4.8v4.8H5.6z",
};

/** An instance's state: a shape and a word, so that no colour is needed to tell. */
export const Status = ({ of }) => html`<span class=${`status s-${of.toLowerCase()}`}>
  <svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="7" /><path d=${GLYPHS[of]} /></svg>${of}</span>`;

const TIMES = "bide.times";
const MODES = ["relative", "local", "utc"];
let mode = localStorage.getItem(TIMES) ?? "relative";
const shown = new Set();

export const timeMode = () => mode;
export function nextTimeMode() {
  mode = MODES[(MODES.indexOf(mode) + 1) % MODES.length];
  localStorage.setItem(TIMES, mode);
  shown.forEach((show) => show(mode));
}

/** An instant (ISO text or milliseconds): relative, local or UTC, as the viewer likes; all three on hover. */
export function Time({ at }) {
  const [how, set] = useState(mode);
  const present = useNow();
  useEffect(() => (set(mode), shown.add(set), () => shown.delete(set)), []);
  if (at === null || at === undefined) return html`<span class="muted">–</span>`;
  const ms = typeof at === "number" ? at : Date.parse(at);
  const text = how === "relative" ? relative(ms, present) : how === "local" ? local(ms) : utc(ms);
  return html`<time dateTime=${new Date(ms).toISOString()} title=${`${local(ms)} local\n${utc(ms)}`}>${text}</time>`;
}

/** What is left until a deadline: a ring that empties, and a clock. */
export function Countdown({ since, until, size = 48 }) {
  const present = useNow();
  if (!until) return html`<span class="ring none" role="img" title="No deadline" aria-label="no deadline">∞</span>`;
  const [from, to] = [Date.parse(since), Date.parse(until)];
  const left = to - present;
  const share = Math.max(0, Math.min(1, left / Math.max(1, to - from)));
  const radius = size / 2 - 3;
  const around = 2 * Math.PI * radius;
  const tone = left <= 0 ? "late" : left < 15_000 || share < 0.1 ? "urgent" : "";
  return html`<span class=${`ring ${tone}`} title=${left <= 0 ? "It is due" : `${span(left)} left`}>
    <svg width=${size} height=${size} viewBox=${`0 0 ${size} ${size}`} aria-hidden="true">
      <circle class="track" cx=${size / 2} cy=${size / 2} r=${radius} />
      <circle class="left" cx=${size / 2} cy=${size / 2} r=${radius} stroke-dasharray=${around}
        stroke-dashoffset=${around * (1 - share)} transform=${`rotate(-90 ${size / 2} ${size / 2})`} />
    </svg>
    <span class="clock" role="timer">${left <= 0 ? "due" : shortCountdown(left)}</span>
  </span>`;
}

export const Link = ({ to, query, children, ...rest }) =>
  html`<a data-link href=${href(to, query)} ...${rest}>${children}</a>`;

export const Empty = ({ title, as = "h3", children }) => html`<div class="empty"><${as}>${title}</${as}>${children}</div>`;

export function Problem({ error, retry }) {
  if (!error || error.status === 401) return null;
  return html`<div class="problem" role="alert"><p>${error.message}</p>
    ${retry && html`<button onClick=${retry}>Try again</button>`}</div>`;
}

/**
 * A table that scrolls sideways where it does not fit, by keys too; where it is narrow, each row is a card.
 *
 * `columns` are `[head, class]`; `rows` are `{key, cells, ...attributes of the row}`.
 */
export const Table = ({ label, columns, rows, kind = "cards" }) => html`<div class="table-frame" tabindex="0" role="group" aria-label=${label}>
  <table class=${`list ${kind}`}><thead><tr>${columns.map(([head]) => html`<th>${head}</th>`)}</tr></thead>
    <tbody>${rows.map(({ key, cells, ...rest }) => html`<tr key=${key} ...${rest}>${cells.map((cell, place) => html`<td
      class=${columns[place][1]} data-head=${typeof columns[place][0] === "string" ? columns[place][0] : undefined}>${cell}</td>`)}</tr>`)}</tbody></table></div>`;

/** What scrolls sideways where it has no room: it shows that there is more, and keeps the chosen link in sight. */
export function Strip({ children, ...rest }) {
  const element = useRef();
  const [more, set] = useState("");
  const look = () => {
    if (!element.current) return; // what was observed may be told after it has gone
    const { scrollLeft, clientWidth, scrollWidth } = element.current;
    const before = scrollLeft > 4 ? "more-before" : "";
    const after = scrollLeft + clientWidth < scrollWidth - 4 ? "more-after" : "";
    set(`${before} ${after}`);
  };
  const [chosen, count] = [[children].flat(2).findIndex((each) => each?.props?.["aria-current"]), [children].flat(2).filter(Boolean).length];
  useEffect(() => (element.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), look()), [chosen, count]);
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return html`<nav ref=${element} onScroll=${look} ...${{ ...rest, class: `${rest.class ?? ""} strip ${more}` }}>${children}</nav>`;
}

/** A button that copies a text, or what a function then gives. */
export function Copy({ text, label = "Copy", children }) {
  const [done, set] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(typeof text === "string" ? text : text());
    set(true);
    setTimeout(() => set(false), 1500);
  };
  return html`<span class="copy">${children}<button class="quiet" onClick=${copy} aria-label=${typeof text === "string" && text.length <= 80 ? `${label}: ${text}` : label}>
    ${done ? "Copied" : label}</button></span>`;
}

/** A command to paste. */
export const Command = ({ children }) => {
  const text = [children].flat().join("");
  return html`<pre class="command"><code>${text}</code><${Copy} text=${text} /></pre>`;
};

// --- dialogs

/** A modal dialog, open as long as it is rendered. */
export function Dialog({ title, close, children }) {
  const element = useRef();
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.focus?.();
  }, []);
  const outside = (event) => event.target === element.current && close();
  return html`<dialog ref=${element} onClose=${close} onClick=${outside} aria-label=${title}>
    <div class="dialog"><header><h2>${title}</h2>
      <button class="quiet" onClick=${close} aria-label="Close">✕</button></header>${children}</div>
  </dialog>`;
}

/** Asks before something is done, and for a reason; shows why if it was refused. */
export function Confirm({ title, text, action, danger, withReason, run, close, children }) {
  const [reason, setReason] = useState("");
  const [state, set] = useState({ busy: false, error: null });
  const submit = async (event) => {
    event.preventDefault();
    if (state.busy) return;
    set({ busy: true, error: null });
    try {
      await run(reason.trim());
      close();
    } catch (error) {
      set({ busy: false, error });
    }
  };
  return html`<${Dialog} title=${title} close=${close}><form onSubmit=${submit}>
    <p>${text}</p>${children}
    ${withReason && html`<label class="field"><span>Reason <em>kept in the history and the audit</em></span>
      <input name="reason" value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="1000" autofocus />
    </label>`}
    <${Problem} error=${state.error} />
    <footer><button type="button" onClick=${close}>Cancel</button>
      <button class=${danger ? "danger" : "primary"} aria-disabled=${state.busy}>${action}</button></footer>
  </form></${Dialog}>`;
}

/** Shows what went wrong in a view, and lets the others go on. */
export class Boundary extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }
  componentDidUpdate(before) {
    if (before.at !== this.props.at && this.state.error) this.setState({ error: null });
  }
  render({ children }, { error }) {
    return error ? html`<${Problem} error=${error} retry=${() => this.setState({ error: null })} />` : children;
  }
}

/**
 * A long list of which only the visible part is rendered: rows of one height, in the page's own scrolling.
 */
export function Window({ count, height, row, ...rest }) {
  const element = useRef();
  const [range, set] = useState([0, 60]);
  useEffect(() => {
    const look = () => {
      const top = -element.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(top / height) - 20);
      const last = Math.min(count, Math.ceil((top + innerHeight) / height) + 20);
      set((old) => (old[0] === first && old[1] === last ? old : [first, last]));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => (removeEventListener("scroll", look), removeEventListener("resize", look));
  }, [count, height]);
  const [first, last] = range;
  const rows = [];
  for (let index = first; index < Math.min(last, count); index++) rows.push(row(index));
  return html`<div ref=${element} class="window" style=${{ height: `${count * height}px` }} ...${rest}>
    <div style=${{ transform: `translateY(${first * height}px)` }}>${rows}</div></div>`;
}
