#!/usr/bin/env python3
"""Compares a checkpoint's logits by Sterna with those by Hugging Face transformers on the CPU.

    sterna logits -m DIR --tokens 0,12,87 --out logits.safetensors
    python scripts/check_transformers.py DIR 0,12,87 logits.safetensors

With an adapter, `--adapter` goes to both; PEFT loads it then.

Fails where a logit differs by more than 0.25 or the largest of a row is another one. transformers computes in float32 and keeps
keys and values in float32, Sterna in f16. Needs torch, transformers, safetensors, for adapters peft; downloads nothing.
"""
import argparse
import os

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # transformers' BitLinear is wrapped in torch.compile
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 0.25


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a Hugging Face directory")
    parser.add_argument("tokens", help="ids, with commas between")
    parser.add_argument("logits", help="what `sterna logits` wrote for them")
    parser.add_argument("--adapter", help="a directory that PEFT loads onto the model")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    ids = [int(token) for token in args.tokens.split(",")]
    ours = load_file(args.logits)["logits"]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").to(torch.float32).eval()
    if args.adapter:
        from peft import PeftModel, get_peft_model_state_dict
        model = PeftModel.from_pretrained(model, args.adapter).eval()
        given, used = load_file(f"{args.adapter}/adapter_model.safetensors"), get_peft_model_state_dict(model)
        if given.keys() != used.keys() or not all(torch.equal(used[name], tensor) for name, tensor in given.items()):
            raise SystemExit("PEFT does not hold the tensors of the adapter's file")
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    if ours.shape != theirs.shape:
        raise SystemExit(f"Sterna's logits are {tuple(ours.shape)}, transformers' {tuple(theirs.shape)}")
    difference = (ours - theirs).abs()
    other = (ours.argmax(-1) != theirs.argmax(-1)).nonzero().flatten().tolist()
    print(f"{len(ids)} tokens: largest difference {difference.max():.6f}, mean {difference.mean():.6f}, another argmax at {other or 'none'}")
    if not difference.max() <= TOLERANCE or other:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
