"""promptfoo against a running server, over OpenAI's and Ollama's APIs: python promptfoo_client.py URL"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

url = sys.argv[1]
name = json.load(urllib.request.urlopen(f"{url}/v1/models"))["data"][0]["id"]
schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
form = {"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": schema}}
weather = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"], "additionalProperties": False}
tools = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": weather}}]
openai = {"apiBaseUrl": f"{url}/v1", "apiKey": "none", "max_tokens": 40, "temperature": 0}
providers = [
    {"id": f"openai:chat:{name}", "label": "chat", "config": openai},
    {"id": f"openai:completion:{name}", "label": "completion", "config": openai},
    {"id": f"openai:responses:{name}", "label": "responses", "config": {**openai, "max_output_tokens": 40}},
    {"id": f"openai:chat:{name}", "label": "schema", "config": {**openai, "response_format": form}},
    {"id": f"openai:chat:{name}", "label": "tools", "config": {**openai, "max_tokens": 120, "tools": tools, "tool_choice": "required"}},
    {"id": f"ollama:chat:{name}", "label": "ollama chat", "config": {"num_predict": 40, "temperature": 0}},
    {"id": f"ollama:completion:{name}", "label": "ollama", "config": {"num_predict": 40, "temperature": 0}},
]


def test(question, checks, *labels):
    return {"vars": {"question": question}, "assert": checks, "providers": list(labels)}


talk = ["chat", "responses", "ollama chat", "ollama"]
config = {
    "description": "The built-in model",
    "prompts": ["{{question}}"],
    "providers": providers,
    "tests": [
        test("Who are you?", [{"type": "icontains", "value": "Sterna"}, {"type": "not-icontains", "value": "error"}], *talk),
        test("Once upon a time", [{"type": "javascript", "value": "output.length > 10"}], "completion"),
        test("Choose a colour.", [{"type": "is-json", "value": schema}], "schema"),
        test("The weather in Oslo?", [{"type": "is-valid-openai-tools-call"}], "tools"),
    ],
}

with tempfile.TemporaryDirectory() as home:
    home = pathlib.Path(home)
    (home / "config.json").write_text(json.dumps(config))
    environment = {
        **os.environ,
        "OLLAMA_BASE_URL": url,
        "PROMPTFOO_CONFIG_DIR": str(home),
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    program = pathlib.Path(__file__).resolve().parent / "node_modules/.bin/promptfoo"
    command = [program, "eval", "-c", home / "config.json", "-o", home / "results.json", "--no-cache", "--no-progress-bar", "-j", "2"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (home / "results.json").exists(), done.stdout
    results = json.loads((home / "results.json").read_text())["results"]

for result in results["results"]:
    outcome = (result["provider"]["label"], result.get("error"), result.get("response"))
    assert result["success"], outcome
    assert result["response"]["tokenUsage"]["total"] > 0, outcome
assert len(results["results"]) == 7, [result["provider"] for result in results["results"]]
print("promptfoo is content")
