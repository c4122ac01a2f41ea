// Time as the hub tells it, and in words. All instants here are milliseconds since 1970.

import { useEffect, useState } from "./vendor/hooks.js";

let ahead = 0;
const listeners = new Set();
const tick = () => listeners.forEach((listener) => listener());
setInterval(tick, 1000);

/** The hub's present instant: a browser's clock may be wrong, and a demo's may have been set ahead. */
export const now = () => Date.now() + ahead;

/** Take the hub's word for what time it is. Small differences are the network's. */
export function setNow(iso) {
  const difference = Date.parse(iso) - Date.now();
  const next = Math.abs(difference) < 1500 ? 0 : difference;
  const jumps = Math.abs(next - ahead) > 500;
  ahead = next;
  if (jumps) tick();
}

/** The present instant, told once a second. */
export function useNow() {
  const [at, set] = useState(now());
  useEffect(() => {
    const listener = () => set(now());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return at;
}

const UNITS = [
  ["y", 365 * 86_400_000],
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** A span in words, with its two largest units: `3 d 2 h`, `1 min 30 s`, `12 s`, `240 ms`. */
export function span(ms) {
  ms = Math.abs(ms);
  if (ms < 1) return ms < 0.001 ? "0 ms" : `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1).replace(/\.0$/, "") : Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1).replace(/\.0$/, "")} s`;
  const place = UNITS.findIndex(([, size]) => ms >= size);
  const [unit, size] = UNITS[place];
  const whole = Math.floor(ms / size);
  const [smaller, part] = UNITS[place + 1] ?? [];
  const rest = part ? Math.floor((ms % size) / part) : 0;
  return rest ? `${whole} ${unit} ${rest} ${smaller}` : `${whole} ${unit}`;
}

/** A countdown in whole seconds: `1:05`, `2 h 3 min`. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds >= 3600) return span(seconds * 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

const DAY = 86_400_000;

/** A countdown that has room in a small ring, whatever is left: `1:05`, `23 h`, `99 d`, `6 mo`, `3 y`. */
export function shortCountdown(ms) {
  if (ms >= 100 * DAY && ms < 365 * DAY) return `${Math.floor(ms / (30 * DAY))}\u00a0mo`;
  return countdown(ms).split(" ").slice(0, 2).join("\u00a0");
}

export function relative(at, from) {
  const ms = at - from;
  if (Math.abs(ms) < 1000) return "now";
  const whole = Math.abs(ms) < 10_000 ? Math.round(ms / 1000) * 1000 : ms;
  return ms > 0 ? `in ${span(whole)}` : `${span(whole)} ago`;
}

const two = (number) => String(number).padStart(2, "0");

function written(date, year, month, day, hour, minute, second) {
  return `${date[year]()}-${two(date[month]() + 1)}-${two(date[day]())} ` +
    [hour, minute, second].map((part) => two(date[part]())).join(":");
}

export const local = (at) =>
  written(new Date(at), "getFullYear", "getMonth", "getDate", "getHours", "getMinutes", "getSeconds");

export const utc = (at) =>
  `${written(new Date(at), "getUTCFullYear", "getUTCMonth", "getUTCDate", "getUTCHours", "getUTCMinutes", "getUTCSeconds")} UTC`;
