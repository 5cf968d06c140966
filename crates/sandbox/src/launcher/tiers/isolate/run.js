// Our half of the isolate host: waits for one program on standard input, runs it, leaves its answer and ends.
//
// What a program may do is decided around this process, not here: it shares its realm with the program, which may break all of it
// and gains nothing but a worse answer. Read next: `../isolate.rs`.

const [answerFile] = Deno.args;
const { stringify, parse } = JSON;
const { writeTextFileSync, readTextFileSync, removeSync, exit, permissions, createHttpClient, stdin } = Deno;
const AsFunction = Function;
const AsArray = Array;
const { keys, values, entries, fromEntries } = Object;
const global = globalThis;
const indirectEval = global.eval;
const decode = (bytes) => new TextDecoder().decode(bytes);
const report = (answer) => writeTextFileSync(answerFile, stringify(answer, wellFormed));

/** Half a character, as it is left where a text was cut in the middle of one, is no text elsewhere. */
function wellFormed(_, value) {
  if (typeof value === "string") return value.toWellFormed();
  if (value === null || typeof value !== "object" || AsArray.isArray(value)) return value;
  if (keys(value).every((key) => key.isWellFormed())) return value;
  return fromEntries(entries(value).map(([key, inner]) => [key.toWellFormed(), inner]));
}

/** How deep arrays and objects of an answer may lie in each other: more is read by nobody. */
const DEPTH_MAX = 100;
function isTooDeep(value, depth = 0) {
  if (value === null || typeof value !== "object") return false;
  return depth >= DEPTH_MAX || values(value).some((inner) => isTooDeep(inner, depth + 1));
}

/** Where a program's own lines are shown to come from. */
let name = "code.js";
/** Says that a text is a module, not a script. */
const IS_MODULE = /Cannot use import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta'/;

// Loading these takes longer than all the rest of a start, so it is done while nobody waits.
let evaluator;
async function prepare() {
  if (evaluator) return evaluator;
  const [{ stripTypeScriptTypes }, { Session }] = await Promise.all([import("node:module"), import("node:inspector")]);
  const session = new Session();
  session.connect();
  const post = (method, params) =>
    new Promise((resolve, reject) => session.post(method, params, (error, result) => error ? reject(error) : resolve(result)));
  await post("Runtime.evaluate", { expression: "await 0", replMode: true, awaitPromise: true });
  stripTypeScriptTypes("let a: 0");
  return evaluator = { post, stripTypeScriptTypes };
}

/** The request: whole, from standard input. */
async function request() {
  const pieces = [];
  const buffer = new Uint8Array(65536);
  const first = stdin.read(buffer);
  let waits;
  const nobody = new Promise((resolve) => waits = setTimeout(resolve, 2, true));
  if (await Promise.race([first.then(() => false), nobody])) await prepare();
  clearTimeout(waits);
  for (let count = await first; count !== null; count = stdin.readSync(buffer)) pieces.push(buffer.slice(0, count));
  return parse(decode(await new Blob(pieces).arrayBuffer()));
}

/** Where a program lies that is a module: beside the files it may import. */
const moduleFile = `/workspace/.livery-code-${answerFile.match(/\d+$/)[0]}`;

/** A stack without the lines that are ours, with the program's own name. */
function ownLines(stack) {
  const lines = stack.split("\n").filter((line) => !/\bext:|file:\/\/\/host\/|at eval \(<anonymous>\)$/.test(line));
  return lines.join("\n").replaceAll(`file://${moduleFile}`, "code").replace(/(code\.[jt]s, )?<anonymous>:/g, `${name}:`);
}

function failure(kind, error) {
  try {
    if (error instanceof Error) {
      const message = ownLines(`${error.name}: ${error.message}`);
      return { error: { kind, message, stack: ownLines(String(error.stack ?? message)) } };
    }
    return { error: { kind, message: `Uncaught ${Deno.inspect(error)}` } };
  } catch {
    return { error: { kind, message: "something was thrown that cannot be shown" } };
  }
}

function fail(kind, error) {
  report(failure(kind, error));
  exit(1);
}

/** Whether a text is a script without types and without `await` at its top. Nothing of it runs. */
function isPlain(source) {
  try {
    new AsFunction(source);
    return true;
  } catch {
    return false;
  }
}

/** As JSON; nothing where there is no value. */
function answer(value, limit) {
  let text;
  try {
    text = stringify(value);
  } catch (error) {
    return failure("value", error);
  }
  if (text === undefined) return {};
  if (text.length > limit) {
    const message = `the value has ${text.length} characters as JSON; at most ${limit} can be answered: write it to a file`;
    return { error: { kind: "value", message } };
  }
  const read = parse(text);
  if (isTooDeep(read)) {
    const message = `the value is more than ${DEPTH_MAX} levels deep: write it to a file`;
    return { error: { kind: "value", message } };
  }
  return { value: read };
}

async function asModule(source, language) {
  const file = `${moduleFile}.${language}`;
  writeTextFileSync(file, source);
  try {
    return (await import(`file://${file}`)).default;
  } finally {
    try {
      removeSync(file);
    } catch { /* The program did. */ }
  }
}

/** The exception of an evaluation, and whether it came before anything ran. */
function exceptionOf({ exception, stackTrace }) {
  const message = ownLines(String(exception.description ?? exception.value ?? "undefined"));
  const top = stackTrace?.callFrames?.[0]?.url ?? "";
  const isSyntax = exception.className === "SyntaxError" && top.startsWith("ext:");
  const isError = exception.subtype === "error";
  const error = { kind: isSyntax ? "syntax" : "exception", message: isError ? message.split("\n", 1)[0] : `Uncaught ${message}` };
  return { error: isError && !isSyntax ? { ...error, stack: message } : error };
}

async function asScript({ post }, source, limit) {
  const expression = `${source}\n//# sourceURL=${name}`;
  const { result, exceptionDetails } = await post("Runtime.evaluate", { expression, replMode: true, awaitPromise: true });
  if (exceptionDetails) return exceptionOf(exceptionDetails);
  if (result.objectId === undefined) {
    if (result.unserializableValue === undefined) return answer(result.value, limit);
    return answer(result.type === "bigint" ? 0n : null, limit);
  }
  const { objectId } = result;
  let found;
  global.__answer = (value) => { found = answer(value, limit); };
  const functionDeclaration = "function (value) { globalThis.__answer(value); }";
  await post("Runtime.callFunctionOn", { functionDeclaration, objectId, arguments: [{ objectId }] });
  return found ?? { error: { kind: "value", message: "the value cannot be read" } };
}

async function run({ source, language, limit }) {
  name = `code.${language}`;
  if (isPlain(source)) {
    permissions.revokeSync({ name: "sys" });
    return answer(await indirectEval(`${source}\n//# sourceURL=${name}`), limit);
  }
  const tools = await prepare();
  permissions.revokeSync({ name: "sys" });
  let script = source;
  if (language === "ts") {
    try {
      script = tools.stripTypeScriptTypes(source);
    } catch {
      try {
        script = tools.stripTypeScriptTypes(source, { mode: "transform" });
      } catch (error) {
        return { error: { kind: "syntax", message: `SyntaxError: ${error.message}` } };
      }
    }
  }
  const outcome = await asScript(tools, script, limit);
  if (outcome.error?.kind !== "syntax" || !IS_MODULE.test(outcome.error.message)) return outcome;
  try {
    return answer(await asModule(source, language), limit);
  } catch (error) {
    // What is wrong with its text the loader says in an error of another kind, before anything runs.
    const isSyntax = error instanceof TypeError && /^SyntaxError: |could not be parsed/.test(error.message);
    return failure(isSyntax ? "syntax" : "exception", error);
  }
}

/** The one way out, where there is one, and what the run was told of it. */
function connect(environment) {
  const { HTTPS_PROXY: url, SSL_CERT_FILE: authority } = environment;
  const original = global.fetch;
  if (url === undefined) {
    global.fetch = () => Promise.reject(new TypeError("this sandbox reaches no network: its agent names no hosts and has no connections"));
  } else {
    // Read at the first use: a program that tidies its folder away is to notice only if it fetches.
    let client;
    const open = () => client ??= createHttpClient({ proxy: { url }, caCerts: [readTextFileSync(authority)] });
    global.fetch = async (input, init) => await original(input, { ...init, client: open() });
  }
  Object.defineProperty(global, "livery", { value: Object.freeze({ env: Object.freeze({ ...environment }) }) });
  // Another isolate needs more than a program's memory: it would end this one.
  delete global.Worker;
}

Deno.stdout.writeSync(new Uint8Array([6]));
const wanted = await request();
global.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  fail("exception", event.reason);
});
global.addEventListener("error", (event) => {
  event.preventDefault();
  fail("exception", event.error);
});
try {
  connect(wanted.env);
  report(await run(wanted));
} catch (error) {
  fail("exception", error);
}
