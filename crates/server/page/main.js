// The page: a conversation, its list, and its settings.

import * as api from "./api.js";
import { render } from "./markdown.js";
import * as store from "./store.js";
import { preferred, speak, word } from "./words.js";

const { settings } = store;
const at = (id) => document.getElementById(id);
const SETTINGS = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];

/** The conversation on screen: an id, and messages {role, content, note?}. */
let id = null;
let messages = [];
/** Stops the answer that is being written. */
let running = null;

// ---------------------------------------------------------------------------------------------------- conversation

function button(name, act) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = word(name);
  element.addEventListener("click", () => act(element));
  return element;
}

function show(message, index) {
  const article = document.createElement("article");
  article.className = message.role;
  const body = document.createElement("div");
  body.className = "body";
  article.append(body);
  fill(body, message);
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.append(...copying(message.content));
  if (message.role === "user") tools.append(button("edit", () => edit(article, index)));
  else tools.append(button("retry", () => answer(index)));
  if (message.note) tools.append(Object.assign(document.createElement("span"), { className: "note", textContent: message.note }));
  article.append(tools);
  return article;
}

function fill(body, message) {
  if (message.role === "user") {
    body.textContent = message.content;
    return;
  }
  body.replaceChildren(render(message.content || word("thinking")));
  for (const pre of body.querySelectorAll("pre")) {
    pre.append(...copying(pre.textContent));
  }
}

function draw() {
  const log = at("log");
  log.replaceChildren(...messages.map(show));
  if (!messages.length) log.append(welcome());
  at("title").textContent = store.load(id)?.title ?? "Sterna";
  document.title = at("title").textContent;
  log.scrollTop = log.scrollHeight;
}

function welcome() {
  const section = document.createElement("section");
  section.className = "welcome";
  const heading = Object.assign(document.createElement("h2"), { textContent: word("hello") });
  const examples = word("examples").map((text) => {
    const element = Object.assign(document.createElement("button"), { type: "button", textContent: text, className: "example" });
    element.addEventListener("click", () => send(text));
    return element;
  });
  const promise = Object.assign(document.createElement("p"), { textContent: word("private") });
  section.append(heading, ...examples, promise);
  return section;
}

/** A button that copies, where the browser lets pages do that: over HTTPS, and from the own machine. */
function copying(text) {
  if (!navigator.clipboard) return [];
  const copy = async (element) => {
    await navigator.clipboard.writeText(text);
    element.textContent = word("copied");
    setTimeout(() => (element.textContent = word("copy")), 1500);
  };
  return [button("copy", copy)];
}

/** Turns a message of the user into a field; what follows it is written anew. */
function edit(article, index) {
  if (running) return;
  const field = document.createElement("textarea");
  field.value = messages[index].content;
  field.setAttribute("aria-label", word("edit"));
  const done = () => {
    if (!field.value.trim()) return;
    messages[index] = { role: "user", content: field.value };
    answer(index + 1);
  };
  field.addEventListener("keydown", (event) => {
    if (sends(event)) done();
    if (event.key === "Escape") draw();
  });
  article.replaceChildren(field, button("save", done), button("cancel", draw));
  grow(field);
  field.focus();
}

function send(text) {
  if (running || !text.trim()) return;
  if (!id) {
    id = crypto.randomUUID?.() ?? String(Date.now());
    location.hash = id;
  }
  messages.push({ role: "user", content: text });
  answer(messages.length);
}

/** Writes the message at `index` anew, and forgets those after it. */
async function answer(index) {
  if (running) return;
  messages = messages.slice(0, index);
  const asked = messages.map(({ role, content }) => ({ role, content }));
  const message = { role: "assistant", content: "" };
  messages.push(message);
  // Another conversation may be on screen before the answer ends.
  const [own, all] = [id, messages];
  keep(own, all);
  draw();
  list();
  trouble(null);
  const body = at("log").lastElementChild.querySelector(".body");
  running = new AbortController();
  busy(true);
  const began = performance.now();
  let first = null;
  try {
    for await (const part of api.answer(asked, running.signal)) {
      if (part.text) {
        first ??= performance.now();
        message.content += part.text;
        const log = at("log");
        const below = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
        fill(body, message);
        if (below) log.scrollTop = log.scrollHeight;
      } else if (part.tokens) {
        message.note = note(part, (performance.now() - (first ?? began)) / 1000);
      }
    }
  } catch (error) {
    if (error.name === "AbortError") message.note = word("stopped");
    else trouble(error instanceof TypeError ? word("lost") : error.message);
  }
  running = null;
  busy(false);
  if (!message.content) all.pop();
  // It may also have been deleted.
  if (store.load(own)) keep(own, all);
  if (own !== id) return;
  draw();
  at("input").focus();
}

function note({ tokens, reason }, seconds) {
  const speed = tokens > 1 && seconds > 0 ? ` · ${((tokens - 1) / seconds).toFixed(1)} ${word("speed")}` : "";
  return `${tokens} ${word("tokens")}${speed}${reason === "length" ? ` · ${word("cut")}` : ""}`;
}

function keep(id, messages) {
  const title = messages[0].content.trim().split("\n")[0].slice(0, 60);
  if (!store.save(id, { title, messages })) trouble(word("full"));
}

function busy(now) {
  at("send").hidden = now;
  at("stop").hidden = !now;
  at("log").setAttribute("aria-busy", now);
}

function trouble(text) {
  at("trouble").hidden = !text;
  at("trouble").textContent = text ?? "";
}

// ------------------------------------------------------------------------------------------------------------ list

function list() {
  const items = store.conversations().map((each) => {
    const item = document.createElement("li");
    const open = Object.assign(document.createElement("a"), { href: `#${each}`, textContent: store.load(each)?.title ?? each });
    if (each === id) open.setAttribute("aria-current", "page");
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "icon", textContent: "✕" });
    remove.setAttribute("aria-label", `${word("remove")}: ${open.textContent}`);
    remove.addEventListener("click", () => {
      if (!confirm(word("sureOne"))) return;
      store.remove(each);
      if (each === id) location.hash = "";
      list();
    });
    item.append(open, remove);
    return item;
  });
  at("conversations").replaceChildren(...items);
}

/** Opens the conversation that the address names, or a new one. */
function open() {
  running?.abort();
  const wanted = location.hash.slice(1);
  const found = wanted && store.load(wanted);
  id = found ? wanted : null;
  messages = found ? found.messages : [];
  side(false);
  trouble(null);
  draw();
  list();
}

function side(now) {
  document.body.classList.toggle("side", now);
  at("veil").hidden = !now;
}

// -------------------------------------------------------------------------------------------------------- settings

function look() {
  document.documentElement.dataset.theme = settings.theme;
  speak(settings.language ?? preferred());
  draw();
  list();
}

async function models() {
  const select = at("models");
  try {
    const names = await api.models();
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === settings.model)));
    if (!names.includes(settings.model)) settings.model = names[0] ?? null;
    at("model").textContent = settings.model ?? "";
  } catch (error) {
    trouble(error instanceof TypeError ? word("lost") : error.message);
  }
}

function openSettings() {
  at("language").value = settings.language ?? preferred();
  at("theme").value = settings.theme;
  at("system").value = settings.system;
  at("key").value = settings.key;
  for (const name of SETTINGS) at(name).value = settings[name] ?? "";
  models();
  at("settings").showModal();
}

function closeSettings() {
  settings.language = at("language").value;
  settings.theme = at("theme").value;
  settings.system = at("system").value.trim();
  settings.key = at("key").value.trim();
  settings.model = at("models").value || settings.model;
  for (const name of SETTINGS) {
    const field = at(name);
    if (!field.validity.valid) continue;
    const empty = name === "max_tokens" || name === "seed" ? null : settings[name];
    settings[name] = field.value === "" ? empty : Number(field.value);
  }
  store.saveSettings();
  trouble(null);
  look();
  models();
}

// ---------------------------------------------------------------------------------------------------------- events

/** Enter sends and Shift+Enter breaks the line, but not while characters are composed. */
function sends(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}

function grow(field) {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, window.innerHeight / 3)}px`;
}

function submit() {
  const field = at("input");
  const text = field.value;
  if (running || !text.trim()) return;
  field.value = "";
  grow(field);
  send(text);
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
at("input").addEventListener("keydown", (event) => {
  if (sends(event)) {
    event.preventDefault();
    submit();
  }
});
at("input").addEventListener("input", (event) => grow(event.target));
at("stop").addEventListener("click", () => running?.abort());
at("new").addEventListener("click", () => {
  if (location.hash) location.hash = "";
  else open();
  at("input").focus();
});
at("open-side").addEventListener("click", () => side(true));
at("close-side").addEventListener("click", () => side(false));
at("veil").addEventListener("click", () => side(false));
at("open-settings").addEventListener("click", openSettings);
at("settings").addEventListener("close", closeSettings);
at("delete-all").addEventListener("click", () => {
  if (!confirm(word("sureAll"))) return;
  store.removeAll();
  location.hash = "";
  open();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || at("settings").open) return;
  if (running) running.abort();
  else side(false);
});
window.addEventListener("hashchange", () => {
  if (location.hash.slice(1) !== (id ?? "")) open();
});
window.addEventListener("storage", list);

look();
open();
models();
