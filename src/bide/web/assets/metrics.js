// How long things take: by the minute, and how they are spread.

import uPlot from "./vendor/uplot.js";
import { get } from "./api.js";
import { html, Problem, Time, useData, useEffect, useRef } from "./ui.js";
import { span } from "./time.js";

const WORDS = {
  scheduleToStart: ["Schedule to start", "How long an activity waited until its body began. It grows when workers have too much to do."],
  responseTime: ["Response time", "How long people took to answer, of the waits that were answered."],
  timerLateness: ["Timer lateness", "How long after its time what a timer caused was durable. It is never early."],
};
const ENDS = [["started", "--accent"], ["completed", "--ok"], ["failed", "--danger"], ["terminated", "--muted"]];

export function Metrics() {
  const { data, error, reload } = useData(() => get("metrics"), "metrics");
  useEffect(() => {
    const timer = setInterval(reload, 5000);
    return () => clearInterval(timer);
  }, []);
  if (!data) return html`<${Problem} error=${error} retry=${reload} />`;
  return html`<h1>Metrics</h1><p class="muted">Of this process, since <${Time} at=${data.since} />.${data.wrongKeys > 0 && ` Requests with a key that is not valid: ${data.wrongKeys.toLocaleString()}; the log says from where.`}</p>
    <div class="metrics">${data.metrics.map((metric) => html`<${Metric} key=${metric.name} metric=${metric} until=${data.now} />`)}
      <${Ends} ends=${data.ends} until=${data.now} /></div>`;
}

function Metric({ metric: { name, count, p50, p95, p99, max, buckets, minutes }, until }) {
  const [title, text] = WORDS[name] ?? [name, ""];
  const series = [["p50", "--accent"], ["p95", "--wait"]];
  return html`<section class="card"><h2>${title}</h2><p class="muted">${text}</p>
    ${count ? html`<dl class="figures">${Object.entries({ p50, p95, p99, max }).map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${span(value * 1000)}</dd></div>`)}
        <div><dt>count</dt><dd>${count.toLocaleString()}</dd></div></dl>
      <${Legend} series=${series} />
      <${Chart} label=${`${title} by the minute`} rows=${minutes} series=${series} until=${until} unit=${(value) => span(value * 1000)} />
      <${Spread} buckets=${buckets} />` : html`<p class="muted">Nothing yet.</p>`}</section>`;
}

const Ends = ({ ends, until }) => html`<section class="card"><h2>Instances</h2><p class="muted">Started and ended in each minute.</p>
  <${Legend} series=${ENDS} />
  <${Chart} label="Instances by the minute" rows=${ends} series=${ENDS} until=${until} unit=${(value) => String(value)} /></section>`;

const Legend = ({ series }) => html`<p class="legend">${series.map(([name, tone]) => html`<span key=${name}><i style=${{ background: `var(${tone})` }}></i>${name}</span>`)}</p>`;

/** How the values are spread: a bar for each bucket. */
function Spread({ buckets }) {
  const most = Math.max(...buckets.map((each) => each.count));
  return html`<div class="spread" role="img" aria-label=${`Spread: ${buckets.map((each) => `${each.count} up to ${span(each.upTo * 1000)}`).join(", ")}`}>
    ${buckets.map((each) => html`<i key=${each.upTo} title=${`${each.count.toLocaleString()} up to ${span(each.upTo * 1000)}`} style=${{ height: `${Math.max(3, (48 * each.count) / most)}px` }}></i>`)}</div>
    <p class="spread-ends muted"><span>${span(buckets[0].upTo * 1000)}</span><span>${span(buckets.at(-1).upTo * 1000)}</span></p>`;
}

const MINUTE = 60;

/** Rows by the minute, without gaps: where nothing was counted there is no line. */
function columns(rows, series, until) {
  const last = Math.floor(Date.parse(until) / 1000 / MINUTE);
  const byMinute = new Map(rows.map((row) => [Math.floor(Date.parse(row.at) / 1000 / MINUTE), row]));
  const first = Math.max(last - 119, Math.min(last - 9, ...byMinute.keys()));
  const minutes = Array.from({ length: last - first + 1 }, (_, place) => first + place);
  return [minutes.map((minute) => minute * MINUTE), ...series.map(([name]) => minutes.map((minute) => byMinute.get(minute)?.[name] ?? null))];
}

function Chart({ label, rows, series, until, unit }) {
  const element = useRef();
  const chart = useRef();
  const data = columns(rows, series, until);
  useEffect(() => {
    const place = element.current;
    const tone = (name) => getComputedStyle(place).getPropertyValue(name).trim();
    const draw = () => {
      chart.current?.destroy();
      const axis = { stroke: tone("--muted"), grid: { stroke: tone("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
      chart.current = new uPlot({
        width: place.clientWidth,
        height: 130,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
        axes: [{ ...axis, values: (_, at) => at.map((each) => new Date(each * 1000).toTimeString().slice(0, 5)) }, { ...axis, size: 68, values: (_, at) => at.map(unit) }],
        series: [{}, ...series.map(([name, colour]) => ({ label: name, stroke: tone(colour), width: 1.5, points: { show: true, size: 4, fill: tone(colour) } }))],
      }, data, place);
    };
    draw();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const themed = new MutationObserver(draw);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    dark.addEventListener("change", draw);
    const resized = new ResizeObserver(() => chart.current.setSize({ width: place.clientWidth, height: 130 }));
    resized.observe(place);
    return () => (themed.disconnect(), resized.disconnect(), dark.removeEventListener("change", draw), chart.current.destroy());
  }, []);
  useEffect(() => chart.current?.setData(data), [JSON.stringify(data)]);
  return html`<div class="chart" role="img" aria-label=${label} ref=${element}></div>`;
}
