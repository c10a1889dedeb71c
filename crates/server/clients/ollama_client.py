"""The official `ollama` client against a running server: python ollama_client.py URL"""
import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1])
listed = client.list().models[0]
model = listed.model
assert listed.size > 0 and listed.details.parameter_size
assert "completion" in client.show(model).capabilities and client.ps().models[0].model == model

said = [{"role": "user", "content": "Tell me a story about a fox and a lantern."}]
fixed = {"seed": 7, "num_predict": 24, "num_ctx": 2048}
whole = client.chat(model, messages=said, options=fixed)
assert whole.done and whole.done_reason in ("stop", "length") and whole.message.role == "assistant" and whole.message.content
assert whole.eval_count <= 24 and whole.prompt_eval_count > 0 and whole.total_duration > 0
pieces = list(client.chat(f"{model}:latest", messages=said, options=fixed, stream=True))
assert "".join(piece.message.content for piece in pieces) == whole.message.content
assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]

schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
assert json.loads(client.chat(model, messages=said, format=schema).message.content)["colour"] in ("red", "blue")
answer = client.generate(model, "Once upon a time", raw=True, options=fixed)
assert answer.response and answer.done
assert "".join(piece.response for piece in client.generate(model, "Once upon a time", raw=True, options=fixed, stream=True)) == answer.response
assert client.generate(model, "Hello", system="Be brief.", images=[], think=False, options=fixed).response
assert client.generate(model, "").done_reason == "load"
vectors = client.embed(model, ["A fox.", "The king and his crown."])
assert len(vectors.embeddings) == 2 and vectors.prompt_eval_count > 2 and len(client.embed(model, "A fox.", dimensions=8).embeddings[0]) == 8
assert list(client.embeddings(model, "A fox.").embedding) == list(vectors.embeddings[0])


def weather(city: str) -> str:
    """The weather of a city

    Args:
      city: its name
    """
    return "rain"


assert client.chat(model, messages=said, tools=[weather], options=fixed).done
for request in ({"model": "llama3"}, {"options": {"mirostat": 1}}, {"think": True}):
    try:
        client.chat(**{"model": model, "messages": said} | request)
    except ollama.ResponseError as problem:
        assert problem.status_code in (400, 404) and problem.error, problem
    else:
        raise AssertionError(f"accepted: {request}")
print("ollama is content")
