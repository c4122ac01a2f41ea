// A history as a story: facts folded into what a person would draw. Pure: nothing here knows of a page.
//
// All instants are microseconds since 1970, as histories have them.

/**
 * @typedef {object} Attempt one run of an activity or a child
 * @property {number} id
 * @property {number} at when it was asked for
 * @property {number|null} startedAt when its body began; null: not known
 * @property {number|null} endedAt null: it has not ended
 * @property {string} outcome open, completed or failed
 * @property {string} [message] why it failed
 *
 * @typedef {object} Row
 * @property {"activity"|"child"|"timer"|"wait"} kind
 * @property {number} id
 * @property {string} label
 * @property {number} at
 * @property {number|null} endedAt
 * @property {string} outcome open, completed, failed, fired, cancelled, answered, expired or left
 * @property {Attempt[]} attempts of activities and children; retries are attempts of one row
 * @property {number|null} [deadline] when a timer is due; until when a wait is raced against one
 * @property {string} [instanceId] of a child
 * @property {object} [failure]
 * @property {number[]} steps the steps that asked for it and that settled it
 */

/**
 * @param {{steps: object[]}} history
 * @param {{workers?: object[], finished?: boolean, waits?: object[], now: number}} known `now` in milliseconds
 */
export function storyOf(history, { workers = [], finished = false, waits = [], now }) {
  const folding = new Folding();
  for (const step of history.steps) folding.step(step);
  const story = folding.done(finished);
  for (const row of story.rows) {
    if (row.kind === "wait" && row.outcome === "open") row.deadline = deadlineOf(row, waits);
  }
  const until = story.end ?? now * 1000;
  return { ...story, outages: outagesOf(workers, history.steps, story.start, until, now * 1000) };
}

function deadlineOf(row, waits) {
  const found = waits.find((wait) => same(wait.name, row.label) && Math.abs(micros(wait.since) - row.at) < 1000);
  return found?.deadline ? micros(found.deadline) : null;
}

const micros = (iso) => Date.parse(iso) * 1000;
const same = (one, other) => one.toLowerCase() === other.toLowerCase();

class Folding {
  rows = [];
  marks = [];
  kept = [];
  byId = new Map();
  byCall = new Map();
  waiting = new Map();
  timers = new Map();
  names = new Set();
  start = null;
  end = null;
  suspended = null;

  step({ seq, at, facts }) {
    this.start ??= at;
    const [message] = facts;
    this.newest = { seq, at, message };
    facts.forEach((fact, place) => this[fact.type]?.(fact, { seq, at, message, next: facts[place + 1] }));
  }

  done(finished) {
    if (this.suspended !== null) this.marks.push({ kind: "suspended", from: this.suspended, to: null });
    if (finished) this.leave();
    const openNames = [...this.waiting.values()].flat().map((row) => row.label);
    const unawaited = this.kept.map((each) => ({ ...each, near: near(each.name, openNames.length ? openNames : [...this.names]) }));
    return {
      start: this.start,
      end: finished ? this.end ?? this.last : null,
      rows: this.rows,
      marks: this.marks,
      unawaited,
      children: this.rows.filter((row) => row.kind === "child"),
    };
  }

  add(kind, { id, seq, at, label, ...more }) {
    const row = { kind, id, label, at, endedAt: null, outcome: "open", attempts: [], steps: [seq], ...more };
    this.rows.push(row);
    this.byId.set(id, row);
    return row;
  }

  /** What was still open when it ended waits no longer. No fact says so. */
  leave() {
    for (const row of this.rows.filter((each) => each.outcome === "open")) {
      if (row.kind === "wait") this.stopWaiting(row, this.newest);
      else this.close(row, row.kind === "timer" ? "cancelled" : "left", this.newest);
    }
  }

  /** Calls that are retried share a row: the id of the first attempt names them all. */
  call(kind, { id, name, call_id: first = 0, instance_id: instanceId }, { seq, at }) {
    const key = first || id;
    const row = this.byCall.get(key) ?? this.add(kind, { id, seq, at, label: name, instanceId });
    this.byCall.set(key, row);
    this.byId.set(id, row);
    Object.assign(row, { endedAt: null, outcome: "open", failure: undefined, instanceId });
    row.attempts.push({ id, at, startedAt: null, endedAt: null, outcome: "open" });
  }

  settle({ id, failure, started_at: startedAt = null }, { seq, at }) {
    const row = this.byId.get(id);
    if (!row) return;
    const outcome = failure ? "failed" : "completed";
    const attempt = row.attempts.findLast((each) => each.id === id) ?? {};
    Object.assign(attempt, { endedAt: at, startedAt, outcome, message: failure?.message });
    Object.assign(row, { endedAt: at, outcome, failure });
    row.steps.push(seq);
    this.last = at;
  }

  close(row, outcome, { seq, at }) {
    Object.assign(row, { endedAt: at, outcome });
    row.steps.push(seq);
    this.last = at;
  }

  /** A wait that ends unanswered has expired if it was a timer that came. */
  stopWaiting(row, place) {
    const timedOut = place.message.type === "TimerFired";
    this.close(row, timedOut ? "expired" : "cancelled", place);
    row.deadline = timedOut ? place.message.fire_at : this.lastTimer();
  }

  // --- facts, under their names

  ExecutionStarted(fact, { at }) {
    this.last = at;
  }
  TaskScheduled(fact, place) {
    this.call("activity", fact, place);
  }
  TaskCompleted(fact, place) {
    this.settle(fact, place);
  }
  TaskFailed(fact, place) {
    this.settle(fact, place);
  }
  SubOrchestrationInstanceCreated(fact, place) {
    this.call("child", fact, place);
  }
  SubOrchestrationInstanceCompleted(fact, place) {
    this.settle(fact, place);
  }
  SubOrchestrationInstanceFailed(fact, place) {
    this.settle(fact, place);
  }
  SubOrchestrationInstanceCancelled({ id }, place) {
    const row = this.byId.get(id);
    if (row) this.close(row, "cancelled", place);
  }
  TimerCreated({ id, fire_at: deadline }, { seq, at }) {
    this.timers.set(id, this.add("timer", { id, seq, at, label: "Timer", deadline }));
  }
  TimerFired({ id }, place) {
    const row = this.timers.get(id);
    if (!row) return;
    this.timers.delete(id);
    this.close(row, "fired", place);
    // A pause between two attempts is part of the call, not a row of its own.
    if (place.next?.attempt > 1) this.rows.splice(this.rows.indexOf(row), 1);
  }
  TimerCancelled({ id }, place) {
    const row = this.timers.get(id);
    this.timers.delete(id);
    if (!row) return;
    this.close(row, "cancelled", place);
    const [settled] = this.rows.filter((each) => each.kind === "wait" && each.endedAt === place.at);
    // What is given up with a wait was raced against it: reminders, and the end, which is the last of them.
    if (settled) settled.deadline = settled.raced = Math.max(settled.raced ?? 0, row.deadline);
  }
  EventAwaited({ id, name }, { seq, at }) {
    this.names.add(name);
    const early = this.kept.findIndex((each) => same(each.name, name));
    const row = this.add("wait", { id, seq, at, label: name, deadline: null });
    if (early >= 0) {
      this.kept.splice(early, 1);
      this.close(row, "answered", { seq, at });
    } else {
      const key = name.toLowerCase();
      this.waiting.set(key, [...(this.waiting.get(key) ?? []), row]);
    }
  }
  /** With an `id`, it is for that wait, and is never kept. */
  EventRaised({ name, input, id }, place) {
    this.last = place.at;
    const waiting = this.waiting.get(name.toLowerCase()) ?? [];
    const row = id ? waiting.find((each) => each.id === id) : waiting[0];
    if (!row) return void (id || this.kept.push({ name, at: place.at, input }));
    this.waiting.set(name.toLowerCase(), waiting.filter((each) => each !== row));
    this.close(row, "answered", place);
    row.deadline = this.lastTimer();
  }
  /** It was accepted, and then did not fit: the wait that it seemed to answer is open still, or comes next. Without
   * an `id`, it was for a wait that was over. */
  EventDiscarded({ id, name }, { at }) {
    this.marks.push({ kind: "discarded", at, text: `${name} ${id ? "did not fit" : "came too late"}, and was discarded` });
    if (!id) return;
    const row = this.byId.get(id);
    if (!row) return void this.kept.splice(this.kept.findIndex((each) => same(each.name, name)), 1);
    Object.assign(row, { endedAt: null, outcome: "open", deadline: null });
    row.steps.pop();
    const key = name.toLowerCase();
    this.waiting.set(key, [row, ...(this.waiting.get(key) ?? [])].sort((one, other) => one.id - other.id));
  }
  EventWaitCancelled({ id }, place) {
    const row = this.byId.get(id);
    if (!row) return;
    const key = row.label.toLowerCase();
    this.waiting.set(key, (this.waiting.get(key) ?? []).filter((each) => each !== row));
    this.stopWaiting(row, place);
  }
  EventSent({ name, instance_id: instanceId }, { at }) {
    this.marks.push({ kind: "sent", at, text: `${name} was sent to ${instanceId}` });
  }
  ResponseLinkCreated({ name }, { at }) {
    this.marks.push({ kind: "link", at, text: `A link to answer ${name} was made` });
  }
  ExecutionSuspended(fact, { at }) {
    this.suspended = at;
  }
  ExecutionResumed(fact, { at }) {
    if (this.suspended !== null) this.marks.push({ kind: "suspended", from: this.suspended, to: at });
    this.suspended = null;
  }
  ExecutionRewound(fact, { at }) {
    this.end = null;
    this.marks.push({ kind: "rewound", at, text: "Rewound" });
  }
  ExecutionTerminated(fact, { at }) {
    this.end = at;
    this.marks.push({ kind: "terminated", at, text: "Terminated" });
  }
  ExecutionCompleted({ failure }, { at }) {
    this.end = at;
    this.marks.push({ kind: failure ? "failed" : "completed", at, text: failure ? "Failed" : "Completed" });
  }
  ContinuedAsNew(fact, { at }) {
    this.end = at;
    this.marks.push({ kind: "continued", at, text: "Continued as new" });
  }

  /** Until when a wait that was just settled could have lasted: the open timer that is due last. Others remind. */
  lastTimer() {
    return [...this.timers.values()].reduce((last, { deadline }) => Math.max(last ?? 0, deadline), null);
  }
}

const BEAT = 2_500_000; // workers say that they are alive every 2 seconds

/**
 * When no worker was there, within the instance's life: from the last sign of the old one to the next one's start. A
 * worker that missed a beat since another started is gone, long before it counts as silent.
 */
function outagesOf(workers, steps, from, until, now) {
  const lives = workers
    .map(({ startedAt, seenAt, endedAt, alive }) => ({ start: micros(startedAt), end: micros(endedAt ?? seenAt), killed: !endedAt, alive }))
    .sort((one, other) => one.start - other.start);
  const newest = lives.at(-1)?.start;
  for (const life of lives) if (life.alive && (life.end >= newest || now - life.end < BEAT)) life.end = Infinity;
  const outages = [];
  for (const { end, killed } of lives) {
    if (lives.some((other) => other.start < end && other.end > end)) continue;
    const next = lives.find((other) => other.start >= end)?.start ?? null;
    const to = Math.min(next ?? until, until);
    const begun = Math.max(end, steps.findLast((step) => step.at < to)?.at ?? 0);
    if (begun < to && to > from) outages.push({ from: begun, to, killed, over: next !== null });
  }
  return outages;
}

/** Names that may have been meant. */
function near(name, names) {
  const bare = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  return [...new Set(names)].filter((each) => !same(each, name) && (bare(each) === bare(name) || distance(bare(each), bare(name)) <= 2));
}

/** How many letters must be changed, at most 3. */
function distance(one, other) {
  if (Math.abs(one.length - other.length) > 2) return 3;
  let row = Array.from({ length: other.length + 1 }, (_, place) => place);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return Math.min(3, row[other.length]);
}

const WORDS = {
  ExecutionStarted: ({ name, parent }) => ["Started", parent ? `${name}, called by ${parent.instance_id}` : name],
  ExecutionSuspended: ({ reason }) => ["Suspended", reason],
  ExecutionResumed: ({ reason }) => ["Resumed", reason],
  ExecutionTerminated: ({ reason }) => ["Terminated", reason],
  ExecutionRewound: ({ reason }) => ["Set back to where it went wrong", reason],
  ExecutionCompleted: ({ failure }) => (failure ? ["Failed", failure.message] : ["Completed"]),
  ContinuedAsNew: () => ["Continued as new"],
  TaskScheduled: ({ name, attempt = 1 }) => [`Called ${name}`, attempt > 1 ? `attempt ${attempt}` : ""],
  TaskCompleted: ({ id }) => ["Call completed", `task ${id}`],
  TaskFailed: ({ failure }) => ["Call failed", failure.message],
  TimerCreated: ({ fire_at }) => ["Timer set", `for ${clock(fire_at)}`],
  TimerFired: ({ fire_at }) => ["Timer fired", `due ${clock(fire_at)}`],
  TimerCancelled: () => ["Timer cancelled"],
  EventAwaited: ({ name }) => [`Waits for ${name}`],
  EventDeadlineChanged: ({ deadline }) => ["Waits until another time", deadline ? clock(deadline) : "for ever"],
  EventRaised: ({ name }) => [`${name} came`],
  EventDiscarded: ({ name, reason }) => [`${name} was discarded`, reason],
  EventWaitCancelled: ({ id }) => ["Waits no longer", `wait ${id}`],
  EventSent: ({ name, instance_id }) => [`Sent ${name}`, `to ${instance_id}`],
  ResponseLinkCreated: ({ name }) => [`Made a link to answer ${name}`],
  SubOrchestrationInstanceCreated: ({ name, instance_id }) => [`Started ${name}`, instance_id],
  SubOrchestrationInstanceCompleted: ({ id }) => ["Sub-orchestration completed", `task ${id}`],
  SubOrchestrationInstanceCancelled: ({ instance_id, reason }) => [`Gave up ${instance_id}`, reason],
  SubOrchestrationInstanceFailed: ({ failure }) => ["Sub-orchestration failed", failure.message],
  OrchestratorStarted: () => ["The code, which runs elsewhere, was given what had come"],
  OrchestratorCompleted: () => ["The code answered"],
};

const clock = (at) => new Date(at / 1000).toTimeString().slice(0, 8);

/** A fact in a few plain words, never with its payload. @returns {{title: string, detail?: string}} */
export function describe(fact) {
  const [title, detail] = WORDS[fact.type]?.(fact) ?? [fact.type];
  return { title, detail: detail?.split("\n")[0] || undefined };
}
