"""The official `openai` client against a running server: python openai_client.py URL"""
import json
import sys

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model
said = [{"role": "user", "content": "Tell me a story about a fox and a lantern."}]
fixed = {"model": model, "messages": said, "seed": 7, "temperature": 0.8}

whole = client.chat.completions.create(**fixed, max_completion_tokens=24)
choice = whole.choices[0]
assert choice.message.role == "assistant" and choice.message.content and choice.finish_reason in ("stop", "length")
assert whole.usage.completion_tokens <= 24 and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
again = client.chat.completions.create(**fixed, max_completion_tokens=24)
assert again.choices[0].message.content == choice.message.content, "the same seed gives the same answer"
assert again.usage.prompt_tokens_details.cached_tokens >= 0 and again.id != whole.id

chunks = list(client.chat.completions.create(**fixed, max_completion_tokens=24, stream=True, stream_options={"include_usage": True}))
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == choice.message.content
assert chunks[0].choices[0].delta.role == "assistant"
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
assert chunks[-2].choices[0].finish_reason == choice.finish_reason

with client.chat.completions.create(**fixed, stream=True) as stream:
    next(iter(stream))  # and leave: the server notices

several = client.chat.completions.create(**fixed, n=3, max_tokens=12, logprobs=True, top_logprobs=2)
assert [c.index for c in several.choices] == [0, 1, 2]
for token in several.choices[0].logprobs.content:
    assert len(token.top_logprobs) == 2 and token.logprob <= 0 and bytes(token.bytes).decode("utf-8", "replace") == token.token
greedy = client.chat.completions.create(model=model, messages=said, temperature=0, max_tokens=40)
stop = greedy.choices[0].message.content.split()[3]
stopped = client.chat.completions.create(model=model, messages=said, temperature=0, max_tokens=40, stop=[stop])
assert stop not in stopped.choices[0].message.content and stopped.choices[0].finish_reason == "stop"

schema = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}
for seed in range(5):
    answer = client.chat.completions.create(model=model, messages=said, response_format=form, seed=seed)
    person = json.loads(answer.choices[0].message.content)
    assert set(person) == {"name", "age"} and 0 <= person["age"] <= 120 and len(person["name"]) <= 12

weather = {"name": "weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"], "additionalProperties": False}}
tools = [{"type": "function", "function": weather}]
ask = {"model": model, "messages": said, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
message = client.chat.completions.create(**ask, seed=1).choices[0]
call = message.message.tool_calls[0]
assert message.finish_reason == "tool_calls" and call.function.name == "weather"
assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
streamed = [c.choices[0].delta.tool_calls[0] for c in client.chat.completions.create(**ask, seed=1, stream=True) if c.choices[0].delta.tool_calls]
assert "".join(part.function.arguments for part in streamed) == call.function.arguments and streamed[0].function.name == "weather"
result = [*said, message.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
assert client.chat.completions.create(model=model, messages=result, tools=tools, max_tokens=8).choices[0].message

text = client.completions.create(model=model, prompt=["Once upon a time", "The king"], max_tokens=5, logprobs=1, echo=True, seed=1)
assert [c.index for c in text.choices] == [0, 1] and text.choices[0].text.startswith("Once upon a time")
scored = text.choices[0].logprobs
assert "Once upon a time" in "".join(scored.tokens)
assert scored.token_logprobs[0] is None, scored
assert all(logprob <= 0 for logprob in scored.token_logprobs[1:]) and len(scored.tokens) == len(scored.top_logprobs)
pieces = "".join(c.choices[0].text for c in client.completions.create(model=model, prompt="The king", max_tokens=5, seed=1, stream=True))
assert pieces == client.completions.create(model=model, prompt="The king", max_tokens=5, seed=1).choices[0].text

texts = ["A fox.", "The king and his crown."]
floats = client.embeddings.create(model=model, input=texts, encoding_format="float")
packed = client.embeddings.create(model=model, input=texts)  # the client asks for base64, and unpacks it
# Decimal numbers have as many digits as 32-bit numbers need.
assert all(abs(a - b) < 1e-7 for one, two in zip(packed.data, floats.data, strict=True) for a, b in zip(one.embedding, two.embedding, strict=True))
assert packed.usage.total_tokens == floats.usage.total_tokens > 0
assert abs(sum(x * x for x in floats.data[1].embedding) - 1) < 1e-5 and [item.index for item in floats.data] == [0, 1]
assert len(client.embeddings.create(model=model, input="A fox.", dimensions=32).data[0].embedding) == 32

response = client.responses.create(model=model, input="Hello", instructions="Be brief.", max_output_tokens=10, temperature=0)
assert response.status in ("completed", "incomplete") and response.output_text
events = list(client.responses.create(model=model, input="Hello", instructions="Be brief.", max_output_tokens=10, temperature=0, stream=True))
assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == response.output_text
assert [e.sequence_number for e in events] == list(range(len(events)))
assert events[0].type == "response.created" and events[-1].type == f"response.{response.status}"
tools = [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}]
more = client.responses.create(model=model, input=[{"role": "user", "content": "Hello"}, *response.output, {"role": "user", "content": "Who are you?"}], include=[], tools=tools, max_output_tokens=10)
assert more.output_text and more.usage.input_tokens > response.usage.input_tokens
assert more.tools[0].name == "look" and more.tool_choice == "auto" and more.text.format.type == "text"
parsed = client.responses.create(model=model, input="x", text={"format": {"type": "json_schema", "name": "person", "schema": schema}})
assert set(json.loads(parsed.output_text)) == {"name", "age"}


def refused(error, status, code, param, **request):
    try:
        client.chat.completions.create(**{"model": model, "messages": said, "max_tokens": 4} | request)
    except error as problem:
        assert (problem.status_code, problem.code, problem.param) == (status, code, param), (problem.body, problem.status_code)
        return
    raise AssertionError(f"accepted: {request}")


refused(openai.NotFoundError, 404, "model_not_found", "model", model="gpt-4o")
refused(openai.BadRequestError, 400, None, "temperature", temperature=3)
refused(openai.BadRequestError, 400, None, "messages", messages=[])
refused(openai.BadRequestError, 400, "context_length_exceeded", None, messages=[{"role": "user", "content": "long " * 9000}])
refused(openai.BadRequestError, 400, "unsupported_parameter", "audio", extra_body={"audio": {"voice": "alloy"}})
refused(openai.BadRequestError, 400, None, "logit_bias.x", logit_bias={"x": 1})
print("openai", openai.__version__, "is content")
