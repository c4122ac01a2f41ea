// The timeline: a row for each call, timer and wait, on one axis of time whose idle parts fold.

import { html, useEffect, useMemo, useRef, useState } from "./ui.js";
import { scaleOf, ticksOf } from "./scale.js";
import { local, span } from "./time.js";

const ROW = 30;
const LABELS = [200, 420];
const [LETTER, DIGIT, AROUND_LABEL] = [7.8, 6.8, 62]; // px
const PAD = 16;
const MIN = 3;

const words = (us) => span(us / 1000);

/**
 * @param {{story: object, now: number, fold: boolean, selected?: object, onSelect?: (row: object) => void}} props
 *   `now` in microseconds
 */
export function Timeline({ story, now, fold, selected, onSelect = () => {} }) {
  const frame = useRef();
  const width = useWidth(frame);
  const [pointed, point] = useState(null);
  const narrow = width < 620;
  const labels = useMemo(() => labelWidth(story.rows, now, width), [story.rows, now, width]);
  const track = width - (narrow ? 2 * PAD : labels + PAD);
  const height = narrow ? ROW + 18 : ROW;
  const [first, last] = useVisible(frame, story.rows.length, height);
  const scale = useMemo(() => scaleOf(story, now, track, fold), [story, now, track, fold]);
  const ticks = ticksOf(scale, track);
  const rows = story.rows.slice(first, last);
  return html`<figure class=${`timeline ${narrow ? "narrow" : ""}`} ref=${frame} style=${{ "--labels": `${labels}px` }} aria-label=${summary(story, now)}>
    <div class="tl-axis" aria-hidden="true"><span class="tl-began">${local(story.start / 1000)}</span>
      <svg width=${track} height="26">${ticks.map(({ place, text }) => html`<g key=${place}><line x1=${place} x2=${place} y1="21" y2="26" /><text x=${place} y="16" text-anchor=${place < 14 ? "start" : "middle"}>${text}</text></g>`)}
        ${scale.folds.map(({ left, width: wide, start, end }) => html`<text key=${start} class="tl-folded" x=${left + wide / 2} y="16" text-anchor="middle">${words(end - start)}</text>`)}
        ${story.marks.filter((mark) => mark.at !== undefined).map((mark, place) => html`<${Mark} key=${place} mark=${mark} x=${scale.x(mark.at)} />`)}</svg></div>
    <div class="tl-body" style=${{ height: `${story.rows.length * height}px` }}>
      <${Background} ...${{ story, scale, now, ticks, track }} height=${story.rows.length * height} />
      <ol style=${{ transform: `translateY(${first * height}px)` }}>${rows.map((row) => html`<li key=${`${row.kind}${row.id}`} style=${{ height: `${height}px` }}>
        <button class=${`tl-row ${selected === row ? "on" : ""}`} data-row aria-label=${spoken(row, now)} onClick=${() => onSelect(row)} onKeyDown=${arrows}
          onMouseEnter=${() => point(row)} onMouseLeave=${() => point(null)} onFocus=${() => point(row)} onBlur=${() => point(null)}>
          <span class="tl-label"><i class=${`k-${row.kind} o-${row.outcome}`}></i><b>${row.label}</b><em>${lasted(row, now)}</em></span>
          <svg width=${track} height=${ROW} aria-hidden="true"><${Bars} row=${row} x=${scale.x} now=${now} end=${story.end} /></svg>
        </button>${pointed === row && html`<${Card} row=${row} now=${now} x=${scale.x(row.at)} left=${narrow ? PAD : labels} track=${track} />`}</li>`)}</ol>
      ${!story.rows.length && html`<p class="muted tl-none">It has asked for nothing yet.</p>`}
    </div>
    ${story.outages.filter((each) => each.killed).map((each, place) => html`<p key=${place} class=${`tl-note ${each.over ? "over" : ""}`}><b>⚡</b> The worker was gone at ${local(each.from / 1000).slice(11)}${each.over ? `, and another went on ${words(each.to - each.from)} later. Nothing was lost.` : ". Another will go on from here."}</p>`)}
    <${Legend} rows=${story.rows} /></figure>`;
}

/** As wide as the longest name needs, if that leaves half to the bars. */
function labelWidth(rows, now, width) {
  const wanted = rows.reduce((most, row) => Math.max(most, row.label.length * LETTER + Math.max(8, lasted(row, now).length) * DIGIT), 0);
  const [least, most] = LABELS;
  return Math.round(Math.max(least, Math.min(wanted + AROUND_LABEL, most, width / 2)));
}

function useWidth(frame) {
  const [width, set] = useState(900);
  useEffect(() => {
    const { current } = frame;
    const look = () => set(current.clientWidth);
    look();
    const observer = new ResizeObserver(look);
    observer.observe(current);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Which rows can be seen; the others are not rendered. */
function useVisible(frame, count, height) {
  const [range, set] = useState([0, Math.min(count, 80)]);
  useEffect(() => {
    const look = () => {
      const top = -frame.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(top / height) - 30);
      const last = Math.min(count, Math.ceil((top + innerHeight) / height) + 30);
      set((old) => (old[0] === first && old[1] === last ? old : [first, last]));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => (removeEventListener("scroll", look), removeEventListener("resize", look));
  }, [count, height]);
  return range;
}

function arrows(event) {
  const by = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = by && event.currentTarget.closest("li")[by]?.querySelector("button");
  if (next) (event.preventDefault(), next.focus());
}

/** What lies under all rows: the grid, folded time, outages, suspensions, and now. */
function Background({ story, scale, now, ticks, track, height }) {
  const { x, folds } = scale;
  const bands = story.marks.filter((mark) => mark.kind === "suspended");
  return html`<svg class="tl-background" width=${track} height=${height} aria-hidden="true">
    <defs><pattern id="tl-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" class="tl-hatch-ground" /><rect width="2.2" height="6" class="tl-hatch-line" /></pattern></defs>
    ${ticks.map(({ place }) => html`<line key=${place} class="tl-grid" x1=${place} x2=${place} y1="0" y2=${height} />`)}
    ${bands.map(({ from, to }, place) => html`<rect key=${place} class="tl-suspended" x=${x(from)} width=${Math.max(MIN, x(to ?? now) - x(from))} y="0" height=${height}><title>suspended</title></rect>`)}
    ${folds.map((part) => html`<${Fold} key=${part.start} part=${part} height=${height} />`)}
    ${story.outages.map((each, place) => html`<g key=${place} class=${each.killed ? "tl-killed" : "tl-away"}><rect x=${x(each.from)} width=${Math.max(MIN, x(each.to) - x(each.from))} y="0" height=${height} />
      <line x1=${x(each.from)} x2=${x(each.from)} y1="0" y2=${height} /></g>`)}
    ${story.end === null && html`<line class="tl-now" x1=${x(now)} x2=${x(now)} y1="0" y2=${height} />`}</svg>`;
}

function Fold({ part: { left, width }, height }) {
  const zigzag = (at) => Array.from({ length: Math.ceil(height / 6) + 1 }, (_, place) => `${at + (place % 2 ? 3 : -3)},${place * 6}`).join(" ");
  return html`<g class="tl-fold"><rect x=${left + 8} width=${width - 16} y="0" height=${height} />
    <polyline points=${zigzag(left + 8)} /><polyline points=${zigzag(left + width - 8)} /></g>`;
}

function Mark({ mark: { kind, text }, x }) {
  if (kind === "sent" || kind === "link") return html`<path class="tl-mark" d=${`M${x} 19l4 4-4 4-4-4z`}><title>${text}</title></path>`;
  return html`<circle class=${`tl-mark m-${kind}`} cx=${x} cy="23" r="3"><title>${text}</title></circle>`;
}

function Bars({ row, x, now, end }) {
  const until = end ?? now;
  if (row.kind === "wait") return html`<${WaitBar} ...${{ row, x, until }} />`;
  if (row.kind === "timer") return html`<${TimerBar} ...${{ row, x, until }} />`;
  return row.attempts.map((each) => html`<${CallBar} key=${each.id} attempt=${each} kind=${row.kind} ...${{ x, until }} />`);
}

function CallBar({ attempt: { at, startedAt, endedAt, outcome }, kind, x, until }) {
  const [left, right] = [x(at), Math.max(x(endedAt ?? until), x(at) + MIN)];
  const begun = startedAt === null || kind === "child" ? left : Math.min(Math.max(x(startedAt), left), right);
  const cross = Math.max(right + 6, left + 6);
  return html`<g class=${`tl-call k-${kind} o-${outcome}`}>
    ${begun > left && html`<rect class="queued" x=${left} width=${Math.max(MIN, begun - left)} y="9" height="12" rx="3" />`}
    <rect class="running" x=${Math.min(begun, right - MIN)} width=${Math.max(MIN, right - begun)} y="9" height="12" rx="3" />
    ${kind === "child" && html`<path class="arrow" d=${`M${left + 5} 12l4 3-4 3`} />`}
    ${outcome === "failed" && html`<path class="cross" d=${`M${cross - 3} 12l6 6m0-6l-6 6`} />`}</g>`;
}

function WaitBar({ row: { at, endedAt, deadline, outcome }, x, until }) {
  const [left, right] = [x(at), Math.max(x(endedAt ?? until), x(at) + MIN)];
  const rest = outcome === "open" && deadline && x(deadline) > right ? x(deadline) : null;
  return html`<g class=${`tl-wait o-${outcome}`}>
    ${rest && html`<rect class="rest" x=${right} width=${rest - right} y="9" height="12" />`}
    <rect x=${left} width=${right - left} y="9" height="12" rx="2" fill="url(#tl-hatch)" />
    ${deadline && outcome !== "answered" && html`<line class="deadline" x1=${x(deadline)} x2=${x(deadline)} y1="5" y2="25" />`}
    ${outcome === "answered" && html`<circle class="answer" cx=${right} cy="15" r="5" />`}
    ${(outcome === "expired" || outcome === "cancelled") && html`<path class="gone" d=${`M${right - 4} 11l8 8m0-8l-8 8`} />`}</g>`;
}

function TimerBar({ row: { at, endedAt, deadline, outcome }, x, until }) {
  const right = Math.max(x(endedAt ?? until), x(at) + MIN);
  return html`<g class=${`tl-timer o-${outcome}`}><line x1=${x(at)} x2=${right} y1="15" y2="15" />
    ${outcome === "open" && html`<line class="rest" x1=${right} x2=${x(deadline)} y1="15" y2="15" />`}
    <circle cx=${outcome === "open" ? x(deadline) : right} cy="15" r="4" /></g>`;
}

const OUTCOMES = { open: "still open", completed: "completed", failed: "failed", fired: "fired", cancelled: "cancelled", answered: "answered", expired: "nobody answered in time", left: "left behind when it ended" };
const KINDS = { activity: "Activity", child: "Sub-orchestration", timer: "Timer", wait: "Wait" };

const lasted = ({ kind, at, endedAt, deadline, outcome }, now) => words(kind === "timer" && outcome === "open" ? deadline - at : (endedAt ?? now) - at);
const spoken = (row, now) => `${KINDS[row.kind]} ${row.label}: ${OUTCOMES[row.outcome]}, ${lasted(row, now)}${row.attempts.length > 1 ? `, ${row.attempts.length} attempts` : ""}`;
const summary = ({ rows, end, start, outages }, now) =>
  `Timeline of ${words((end ?? now) - start)}: ${rows.length} rows${outages.length ? `, ${outages.length} times without a worker` : ""}`;

function Card({ row, now, x, left: from, track }) {
  const last = row.attempts.at(-1);
  const left = from + Math.min(Math.max(0, x), Math.max(0, track - 260));
  const lines = [
    [KINDS[row.kind], OUTCOMES[row.outcome]],
    ["From", local(row.at / 1000)],
    row.deadline && [row.kind === "timer" ? "Due" : "Deadline", local(row.deadline / 1000)],
    last?.startedAt && ["Queued", words(last.startedAt - last.at)],
    last?.startedAt && ["Ran", words((last.endedAt ?? now) - last.startedAt)],
    !last?.startedAt && [row.outcome === "open" ? "For" : "Took", words((row.endedAt ?? now) - row.at)],
    row.attempts.length > 1 && ["Attempts", String(row.attempts.length)],
    row.failure && ["Error", row.failure.message.split("\n")[0].slice(0, 120)],
  ].filter(Boolean);
  return html`<div class="tl-card" style=${{ left: `${left}px` }} aria-hidden="true"><b>${row.label}</b>
    <dl>${lines.map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl></div>`;
}

const LEGEND = [
  ["activity", "queued", "queued"],
  ["activity", "running", "running"],
  ["wait", "waiting", "waiting, up to its deadline"],
  ["timer", "timer", "timer"],
  ["child", "child", "sub-orchestration"],
];

function Legend({ rows }) {
  const kinds = new Set(rows.map((row) => row.kind));
  const queued = rows.some((row) => row.attempts.some((each) => each.startedAt !== null));
  return html`<figcaption class="tl-legend">${LEGEND.filter(([kind, name]) => kinds.has(kind) && (name !== "queued" || queued)).map(([, name, text]) => html`<span key=${name}><i class=${`l-${name}`}></i>${text}</span>`)}</figcaption>`;
}
