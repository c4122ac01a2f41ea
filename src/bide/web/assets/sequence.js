// The sequence: who told whom what, in lanes; as a picture, and as text for Mermaid.

import { Copy, html, useMemo, useRef, useState } from "./ui.js";
import { PERSON, sequenceMermaid, sequenceOf } from "./lanes.js";
import { span } from "./time.js";

const LANE = 168;
const LEFT = 84;
const ROW = 32;
const TOP = 46;
const ENDS = 100;

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "text-anchor"];

/** A picture that stands alone: with the colours and fonts that it has on this page. */
export function svgText(element) {
  const copy = element.cloneNode(true);
  const [originals, copies] = [element, copy].map((each) => [each, ...each.querySelectorAll("*")]);
  originals.forEach((original, place) => {
    const style = getComputedStyle(original);
    for (const name of STYLES) copies[place].setAttribute(name, style.getPropertyValue(name));
  });
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of Object.entries({ width: "100%", height: "100%", fill: getComputedStyle(document.body).backgroundColor })) ground.setAttribute(name, value);
  copy.prepend(ground);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copy);
}

/** @param {{history: object}} props */
export function Sequence({ history }) {
  const picture = useRef();
  const [all, setAll] = useState(false);
  const { lanes, arrows } = useMemo(() => sequenceOf(history), [history.steps]);
  const shown = all || arrows.length <= 3 * ENDS ? arrows : [...arrows.slice(0, ENDS), null, ...arrows.slice(-ENDS)];
  const start = arrows[0]?.at ?? 0;
  const x = (lane) => LEFT + LANE * (lanes.indexOf(lane) + 0.5);
  const width = LEFT + LANE * lanes.length;
  const height = TOP + ROW * (shown.length + 1);
  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([svgText(picture.current)], { type: "image/svg+xml" }));
    link.download = "sequence.svg";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  return html`<div class="tools"><button onClick=${download}>Download SVG</button><${Copy} text=${sequenceMermaid(history)} label="Copy as Mermaid" /></div>
    <div class="sequence" tabindex="0" role="group" aria-label="Sequence, scrolls sideways">
    <svg ref=${picture} width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${`Sequence of ${arrows.length} messages between ${lanes.join(", ")}`}>
      ${lanes.map((lane) => html`<g key=${lane}><line class="sq-lane" x1=${x(lane)} x2=${x(lane)} y1=${TOP - 8} y2=${height - 12} />
        <rect class=${`sq-head ${lane === PERSON ? "person" : ""}`} x=${x(lane) - 74} y="8" width="148" height="28" rx="8" /><text class="sq-name" x=${x(lane)} y="26" text-anchor="middle">${short(lane, 20)}</text></g>`)}
      ${shown.map((arrow, place) => (arrow ? html`<${Arrow} key=${place} arrow=${arrow} y=${TOP + ROW * (place + 0.8)} x=${x} start=${start} before=${shown[place - 1]} />`
        : html`<text class="sq-time" x=${width / 2} y=${TOP + ROW * (place + 0.8)} text-anchor="middle">… ${(arrows.length - 2 * ENDS).toLocaleString()} more …</text>`))}
    </svg></div>
    ${shown.length < arrows.length && html`<p class="more"><button onClick=${() => setAll(true)}>Show all ${arrows.length.toLocaleString()}</button></p>`}`;
}

function Arrow({ arrow: { at, from, to, text, kind }, y, x, start, before }) {
  const [one, other] = [x(from), x(to)];
  const right = other > one;
  const tip = right ? other - 2 : other + 2;
  const head = right ? `M${tip - 7} ${y - 4}L${tip} ${y}L${tip - 7} ${y + 4}` : `M${tip + 7} ${y - 4}L${tip} ${y}L${tip + 7} ${y + 4}`;
  const room = Math.floor(Math.abs(other - one) / 6.4) - 2;
  return html`<g class=${`sq-arrow ${kind}`}>${before?.at !== at && html`<text class="sq-time" x="70" y=${y + 4} text-anchor="end">+${span((at - start) / 1000)}</text>`}
    <line x1=${one} x2=${tip} y1=${y} y2=${y} /><path d=${head} /><text x=${(one + other) / 2} y=${y - 5} text-anchor="middle"><title>${text}</title>${short(text, room)}</text></g>`;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);
