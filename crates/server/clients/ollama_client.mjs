// The official `ollama` client for JavaScript against a running server: node ollama_client.mjs URL
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const client = new Ollama({ host: process.argv[2] });
const listed = (await client.list()).models[0];
const model = listed.model;
assert(listed.name === model && listed.size > 0 && /^[0-9a-f]{64}$/.test(listed.digest) && listed.details.family);
assert(!Number.isNaN(new Date(listed.modified_at).getTime()));
assert.equal((await client.ps()).models[0].digest, listed.digest);
const shown = await client.show({ model });
assert(shown.capabilities.includes("completion") && shown.details.parameter_size);
assert(shown.model_info[`${shown.model_info["general.architecture"]}.context_length`] > 0);
assert.match((await client.version()).version, /^\d+\.\d+\.\d+/);

const messages = [{ role: "user", content: "Tell me a story about a fox and a lantern." }];
const options = { seed: 7, num_predict: 24, num_ctx: 2048 };
const whole = await client.chat({ model, messages, options, keep_alive: "5m" });
assert(whole.done && ["stop", "length"].includes(whole.done_reason) && whole.message.role === "assistant" && whole.message.content);
assert(whole.eval_count <= 24 && whole.prompt_eval_count > 0 && whole.total_duration > 0);
const pieces = [];
for await (const piece of await client.chat({ model, messages, options, stream: true })) pieces.push(piece);
assert.equal(pieces.map((piece) => piece.message.content).join(""), whole.message.content);
assert.deepEqual(pieces.map((piece) => piece.done), pieces.map((_, i) => i === pieces.length - 1));

const leaving = await client.chat({ model, messages, stream: true });
try {
  for await (const _ of leaving) leaving.abort();
} catch (error) {
  assert.equal(error.name, "AbortError");
}

const format = { type: "object", properties: { colour: { enum: ["red", "blue"] } }, required: ["colour"], additionalProperties: false };
const formed = await client.chat({ model, messages, format, think: false });
assert(["red", "blue"].includes(JSON.parse(formed.message.content).colour));
const tools = [{ type: "function", function: { name: "weather", description: "The weather of a city", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];
const used = await client.chat({ model, messages, tools, options });
const results = [...messages, used.message, { role: "tool", tool_name: "weather", content: "rain" }];
assert((await client.chat({ model, messages: results, tools, options })).done);

const continued = await client.generate({ model, prompt: "Once upon a time", raw: true, options });
let text = "";
for await (const piece of await client.generate({ model, prompt: "Once upon a time", raw: true, options, stream: true })) text += piece.response;
assert(continued.response && text === continued.response);

const refused = (request, status) => assert.rejects(client.chat({ model, messages, ...request }), (error) => error.name === "ResponseError" && error.status_code === status && !error.message.includes("{"));
await refused({ model: "llama3" }, 404);
await refused({ think: true }, 400);
await refused({ options: { mirostat: 1 } }, 400);
console.log("ollama for JavaScript is content");
