// The page: what is served, a place to try it, and the service's pulse. Nothing from a server ever becomes markup: text goes in as text.
const $ = (id) => document.getElementById(id);
const KEY = "understudy-key";
const PULSE = 2000;
let models = [];
let chosen = null;
let watching = true;

function make(tag, given = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...inside.filter((one) => one != null));
  return node;
}

async function ask(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) };
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (answer.ok) return answer;
  if (answer.status === 401) door(true);
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.error?.message ?? `the server answered ${answer.status}`), { status: answer.status });
}

const bytes = (count) => count >= 1e9 ? `${(count / 1e9).toFixed(2)} GB` : count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.ceil(count / 1e3)} KB`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const middle = (values) => values.length ? [...values].sort((a, b) => a - b)[values.length >> 1] : null;
const span = (seconds) => seconds > 5400 ? `${(seconds / 3600).toFixed(1)} h` : seconds > 90 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds)} s`;

function facts(pairs) {
  return pairs.filter(([, value]) => value != null && value !== "").map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value))));
}

function door(open) {
  $("door").hidden = !open;
  if (open && document.activeElement === document.body) $("key").focus();
}

function trouble(text) {
  $("trouble").textContent = text ?? "";
  $("trouble").hidden = !text;
}

const PURPOSE = {
  classify: (about) => `Says which of ${about.labels.length} labels a text has.`,
  translate: (about) => about.languages?.[0] ? `Translates from ${about.languages[0]} to ${about.languages[1]}.` : "Translates.",
  summarize: (about) => about.sort === "summarize" ? "Summarises by choosing sentences: nothing in it is made up." : "Summarises in words of its own.",
  generate: () => "Writes a text from attributes or a prompt.",
  lm: () => "Goes on where a text stops.",
  chat: () => "Talks.",
};
const purpose = (model) => (PURPOSE[model.about.task] ?? (() => model.about.task))(model.about);

function listModels() {
  $("models").replaceChildren(...models.map((model) => make("li", {}, make("a", { href: `#${encodeURIComponent(model.id)}`, "aria-current": model.id === chosen ? "page" : null },
    make("b", {}, model.id), make("span", { class: "quiet" }, `${model.about.task} · ${bytes(model.about.file_bytes)} · ${model.state}`)))));
}

function show() {
  const asked = decodeURIComponent(location.hash.slice(1));
  const model = models.find((one) => one.id === asked) ?? models[0];
  if (!model || model.id === chosen) return;
  chosen = model.id;
  listModels();
  document.title = `${model.id} · Understudy`;
  const receipt = make("div", { class: "wide" }, make("p", { class: "quiet" }, "…"));
  $("main").replaceChildren(
    make("h2", {}, model.id), make("p", {}, purpose(model)),
    make("dl", { class: "facts" }, ...facts([["size", bytes(model.about.file_bytes)], ["rungs", model.about.rungs.map((rung) => rung.name).join(", ")],
      ["also called", model.aliases.join(", ")], ["version", (model.about.id ?? "").slice(0, 12)], ["trouble", model.problem]])),
    make("h3", {}, "Try it"), (TRIES[model.about.task] ?? TRIES.generate)(model),
    make("h3", {}, "Its receipt"), receipt);
  showReceipt(model, receipt);
}

// Each task has a form of its own; `busy` keeps a second question from overtaking the first.
function form(label, button, send, { rows = true, keep = false } = {}) {
  const field = make("textarea", { id: "text", required: true, rows: rows ? 4 : 2, maxlength: 200000 });
  const go = make("button", {}, button);
  const out = make("div", { class: "answer", "aria-live": "polite" });
  const submit = async (event) => {
    event.preventDefault();
    const text = field.value;
    if (!text.trim() || go.disabled) return;
    go.disabled = true;
    if (keep) field.value = "";
    try {
      await send(text, out);
      trouble();
    } catch (problem) {
      out.replaceChildren(make("span", { class: "problem" }, problem.message));
    }
    go.disabled = false;
    field.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || (keep && !event.shiftKey))) submit(event);
  });
  return { form: make("form", { onsubmit: submit }, make("label", { for: "text" }, label), field, go), out, go };
}

function bar(label, share) {
  return [make("span", {}, label), make("progress", { value: share, max: 1, "aria-label": label }), make("span", { class: "figure" }, percent(share))];
}

function tryClassify(model) {
  const { form: ours, out } = form("A text", "Classify", async (text, place) => {
    const told = await (await ask("/v1/classify", { model: model.id, inputs: text, top: Math.max(2, Math.min(5, model.about.labels.length)) })).json();
    const [one] = told.answers;
    const about = one.abstained ? `Not sure enough: this one is for a person or a larger model. Its best guess is ${one.best}.` : model.about.descriptions?.[one.label];
    place.replaceChildren(make("h4", {}, one.label ?? "—"), about ? make("p", {}, about) : "", make("div", { class: "bars" }, ...one.top.flatMap((label) => bar(label.label, label.confidence))),
      make("p", { class: "quiet" }, `answered by ${one.rung} in ${told.milliseconds.toFixed(2)} ms`));
  });
  return make("div", {}, ours, out);
}

function tryTranslate(model) {
  const { form: ours, out } = form("A text", "Translate", async (text, place) => {
    const told = await (await ask("/v1/translate", { model: model.id, inputs: text })).json();
    const [one] = told.answers;
    place.replaceChildren(one.text, make("p", { class: "quiet" }, `${one.tokens} tokens in ${told.milliseconds.toFixed(0)} ms${one.finish === "length" ? "; cut at its longest" : ""}`));
  });
  return make("div", {}, ours, out);
}

function trySummarize(model) {
  const { form: ours, out } = form("A document", "Summarise", async (text, place) => {
    const told = await (await ask("/v1/summarize", { model: model.id, inputs: text })).json();
    const [one] = told.answers;
    place.replaceChildren(one.text, ...one.flags.map((flag) => make("p", { class: "problem" }, flag)),
      make("p", { class: "quiet" }, `${one.words} words${one.extractive ? ", every sentence is the document's own" : ""}, ${told.milliseconds.toFixed(0)} ms`));
  });
  return make("div", {}, ours, out);
}

// Server-sent events of a streamed answer, one parsed `data:` at a time.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function streamed(path, body, piece, stopping) {
  for await (const event of events(await ask(path, { ...body, stream: true }, stopping.signal))) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices?.[0];
    if (choice) piece(choice.delta?.content ?? choice.text ?? "");
  }
}

function tryChat(model) {
  let messages = [];
  let stopping = null;
  const log = make("div", { role: "log", "aria-live": "polite", "aria-label": "Conversation" });
  const turn = (role, text) => log.appendChild(make("div", { class: `turn ${role}` }, text));
  const { form: ours, out, go } = form("Your turn", "Send", async (text, place) => {
    place.replaceChildren();
    const begun = messages = [...messages, { role: "user", content: text }];
    turn("user", text);
    const said = turn("assistant", "");
    stopping = new AbortController();
    try {
      await streamed("/v1/chat/completions", { model: model.id, messages: begun }, (piece) => said.append(piece), stopping);
    } catch (problem) {
      if (problem.name !== "AbortError") throw problem;
    }
    if (messages === begun) messages = [...begun, { role: "assistant", content: said.textContent }];
  }, { rows: false, keep: true });
  go.after(make("button", { type: "button", class: "plain", onclick: () => stopping?.abort() }, "Stop"),
    make("button", { type: "button", class: "plain", onclick: () => { stopping?.abort(); messages = []; log.replaceChildren(); } }, "Begin anew"));
  return make("div", {}, log, ours, out);
}

function tryWrite(model) {
  let stopping = null;
  const listed = model.about.task === "generate";
  const { form: ours, out, go } = form(listed ? "Attributes, as name[value], name[value], or a prompt" : "A beginning", listed ? "Write" : "Go on", async (text, place) => {
    const began = performance.now();
    place.replaceChildren();
    stopping = new AbortController();
    try {
      await streamed("/v1/completions", { model: model.id, prompt: text, max_tokens: 120 }, (piece) => place.append(piece), stopping);
    } catch (problem) {
      if (problem.name !== "AbortError") throw problem;
    }
    place.append(make("p", { class: "quiet" }, `${(performance.now() - began).toFixed(0)} ms`));
  });
  go.after(make("button", { type: "button", class: "plain", onclick: () => stopping?.abort() }, "Stop"));
  return make("div", {}, ours, out);
}

const TRIES = { classify: tryClassify, translate: tryTranslate, summarize: trySummarize, chat: tryChat, generate: tryWrite, lm: tryWrite };

const NAMES = { bleu: "BLEU", chrf: "chrF", bits_per_byte: "bits a byte", accuracy: "accuracy %", macro_f1: "macro F1 %", rouge1: "ROUGE-1", rouge2: "ROUGE-2", rougeL: "ROUGE-L", coverage: "coverage %" };
const SHARES = new Set(["accuracy", "macro_f1"]);

async function showReceipt(model, place) {
  if (!model.about.receipt) {
    place.replaceChildren(make("p", { class: "quiet" }, "This bundle came without one."));
    return;
  }
  try {
    const told = await (await ask(`/receipts/${encodeURIComponent(model.id)}`)).json();
    const scores = (entry) => entry.scores ?? { accuracy: entry.accuracy, macro_f1: entry.macro_f1 };
    const names = [...new Set(told.entries.flatMap((entry) => Object.keys(scores(entry))))];
    const speed = told.kind === "text" ? ["answer_ms", "ms an answer"] : ["p50_ms", "ms, median"];
    const score = (one, name) => {
      if (!one || typeof one.value !== "number") return "–";
      const [value, low, high] = [one.value, one.low, one.high].map((number) => SHARES.has(name) ? 100 * number : number);
      const places = Math.abs(value) < 10 ? 3 : 1;
      return `${value.toFixed(places)} [${low.toFixed(places)}, ${high.toFixed(places)}]`;
    };
    place.replaceChildren(make("table", {},
      make("thead", {}, make("tr", {}, ...["", ...names.map((name) => NAMES[name] ?? name), "MB", speed[1]].map((name, at) => make("th", { scope: "col", class: at ? "figure" : null }, name)))),
      make("tbody", {}, ...told.entries.map((entry, at) => make("tr", { class: at === (told.headline ?? told.entries.length - 1) ? "main" : null },
        make("th", { scope: "row" }, `${entry.name} ${entry.precision ?? ""}`), ...names.map((name) => make("td", { class: "figure" }, score(scores(entry)[name], name))),
        make("td", { class: "figure" }, entry.bytes ? (entry.bytes / 1e6).toFixed(2) : "–"), make("td", { class: "figure" }, entry.speed?.[speed[0]]?.toFixed(2) ?? "–"))))));
    place.append(make("p", { class: "quiet" }, `On ${told.rows.toLocaleString("en")} test rows that nothing was tuned on; 95 % intervals. `,
      sessionStorage.getItem(KEY) ? null : make("a", { href: `/receipts/${encodeURIComponent(model.id)}.html`, target: "_blank", rel: "noopener" }, "The whole receipt")));
  } catch (problem) {
    place.replaceChildren(make("p", { class: "quiet" }, problem.message));
  }
}

function showPulse(now) {
  const times = now.recent.filter((one) => one.status === 200 && one.model).map((one) => one.ms);
  $("live").replaceChildren(...facts([["requests", now.requests.toLocaleString("en")], ["running", now.in_flight - 1], ["median, ms", middle(times)?.toFixed(2) ?? "–"],
    ["memory", bytes(now.memory.process)], ["up", span(now.uptime)]]));
  showLarge(now.large);
  $("version").textContent = `understudy ${now.version}`;
  $("recent").querySelector("tbody").replaceChildren(...now.recent.filter((one) => one.model).slice(-20).reverse().map((one) => make("tr", {},
    make("td", {}, new Date(1000 * one.time).toLocaleTimeString()), make("td", {}, one.route), make("td", {}, one.model ?? ""), make("td", {}, String(one.status)),
    make("td", { class: "figure" }, one.ms.toFixed(2)))));
}

const BREAKER = { closed: "well", open: "failing, left alone for a moment", half_open: "failing, tried again" };

function showLarge(large) {
  $("large").hidden = !large;
  if (!large) return;
  const count = (number) => number.toLocaleString("en");
  $("large").textContent = [`Large model ${large.name} at ${large.host}: ${BREAKER[large.breaker]}`, `${count(large.answered)} of ${count(large.asked)} questions answered`,
    large.again ? `${count(large.again)} asked twice` : null, large.budget === null ? null : `${count(large.left)} of ${count(large.budget)} left today`].filter(Boolean).join(" · ");
}

async function pulse() {
  if (!document.hidden) {
    try {
      // A key that may only ask the models sees no figures of the service.
      const now = watching ? await ask("/status").then((answer) => answer.json()).catch((problem) => { if (problem.status !== 403) throw problem; }) : undefined;
      watching = now !== undefined;
      $("recent").hidden = !watching;
      if (watching) showPulse(now);
      const states = new Map(now?.models.map((model) => [model.name, model.state]));
      if (!watching || models.length !== states.size || models.some((model) => states.get(model.id) !== model.state)) {
        models = (await (await ask("/models")).json()).data;
        listModels();
        show();
      }
      door(false);
      trouble();
    } catch (problem) {
      trouble(problem instanceof TypeError ? "The server does not answer." : problem.status === 401 ? null : problem.message);
    }
  }
  setTimeout(pulse, PULSE);
}

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  chosen = null;
  models = [];
  location.reload();
});
addEventListener("hashchange", () => { show(); $("main").focus(); });
pulse();
