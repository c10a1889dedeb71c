#!/usr/bin/env python3
"""Proves that a network, a format and an endpoint are each one new file and one changed line.

    make toys          or          python3 scripts/toys.py CARGO TARGET_DIR

Each patch of testdata/toys must apply to a copy of the tree, add one file and add or replace one line. Then the copy is
built with all of them, and each toy is used through the binary. What is already compiled in TARGET_DIR is copied, not
compiled again.
"""

import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOYS = ROOT / "testdata/toys"


def problem(patch):
    """What keeps a patch from being one new file and one changed line; None if nothing does."""
    new, changed = [], []
    for part in re.split(r"^(?=diff --git )", patch, flags=re.M)[1:]:
        header, *hunks = re.split(r"^(?=@@ )", part, flags=re.M)
        lines = [line for hunk in hunks for line in hunk.splitlines()[1:]]
        added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        name = header.split()[3].removeprefix("b/")
        if "\nnew file mode" in header:
            new.append(name)
        elif "\nrename " in header or "\ndeleted file" in header:
            return f"{name} is moved or removed"
        else:
            changed.append((name, added, removed))
    if len(new) != 1:
        return f"{len(new)} new files instead of one: {', '.join(new)}"
    if len(changed) != 1 or changed[0][1:] not in [(1, 0), (1, 1)]:
        return "more or less than one changed line: " + ", ".join(f"{name} +{a} -{r}" for name, a, r in changed)
    return None


def copy_tree(to):
    """The working tree as git knows it, with the times of its files, so that cargo compiles only what a patch changes."""
    shutil.rmtree(to, ignore_errors=True)
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        source = ROOT / name
        if name and (source.is_file() or source.is_symlink()):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name, follow_symlinks=False)


def copy_compiled(built, to):
    """Compiled libraries, and cargo's notes on them; no programs and no incremental state."""
    shutil.rmtree(to, ignore_errors=True)
    for folder in [".fingerprint", "build"]:
        if (built / "debug" / folder).is_dir():
            shutil.copytree(built / "debug" / folder, to / "debug" / folder, symlinks=True)
    (to / "debug/deps").mkdir(parents=True, exist_ok=True)
    for file in (built / "debug/deps").glob("*"):
        if file.suffix in (".rlib", ".rmeta", ".so", ".d"):
            shutil.copy2(file, to / "debug/deps")


def endpoint(sterna, _folder):
    """A request to a real server is answered, and the endpoint is in the OpenAPI document."""
    with subprocess.Popen([sterna, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().removeprefix("listening on ").strip()
            ask = urllib.request.Request(f"{url}/toy/echo", b"Once upon a time", {"Content-Type": "text/plain"})
            answer = json.load(urllib.request.urlopen(ask, timeout=60))
            assert answer["body"] == "Once upon a time" and answer["tokens"] > 0, answer
            document = json.load(urllib.request.urlopen(f"{url}/openapi.json", timeout=60))
            assert "post" in document["paths"]["/toy/echo"], document["paths"].keys()
        finally:
            process.terminate()


def bf16(values):
    """Rounds towards 0: bytes of bf16, and the values they hold."""
    halves = [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values]
    return struct.pack(f"<{len(halves)}H", *halves), [struct.unpack("<f", struct.pack("<I", h << 16))[0] for h in halves]


def safetensors(path, tensors):
    """Writes tensors of bf16: name, shape and bytes."""
    header, end = {}, 0
    for name, shape, data in tensors:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors))


def logits(sterna, model, tokens, folder):
    """Rows of `sterna logits`, as bytes."""
    out = folder / "logits.safetensors"
    run(sterna, "logits", "-m", model, "--tokens", ",".join(map(str, tokens)), "--out", out)
    data = out.read_bytes()
    data = data[8 + struct.unpack("<Q", data[:8])[0] :]
    size = len(data) // len(tokens)
    return [data[i * size : (i + 1) * size] for i in range(len(tokens))]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def normed(x):
    inverse = 1 / math.sqrt(sum(v * v for v in x) / len(x) + 1e-5)
    return [v * inverse for v in x]


def network(sterna, folder):
    """A checkpoint of the toy network loads, generates, and gives the logits that its formula gives."""
    size, vocab, layers, scale = 128, 512, 2, 1 / 16
    numbers = random.Random(1)
    table_bytes, table = bf16([numbers.uniform(-1, 1) for _ in range(vocab * size)])
    ones = bf16([1] * size)[0]
    tensors = [("model.embed_tokens.weight", [vocab, size], table_bytes), ("model.norm.weight", [size], ones)]
    mixes = []
    for layer in range(layers):
        data, mix = bf16([scale * numbers.choice([-1, 1]) for _ in range(size * size)])
        mixes.append(mix)
        tensors.append((f"model.layers.{layer}.mix.weight", [size, size], data))
        tensors.append((f"model.layers.{layer}.post_attention_layernorm.weight", [size], ones))
    model = folder / "toy"
    model.mkdir()
    golden = ROOT / "testdata/golden/bitnet-bf16-online"
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]:
        shutil.copy(golden / name, model)
    config = json.loads((golden / "config.json").read_text())
    config |= {"architectures": ["ToyForCausalLM"], "model_type": "toy", "hidden_act": "linear"}
    (model / "config.json").write_text(json.dumps(config))
    safetensors(model / "model.safetensors", tensors)

    assert json.loads(run(sterna, "info", model, "--json"))["architecture"] == "toy"
    answer = json.loads(run(sterna, "run", "-m", model, "--temperature", "0", "-n", "5", "--json", "Once upon a time"))
    assert answer["tokens"], answer

    tokens = [7, 300, 7]
    rows = logits(sterna, model, tokens, folder)
    assert rows[0] == rows[2] != rows[1], "a token's logits depend on that token alone"
    for token, row in zip(tokens[:2], rows):
        h = table[token * size : (token + 1) * size]
        for mix in mixes:
            x = normed(h)
            h = [v + sum(w * x for w, x in zip(mix[r * size : (r + 1) * size], x)) for r, v in enumerate(h)]
        x = normed(h)
        expected = [sum(w * x for w, x in zip(table[t * size : (t + 1) * size], x)) for t in range(vocab)]
        given = struct.unpack(f"<{vocab}f", row)
        worst = max(abs(a - b) for a, b in zip(given, expected))
        # Activations are rounded to int8.
        assert worst < 0.02 * max(map(abs, expected)), (token, worst, max(map(abs, expected)))


def gguf(path, keys, tensors):
    """Writes a GGUF file: keys with their values, and name, shape, type and bytes of each tensor."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    def pad(data):
        return data + bytes(-len(data) % 32)

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys.items():
        kinds = {int: (4, "<I"), float: (6, "<f")}
        if isinstance(value, str):
            head += text(key) + struct.pack("<I", 8) + text(value)
        else:
            kind, layout = kinds[type(value)]
            head += text(key) + struct.pack("<I", kind) + struct.pack(layout, value)
    body = b""
    for name, shape, kind, data in tensors:
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += text(name) + sizes + struct.pack("<IQ", kind, len(body))
        body += pad(data)
    path.write_bytes(pad(head) + body)


F32, TQ2_0, TOY = 0, 35, 200


def stored(kind, codes, exponent):
    """Bytes of the weights code * 2^exponent."""
    if kind == F32:
        return struct.pack(f"<{len(codes)}f", *(code * 2**exponent for code in codes))
    if kind == TOY:
        blocks = (codes[i : i + 8] for i in range(0, len(codes), 8))
        return b"".join(struct.pack("9b", exponent, *block) for block in blocks)
    data = b""
    for i in range(0, len(codes), 256):
        halves = [codes[i : i + 128], codes[i + 128 : i + 256]]
        data += bytes(sum((h[32 * p + m] + 1) << 2 * p for p in range(4)) for h in halves for m in range(32))
        data += struct.pack("<e", 2**exponent)
    return data


def tensor_format(sterna, folder):
    """A GGUF file with tensors of the toy format gives the logits of one with the same weights in known formats."""
    size, vocab = 256, 64
    numbers = random.Random(2)
    embedding = [numbers.randint(-127, 127) for _ in range(vocab * size)]
    linear = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    trits = {name: [numbers.randint(-1, 1) for _ in range(size * size)] for name in linear}
    keys = {
        "general.architecture": "llama",
        "llama.context_length": 64,
        "llama.embedding_length": size,
        "llama.feed_forward_length": size,
        "llama.block_count": 1,
        "llama.attention.head_count": 4,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }

    def model(name, of_linear, of_embedding):
        ones = stored(F32, [1] * size, 0)
        tensors = [("token_embd.weight", [vocab, size], of_embedding, stored(of_embedding, embedding, -6))]
        tensors += [(f"blk.0.{part}.weight", [size], F32, ones) for part in ["attn_norm", "ffn_norm"]]
        tensors += [(f"blk.0.{part}.weight", [size, size], of_linear, stored(of_linear, trits[part], -4)) for part in linear]
        tensors.append(("output_norm.weight", [size], F32, ones))
        gguf(folder / name, keys, tensors)
        return [struct.unpack(f"<{vocab}f", row) for row in logits(sterna, folder / name, [5, 63, 0, 5], folder)]

    known = model("known.gguf", TQ2_0, F32)
    assert max(map(abs, known[3])) > 1, "the logits are numbers"
    assert model("linear.gguf", TOY, F32) == known
    # Dot products with stored rows may add in another order.
    largest = max(abs(x) for row in known for x in row)
    for given, expected in zip(model("embedding.gguf", TOY, TOY), known):
        worst = max(abs(a - b) for a, b in zip(given, expected))
        assert worst < 1e-5 * largest, (worst, largest)
    formats = json.loads(run(sterna, "info", folder / "embedding.gguf", "--json"))["encodings"]
    assert formats["toy"]["tensors"] == 8, formats


CHECKS = {"endpoint": endpoint, "format": tensor_format, "network": network}


def main(cargo, built):
    patches = sorted(TOYS.glob("*.patch"))
    names = [patch.stem for patch in patches]
    assert set(names) == CHECKS.keys(), f"{TOYS} holds {names}; there are checks of {list(CHECKS)}"
    built = Path(built).resolve()
    tree, target = built / "toys/tree", built / "toys/target"
    copy_tree(tree)
    for patch in patches:
        if wrong := problem(patch.read_text()):
            sys.exit(f"{patch}: {wrong}")
        # The copy lies inside the repository, to which git would apply the patch otherwise.
        apply = subprocess.run(["git", "apply", patch], cwd=tree, env={**os.environ, "GIT_CEILING_DIRECTORIES": tree.parent})
        if apply.returncode:
            sys.exit(f"{patch}: does not apply; make it anew from the change it describes")
        print(f"{patch.stem}: one new file, one changed line", flush=True)
    copy_compiled(built, target)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    # Our own crates are compiled anew, since the patches change the lowest of them: without optimisation, which is quick.
    ours = ["sterna-kernels", "sterna", "sterna-grammar", "sterna-server", "sterna-train", "sterna-cli"]
    quick = [f"--config=profile.dev.package.{name}.{option}" for name in ours for option in ["opt-level=0", "debug=false"]]
    build = [*cargo.split(), "build", *quick, "--workspace", "--bins", "--examples"]
    subprocess.run(build, cwd=tree, env=environment, check=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            CHECKS[name](target / "debug/sterna", Path(folder))
        print(f"{name}: works", flush=True)
    shutil.rmtree(built / "toys")


if __name__ == "__main__":
    main(*sys.argv[1:])
