// What the page asks of the server: the models there are, and answers as they are written.

import { settings } from "./store.js";

function headers() {
  const common = { "Content-Type": "application/json" };
  return settings.key ? { ...common, Authorization: `Bearer ${settings.key}` } : common;
}

async function refused(response) {
  const body = await response.json().catch(() => null);
  return new Error(body?.error?.message ?? `${response.status} ${response.statusText}`);
}

export async function models() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) throw await refused(response);
  return (await response.json()).data.map((model) => model.id);
}

/**
 * Asks for an answer. Yields {text}, and at the end {reason, tokens}. `signal` stops it, on the server too.
 */
export async function* answer(messages, signal) {
  const { model, system, temperature, top_p, top_k, min_p, max_tokens, seed } = settings;
  const given = system ? [{ role: "system", content: system }, ...messages] : messages;
  const body = { messages: given, temperature, top_p, top_k, min_p, stream: true, stream_options: { include_usage: true } };
  if (model) body.model = model;
  if (max_tokens) body.max_completion_tokens = max_tokens;
  if (seed !== null) body.seed = seed;
  const response = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  if (!response.ok) throw await refused(response);
  let reason = null;
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) yield { text: choice.delta.content };
    reason = choice?.finish_reason ?? reason;
    if (chunk.usage) yield { reason, tokens: chunk.usage.completion_tokens };
  }
}

/** The data of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const data = event.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
