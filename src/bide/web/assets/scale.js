// The axis of a timeline: from instants to places. Pure: nothing here knows of a page.

import { span } from "./time.js";

const FOLDED = 72;
const LONG_US = 4_000_000;
const SHARE = 1 / 6;

/**
 * From instants to places. Where nothing runs for long, time is folded to a fixed width.
 * @returns {{x: (at: number) => number, folds: object[], parts: object[]}}
 */
export function scaleOf(story, now, width, fold) {
  const from = story.start;
  const open = story.end === null ? story.rows.filter((row) => row.outcome === "open" && row.deadline).map((row) => row.deadline) : [];
  const to = Math.max(story.end ?? now, ...open, from + 1000);
  const instants = new Set([from, to]);
  const running = [];
  const add = (at) => at !== null && at !== undefined && at >= from && at <= to && instants.add(at);
  for (const { kind, at, endedAt, deadline, outcome, attempts } of story.rows) {
    [at, endedAt, ...(outcome === "open" || outcome === "fired" ? [deadline] : [])].forEach(add);
    for (const each of attempts) {
      [each.at, each.startedAt, each.endedAt].forEach(add);
      if (kind === "activity") running.push([each.at, each.endedAt ?? Math.min(now, to)]);
    }
  }
  for (const mark of [...story.marks, ...story.outages]) [mark.at, mark.from, mark.to].forEach(add);
  if (story.end === null) add(now);
  const busy = merged(running);
  const sorted = [...instants].sort((one, other) => one - other);
  const total = to - from;
  const parts = sorted.slice(1).map((end, place) => {
    const start = sorted[place];
    const idle = end - start > Math.max(LONG_US, total * SHARE) && !busy.some(([one, other]) => one < end && other > start);
    return { start, end, folded: fold && idle };
  });
  const folds = parts.filter((part) => part.folded);
  const shown = parts.reduce((sum, part) => sum + (part.folded ? 0 : part.end - part.start), 0) || 1;
  const room = Math.max(40, width - folds.length * FOLDED);
  let left = 0;
  for (const part of parts) {
    part.left = left;
    part.width = part.folded ? FOLDED : ((part.end - part.start) / shown) * room;
    left += part.width;
  }
  const x = (at) => {
    let low = 0;
    let high = parts.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (parts[middle].end < at) low = middle + 1;
      else high = middle;
    }
    const part = parts[low];
    const share = (Math.min(Math.max(at, part.start), part.end) - part.start) / (part.end - part.start);
    return part.left + share * part.width;
  };
  return { x, folds, parts, from, to };
}

function merged(intervals) {
  const result = [];
  for (const [start, end] of intervals.sort((one, other) => one[0] - other[0])) {
    const last = result.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else result.push([start, end]);
  }
  return result;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];

/** Places on the axis that deserve a label, with none in each other's way. */
export function ticksOf({ parts, folds, from }, width) {
  const shown = parts.filter((part) => !part.folded);
  const total = shown.reduce((sum, part) => sum + part.end - part.start, 0) / 1000;
  const drawn = shown.reduce((sum, part) => sum + part.width, 0) || 1;
  const step = STEPS.find((each) => (each / total) * drawn >= 84) ?? STEPS.at(-1);
  const clear = (place) => folds.every(({ left, width: wide }) => Math.abs(place - left - wide / 2) > 58);
  const ticks = [];
  for (const part of shown) {
    const first = Math.ceil((part.start - from) / 1000 / step) * step;
    for (let at = first; at * 1000 + from <= part.end; at += step) {
      const place = part.left + ((at * 1000 + from - part.start) / (part.end - part.start)) * part.width;
      if (place - (ticks.at(-1)?.place ?? -99) > 70 && place < width - 24 && clear(place)) ticks.push({ place, text: at ? `+${span(at)}` : "0" });
      if (ticks.length > 40) return ticks;
    }
  }
  return ticks;
}
