"""BitNet b1.58 in plain PyTorch, its optimiser, and its checkpoints in Hugging Face's layout. For development only; train.py uses
it, and golden.py makes testdata/golden/train with it. Needs torch, numpy, safetensors."""
import json
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

NONE = -100  # a target that does not count
MUON = (3.4445, -4.7750, 2.0315)
ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}

# ------------------------------------------------------------------------------------------------ model


def through(x, rounded):
    """The rounded value; the gradient passes as if nothing had been rounded."""
    return x + (rounded - x).detach()


def as_stored(weight):
    """What the checkpoint will hold: training sees the weights that will run."""
    return through(weight, weight.to(torch.bfloat16).to(weight.dtype))


def as_cached(x):
    """What the engine's cache of keys and values holds."""
    return through(x, x.half().to(x.dtype))


def ternary(weight):
    mean = weight.abs().mean().clamp(min=1e-5)
    return (weight * (1.0 / mean)).round().clamp(-1, 1) * mean


def int8(x):
    scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return (x * scale).round().clamp(-128, 127) / scale


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], as_stored(self.weight), self.eps)


class Linear(nn.Module):
    """A ternary matrix on int8 activations; with `quantised` off, the same matrix in full precision. An adapter reads the input as it is."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.quantised = nn.Parameter(torch.randn(outputs, inputs) * 0.02), True
        self.lora_A = self.lora_B = None

    def adapt(self, rank, alpha):
        outputs, inputs = self.weight.shape
        self.lora_A, self.lora_B = nn.Parameter(torch.randn(rank, inputs) / inputs ** 0.5), nn.Parameter(torch.zeros(outputs, rank))
        self.scale = alpha / rank

    def forward(self, x):
        weight, given = as_stored(self.weight), x
        if self.quantised:
            x, weight = through(x, int8(x)), through(weight, ternary(weight))
        y = F.linear(x, weight)
        return y if self.lora_A is None else y + self.scale * F.linear(F.linear(given, self.lora_A), self.lora_B)


def rotate(x, cos, sin):
    """Rotate-half: pairs (i, i + d/2) of each head; x [rows, heads, d]."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dim = c["hidden_size"] // c["num_attention_heads"]
        kv = self.dim * c["num_key_value_heads"]
        self.q_proj, self.o_proj = Linear(c["hidden_size"], c["hidden_size"]), Linear(c["hidden_size"], c["hidden_size"])
        self.k_proj, self.v_proj = Linear(c["hidden_size"], kv), Linear(c["hidden_size"], kv)
        self.attn_sub_norm, self.half_cache = Norm(c["hidden_size"], c["rms_norm_eps"]), True

    def forward(self, x, batch, rotation):
        q, k, v = (proj(x).unflatten(-1, (-1, self.dim)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if self.half_cache:
            k, v = as_cached(k), as_cached(v)
        q, k, v = (batch.spread(t.to(v.dtype)).transpose(1, 2) for t in (q, k, v))  # [sequences, heads, length, d]
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(self.attn_sub_norm(batch.join(a.transpose(1, 2)).flatten(1)))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj, self.up_proj = (Linear(c["hidden_size"], c["intermediate_size"]) for _ in range(2))
        self.down_proj = Linear(c["intermediate_size"], c["hidden_size"])
        self.ffn_sub_norm = Norm(c["intermediate_size"], c["rms_norm_eps"])

    def forward(self, x):
        return self.down_proj(self.ffn_sub_norm(F.relu(self.gate_proj(x)).square() * self.up_proj(x)))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = (Norm(c["hidden_size"], c["rms_norm_eps"]) for _ in range(2))
        self.self_attn, self.mlp = Attention(c), Mlp(c)

    def forward(self, h, batch, rotation):
        h = h + self.self_attn(self.input_layernorm(h), batch, rotation)
        return h + self.mlp(self.post_attention_layernorm(h))


class BitNet(nn.Module):
    """Parameters have Hugging Face's names, less the leading `model.`."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])

    def set(self, quantised=True, half_cache=True):
        for module in self.modules():
            if isinstance(module, Linear):
                module.quantised = quantised
            elif isinstance(module, Attention):
                module.half_cache = half_cache
        return self

    def forward(self, batch):
        dim = self.layers[0].self_attn.dim
        frequency = self.config["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angle = (batch.positions[:, None] * frequency.float().to(batch.positions.device))[:, None]
        rotation, table = (angle.cos(), angle.sin()), as_stored(self.embed_tokens.weight)
        h = F.embedding(batch.tokens, table)
        for layer in self.layers:
            h = layer(h, batch, rotation)
        return F.linear(self.norm(h), table)


class Batch:
    """Sequences one after another, without padding; attention alone pads them, at the end, where the causal mask hides it."""

    def __init__(self, sequences, device="cpu"):
        lengths = torch.tensor([len(tokens) for tokens, _ in sequences])
        self.tokens, self.targets = (torch.from_numpy(np.concatenate(s).astype(np.int64)).to(device) for s in zip(*sequences))
        self.positions = torch.cat([torch.arange(n) for n in lengths]).to(device)
        self.shape, self.rows = (len(lengths), int(lengths.max())), None
        if (lengths < lengths.max()).any():
            place = torch.arange(self.shape[1])
            self.used = (place < lengths[:, None]).to(device)
            self.rows = ((lengths.cumsum(0) - lengths)[:, None] + place.minimum(lengths[:, None] - 1)).to(device)

    def spread(self, x):
        return x.unflatten(0, self.shape) if self.rows is None else x[self.rows]

    def join(self, x):
        return x.flatten(0, 1) if self.rows is None else x[self.used]


def losses(logits, targets):
    """Mean cross-entropy in nats and mean squared log of the softmax's denominator, over the targets that count."""
    logits, count = logits.float(), (targets != NONE).sum()
    z = logits.logsumexp(-1).square()[targets != NONE].sum()
    return F.cross_entropy(logits, targets, ignore_index=NONE, reduction="sum") / count, z / count


# ------------------------------------------------------------------------------------------------ optimiser


def orthogonal(g, dtype):
    """Newton-Schulz: about the nearest matrix with orthonormal rows (or columns, where there are fewer)."""
    x = g.to(dtype).mT if g.shape[0] > g.shape[1] else g.to(dtype)
    x, (a, b, c) = x / (x.norm() + 1e-7), MUON
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if g.shape[0] > g.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, at the size of AdamW's updates."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0, dtype=torch.float32):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.mul_(group["momentum"]).add_(p.grad)
                update = orthogonal(p.grad + group["momentum"] * buffer, group["dtype"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


class Optimiser:
    """Muon for the ternary matrices, AdamW for the embedding (with weight decay) and the norms (without)."""

    def __init__(self, model, r, device="cpu"):
        self.parameters, self.recipe = list(model.parameters()), r
        matrices = [m.weight for m in model.modules() if isinstance(m, Linear)]
        norms = [m.weight for m in model.modules() if isinstance(m, Norm)]
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.muon = Muon(matrices, r["muon_lr"], r["momentum"], r["weight_decay"], dtype)
        groups = [{"params": [model.embed_tokens.weight]}, {"params": norms, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, r["adamw_lr"], tuple(r["betas"]), r["eps"], r["weight_decay"])

    def step(self, total, rate=1.0, decay=True):
        """One step down the gradient of `total`; the gradient's norm before clipping."""
        for p in self.parameters:
            p.grad = None
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe["clip"])
        for optimiser, lr in ((self.muon, "muon_lr"), (self.adamw, "adamw_lr")):
            for i, group in enumerate(optimiser.param_groups):
                group["lr"] = self.recipe[lr] * rate
                group["weight_decay"] = self.recipe["weight_decay"] if decay and i == 0 else 0.0
            optimiser.step()
        return norm


# ------------------------------------------------------------------------------------------------ checkpoints


def config(args, bos=0, eos=1):
    """config.json of a model with the sizes in `args`."""
    return {"architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "vocab_size": args.vocab, "hidden_size": args.hidden,
            "intermediate_size": args.ffn, "num_hidden_layers": args.layers, "num_attention_heads": args.heads,
            "num_key_value_heads": args.kv_heads, "hidden_act": "relu2", "max_position_embeddings": args.context, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": bos, "eos_token_id": eos, "initializer_range": 0.02,
            "torch_dtype": "bfloat16", "use_cache": True}


def save(model, out, eos, quantised=True, tokenizer=None):
    out.mkdir(parents=True, exist_ok=True)
    weights = {f"model.{n}": p.detach().to("cpu", torch.bfloat16).contiguous() for n, p in model.named_parameters()}
    save_file(weights, str(out / "model.safetensors"), metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    text = model.config | ({"quantization_config": ONLINE} if quantised else {})
    (out / "config.json").write_text(json.dumps(text, indent=2) + "\n")
    generation = {"bos_token_id": model.config["bos_token_id"], "eos_token_id": eos, "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json") if tokenizer and tokenizer != out else ():
        shutil.copyfile(tokenizer / name, out / name)


def load(directory):
    """A model of latent weights, as written above or by `sterna train`."""
    c = json.loads((directory / "config.json").read_text())
    model = BitNet({"rope_theta": c.get("rope_parameters", {}).get("rope_theta")} | c)
    weights = load_file(str(directory / "model.safetensors"))
    model.load_state_dict({n.removeprefix("model."): w.float() for n, w in weights.items()})
    return model
