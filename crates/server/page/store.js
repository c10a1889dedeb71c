// Conversations and settings, kept in this browser.
//
//   sterna.settings       {language, theme, …}
//   sterna.conversations  [id, …], the latest first
//   sterna.chat.<id>      {title, messages: [{role, content, note?}, …]}

const SETTINGS = "sterna.settings";
const LIST = "sterna.conversations";
const chat = (id) => `sterna.chat.${id}`;

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export const settings = {
  language: null,
  theme: "auto",
  model: null,
  system: "",
  temperature: 0.7,
  top_p: 0.9,
  top_k: 0,
  min_p: 0,
  max_tokens: null,
  seed: null,
  key: "",
  ...read(SETTINGS, {}),
};

export function saveSettings() {
  localStorage.setItem(SETTINGS, JSON.stringify(settings));
}

/** Ids of all conversations, the latest first. */
export function conversations() {
  return read(LIST, []);
}

export function load(id) {
  return read(chat(id), null);
}

/** Keeps a conversation and puts it first. `false` if the browser has no room. */
export function save(id, conversation) {
  try {
    localStorage.setItem(chat(id), JSON.stringify(conversation));
    localStorage.setItem(LIST, JSON.stringify([id, ...conversations().filter((other) => other !== id)]));
    return true;
  } catch {
    return false;
  }
}

export function remove(id) {
  localStorage.removeItem(chat(id));
  localStorage.setItem(LIST, JSON.stringify(conversations().filter((other) => other !== id)));
}

export function removeAll() {
  conversations().forEach((id) => localStorage.removeItem(chat(id)));
  localStorage.removeItem(LIST);
}
