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

/** The value with dots in place of each secret. */
export function withoutSecrets(value, schema, top = schema) {
  if (value === null || value === undefined) return value;
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
  if (kind === "number" && !/^\s*-?\d+(\.\d+)?(e[-+]?\d+)?\s*$/i.test(draft)) throw new Misfit(path, "A number, please.");
  if (kind === "integer" || kind === "number") return draft.trim().replace(/^(-?)0+(?=\d)/, "$1");
  if (kind === "json") return parsedJson(draft, path);
  return kind === "boolean" ? draft : JSON.stringify(draft);
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
export function limits({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern, multipleOf }) {
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  const size = minLength !== undefined || maxLength !== undefined;
  return [
    low !== undefined && high !== undefined ? `${low} to ${high}` : low !== undefined ? `at least ${low}` : high !== undefined ? `at most ${high}` : "",
    size ? `${minLength ?? 0} to ${maxLength ?? "any number of"} characters` : "",
    multipleOf ? `in steps of ${multipleOf}` : "",
    pattern ? `like ${pattern}` : "",
  ].filter(Boolean).join(", ");
}
