// A history as messages between lanes. Pure: nothing here knows of a page.

const OWN_LANES = 4;

const CLIENT = "Client";
const SELF = "Orchestrator";
export const PERSON = "Person";
const TIMER = "Timer";
const OTHERS = "Other instances";
const SHARED = "Activities";

/** @returns {{lanes: string[], arrows: {at: number, from: string, to: string, text: string, kind: string}[]}} */
export function sequenceOf(history) {
  const facts = history.steps.flatMap(({ at, facts }) => facts.map((fact) => ({ at, fact })));
  const names = new Map(facts.filter(({ fact }) => fact.type === "TaskScheduled").map(({ fact }) => [fact.id, fact.name]));
  const own = new Set(names.values()).size <= OWN_LANES;
  const lane = (name) => (own ? name : SHARED);
  const arrows = facts.map(({ at, fact }) => ({ at, ...arrowOf(fact, names, lane) })).filter((arrow) => arrow.from);
  const activities = own ? [...new Set(names.values())] : [SHARED];
  const used = new Set(arrows.flatMap(({ from, to }) => [from, to]));
  return { lanes: [CLIENT, SELF, ...activities, PERSON, TIMER, OTHERS].filter((each) => used.has(each)), arrows };
}

function arrowOf(fact, names, lane) {
  const activity = () => lane(names.get(fact.id) ?? SHARED);
  const arrow = (from, to, text, kind = "call") => ({ from, to, text, kind });
  switch (fact.type) {
    case "ExecutionStarted":
      return arrow(fact.parent ? OTHERS : CLIENT, SELF, "start");
    case "TaskScheduled":
      return arrow(SELF, lane(fact.name), fact.attempt > 1 ? `${fact.name}, attempt ${fact.attempt}` : fact.name);
    case "TaskCompleted":
      return arrow(activity(), SELF, "done", "answer");
    case "TaskFailed":
      return arrow(activity(), SELF, "failed", "failure");
    case "TimerCreated":
      return arrow(SELF, TIMER, "set");
    case "TimerFired":
      return arrow(TIMER, SELF, "fires", "answer");
    case "TimerCancelled":
      return arrow(SELF, TIMER, "cancel", "answer");
    case "EventAwaited":
      return arrow(SELF, PERSON, `waits for ${fact.name}`, "wait");
    case "EventRaised":
      return arrow(PERSON, SELF, fact.name, "answer");
    case "EventSent":
      return arrow(SELF, OTHERS, fact.name);
    case "SubOrchestrationInstanceCreated":
      return arrow(SELF, OTHERS, `start ${fact.name}`);
    case "SubOrchestrationInstanceCompleted":
      return arrow(OTHERS, SELF, "done", "answer");
    case "SubOrchestrationInstanceFailed":
      return arrow(OTHERS, SELF, "failed", "failure");
    case "ExecutionCompleted":
      return arrow(SELF, CLIENT, fact.failure ? "failed" : "completed", fact.failure ? "failure" : "answer");
    case "ContinuedAsNew":
      return arrow(SELF, CLIENT, "continues as new", "answer");
    case "ExecutionSuspended":
    case "ExecutionResumed":
    case "ExecutionTerminated":
    case "ExecutionRewound":
      return arrow(CLIENT, SELF, fact.type.replace("Execution", "").toLowerCase());
    default:
      return {};
  }
}

/** The same as text. */
export function sequenceMermaid(history) {
  const { lanes, arrows } = sequenceOf(history);
  const clean = (text) => text.replace(/[^\p{L}\p{N}_ .,'-]/gu, " ").trim() || "unnamed";
  const ids = new Map(lanes.map((lane, place) => [lane, `L${place}`]));
  const lines = lanes.map((lane) => `  ${lane === PERSON ? "actor" : "participant"} ${ids.get(lane)} as ${clean(lane)}`);
  const signs = { call: "->>", wait: "->>", answer: "-->>", failure: "--x" };
  return ["sequenceDiagram", ...lines, ...arrows.map(({ from, to, text, kind }) => `  ${ids.get(from)}${signs[kind]}${ids.get(to)}: ${clean(text)}`)].join("\n");
}
