#!/usr/bin/env python3
"""Trains a BitNet b1.58 model with PyTorch, on the GPU if there is one. For development only: what users run is `sterna train`.

    python scripts/train.py --data FILE[=WEIGHT] ... --tokenizer DIR --out DIR [--from DIR] [--full-precision]

A data file is `.txt` (one document), `.jsonl` with {"text": ...} or {"messages": [{"role", "content"}]} a line, or `.bin`: token
ids, u16 (u32 where the vocabulary is larger), each document beginning with BOS. OUT/model is a Hugging Face directory of bfloat16
latent weights, ternary when loaded; OUT/log.jsonl has one object a step. Needs torch, numpy, safetensors, tokenizers.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from bitnet import NONE, Batch, BitNet, Optimiser, config, load, losses, save

Z_LOSS = 1e-4

# ------------------------------------------------------------------------------------------------ data


def documents(path, tok, bos, eos, end_of_turn):
    """(ids, which of them count in the loss) of every document. Of a conversation, what the assistant says counts."""
    encode = lambda text: tok.encode(text, add_special_tokens=False).ids
    if path.suffix == ".bin":
        ids = np.fromfile(path, np.uint16 if tok.get_vocab_size() <= 1 << 16 else np.uint32)
        yield from ((part, np.ones(len(part), bool)) for part in np.split(ids, np.flatnonzero(ids == bos)) if len(part))
        return
    text = path.read_text(encoding="utf-8")
    for row in map(json.loads, text.strip().split("\n")) if path.suffix == ".jsonl" else [{"text": text}]:
        parts = [([bos], True)]
        for message in row.get("messages", []):
            head, content = message["role"].capitalize() + ": ", message["content"].strip()
            if message["role"] == "assistant":  # generation begins after the header's own tokens
                parts += [(encode(head), False), (encode(content) + [end_of_turn], True)]
            else:
                parts.append((encode(head + content) + [end_of_turn], False))
        if "text" in row:
            parts.append((encode(row["text"]) + [eos], True))
        yield np.array(sum((ids for ids, _ in parts), [])), np.concatenate([np.full(len(ids), counts) for ids, counts in parts])


def pieces(path, context, *ids):
    """Documents cut to the context: (tokens, the token that follows each, or NONE)."""
    for tokens, counts in documents(path, *ids):
        targets = np.where(counts, tokens.astype(np.int64), NONE)[1:]
        for at in range(0, len(targets), context):
            if (targets[at:at + context] != NONE).any():
                yield tokens[at:at + context][:len(targets) - at], targets[at:at + context]


def batches(sources, tokens, rng):
    """Without end: each file by its weight, its pieces in a new order every round."""
    weights, queues = np.array([weight for weight, _ in sources]), [[] for _ in sources]
    while True:
        batch = []
        while sum(len(t) for t, _ in batch) < tokens:
            i = rng.choice(len(sources), p=weights / weights.sum())
            queues[i] = queues[i] or list(rng.permutation(len(sources[i][1])))
            batch.append(sources[i][1][queues[i].pop()])
        yield batch


# ------------------------------------------------------------------------------------------------ commands


def rate(step, args):
    """Warm-up, stable, decay to 0: the multiplier of the learning rates, and whether weight decay is still on."""
    left = (args.steps - step) / max(1.0, args.decay * args.steps)
    return min(1.0, (step + 1) / max(1, args.warmup), left), left > 1


def train(args):
    tok = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    specials = [tok.token_to_id(s) for s in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")]
    args.vocab, device = tok.get_vocab_size(), "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    model = load(args.start) if args.start else BitNet(config(args, *specials[:2]))
    model.set(quantised=not args.full_precision).to(device)
    read = lambda file: list(pieces(Path(file), args.context, tok, *specials))
    sources = [(float(weight or 1), read(file)) for file, _, weight in (d.partition("=") for d in args.data)]
    held = read(args.validate) if args.validate else []
    recipe = {"muon_lr": args.muon_lr, "adamw_lr": args.adamw_lr, "momentum": 0.95, "weight_decay": args.weight_decay,
              "betas": [0.9, 0.95], "eps": 1e-8, "clip": 1.0}
    optimiser, source, begun = Optimiser(model, recipe, device), batches(sources, args.batch, np.random.default_rng(args.seed)), time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    log = (args.out / "log.jsonl").open("w")

    def forward(sequences):
        batch = Batch(sequences, device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return batch, *losses(model(batch), batch.targets)

    for step in range(args.steps):
        multiplier, decay = rate(step, args)
        batch, ce, z = forward(next(source))
        norm = optimiser.step(ce + Z_LOSS * z, multiplier, decay)
        row = {"step": step + 1, "loss": ce.item(), "gradient": norm.item(), "rate": multiplier, "tokens": len(batch.tokens)}
        if not np.isfinite(row["loss"]):
            raise SystemExit(f"step {step + 1}: the loss is {row['loss']}; lower --muon-lr and --adamw-lr")
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            with torch.no_grad():
                held_out = [forward(held[i:i + 16]) for i in range(0, min(len(held), 512), 16)]
                counts = [int((b.targets != NONE).sum()) for b, _, _ in held_out]
                row["validation"] = sum(ce.item() * n for (_, ce, _), n in zip(held_out, counts)) / max(1, sum(counts))
            save(model, args.out / "model", specials[1:], not args.full_precision, args.tokenizer)
            print(json.dumps(row), f"{time.time() - begun:.0f} s", flush=True)
        log.write(json.dumps(row) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("hidden", 256), ("ffn", 768), ("layers", 8), ("heads", 4), ("kv-heads", 2), ("context", 256), ("steps", 1000),
                        ("batch", 4096), ("warmup", 50), ("every", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("decay", 0.3), ("muon-lr", 5e-3), ("adamw-lr", 2e-3), ("weight-decay", 0.1)):
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE[=WEIGHT]")
    parser.add_argument("--validate", metavar="FILE")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a directory with tokenizer.json and tokenizer_config.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="start", metavar="DIR", help="latent weights to begin with")
    parser.add_argument("--full-precision", action="store_true", help="no quantisers: a twin to compare with, or a warm start")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
