#!/usr/bin/env python3
"""Tokens/s of a BitNet b1.58 training step in eager PyTorch on the CPU, to compare `sterna train` with.

    python scripts/bench_train.py [--threads N] [--hidden N --layers N ...] [--float32-parameters]

The way it is usually written: every linear quantises its input and its weight straight-through, as Hugging Face's AutoBitLinear
does, then multiplies in bfloat16; torch's fused attention, fused AdamW, z-loss, clipping; sequences of one length. Parameters and
activations are bfloat16 with float32 masters in the optimiser, or float32 under autocast. Blocks are kept by the allocator,
not given back after each operation. Prints the median step as JSON. Needs torch.
"""
import argparse
import json
import os
import statistics
import sys
import time

KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 33), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
if not KEEP.items() <= os.environ.items():  # glibc reads them when the process starts
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)

import torch
import torch.nn.functional as F
from torch import nn


class Ternary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight):
        mean = weight.float().abs().mean().clamp_(min=1e-5)
        return (weight / mean).round_().clamp_(-1, 1).mul_(mean).to(weight.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Int8(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        wide = x.float()
        scale = 127 / wide.abs().amax(-1, keepdim=True).clamp_(min=1e-5)
        return (wide * scale).round_().clamp_(-128, 127).div_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Linear(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * 0.02)

    def forward(self, x):
        return F.linear(Int8.apply(x), Ternary.apply(self.weight))


class Layer(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.dim = a.hidden // a.heads
        self.q, self.k, self.v, self.o = (Linear(a.hidden, n) for n in (a.hidden, self.dim * a.kv_heads, self.dim * a.kv_heads, a.hidden))
        self.gate, self.up, self.down = Linear(a.hidden, a.ffn), Linear(a.hidden, a.ffn), Linear(a.ffn, a.hidden)
        self.norms = nn.ModuleList(nn.RMSNorm(n, 1e-5) for n in (a.hidden, a.hidden, a.hidden, a.ffn))

    def forward(self, h, cos, sin):
        def heads(x, turn):
            x = x.unflatten(-1, (-1, self.dim)).transpose(1, 2)
            p, q = x.chunk(2, -1)
            return torch.cat([p * cos - q * sin, q * cos + p * sin], -1) if turn else x

        x = self.norms[0](h)
        q, k, v = heads(self.q(x), True), heads(self.k(x), True), heads(self.v(x), False)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2)
        h = h + self.o(self.norms[1](a))
        x = self.norms[2](h)
        return h + self.down(self.norms[3](F.relu(self.gate(x)).square() * self.up(x)))


class Model(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embedding, self.norm, self.dim = nn.Embedding(a.vocab, a.hidden), nn.RMSNorm(a.hidden, 1e-5), a.hidden // a.heads
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.layers))

    def forward(self, tokens):
        angle = torch.arange(tokens.shape[1])[:, None] * 1e4 ** (-torch.arange(0, self.dim, 2) / self.dim)
        h, cos, sin = self.embedding(tokens), angle.cos().bfloat16(), angle.sin().bfloat16()
        for layer in self.layers:
            h = layer(h, cos, sin)
        return F.linear(self.norm(h), self.embedding.weight)


def step(model, masters, optimiser, tokens, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model(tokens[:, :-1]).flatten(0, 1).float()
    loss = F.cross_entropy(logits, tokens[:, 1:].flatten()) + 1e-4 * logits.logsumexp(-1).square().mean()
    model.zero_grad()
    loss.backward()
    if not autocast:
        for master, p in zip(masters, model.parameters()):
            master.grad = p.grad.float()
    nn.utils.clip_grad_norm_(masters, 1.0)
    optimiser.step()
    if not autocast:
        with torch.no_grad():
            for master, p in zip(masters, model.parameters()):
                p.copy_(master)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("hidden", 256), ("ffn", 768), ("layers", 8), ("heads", 4), ("kv-heads", 2), ("vocab", 4096), ("context", 256),
                        ("sequences", 16), ("threads", 2), ("steps", 12)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--float32-parameters", action="store_true", help="and autocast, instead of bfloat16 with float32 masters")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model, autocast = Model(a), a.float32_parameters
    masters = list(model.parameters()) if autocast else [p.detach().clone().requires_grad_() for p in model.parameters()]
    optimiser = torch.optim.AdamW(masters, 1e-4, fused=True)
    if not autocast:
        model.bfloat16()
    tokens, walls, cpus = torch.randint(0, a.vocab, (a.sequences, a.context + 1)), [], []
    for _ in range(a.steps + 3):
        wall, cpu = time.perf_counter(), time.process_time()
        step(model, masters, optimiser, tokens, autocast)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu, count = statistics.median(walls[3:]), statistics.median(cpus[3:]), a.sequences * a.context
    print(json.dumps({"tokens_per_s": round(count / wall, 1), "step_s": round(wall, 4), "cpu_s": round(cpu, 4), "threads": a.threads,
                      "parameters": sum(p.numel() for p in masters), "arithmetic": "autocast" if autocast else "bf16", "torch": torch.__version__}))


if __name__ == "__main__":
    main()
