// Calls functions of the dashboard's pure modules. Each line of stdin is one call: {module, name, args}; each is
// answered by a line on stdout: {result} or {error}.

import { createInterface } from "node:readline";

async function answer({ module, name, args }) {
  const found = await import(`../../src/bide/web/assets/${module}.js`);
  try {
    return { result: found[name](...args) };
  } catch ({ message, path }) {
    return { error: { message, path } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
process.exit(0); // some modules keep timers
