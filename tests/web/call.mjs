// Calls one function of the dashboard's pure modules: {module, name, args} on stdin, {result} or {error} on stdout.

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { module, name, args } = JSON.parse(Buffer.concat(chunks));
const found = await import(`../../src/bide/web/assets/${module}.js`);

function answer() {
  try {
    return { result: found[name](...args) };
  } catch ({ message, path }) {
    return { error: { message, path } };
  }
}

process.stdout.write(JSON.stringify(answer()), () => process.exit(0));
