// JSON Schema as a form needs it: what a value is made of, and what was typed as JSON. Pure: no page is needed.

const ABSENT = Symbol("absent");

/** A schema without its reference. `top` is the schema that has the definitions. */
export function resolved(schema, top) {
  const seen = new Set();
  while (schema?.$ref && !seen.has(schema.$ref)) {
    seen.add(schema.$ref);
    const { $ref, ...beside } = schema;
    const parts = $ref.replace(/^#\/?/, "").split("/").filter(Boolean);
    const target = parts.reduce((at, part) => at?.[part.replace(/~1/g, "/").replace(/~0/g, "~")], top);
    schema = { ...target, ...beside };
  }
  return schema ?? {};
}

/** What its declaration calls a value: a title of its own, and not the name of a type that it refers to. */
export function titleOf(schema) {
  if (schema?.title) return schema.title;
  const real = (schema?.anyOf ?? schema?.oneOf)?.filter((each) => each.type !== "null");
  return real?.length === 1 ? titleOf(real[0]) : undefined;
}

const TYPES_NAME = /^[A-Z][A-Za-z0-9]*$/;

/** What a person is asked, as far as the answer's type says so: its own title (but no class's name), or its description. */
export function questionOf(schema) {
  const title = titleOf(schema);
  if (title && !TYPES_NAME.test(title)) return title;
  return resolved(schema, schema).description?.trim().split("\n")[0] || undefined;
}

/** `dueDate`, `due_date` and `DueDate` as 'Due date', as the person's page has it. */
export function inWords(name) {
  const words = name.replace(/([a-z0-9])(?=[A-Z])/g, "$1 ").replace(/[_-]/g, " ").split(/\s+/).filter(Boolean);
  const text = words.map((word) => (/^[^a-z]*[A-Z][^a-z]*$/.test(word) && word.length > 1 ? word : word.toLowerCase())).join(" ");
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** Whether a value of this type is not to be shown. */
export function isSecret(schema, top) {
  const { writeOnly, format, anyOf, oneOf } = resolved(schema, top);
  if (writeOnly || format === "password") return true;
  return (anyOf ?? oneOf ?? []).some((each) => isSecret(each, top));
}

/** The schema of a member or an item, as far as it is known. */
export function partOf(schema, top, name) {
  const { properties, additionalProperties, items, prefixItems, anyOf, oneOf, allOf } = resolved(schema, top);
  const found = typeof name === "number" ? prefixItems?.[name] ?? items : properties?.[name] ?? additionalProperties;
  if (found && typeof found === "object") return found;
  for (const each of [...(anyOf ?? []), ...(oneOf ?? []), ...(allOf ?? [])]) {
    const part = partOf(each, top, name);
    if (part) return part;
  }
  return undefined;
}

/** What an input is made of: one of text, number, integer, boolean, choice, object, list or json. */
export function shapeOf(schema, top) {
  const found = resolved(schema, top);
  const choices = (found.anyOf ?? found.oneOf)?.map((each) => resolved(each, top));
  if (choices) {
    const real = choices.filter((each) => each.type !== "null");
    const optional = real.length < choices.length;
    if (real.length === 1) return { ...shapeOf({ ...real[0], ...titles(found) }, top), optional };
    const kinds = new Set(real.map((each) => each.type));
    if (kinds.has("string") && [...kinds].every((kind) => ["string", "integer", "number"].includes(kind))) {
      return { kind: "text", schema: { ...real.find((each) => each.type === "string"), ...found }, optional };
    }
    return { kind: "json", schema: found, optional };
  }
  const types = [found.type].flat().filter((type) => type !== "null");
  const optional = [found.type].flat().includes("null");
  const of = (kind, more = {}) => ({ kind, schema: found, optional, ...more });
  if (found.const !== undefined) return of("choice", { choices: [found.const] });
  if (found.enum) return of("choice", { choices: found.enum.filter((each) => each !== null) });
  if (types.length === 2 && types.includes("string") && types.some((type) => /integer|number/.test(type))) return of("text");
  if (types.length !== 1) return of("json");
  if (types[0] === "object") return of(found.properties ? "object" : "json");
  if (types[0] === "array") return of(found.items && !found.prefixItems ? "list" : "json");
  return of({ string: "text", integer: "integer", number: "number", boolean: "boolean" }[types[0]] ?? "json");
}

const titles = ({ title, description, default: preset }) =>
  Object.fromEntries(Object.entries({ title, description, default: preset }).filter(([, value]) => value !== undefined));

/** The examples that a type declares. */
export function examplesOf(schema, top) {
  const found = resolved(schema, top);
  const real = (found.anyOf ?? found.oneOf)?.filter((each) => each.type !== "null") ?? [];
  return found.examples ?? (real.length === 1 ? examplesOf(real[0], top) : []);
}

/**
 * A value that fits a type for certain, as JSON text: declared examples and defaults first. Undefined where only its
 * author knows one: a pattern or a format that is not known here, a list of what has no example.
 */
export function writtenExample(schema, top) {
  const found = resolved(schema, top);
  const given = [...(found.examples ?? []), ...[found.default, found.const, found.enum?.[0]]].find((each) => each !== undefined && each !== null);
  if (given !== undefined) return JSON.stringify(given);
  const options = found.anyOf ?? found.oneOf;
  if (options) return first(options.map((each) => writtenExample(each, top)).filter((text) => text !== "null")) ?? "null";
  if (Object.keys(found).every((key) => SAYS_NOTHING.has(key))) return "null";
  return EXAMPLES[found.type]?.(found, top);
}

const SAYS_NOTHING = new Set(["$defs", "default", "description", "title"]);
const first = (texts) => texts.find((text) => text !== undefined);

const EXAMPLES = {
  null: () => "null",
  boolean: () => "true",
  integer: number,
  number,
  string: ({ pattern, format, contentEncoding, minLength = 0, maxLength = 4 }) => {
    if (pattern || format || contentEncoding) return DATES[format] && JSON.stringify(DATES[format]);
    return JSON.stringify("text".padEnd(minLength, "t").slice(0, Math.max(minLength, maxLength)));
  },
  array: ({ minItems = 0, prefixItems }) => (minItems || prefixItems ? undefined : "[]"),
  object: ({ properties = {}, required = [] }, top) => {
    const parts = required.map((name) => [name, writtenExample(properties[name], top)]);
    if (parts.some(([, text]) => text === undefined)) return undefined;
    return `{${parts.map(([name, text]) => `${JSON.stringify(name)}: ${text}`).join(", ")}}`;
  },
};

const DATES = { date: "2026-11-27", "date-time": "2026-11-27T09:30:00Z", duration: "PT90S", email: "ada@example.com", password: "secret" };

/** A number that is allowed, 1 if it is. */
function number({ type, minimum = -Infinity, maximum = Infinity, exclusiveMinimum: over = -Infinity, exclusiveMaximum: under = Infinity, multipleOf }) {
  const fits = (value) =>
    Number.isFinite(value) && value >= minimum && value <= maximum && value > over && value < under &&
    (type !== "integer" || Number.isInteger(value)) && (!multipleOf || value % multipleOf === 0);
  const found = [1, minimum, over + 1, maximum, under - 1, multipleOf, 0, (over + under) / 2].find(fits);
  return found === undefined ? undefined : String(found);
}

/** Whether the server shows this in place of a secret. */
export const isHidden = (value) => value?.$hidden !== undefined;

/** The value with dots in place of each secret. */
export function withoutSecrets(value, schema, top = schema) {
  if (value === null || value === undefined || isHidden(value)) return value;
  if (isSecret(schema, top)) return "••••••";
  if (typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((each, place) => withoutSecrets(each, partOf(schema, top, place), top));
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withoutSecrets(each, partOf(schema, top, name), top)]));
}

class Misfit extends Error {
  constructor(path, message) {
    super(message);
    this.path = path;
  }
}

/** The JSON text of what was typed. Throws `Misfit` for what cannot be meant. */
export function written(draft, schema, top, path = "$", required = true) {
  const { kind, optional, schema: found } = shapeOf(schema, top);
  const empty = isBlank(draft);
  if (empty && !required) return ABSENT;
  if (empty && optional) return "null";
  if (kind === "object") return writtenObject(draft ?? {}, found, top, path);
  if (kind === "list") return `[${(draft ?? []).map((each, place) => written(each, found.items, top, `${path}[${place}]`)).join(",")}]`;
  if (empty) {
    if (kind === "text" && draft === "" && !(found.minLength > 0)) return '""';
    throw new Misfit(path, "This is needed.");
  }
  if (kind === "integer" && !/^\s*-?\d+\s*$/.test(draft)) throw new Misfit(path, "A whole number, please.");
  if (kind === "number") return numberOf(draft, path);
  if (kind === "integer") return draft.trim().replace(/^(-?)0+(?=\d)/, "$1");
  if (kind === "text" && found.format === "decimal") return JSON.stringify(withPoint(draft, path));
  if (kind === "json") return parsedJson(draft, path);
  return kind === "boolean" ? draft : JSON.stringify(draft);
}

function numberOf(draft, path) {
  const text = withPoint(draft, path);
  if (!/^-?\d+(\.\d+)?(e[-+]?\d+)?$/i.test(text)) throw new Misfit(path, "A number, please.");
  return text.replace(/^(-?)0+(?=\d)/, "$1");
}

const MARKED = [
  [/^-?\d{1,3}(,\d{3}){2,}$/, (text) => text.replaceAll(",", "")],
  [/^-?\d{1,3}(,\d{3})+\.\d+$/, (text) => text.replaceAll(",", "")],
  [/^-?\d{1,3}(\.\d{3})+,\d+$/, (text) => text.replaceAll(".", "").replace(",", ".")],
  [/^-?\d+,\d+$/, (text) => text.replace(",", ".")],
];

/** A number as people write it, with a point: `12,5` and `1.234,50` are numbers too. Throws `Misfit` for what may mean two. */
export function withPoint(draft, path) {
  const text = draft.trim();
  if (/^-?[1-9]\d{0,2},\d{3}$/.test(text)) {
    throw new Misfit(path, `${text} may mean two numbers. Please write ${text.replace(",", "")}, or ${text.replace(",", ".")}.`);
  }
  return MARKED.find(([form]) => form.test(text))?.[1](text) ?? text;
}

function writtenObject(draft, schema, top, path) {
  const required = new Set(schema.required ?? []);
  const members = Object.entries(schema.properties).map(([name, part]) => {
    const text = written(draft[name], part, top, `${path}.${name}`, required.has(name));
    return text === ABSENT ? null : `${JSON.stringify(name)}:${text}`;
  });
  return `{${members.filter((each) => each !== null).join(",")}}`;
}

/** The text itself. Throws `Misfit` if it is not JSON. */
export function parsedJson(text, path) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Misfit(path, `This is not JSON: ${error.message}`);
  }
  return text;
}

/** Whether nothing was typed, in any of its parts. */
function isBlank(draft) {
  if (draft !== null && typeof draft === "object") return Object.values(draft).every(isBlank);
  return draft === undefined || draft === "";
}

/** A value as what somebody might have typed. */
export function draftOf(value, schema, top) {
  const { kind, schema: found } = shapeOf(schema, top);
  if (value === undefined || (value === null && kind !== "json")) return undefined;
  if (kind === "object") {
    return Object.fromEntries(Object.entries(found.properties).map(([name, part]) => [name, draftOf(value[name] ?? part.default, part, top)]));
  }
  if (kind === "list") return Array.isArray(value) ? value.map((each) => draftOf(each, found.items, top)) : [];
  if (kind === "json") return JSON.stringify(value, null, 2);
  return kind === "choice" ? value : String(value);
}

/** What a type allows, in a few words. */
export function limits(schema) {
  const { minimum, maximum, pattern } = schema;
  const both = minimum !== undefined && maximum !== undefined;
  const bounds = BOUNDS.filter(([name]) => schema[name] !== undefined && !(both && /^m..imum$/.test(name)));
  return [
    both ? `${minimum} to ${maximum}` : "",
    ...bounds.map(([name, words]) => `${words} ${schema[name]}`),
    sizes(schema),
    pattern ? `like ${pattern}` : "",
  ].filter(Boolean).join(", ");
}

const BOUNDS = [
  ["minimum", "at least"],
  ["exclusiveMinimum", "more than"],
  ["maximum", "at most"],
  ["exclusiveMaximum", "less than"],
  ["multipleOf", "a multiple of"],
];

function sizes({ minLength: least = 0, maxLength: most }) {
  if (most === undefined) return least ? `at least ${least} characters` : "";
  if (least === most) return `${least} characters`;
  return least ? `${least} to ${most} characters` : `up to ${most} characters`;
}
