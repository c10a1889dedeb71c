"""A proxy that records the requests of a client, and the kinds of values that the client needs of the answers.

Each line of a recording is a JSON object: `method`, `path` and `body` of a request, the `status` of its answer, and
`needs`, which maps places in the answer, or in the last object of a stream, to the kinds of their values with their
numbers:

    {"choices.*.index": {"number": 1}, "choices.*.logprobs.token_logprobs.*": {"null": 1, "number": 6}}"""
import collections
import http.client
import http.server
import json
import threading

# The places that each client reads, by its source; `*` is each element of a list.
NEEDS = {
    "lm_eval": [
        "choices.*.index",
        "choices.*.logprobs.token_logprobs.*",
        "choices.*.logprobs.top_logprobs.*",
        "data.*.id",
        "tokens.*",
        "bos_token",
        "eos_token",
    ],
    "promptfoo": [
        "choices.*.message.content",
        "choices.*.message.tool_calls.*.function.name",
        "choices.*.message.tool_calls.*.function.arguments",
        "choices.*.finish_reason",
        "choices.*.text",
        "usage.total_tokens",
        "usage.prompt_tokens",
        "usage.completion_tokens",
        "output.*.type",
        "output.*.content.*.text",
        "usage.input_tokens",
        "usage.output_tokens",
        "message.content",
        "response",
        "prompt_eval_count",
        "eval_count",
        "data.*.id",
    ],
}
KINDS = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


def values(answer, place):
    """The values at a place of an answer."""
    if not place:
        return [answer]
    head, _, rest = place.partition(".")
    if head == "*":
        return [value for item in answer for value in values(item, rest)] if isinstance(answer, list) else []
    return values(answer[head], rest) if isinstance(answer, dict) and head in answer else []


def kinds(answer, place):
    return dict(collections.Counter(KINDS[type(value)] for value in values(answer, place)))


def last_object(text):
    """The answer, or the last object of a stream: of server-sent events or of lines of JSON."""
    try:
        return json.loads(text)
    except ValueError:
        lines = [line.removeprefix("data: ") for line in text.splitlines()]
        return json.loads([line for line in lines if line.startswith("{")][-1])


class Recorder:
    """A proxy in front of the server at `url`, which writes what passes to `file`."""

    def __init__(self, url, file):
        self.server_address = url.removeprefix("http://")
        self.file = file
        self.places = NEEDS[file.stem]
        self.lines = {}
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                recorder.forward(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.proxy.server_port}"

    def __enter__(self):
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.proxy.shutdown()
        # In the order of their text, so that a new recording differs in what the client does anew only.
        self.file.write_text("".join(f"{line}\n" for line in sorted(self.lines)))

    def forward(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        connection = http.client.HTTPConnection(self.server_address)
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.note(handler.command, handler.path, body, answer.status, data)
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.headers["Content-Type"])
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def note(self, method, path, body, status, data):
        answer = last_object(data.decode())
        needs = {place: found for place in self.places if (found := kinds(answer, place))}
        line = {"method": method, "path": path, "body": json.loads(body) if body else None, "status": status, "needs": needs}
        self.lines[json.dumps(line, ensure_ascii=False)] = True
