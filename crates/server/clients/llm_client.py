"""The library `llm` with its plugin `llm-ollama` against a running server: python llm_client.py URL"""
import asyncio
import json
import os
import sys
import tempfile

os.environ["OLLAMA_HOST"] = sys.argv[1]
home = tempfile.TemporaryDirectory()
os.environ["LLM_USER_PATH"] = home.name

import llm

# The plugin finds the models, and what each can do, by /api/tags and /api/show.
name = next(model.model_id for model in llm.get_models() if type(model).__module__.startswith("llm_ollama"))
model = llm.get_model(name)
assert model.supports_schema and model.supports_tools and not model.attachment_types

fixed = {"seed": 7, "num_predict": 24, "num_ctx": 2048}
whole = model.prompt("Tell me a story about a fox and a lantern.", stream=False, **fixed)
assert whole.text() and whole.usage().input > 0 and 0 < whole.usage().output <= 24
pieces = list(model.prompt("Tell me a story about a fox and a lantern.", **fixed))
assert len(pieces) > 1 and "".join(pieces) == whole.text()

conversation = model.conversation()
first = conversation.prompt("Who are you?", system="Be brief.", **fixed)
assert first.text()
second = conversation.prompt("And then?", **fixed)
assert second.text() and second.usage().input > first.usage().input

schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
assert json.loads(model.prompt("Choose.", schema=schema).text())["colour"] in ("red", "blue")


def weather(city: str) -> str:
    """The weather of a city"""
    return f"rain in {city}"


asked = model.prompt("What is the weather in Oslo?", tools=[weather], stream=False, **fixed)
assert asked.text() or asked.tool_calls()


async def asynchronous():
    return await llm.get_async_model(name).prompt("Tell me a story about a fox and a lantern.", **fixed).text()


assert asyncio.run(asynchronous()) == whole.text()
try:
    model.prompt("Hello", mirostat=1, stream=False).text()
except Exception as problem:
    assert "mirostat" in str(problem), problem
else:
    raise AssertionError("mirostat was accepted")
print("llm with llm-ollama is content")
