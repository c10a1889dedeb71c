"""The official `anthropic` client against a running server: python anthropic_client.py URL"""
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id
said = [{"role": "user", "content": "Tell me a story about a fox and a lantern."}]
fixed = {"model": model, "max_tokens": 24, "extra_body": {"temperature": 0}}

whole = client.messages.create(messages=said, **fixed)
assert (whole.type, whole.role, whole.model, whole.stop_reason) == ("message", "assistant", model, "max_tokens"), whole
assert [block.type for block in whole.content] == ["text"] and whole.usage.output_tokens == 24, whole
counted = client.messages.count_tokens(messages=said, model=model)
assert counted.input_tokens == whole.usage.input_tokens
with client.messages.stream(messages=said, **fixed) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text == final.content[0].text == whole.content[0].text and final.usage == whole.usage, final
kinds = [event.type for event in client.messages.create(messages=said, stream=True, **fixed)]
assert kinds[:2] == ["message_start", "content_block_start"] and kinds[-2:] == ["message_delta", "message_stop"], kinds
word = text.split()[3]
ended = client.messages.create(messages=said, stop_sequences=[word], system=[{"type": "text", "text": "Be brief."}], **fixed)
assert ended.stop_reason in ("stop_sequence", "max_tokens") and (ended.stop_sequence == word) == (ended.stop_reason == "stop_sequence")

weather = {"name": "weather", "description": "The weather of a city.", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}}, "required": ["city"]}}
fixed["max_tokens"] = 80
for choice in ({"type": "any"}, {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}):
    called = client.messages.create(messages=said, tools=[weather], tool_choice=choice, **fixed)
    call = called.content[0]
    assert called.stop_reason == "tool_use" and call.type == "tool_use" and call.input["city"] in ("Oslo", "Rome"), called
    with client.messages.stream(messages=said, tools=[weather], tool_choice=choice, **fixed) as stream:
        assert stream.get_final_message().content[0].input == call.input
result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]}
history = [*said, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
assert client.messages.create(messages=history, tools=[weather], thinking={"type": "disabled"}, **fixed).content
schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
formed = client.messages.create(messages=said, output_config={"format": {"type": "json_schema", "schema": schema}}, **fixed)
assert formed.content[0].text in ('{"colour": "red"}', '{"colour": "blue"}'), formed

image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
for request, problem, words in (
    ({"model": "claude"}, anthropic.NotFoundError, "does not exist here"),
    ({"messages": [{"role": "user", "content": [image]}]}, anthropic.BadRequestError, "is an image part"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, anthropic.BadRequestError, "thinking"),
):
    try:
        client.messages.create(**fixed | {"messages": said} | request)
    except problem as error:
        assert error.body["type"] == "error" and words in error.body["error"]["message"], error.body
    else:
        raise AssertionError(f"accepted: {request}")
print("anthropic is content")
