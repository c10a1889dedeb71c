// A conversation on the chat page, in Debian's Chromium: node page.mjs URL [SCREENSHOTS]
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, pictures] = process.argv.slice(2);
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const options = { executablePath: "/usr/bin/chromium", args: quiet, viewport: { width: 1100, height: 760 }, locale: "en-GB", permissions: ["clipboard-read", "clipboard-write"] };
const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "page-")), options);
const page = context.pages()[0];
const problems = [];
page.on("pageerror", (error) => problems.push(error.message));
page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
page.on("request", (request) => request.url().startsWith(url) || problems.push(`asks elsewhere: ${request.url()}`));
page.on("dialog", (dialog) => dialog.accept());
const shot = (name) => pictures && page.screenshot({ path: join(pictures, `${name}.png`) });
const answers = page.locator("article.assistant .body");
const finished = () => page.waitForFunction(() => document.getElementById("stop").hidden && document.querySelector("article.assistant .note"));
const text = () => answers.last().innerText();
/** Closes the settings; they are in effect once the page has been told, which is a little later. */
const done = async () => {
  const told = page.evaluate(() => new Promise((told) => document.getElementById("settings").addEventListener("close", told, { once: true })).then(() => true));
  await page.locator("dialog button[value=done]").click();
  await told;
};

await page.goto(url);
assert.equal(await page.title(), "Sterna");
await page.locator("#open-settings").click();
await page.locator("#temperature").fill("0.8");
await page.locator("#seed").fill("8");
await done();

// A first message, by keyboard; Shift+Enter breaks the line.
await page.locator("#input").focus();
await page.keyboard.type("Tell me a story");
await page.keyboard.press("Shift+Enter");
await page.keyboard.type("about a fox and a lantern.");
await page.keyboard.press("Enter");
await finished();
assert.equal(await page.locator("article.user .body").innerText(), "Tell me a story\nabout a fox and a lantern.");
const first = await text();
assert(first.length > 10);
assert.match(await page.locator("article.assistant .note").innerText(), /^\d+ tokens · [\d.]+ tokens\/s/);
await shot("page");

// The same question again gives the same answer; another question another one.
await page.getByRole("button", { name: "Try again" }).click();
await finished();
assert.equal(await text(), first);
await page.getByRole("button", { name: "Edit" }).click();
await page.locator("article textarea").fill("What is a ternary weight?");
await page.getByRole("button", { name: "Send again" }).click();
await finished();
assert.equal(await answers.count(), 1);
assert.notEqual(await text(), first);

// An answer that breaks off: what was written stays.
await page.locator("#open-settings").click();
await page.locator("#max_tokens").fill("");
await page.locator("#temperature").fill("2");
await done();
await page.locator("#input").fill("Tell me a long story");
await page.route("**/v1/chat/completions", async (route) => {
  const head = 'data: {"choices":[{"delta":{"content":"Once"},"finish_reason":null}]}\n\n';
  await route.fulfill({ contentType: "text/event-stream", body: head + "data: [DONE]\n\n" });
}, { times: 1 });
await page.locator("#send").click();
await page.waitForFunction(() => document.querySelectorAll("article.assistant").length === 2 && document.getElementById("stop").hidden);
assert.equal(await text(), "Once");

// Stopped, and left, while it is written: every conversation keeps what is its own.
for (const leave of ["Escape", "new"]) {
  await page.locator("#new").click();
  await page.route("**/v1/chat/completions", () => {}, { times: 1 });
  await page.locator("#input").fill("Never answered");
  await page.locator("#send").click();
  await page.waitForSelector("#stop:not([hidden])");
  if (leave === "new") await page.locator("#new").click();
  else await page.keyboard.press(leave);
  await page.waitForSelector("#send:not([hidden])");
  assert.equal(await page.locator("article").count(), leave === "new" ? 0 : 1);
  await page.locator("#conversations a").first().click();
  assert.equal(await page.locator("article").count(), 1);
  await page.locator("#conversations button").first().click();
}
await page.locator("#conversations a").first().click();
assert.equal(await text(), "Once");

// What is kept outlives the page, and can be deleted.
await page.reload();
assert.equal(await answers.count(), 2);
assert.equal(await text(), "Once");
await page.locator("#new").click();
assert.equal(await answers.count(), 0);
await page.locator("#conversations a").first().click();
assert.equal(await answers.count(), 2);
await page.locator("#conversations button").first().click();
assert.equal(await page.locator("#conversations li").count(), 0);

// Markdown is shown, and HTML is not run.
const markdown = ["# Title", "Some **bold** and `code`, [link](https://example.org).", "", "- one", "  - inner", "- two", "", "1. first", "", "```rust", "fn main() {}", "```", "", "| a | b |", "|---|---|", "| 1 | 2 |", "", "> said", "", "<img src=x onerror=document.title='hacked'>"].join("\n");
await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream", body: `data: ${JSON.stringify({ choices: [{ delta: { content: markdown } }] })}\n\ndata: [DONE]\n\n` }), { times: 1 });
await page.locator("#input").fill("markdown");
await page.locator("#send").click();
await page.waitForSelector("article.assistant table");
for (const selector of ["h3", "strong", "code", "a[href='https://example.org']", "ul ul li", "ol li", "pre[data-language=rust]", "blockquote"]) {
  assert.equal(await answers.last().locator(selector).first().isVisible(), true, selector);
}
assert.equal(await answers.last().locator("img").count(), 0);
assert.notEqual(await page.title(), "hacked");
await page.locator("pre button").click();
assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "fn main() {}");

// Chinese, dark, on a phone.
await page.locator("#open-settings").click();
await page.locator("#language").selectOption("zh");
await page.locator("#theme").selectOption("dark");
await done();
assert.equal(await page.locator("#send").innerText(), "发送");
await page.setViewportSize({ width: 390, height: 780 });
assert.equal(await page.locator("aside").isVisible(), false);
await page.locator("#open-side").click();
assert.equal(await page.locator("#new").isVisible(), true);
await page.keyboard.press("Escape");
assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the phone");
await shot("page-phone");

// A server that refuses says why.
await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 429, contentType: "application/json", body: '{"error":{"message":"too many"}}' }), { times: 1 });
await page.locator("#input").fill("x");
await page.locator("#send").click();
await page.waitForSelector("#trouble:not([hidden])");
assert.equal(await page.locator("#trouble").innerText(), "too many");

assert.deepEqual(problems.filter((problem) => !problem.includes("429")), []);
await context.close();
console.log("the page is content");
