// The official `openai` client for Node against a running server: node openai_client.mjs URL
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
assert.equal((await client.models.retrieve(model)).id, model);
const messages = [{ role: "user", content: "Tell me a story about a fox and a lantern." }];
const fixed = { model, messages, seed: 7, max_completion_tokens: 24 };

const whole = await client.chat.completions.create(fixed);
const text = whole.choices[0].message.content;
assert(text && whole.usage.completion_tokens <= 24);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...fixed, stream: true })) streamed += chunk.choices[0]?.delta?.content ?? "";
assert.equal(streamed, text);

const stopping = await client.chat.completions.create({ model, messages, stream: true });
for await (const _ of stopping) break;

const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"], additionalProperties: false };
const parsed = await client.chat.completions.parse({ model, messages, response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } } });
assert.equal(typeof JSON.parse(parsed.choices[0].message.content).ok, "boolean");

const tools = [{ type: "function", function: { name: "look", parameters: { type: "object", properties: { where: { enum: ["up", "down"] } }, required: ["where"], additionalProperties: false } } }];
const called = client.chat.completions.stream({ model, messages, tools, tool_choice: "required", parallel_tool_calls: false });
const call = (await called.finalChatCompletion()).choices[0].message.tool_calls[0];
assert(["up", "down"].includes(JSON.parse(call.function.arguments).where));

const response = await client.responses.create({ model, input: "Hello", max_output_tokens: 10, temperature: 0 });
let said = "";
for await (const event of await client.responses.create({ model, input: "Hello", max_output_tokens: 10, temperature: 0, stream: true })) {
  if (event.type === "response.output_text.delta") said += event.delta;
}
assert.equal(said, response.output_text);

await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
console.log("openai for Node is content");
