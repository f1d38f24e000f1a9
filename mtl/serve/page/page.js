"use strict";
// Asks the service that this page comes from, and shows what it answers.
// Texts get into the page as text nodes only, so nothing in them is ever read as HTML.

const COLOURS = 6; // of the style sheet
const MOST_ANSWERS = 4;
const MOST_NEIGHBOURS = 10;

// --- texts and elements -------------------------------------------------------------------------

/** The part of a text between two offsets in characters, as Python counts them.
 *  (JavaScript's own offsets count UTF-16 units, two for an emoji.) */
function part(characters, start, end) {
  return characters.slice(start, end).join("");
}

/** An element with children; a string becomes text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const colours = new Map(); // by label, in the order in which they are met

function colourOf(label) {
  if (!colours.has(label)) colours.set(label, colours.size % COLOURS);
  return `colour${colours.get(label)}`;
}

const rounded = (score) => score.toFixed(2);

/** A text with its spans marked: each {start, end, label, score}; they may lie inside others. */
function marked(text, spans) {
  const characters = Array.from(text);
  // Of two that begin together, the longer one is outside.
  const waiting = [...spans].sort((a, b) => a.start - b.start || b.end - a.end);
  const fill = (parent, start, end) => {
    let position = start;
    while (waiting.length && waiting[0].start < end) {
      const { start: from, end: to, label, score } = waiting.shift();
      const mark = make("mark", { class: colourOf(label) });
      fill(mark, from, to);
      mark.append(make("small", {}, `${label} ${rounded(score)}`));
      parent.append(part(characters, position, from), mark);
      position = to;
    }
    parent.append(part(characters, position, end));
    return parent;
  };
  return fill(make("p", { class: "marked", dir: "auto" }), 0, characters.length);
}

/** Probabilities as bars, the highest first. */
function bars(scores, chosen) {
  const sorted = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  const rows = sorted.map(([label, score]) =>
    make(
      "tr",
      { class: chosen.includes(label) ? "chosen" : "" },
      make("th", { scope: "row" }, label),
      make("td", {}, make("meter", { value: score, "aria-label": label })),
      make("td", {}, rounded(score)),
    ),
  );
  return make("table", {}, ...rows);
}

/** Texts with their scores, best first. */
function ranking(rows) {
  const cells = rows.map(([text, score]) =>
    make("tr", {}, make("td", { dir: "auto" }, text), make("td", {}, rounded(score))),
  );
  return make("table", {}, ...cells);
}

// --- what was predicted -------------------------------------------------------------------------

/** A prediction for a text (of a pair, for the second), by what it holds. */
function shown(said, text) {
  if (said.entities) {
    return [marked(text, said.entities.map((found) => ({ ...found, label: found.entity_group })))];
  }
  if (said.words) {
    return [marked(text, said.words.map((word) => ({ ...word, label: word.tag })))];
  }
  if (said.scores) return [bars(said.scores, said.labels ?? [said.label])];
  if ("answer" in said) return shownAnswer(said, text);
  if (said.embedding) return [make("p", {}, `a vector of ${said.embedding.length} numbers`)];
  if ("score" in said) return [make("p", {}, rounded(said.score))];
  return [make("pre", {}, JSON.stringify(said, null, 2))];
}

/** The answer in its context, and the next best. */
function shownAnswer(best, context) {
  const all = [best, ...(best.alternatives ?? [])];
  const inContext = all.find((one) => one.answer);
  const label = best.answer ? "answer" : "best guess";
  const rows = all.map((one) => [one.answer || "no answer", one.score]);
  return [marked(context, inContext ? [{ ...inContext, label }] : []), ranking(rows)];
}

// --- requests -----------------------------------------------------------------------------------

const at = (id) => document.getElementById(id);
let models = [];

/** What the service answers; an Error in its words if it refuses. */
async function ask(path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  const method = body ? "POST" : "GET";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("The service cannot be reached. Is it still running?");
  }
  const said = await response.json().catch(() => ({}));
  if (response.ok) return said;
  if (response.status === 401) at("unlock").hidden = false;
  throw new Error((said.errors ?? []).map(inWords).join("\n") || `status ${response.status}`);
}

function inWords({ what, where, found, fix }) {
  const about = [where, found && `found ${found}`].filter(Boolean).join(", ");
  return what + (about && ` (${about})`) + (fix ? `: ${fix}` : "");
}

const failure = (error) =>
  error.message.split("\n").map((line) => make("p", { class: "error" }, line));

// --- the same request elsewhere -----------------------------------------------------------------

function asCurl(address, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const key = at("key").value ? ' -H "Authorization: Bearer $MTL_API_KEY"' : "";
  return `curl -H "Content-Type: application/json"${key} -d '${quoted}' ${address}`;
}

function asPython(address, body) {
  const key = at("key").value ? ', "Authorization": "Bearer " + os.environ["MTL_API_KEY"]' : "";
  return [
    `import json${key && "\nimport os"}`,
    "import urllib.request",
    "",
    `body = ${JSON.stringify(body)}`,
    `headers = {"Content-Type": "application/json"${key}}`,
    `request = urllib.request.Request("${address}", json.dumps(body).encode(), headers)`,
    "with urllib.request.urlopen(request) as response:",
    "    print(json.load(response))",
  ].join("\n");
}

function showCode(details, path, body) {
  const address = new URL(path, document.baseURI).href;
  const blocks = [["curl", asCurl(address, body)], ["Python", asPython(address, body)]];
  details.replaceChildren(make("summary", {}, "This request as curl and Python"));
  for (const [name, code] of blocks) {
    const block = make("pre", {}, code);
    const button = make("button", { type: "button" }, `Copy ${name}`);
    button.addEventListener("click", () => copy(block, button));
    details.append(make("h3", {}, name), block, button);
  }
  details.hidden = false;
}

/** Browsers let a page write to the clipboard over HTTPS and on the same machine only. */
async function copy(block, button) {
  try {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(block);
    button.textContent = "Selected: copy it from here";
  }
}

// --- the forms ----------------------------------------------------------------------------------

const model = () => models[at("model").selectedIndex];
const taskIn = (id) => model().tasks.find((task) => task.name === at(id).value);
const readsPairs = (task) => task.reads.length === 2;
const named = (body) => (models.length > 1 ? { ...body, model: model().name } : body);

/** For each form: the path, the body of its request, and how to show the response. */
const FORMS = {
  read: () => {
    const text = at("text").value;
    const show = ({ predictions: [said] }) =>
      Object.entries(said).flatMap(([task, one]) => [make("h3", {}, task), ...shown(one, text)]);
    return ["v1/predict", { texts: [text] }, show];
  },
  ask: () => {
    const [first, second] = [at("first").value, at("second").value];
    const task = taskIn("ask-task");
    if (task.kind === "qa") {
      const body = { questions: [first], contexts: [second], n: MOST_ANSWERS, task: task.name };
      return ["v1/answer", body, ({ answers: [answer] }) => shown(answer, second)];
    }
    const body = { pairs: [[first, second]], tasks: [task.name] };
    return ["v1/predict", body, ({ predictions: [said] }) => shown(said[task.name], second)];
  },
  find: () => {
    const texts = at("texts").value.split("\n").filter((line) => line.trim());
    const body = { query: at("query").value, texts, n: MOST_NEIGHBOURS, task: at("find-task").value };
    const show = ({ neighbours }) => [ranking(neighbours.map(({ text, score }) => [text, score]))];
    return ["v1/nearest", body, show];
  },
};

async function submit(form) {
  const [result, details] = [form.querySelector(".result"), form.querySelector("details")];
  const [button, asked] = [form.querySelector("button"), model()];
  const [path, plain, show] = FORMS[form.id]();
  const body = named(plain);
  button.disabled = true;
  result.replaceChildren(make("p", {}, "..."));
  const children = await ask(path, body).then(show).catch(failure);
  button.disabled = false;
  if (asked !== model()) return; // another model was chosen meanwhile
  result.replaceChildren(...children);
  showCode(details, path, body);
}

function fillSelect(select, names) {
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  const label = document.querySelector(`label[for="${select.id}"]`);
  select.hidden = label.hidden = names.length < 2;
}

/** Offer what the tasks of the chosen model can do. */
function showModel() {
  const { tasks } = model();
  const pairs = tasks.filter(readsPairs);
  const vectors = tasks.filter((task) => task.kind === "embedding");
  at("tasks").textContent = `Tasks: ${tasks.map(({ name }) => name).join(", ")}`;
  at("read").hidden = tasks.every(readsPairs);
  at("ask").hidden = !pairs.length;
  at("find").hidden = !vectors.length;
  fillSelect(at("ask-task"), pairs.map(({ name }) => name));
  fillSelect(at("find-task"), vectors.map(({ name }) => name));
  if (pairs.length) showPairNames();
  for (const result of document.querySelectorAll(".result")) result.replaceChildren();
  for (const details of document.querySelectorAll("details")) details.hidden = true;
}

/** Call the two texts of the chosen task as it calls them. */
function showPairNames() {
  const { kind, reads: [first, second] } = taskIn("ask-task");
  at("ask-title").textContent = kind === "qa" ? "Ask about a text" : "Compare two texts";
  at("first-name").textContent = first;
  at("second-name").textContent = second;
}

async function start() {
  try {
    ({ models } = await ask("v1/models"));
  } catch (error) {
    return at("problem").replaceChildren(...failure(error));
  }
  at("problem").replaceChildren();
  at("unlock").hidden = true;
  fillSelect(at("model"), models.map(({ name }) => name));
  at("chooser").hidden = models.length < 2;
  showModel();
}

for (const id of Object.keys(FORMS)) {
  at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    submit(at(id));
  });
}
at("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
at("model").addEventListener("change", showModel);
at("ask-task").addEventListener("change", showPairNames);
start();
