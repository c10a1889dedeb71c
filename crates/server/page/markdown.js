// Markdown as DOM nodes. Text from a model never becomes HTML, so it cannot run anything.

/** Nodes of a text: paragraphs, headings, lists, quotes, tables and code. */
export function render(text) {
  const out = document.createDocumentFragment();
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  while (lines.length) out.append(...block(lines));
  return out;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const DIVIDER = /^\s*\|?(\s*:?-+:?\s*\|)+\s*:?-*:?\s*\|?\s*$/;

function node(name, ...children) {
  const element = document.createElement(name);
  element.append(...children);
  return element;
}

/** Takes the lines of one block. */
function block(lines) {
  const line = lines.shift();
  if (!line.trim()) return [];
  const fence = line.match(FENCE);
  if (fence) return [fenced(lines, fence[1], fence[2])];
  const heading = line.match(HEADING);
  if (heading) return [node(`h${Math.min(heading[1].length + 2, 6)}`, ...inline(heading[2]))];
  if (RULE.test(line)) return [node("hr")];
  if (/^ {0,3}>/.test(line)) {
    const quoted = [line, ...take(lines, (next) => /^ {0,3}>/.test(next))];
    return [node("blockquote", render(quoted.map((next) => next.replace(/^ {0,3}> ?/, "")).join("\n")))];
  }
  if (ITEM.test(line)) return [list([line, ...take(lines, (next) => ITEM.test(next) || /^\s{2,}\S/.test(next))])];
  if (line.includes("|") && DIVIDER.test(lines[0] ?? "")) return [table(line, lines)];
  const more = take(lines, (next) => next.trim() && ![FENCE, HEADING, ITEM, RULE].some((start) => start.test(next)));
  const paragraph = node("p");
  [line, ...more].forEach((text, at) => paragraph.append(...(at ? [node("br")] : []), ...inline(text)));
  return [paragraph];
}

function take(lines, fits) {
  const taken = [];
  while (lines.length && fits(lines[0])) taken.push(lines.shift());
  return taken;
}

function fenced(lines, mark, language) {
  const inside = take(lines, (next) => !(next.trim().startsWith(mark) && !next.trim().slice(mark.length).replaceAll(mark[0], "")));
  lines.shift();
  const code = node("code", inside.join("\n"));
  const pre = node("pre", code);
  if (language) pre.dataset.language = language;
  return pre;
}

/** A list, and those inside its items, by how far lines are moved in. */
function list(lines) {
  const [, margin, mark] = lines[0].match(ITEM);
  const ordered = /\d/.test(mark);
  const out = node(ordered ? "ol" : "ul");
  if (ordered) out.start = parseInt(mark, 10);
  while (lines.length) {
    const item = lines.shift().match(ITEM);
    const inside = take(lines, (next) => {
      const deeper = next.match(ITEM);
      return !deeper || deeper[1].length > margin.length + 1;
    });
    const least = Math.min(...inside.filter((next) => next.trim()).map((next) => next.search(/\S/)));
    out.append(node("li", ...inline(item[3]), ...(inside.length ? [render(inside.map((next) => next.slice(least)).join("\n"))] : [])));
  }
  return out;
}

function table(head, lines) {
  lines.shift();
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const row = (line, name) => node("tr", ...cells(line).map((cell) => node(name, ...inline(cell))));
  const body = take(lines, (next) => next.includes("|"));
  return node("table", node("thead", row(head, "th")), node("tbody", ...body.map((line) => row(line, "td"))));
}

// Code first: nothing is marked up inside it.
const SPANS = [
  [/(`+)(.+?)\1(?!`)/, (match) => node("code", match[2].trim() || match[2])],
  [/\*\*(?=\S)(.+?)(?<=\S)\*\*|__(?=\S)(.+?)(?<=\S)__/, (match) => node("strong", ...inline(match[1] ?? match[2]))],
  [/\*(?=\S)([^*]+?)(?<=\S)\*|(?<!\w)_(?=\S)([^_]+?)(?<=\S)_(?!\w)/, (match) => node("em", ...inline(match[1] ?? match[2]))],
  [/~~(?=\S)(.+?)(?<=\S)~~/, (match) => node("del", ...inline(match[1]))],
  [/\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/, (match) => link(match[2], match[1])],
  [/(?<![\w/])https?:\/\/[^\s<>()]+[^\s<>().,;:!?'"]/, (match) => link(match[0], match[0])],
];

/** Nodes of a line: the span that begins first, what is before it, and what follows. */
function inline(text) {
  const out = [];
  while (text) {
    let first = null;
    for (const [pattern, make] of SPANS) {
      const match = text.match(pattern);
      if (match && (!first || match.index < first.match.index)) first = { match, make };
    }
    if (!first) {
      out.push(text);
      break;
    }
    const { match, make } = first;
    if (match.index) out.push(text.slice(0, match.index));
    out.push(make(match));
    text = text.slice(match.index + match[0].length);
  }
  return out;
}

function link(address, text) {
  const anchor = node("a", text);
  anchor.href = address;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer";
  return anchor;
}
