"""lm-evaluation-harness (`local-completions`) against a running server: STERNA=… python lm_eval_client.py URL

STERNA is the program: every log-likelihood that comes over HTTP must be that of its own scoring, `sterna logits` and
`sterna eval --choices` for the choices, `sterna eval` for whole texts."""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import urllib.request

TASKS = pathlib.Path(__file__).resolve().parent / "lm_eval_tasks"
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": tempfile.mkdtemp()}
os.chdir(TASKS)

import lm_eval
import numpy

url, program = sys.argv[1], os.environ["STERNA"]
BATCH = 3


def own(*arguments):
    """The JSON that the program prints."""
    return json.loads(subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE).stdout)


def tokens(text):
    """The token ids of a text. The built-in model puts BOS before them."""
    bos, *ids = own("tokenize", text)["tokens"]
    return bos, ids


def logits(ids):
    """The logits after each token, from the program itself."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        subprocess.run([program, "logits", "--tokens", ",".join(map(str, ids)), "--out", file.name], check=True)
        data = pathlib.Path(file.name).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    shape = json.loads(data[8 : 8 + size])["logits"]["shape"]
    return numpy.frombuffer(data, "<f4", offset=8 + size).reshape(shape).astype(float)


def likelihood(context, continuation):
    """Log-likelihood of the continuation, and whether greedy decoding writes it, in the order of lm_eval's tokens."""
    (_, ids), before = tokens(context + continuation), len(tokens(context)[1])
    rows = logits(ids)[before - 1 : -1]
    logprobs = rows - numpy.log(numpy.exp(rows - rows.max(1, keepdims=True)).sum(1, keepdims=True)) - rows.max(1, keepdims=True)
    of_tokens = logprobs[range(len(rows)), ids[before:]]
    return of_tokens.sum(), bool((of_tokens == logprobs.max(1)).all())


def check_choices(samples):
    right, chosen = 0, set()
    for sample in samples:
        # A sample's answers are those of the server, in the order of its choices.
        served = [(float(answer[0]), bool(answer[1])) for answer in sample["filtered_resps"]]
        scored = [likelihood(sample["doc"]["context"], f" {choice}") for choice in sample["doc"]["choices"]]
        for (got, greedy), (expected, best) in zip(served, scored, strict=True):
            assert math.isclose(got, expected, abs_tol=1e-4), (sample["doc"], served, scored)
            assert greedy == best, (sample["doc"], served, scored)
        best = max(range(len(scored)), key=lambda i: scored[i][0])
        chosen.add(best)
        right += best == sample["doc"]["answer"]
        assert sample["acc"] == (best == sample["doc"]["answer"])
    assert len(chosen) == 4, f"the same places win: {chosen}"
    return right / len(samples)


def check_eval(samples, results):
    """The program's own multiple choice: `sterna eval --choices`."""
    found = own("eval", "--choices", str(TASKS / "choices.jsonl"), "--json")
    for way in ("acc", "acc_norm", "acc_bytes"):
        assert found[way] == results[f"{way},none"], (way, found[way], results)
    farthest = 0
    for sample, result in zip(sorted(samples, key=lambda sample: sample["doc_id"]), found["results"], strict=True):
        served = [float(answer[0]) for answer in sample["filtered_resps"]]
        farthest = max(farthest, *(abs(a - b) for a, b in zip(served, result["loglikelihoods"], strict=True)))
    assert farthest < 1e-4, farthest
    return farthest


def check_texts(samples):
    for sample in samples:
        text = sample["doc"]["text"]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(text)
            file.flush()
            scored = own("eval", "--text", file.name, "--json")
        assert scored["tokens"] == len(tokens(text)[1]), (scored, text)
        served = float(sample["filtered_resps"][0])
        assert math.isclose(served, -scored["nll"] * scored["tokens"], abs_tol=1e-4), (text, served, scored)


def main():
    # The server's tokenizer is found by /tokenizer_info. The harness takes a BOS token with the id 0 for none.
    name = json.load(urllib.request.urlopen(f"{url}/v1/models"))["data"][0]["id"]
    model = {"model": name, "custom_prefix_token_id": tokens("")[0]}
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={**model, "base_url": f"{url}/v1/completions", "max_length": 512},
        tasks=["sterna_choices", "sterna_texts"],
        task_manager=lm_eval.tasks.TaskManager(include_path=str(TASKS), include_defaults=False),
        batch_size=BATCH,
        log_samples=True,
        bootstrap_iters=0,
    )
    accuracy = check_choices(found["samples"]["sterna_choices"])
    assert found["results"]["sterna_choices"]["acc,none"] == accuracy >= 0.5, (found["results"], accuracy)
    farthest = check_eval(found["samples"]["sterna_choices"], found["results"]["sterna_choices"])
    check_texts(found["samples"]["sterna_texts"])
    print(f"lm_eval is content: accuracy {accuracy:.3f}, as sterna scores it, log-likelihoods within {farthest:.1e}")


main()
