#!/usr/bin/env python3
"""Regenerate every golden (reference) file under testdata/golden.

    python scripts/golden.py OUT                    all of it (a few minutes on one CPU core)
    python scripts/golden.py OUT --only qwen3-causal blocks text
    python scripts/golden.py OUT --embedded DIR     embedded.json / embedded.safetensors, from the trained model's directory, and only that
    python scripts/golden.py OUT --full             ref.safetensors with every token and the hidden states (not committed)

Needs torch, transformers 5.23.0, tokenizers, safetensors, accelerate, gguf 0.19.0, jinja2, numpy (made with torch 2.15.0,
tokenizers 0.23.3, gguf 0.19.0, numpy 2.4.6). Runs on the CPU with one thread and downloads nothing: every weight starts random
from a fixed seed.

How a checkpoint is made: a tiny model gets random weights and a short quantisation-aware training run on one page of text, because
a purely random model has near-ties everywhere, and one int8 rounding would change its greedy text. The weights are rounded to
bf16, written the way the real checkpoints of that family are written (master or packed), read back by Hugging Face transformers in
float32, and the logits, the greedy continuation and the inputs and outputs of the first layer's linears are recorded.
"""
import argparse
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # transformers' BitLinear is wrapped in torch.compile
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bitnet
import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.integrations.bitnet import AutoBitLinear, pack_weights

VOCAB, PROMPT_TOKENS, GREEDY_TOKENS, OP_TOKENS = 512, 48, 32, 8
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TEXT = """The ternary network stores every weight as minus one, zero or plus one, and a single scale per matrix.
It was a bright cold day in April, and the clocks were striking thirteen. The engine reads 4096 tokens, 12.5 tokens
per second on a small machine; it's not much, but we'll take it. Don't panic! "Who's there?" she said, and they've
gone home. In the beginning the universe was created. This has made a lot of people very angry and been widely
regarded as a bad move. for (int i = 0; i < n; ++i) { sum += x[i] * w[i]; }   return sum;
Café naïve résumé — 你好世界 🚀 and 3.14159, 2,718 and 1,000,000. The quick brown fox jumps over the lazy dog.
System prompts, User messages and Assistant replies are joined into one string. The the of of and and to to in in.
"""
PROMPT = ("The ternary network stores every weight as minus one, zero or plus one. It was a bright cold day in April, and "
          "it's 12.5 degrees outside. Who's there? she said to the small machine.")

# ------------------------------------------------------------------------------------------------ chat templates

TEMPLATE_2B4T = (  # as published for bitnet-b1.58-2B-4T; it prints no BOS
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | capitalize + ': '+ "
    "message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")
TEMPLATE_LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
TEMPLATE_FALCON = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}"
    "{% if not loop.last %}{{ '<|assistant|>\n' + message['content'] + eos_token + '\n' }}{% else %}"
    "{{ '<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}")
TEMPLATE_CHATML = """\
{%- if tools %}
    {{- raise_exception('tools are not covered here') }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
TEMPLATE_QWEN3 = """\
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or message.role == "system" %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
TEMPLATE_ALTERNATING = (  # Llama-2 / Mistral style: roles must alternate
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'].strip() + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.first %}{% set content = system + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + eos_token }}{% endif %}{% endfor %}")
TEMPLATE_EXERCISE = """\
{# everything a template engine must know: trim_blocks and lstrip_blocks are on #}
{% set ns = namespace(users=0, names=[]) %}
{% for message in messages %}
    {% if loop.first %}
first={{ message.role | upper }};
    {% endif %}
    {% if message.role == 'user' %}
        {% set ns.users = ns.users + 1 %}
words={{ message.content.strip().split(' ') | length }};{{ message.content.split(',')[0] | trim | title }};
    {% elif message.content is mapping %}
        {% for key, value in message.content.items() %}
{{ key }}={{ value | tojson }}{{ ',' if not loop.last }}
        {% endfor %}
    {%- else -%}
        {{ message.content | replace('a', 'A') | length }}|{{ message | tojson }}
    {% endif %}
    {% if loop.last %}
last={{ loop.index }}/{{ loop.length }};prev={{ loop.previtem.role if loop.previtem is defined else 'none' }};users={{ ns.users }};
    {% endif %}
{% endfor %}
{{ messages | map(attribute='role') | join('>') }};{{ messages | selectattr('role', 'equalto', 'user') | list | length }};{{ (messages | last)['role'] }}
{{ {'b': 1, 'a': [true, none, 1.5]} | tojson }}
{{ messages[0] | tojson(indent=2) }}
{% macro tag(name, body='') %}<{{ name }}>{{ body }}</{{ name }}>{% endmacro %}
{{ tag('x', 'y') }}{{ tag('z') }}{{ '%s-%d' | format('n', 3) if false else 'n-3' }}{{ "a" ~ 1 ~ "b" }}{{ 7 // 2 }}{{ 7 % 4 }}{{ undefined_thing | default('d') }}
{% if not add_generation_prompt %}{{ raise_exception('asked to raise') }}{% endif %}"""

# ------------------------------------------------------------------------------------------------ tokenizers

LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                  r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
SPM_SPACE = "\u2581"


@dataclass
class TokenizerKind:
    """One family's tokenizer: `specials` take the last ids of the vocabulary (SentencePiece: the first)."""
    specials: tuple
    bos: str | None
    eos: str
    template: str | None = None
    add_bos: bool = True
    pattern: str | None = None       # None: SentencePiece-like
    pre: str | None = None           # tokenizer.ggml.pre
    nfc: bool = False
    ignore_merges: bool = False


TOKENIZERS = {
    "llama3-2b4t": TokenizerKind(("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), "<|begin_of_text|>", "<|end_of_text|>",
                                 TEMPLATE_2B4T, pattern=LLAMA3_PATTERN, pre="llama-bpe", ignore_merges=True),
    "llama3": TokenizerKind(("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
                            "<|begin_of_text|>", "<|eot_id|>", TEMPLATE_LLAMA3, pattern=LLAMA3_PATTERN, pre="llama-bpe", ignore_merges=True),
    "falcon3": TokenizerKind(("<|startoftext|>", "<|endoftext|>"), "<|startoftext|>", "<|endoftext|>", TEMPLATE_FALCON, add_bos=False,
                             pattern=LLAMA3_PATTERN, pre="falcon3"),
    "qwen2": TokenizerKind(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), None, "<|im_end|>", TEMPLATE_CHATML, add_bos=False,
                           pattern=QWEN2_PATTERN, pre="qwen2", nfc=True),
    "spm": TokenizerKind(("<unk>", "<s>", "</s>"), "<s>", "</s>"),
}
TOKENIZER_TEXTS = [
    "", "Hello world", " leading space", "trailing space ", "it's WE'LL they'Ve 12345 3.14159", "tabs\tand\nnewlines\n\n\n  indented",
    "Café 你好 🚀 😶\u200d🌫️", "for (int i = 0; i < n; ++i) { x[i] += 1; }", "<|eot_id|>User: hi<|begin_of_text|>", PROMPT,
    "   \n \t ", "\u00a0\u3000x", "你好世界，今天天气怎么样？我们用三元权重。", "👩\u200d👩\u200d👧\u200d👦 family, 🇨🇳 flag, 👍🏽 tone", "def f(x):\n    return x  # four\n\n\n\tif x:\n\t\tpass\r\n",
    "a  b   c    d     e", "<s>in the middle</s> of <unk> text<|im_end|>\n<|endoftext|>", "e\u0301 combining, ﬁ ligature, Ⅷ, ½, ①", "1234567890 1,000,000.00 0x7FFF", "\u0000\u0007control\u007f",
    "ÀÈÌ ñ ß Ωμέγα кириллица العربية עברית हिन्दी ไทย 日本語 한국어", "don't DON'T I'd we're y'all'S", "<|begin_of_text|>The the", " <|eot_id|> spaced <|im_start|> specials ", "\n", " ", "<0x41>", "the▁lower one eighth block",
]


def train_bpe(kind):
    """Byte-level BPE with the family's regex; special tokens come last, as in Llama-3."""
    tok = Tokenizer(models.BPE(ignore_merges=kind.ignore_merges))
    if kind.nfc:
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(kind.pattern), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tok.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(kind.specials), special_tokens=[], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator([TEXT * 3], trainer)
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in kind.specials])
    if kind.add_bos:
        bos = kind.bos
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos + ":1", "$B:1"], special_tokens=[(bos, tok.token_to_id(bos))])])
    else:
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def spm_merges(vocab):
    """The merge list a SentencePiece BPE vocabulary stands for: every split of every piece, best piece (lowest id) first."""
    merges = []
    for piece, rank in sorted(vocab.items(), key=lambda item: item[1]):
        if len(piece) > 1 and not piece.startswith("<"):
            splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
            merges += sorted((s for s in splits if s[0] in vocab and s[1] in vocab), key=lambda s: (vocab[s[0]], vocab[s[1]]))
    return merges


def train_spm(kind):
    """SentencePiece-like BPE as tokenizer.json: 3 control pieces, 256 byte pieces, merged pieces in merge order, single characters."""
    norm = normalizers.Sequence([normalizers.Prepend(SPM_SPACE), normalizers.Replace(" ", SPM_SPACE)])
    learn = Tokenizer(models.BPE(unk_token="<unk>"))
    learn.normalizer = norm
    learn.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPM_SPACE, prepend_scheme="never", split=True)
    learn.train_from_iterator((TEXT * 3).replace("\n", " ").replace("<", " ").split("  "),
                              trainers.BpeTrainer(vocab_size=VOCAB - 3 - 256, show_progress=False, limit_alphabet=90))
    learned = sorted(learn.get_vocab().items(), key=lambda item: item[1])
    pieces = [p for p, _ in learned if len(p) > 1] + [p for p, _ in learned if len(p) == 1]
    vocab = {s: i for i, s in enumerate(kind.specials)} | {f"<0x{b:02X}>": 3 + b for b in range(256)}
    for piece in pieces:
        vocab.setdefault(piece, len(vocab))
    tok = Tokenizer(models.BPE(vocab=vocab, merges=spm_merges(vocab), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = norm
    tok.decoder = decoders.Sequence([decoders.Replace(SPM_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in kind.specials])
    tok.post_processor = processors.TemplateProcessing(single=["<s>", "$A"], pair=["<s>", "$A", "<s>:1", "$B:1"], special_tokens=[("<s>", 1)])
    return tok


def make_tokenizer(kind_name):
    kind = TOKENIZERS[kind_name]
    tok = train_bpe(kind) if kind.pattern else train_spm(kind)
    assert tok.get_vocab_size() == VOCAB, tok.get_vocab_size()
    return tok


def tokenizer_config(kind, tok):
    config = {"bos_token": kind.bos, "eos_token": kind.eos}
    if not kind.pattern:
        return config | {"unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False, "tokenizer_class": "LlamaTokenizer", "legacy": False}
    added = {str(tok.token_to_id(s)): {"content": s, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                                       "special": True} for s in kind.specials}
    if kind.pre == "falcon3":  # older configs write the token as an object
        config["eos_token"] = {"__type": "AddedToken", "content": kind.eos, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {"added_tokens_decoder": added, **config, "clean_up_tokenization_spaces": True, "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": 1000000000000000019884624838656, "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": kind.template}


def render(template, messages, add_generation_prompt, bos, eos, **extra):
    """Render with transformers itself, so that its Jinja environment (trim_blocks, tojson, raise_exception) is the reference."""
    holder = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos)
    return holder.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt, **extra)


CONVERSATION = [{"role": "system", "content": " You are terse. "}, {"role": "user", "content": "Hi\n"},
                {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye?"}]


def encode_case(tok, text):
    ids, bare = tok.encode(text).ids, tok.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "ids_no_special": bare, "decoded": tok.decode(bare, skip_special_tokens=False),
            "decoded_skip_special": tok.decode(ids, skip_special_tokens=True)}


def tokenizer_golden(kind, tok):
    golden = {"cases": [encode_case(tok, text) for text in TOKENIZER_TEXTS]}
    if kind.template:
        golden["chat"] = []
        for messages in (CONVERSATION[1:2], CONVERSATION):
            for add in (True, False):
                text = render(kind.template, messages, add, kind.bos, kind.eos)
                golden["chat"].append({"messages": messages, "add_generation_prompt": add, "text": text, "ids": tok.encode(text).ids,
                                       "ids_no_special": tok.encode(text, add_special_tokens=False).ids})
    return golden


def save_tensors(tensors, path, metadata=None):
    save_file(tensors, str(path), metadata=metadata)
    path.chmod(0o644)


def write_json(path, value, indent=1):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_lines(path, head, rows):
    """{"cases": [...]}-like JSON with one row per line, so that the files stay small and diffs readable."""
    lists = ['"%s": [\n%s\n]' % (key, ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows[key])) for key in rows]
    path.write_text("{\n" + ",\n".join([json.dumps(k) + ": " + json.dumps(v, ensure_ascii=False) for k, v in head.items()] + lists) + "\n}\n", encoding="utf-8")


def write_tokenizer(dst, kind_name, tok):
    kind = TOKENIZERS[kind_name]
    tok.save(str(dst / "tokenizer.json"), pretty=False)
    write_json(dst / "tokenizer_config.json", tokenizer_config(kind, tok), 2)
    write_lines(dst / "tokenizer_golden.json", {}, tokenizer_golden(kind, tok))


# ------------------------------------------------------------------------------------------------ checkpoints


@dataclass
class Gguf:
    """One GGUF of a checkpoint. `table` is the format of the embedding and of an untied head."""
    file: str
    encoding: str
    table: str = "F16"
    pre: bool = True      # write tokenizer.ggml.pre (the official 2B4T file has none)


@dataclass
class Checkpoint:
    name: str
    config: dict                       # config.json, without quantization_config
    tokenizer: str
    seed: int
    quantization: dict | None
    packed: str | None = None          # None: bf16 master; "multiply" or "divide": packed, by what weight_scale means
    arch: str = ""                     # general.architecture of the GGUFs
    ggufs: list = field(default_factory=list)
    reference_class: str = ""          # class that computes the reference, where transformers cannot load the files as they are
    reference_quantization: dict | None = None
    rename: dict = field(default_factory=dict)
    shards: int = 1
    shadowed_quantization: dict | None = None   # an earlier, losing `quantization_config` in the same config.json
    eos_token_id: object = None        # of generation_config.json
    steps: int = 160


def online(linear_class="autobitlinear"):
    return {"quant_method": "bitnet", "linear_class": linear_class, "quantization_mode": "online"}


OFFLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}


def config(model_type, architecture, hidden, ffn, layers, heads, kv_heads, act, eps, rope, bos, eos, tied, **more):
    return {"architectures": [architecture], "bos_token_id": bos, "eos_token_id": eos, "hidden_act": act, "hidden_size": hidden,
            "initializer_range": 0.02, "intermediate_size": ffn, "max_position_embeddings": 512, "model_type": model_type, "rms_norm_eps": eps,
            "num_attention_heads": heads, "num_hidden_layers": layers, "num_key_value_heads": kv_heads, **rope, "tie_word_embeddings": tied,
            "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": VOCAB, **more}


def theta(value):
    return {"rope_theta": value}


def rope_parameters(value):
    return {"rope_parameters": {"rope_theta": value, "rope_type": "default"}}


LLAMA_EXTRA = {"attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "pretraining_tp": 1, "rope_scaling": None}
CHECKPOINTS = [
    Checkpoint("bitnet-bf16-online", config("bitnet", "BitNetForCausalLM", 128, 128, 2, 2, 1, "relu2", 1e-5, theta(500000.0), 509, 510, True),
               "llama3-2b4t", 1236, online(), arch="bitnet-b1.58", ggufs=[Gguf("i2_s", "I2_S", pre=False)]),
    Checkpoint("bitnet-packed-offline", config("bitnet", "BitNetForCausalLM", 256, 256, 2, 4, 2, "relu2", 1e-5, theta(500000.0), 509, 510, True),
               "llama3-2b4t", 1235, OFFLINE, "multiply", "bitnet-b1.58",
               [Gguf("i2_s", "I2_S"), Gguf("tq2_0-q8_0", "TQ2_0", "Q8_0"), Gguf("tq1_0-q8_0", "TQ1_0", "Q8_0")], eos_token_id=[510, 511]),
    Checkpoint("llama-bf16-online", config("llama", "LlamaForCausalLM", 128, 128, 1, 2, 1, "silu", 1e-6, theta(1000042.0), 507, 511, False, head_dim=64, **LLAMA_EXTRA),
               "llama3", 4322, online(), steps=240),
    Checkpoint("llama-bitlinear-online", config("llama", "LlamaForCausalLM", 128, 128, 1, 2, 2, "silu", 1e-5, theta(1000000.0), 507, 511, False, head_dim=64, **LLAMA_EXTRA),
               "llama3", 4322, online("bitlinear"), reference_quantization=online(), steps=240),
    Checkpoint("llama-bitlinear-packed", config("llama", "LlamaForCausalLM", 256, 256, 2, 4, 2, "silu", 1e-6, theta(500000.0), 507, 511, True, head_dim=64, **LLAMA_EXTRA),
               "llama3", 4324, {"modules_to_not_convert": ["lm_head"], "quant_method": "bitnet"}, "divide", "llama",
               [Gguf("i2_s-q8_0", "I2_S", "Q8_0"), Gguf("tq1_0-q8_0", "TQ1_0", "Q8_0")]),
    Checkpoint("llama-headdim256", config("llama", "LlamaForCausalLM", 128, 256, 2, 2, 1, "silu", 1e-6, theta(1000042), None, 511, False, head_dim=256, **LLAMA_EXTRA),
               "falcon3", 256, {"modules_to_not_convert": None, "quant_method": "bitnet"}, "divide", "llama", [Gguf("i2_s-q8_0", "I2_S", "Q8_0")],
               shadowed_quantization=OFFLINE),
    Checkpoint("bitnet-1bitllm", config("llama", "BitnetForCausalLM", 128, 128, 1, 2, 2, "silu", 1e-5, theta(10000.0), 1, 2, True, attention_bias=False,
                                        input_bits=8, pad_token_id=None, pretraining_tp=1, rope_scaling=None, weight_bits=1),
               "spm", 778, None, arch="bitnet", ggufs=[Gguf("i2_s", "I2_S")], reference_class="BitNetForCausalLM", reference_quantization=online(),
               rename={"self_attn.attn_sub_norm": "self_attn.inner_attn_ln", "mlp.ffn_sub_norm": "mlp.ffn_layernorm"}, steps=240),
    Checkpoint("bitnet-headdim96-sharded", config("bitnet", "BitNetForCausalLM", 192, 192, 2, 2, 1, "relu2", 1e-5, rope_parameters(10000.0), 509, 510, True),
               "llama3-2b4t", 96, OFFLINE, "multiply", "bitnet-b1.58", [Gguf("i2_s-q8_0", "I2_S", "Q8_0")], shards=2),
    Checkpoint("qwen3-causal", config("qwen3", "Qwen3ForCausalLM", 128, 256, 2, 4, 2, "silu", 1e-6, rope_parameters(1000000.0), None, 511, True,
                                      attention_bias=False, attention_dropout=0.0, head_dim=64, rope_scaling=None, sliding_window=None, use_sliding_window=False),
               "qwen2", 3, OFFLINE, "multiply", "qwen3", [Gguf("i2_s-q8_0", "I2_S", "Q8_0")], eos_token_id=[511, 509]),
]


def build(spec):
    """The untrained float model. Keys that only say how the files are stored are dropped from its config."""
    cls = getattr(transformers, spec.reference_class or spec.config["architectures"][0])
    drop = ("architectures", "model_type", "torch_dtype", "input_bits", "weight_bits")
    return cls(cls.config_class(**{k: v for k, v in spec.config.items() if k not in drop})).float()


def to_bf16(model):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16).float())


def randomize(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(torch.rand(p.shape, generator=g) + 0.5)
                if name == "model.norm.weight":
                    p.mul_(2.0)
            else:
                spread = 1.0 if "embed" in name or "lm_head" in name else float(torch.rand(1, generator=g) * 1.5 + 0.5)
                p.copy_(torch.randn(p.shape, generator=g) * 0.02 * spread)
    to_bf16(model)


def make_ternary(model):
    """Replace the projections by transformers' own straight-through ternary linear."""
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in LINEARS:
            linear = AutoBitLinear(module.in_features, module.out_features, bias=False, online_quant=True)
            linear.weight.data.copy_(module.weight.data)
            model.set_submodule(name, linear)


def train(model, tok, seed, steps, length=95):
    torch.manual_seed(seed)
    make_ternary(model)
    bos = tok.encode("").ids
    text, prompt = (torch.tensor(tok.encode(t, add_special_tokens=False).ids) for t in (TEXT, PROMPT))
    page, g = torch.cat([text, text, text]), torch.Generator().manual_seed(seed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    for step in range(steps):
        for group in opt.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 20) * max(0.05, 1 - step / steps)
        rows = [page[i:i + length] for i in torch.randint(0, len(text), (8,), generator=g)]
        rows[0] = torch.cat([prompt, text])[:length]
        x = torch.stack([torch.cat([torch.tensor(bos, dtype=torch.int64), row]) for row in rows])
        logits = model(input_ids=x, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]).float(), x[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
    to_bf16(model)
    model.eval()
    return loss.item()


def master_weights(model, tied):
    return {k: v.detach().to(torch.bfloat16).contiguous().clone() for k, v in model.state_dict().items() if not (tied and k.startswith("lm_head"))}


def is_linear(name):
    return name.endswith(".weight") and name.split(".")[-2] in LINEARS


def absmean(weight):
    """Ternary values and 1/mean|W|, with the arithmetic of transformers' WeightQuant."""
    weight = weight.float()
    inverse = 1.0 / weight.abs().mean().clamp_(min=1e-5)
    return (weight * inverse).round().clamp(-1, 1), inverse


def stored_weights(master, packed):
    """What goes to disk: "multiply" stores mean|W| (2B4T), "divide" stores 1/mean|W| (HF1BitLLM, Falcon), both in bf16."""
    out = {}
    for name, weight in master.items():
        if packed and is_linear(name):
            trits, inverse = absmean(weight)
            out[name] = pack_weights(trits.clone())  # pack_weights changes its argument
            out[name.replace(".weight", ".weight_scale")] = (1.0 / inverse if packed == "multiply" else inverse).reshape(1).to(torch.bfloat16)
        else:
            out[name] = weight
    return out


def write_weights(dst, weights, shards):
    if shards == 1:
        save_tensors(weights, dst / "model.safetensors", metadata={"format": "pt"})
        return
    names, index = sorted(weights), {}
    for s in range(shards):
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        part = names[s * len(names) // shards:(s + 1) * len(names) // shards]
        save_tensors({n: weights[n] for n in part}, dst / file, metadata={"format": "pt"})
        index |= {n: file for n in part}
    total = sum(w.numel() * w.element_size() for w in weights.values())
    write_json(dst / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}, 2)


def write_config(path, config, quantization, shadowed=None):
    text = json.dumps(config | ({"quantization_config": quantization} if quantization else {}), indent=2)
    if shadowed:  # valid JSON by RFC 8259, and what HF1BitLLM ships: the same key twice. Every common parser keeps the last.
        head = '  "quantization_config": '
        text = text.replace(head, head + json.dumps(shadowed, indent=2).replace("\n", "\n  ") + ",\n" + head, 1)
    path.write_text(text + "\n")


def write_checkpoint(dst, spec, weights):
    renamed = {}
    for name, weight in weights.items():
        for old, new in spec.rename.items():
            name = name.replace(old, new)
        renamed[name] = weight
    write_weights(dst, renamed, spec.shards)
    write_config(dst / "config.json", spec.config, spec.quantization, spec.shadowed_quantization)
    eos = spec.config["eos_token_id"] if spec.eos_token_id is None else spec.eos_token_id
    write_json(dst / "generation_config.json", {"_from_model_config": True, "bos_token_id": spec.config["bos_token_id"], "eos_token_id": eos,
                                                "do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 4096}, 2)


def load_reference(dst, spec, weights):
    """Load with transformers: the written files where it can, else the same tensors under the names and config it understands."""
    if not spec.reference_quantization:
        return load(dst)
    with tempfile.TemporaryDirectory() as tmp:
        as_known = dict(spec.config)
        if spec.reference_class:
            as_known |= {"architectures": [spec.reference_class], "model_type": "bitnet"}
        write_weights(Path(tmp), weights, 1)
        write_config(Path(tmp) / "config.json", as_known, spec.reference_quantization)
        return load(tmp)


def load(directory):
    # With packed weights `dtype` is not applied to norms and embeddings, hence the second conversion.
    model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32, attn_implementation="eager").to(torch.float32)
    return model.eval()


@torch.no_grad()
def greedy(model, ids, count):
    """Greedy continuation, each step from scratch, with the top-1/top-2 margins; checked against the KV-cache path."""
    x, tokens, margins = torch.tensor([ids]), [], []
    for _ in range(count):
        value, index = model(input_ids=x, use_cache=False).logits[0, -1].float().topk(2)
        tokens.append(int(index[0]))
        margins.append(float(value[0] - value[1]))
        x = torch.cat([x, index[:1].view(1, 1)], 1)
    cached = model.generate(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64), max_new_tokens=count,
                            do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0)[0, len(ids):].tolist()
    return tokens, margins, cached


def assert_no_ties(values, name):
    """No recorded activation may sit within float error of k + 1/2, so that a test can ask for equal int8 values. If one does,
    change the checkpoint's seed. (torch computes 127.0 / t as 127 * (1 / t), one ulp away from a division.)"""
    distance = ((values - values.floor() - 0.5).abs() / values.abs().clamp(min=1)).min()
    assert distance > 4e-7, f"{name}: an activation is {float(distance):.1e} from a rounding tie"


@torch.no_grad()
def first_layer_ops(model, ids, rows):
    """Inputs, int8 activations, their scales and outputs of layer 0's linears. k and v share q's input, up shares gate's."""
    ops, hooks = {}, []

    def watch(name):
        def hook(_module, args, y):
            x = args[0][0].float()
            scale = 127.0 / x.abs().max(-1, keepdim=True).values.clamp_(min=1e-5)
            ops[name + ".y"] = y[0, :rows].float().contiguous().clone()
            if name.split(".")[-1] in ("q_proj", "o_proj", "gate_proj", "down_proj"):
                ops[name + ".x"], ops[name + ".act_scale"] = x[:rows].contiguous().clone(), scale[:rows, 0].contiguous().clone()
                assert_no_ties((x * scale)[:rows], name)
                ops[name + ".xq"] = (x * scale).round().clamp(-128, 127).to(torch.int8)[:rows].contiguous()
        return hook

    for name, module in model.named_modules():
        if name.startswith("model.layers.0.") and name.split(".")[-1] in LINEARS:
            hooks.append(module.register_forward_hook(watch(name)))
    model(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return ops


@torch.no_grad()
def write_reference(dst, model, ids, full):
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    tokens, margins, cached = greedy(model, ids, GREEDY_TOKENS)
    assert tokens == cached, "the KV cache changes greedy text"
    assert min(margins) > 3.0, f"greedy margin {min(margins)} is too small for a golden"
    ref = {"input_ids": torch.tensor(ids), "logits": out.logits[0].float().contiguous(), "greedy": torch.tensor(tokens),
           "greedy_margin": torch.tensor(margins, dtype=torch.float32), **first_layer_ops(model, ids, len(ids) if full else OP_TOKENS)}
    if full:
        ref["hidden_states"] = torch.stack([h[0].float() for h in out.hidden_states]).contiguous()
    save_tensors(ref, dst / "ref.safetensors")
    return {"min_margin": round(min(margins), 3), "logit_std": round(float(out.logits.std()), 3)}


def make_checkpoint(out, spec, full):
    dst = out / spec.name
    shutil.rmtree(dst, ignore_errors=True)
    dst.mkdir(parents=True)
    tok = make_tokenizer(spec.tokenizer)
    write_tokenizer(dst, spec.tokenizer, tok)
    model = build(spec)
    randomize(model, spec.seed)
    loss = train(model, tok, spec.seed, spec.steps)
    master = master_weights(model, spec.config["tie_word_embeddings"])
    weights = stored_weights(master, spec.packed)
    write_checkpoint(dst, spec, weights)
    ids = tok.encode(PROMPT).ids[:PROMPT_TOKENS]
    assert len(ids) == PROMPT_TOKENS, len(ids)
    facts = write_reference(dst, load_reference(dst, spec, weights), ids, full)
    for file in spec.ggufs:
        write_gguf(dst, spec, file, weights, tok)
    print(f"{spec.name}: loss {loss:.3f} {facts}", flush=True)


# ------------------------------------------------------------------------------------------------ block formats (numpy)

TYPE_ID = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35, "I2_S": 36}


def half_bytes(values):
    return np.asarray(values, np.float16).reshape(-1, 1).view(np.uint8)


def pack_i2_s(trits, scale):
    """128-element blocks over the whole tensor; the first 32 elements sit in the top bits. f32 scale, then 28 bytes of padding."""
    c = (trits.reshape(-1, 4, 32) + 1).astype(np.uint8)
    body = (c[:, 0] << 6 | c[:, 1] << 4 | c[:, 2] << 2 | c[:, 3]).reshape(-1)
    return np.concatenate([body, np.frombuffer(np.float32(scale).tobytes() + bytes(28), np.uint8)])


def block_scales(blocks, scale):
    return half_bytes(np.where(np.any(blocks != 0, axis=1), np.float32(scale), np.float32(0)))


def pack_tq2_0(trits, scale):
    blocks = trits.reshape(-1, 256)
    c = (blocks + 1).astype(np.uint8).reshape(-1, 2, 4, 32)
    qs = (c[:, :, 0] | c[:, :, 1] << 2 | c[:, :, 2] << 4 | c[:, :, 3] << 6).reshape(-1, 64)
    return np.concatenate([qs, block_scales(blocks, scale)], 1).reshape(trits.shape[0], -1)


def base3_bytes(digits):
    """digits [n, k, m]: k trits per byte, most significant first, stored as ceil(value * 256 / 243)."""
    value = sum(digits[:, n].astype(np.uint16) * 3 ** (4 - n) for n in range(digits.shape[1]))
    return ((value * 256 + 242) // 243).astype(np.uint8)


def pack_tq1_0(trits, scale):
    blocks = trits.reshape(-1, 256)
    c = (blocks + 1).astype(np.uint8)
    parts = [base3_bytes(c[:, :160].reshape(-1, 5, 32)), base3_bytes(c[:, 160:240].reshape(-1, 5, 16)), base3_bytes(c[:, 240:].reshape(-1, 4, 4))]
    return np.concatenate(parts + [block_scales(blocks, scale)], 1).reshape(trits.shape[0], -1)


def pack_hf(trits):
    return pack_weights(torch.from_numpy(trits.astype(np.float32))).numpy()


PACKERS = {"I2_S": pack_i2_s, "TQ2_0": pack_tq2_0, "TQ1_0": pack_tq1_0}


def table_bytes(weight, encoding):
    if encoding == "F16":
        return weight.astype(np.float16)
    return gguf.quants.quantize(weight, gguf.GGMLQuantizationType[encoding])


# ------------------------------------------------------------------------------------------------ GGUF

GGUF_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
GGUF_LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.attn_sub_norm": "attn_sub_norm", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.ffn_sub_norm": "ffn_sub_norm"}


def gguf_name(name):
    if name in GGUF_NAMES:
        return GGUF_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{GGUF_LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def unpack(spec, weights, name):
    """Trits and the multiplying scale of a linear, from what the checkpoint stores."""
    weight = weights[name]
    if weight.dtype != torch.uint8:
        trits, inverse = absmean(weight)
        return trits.to(torch.int8).numpy(), float(1.0 / inverse)
    planes = weight.numpy()
    trits = np.concatenate([((planes >> (2 * i)) & 3).astype(np.int8) - 1 for i in range(4)])
    scale = weights[name.replace(".weight", ".weight_scale")].float()
    return trits, float(scale if spec.packed == "multiply" else 1.0 / scale)


def permute_rope(trits, heads):
    """arch `llama` rotates adjacent pairs, Hugging Face rotates halves: reorder the rows of q and k."""
    return trits.reshape(heads, 2, trits.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(trits.shape)


def gguf_metadata(writer, spec):
    c, a = spec.config, spec.arch
    head_dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    rope = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
    for key, value in (("vocab_size", VOCAB), ("context_length", c["max_position_embeddings"]), ("embedding_length", c["hidden_size"]),
                       ("block_count", c["num_hidden_layers"]), ("feed_forward_length", c["intermediate_size"]), ("rope.dimension_count", head_dim),
                       ("attention.head_count", c["num_attention_heads"]), ("attention.head_count_kv", c["num_key_value_heads"])):
        writer.add_uint32(f"{a}.{key}", value)
    if "head_dim" in c:
        writer.add_uint32(f"{a}.attention.key_length", head_dim)
        writer.add_uint32(f"{a}.attention.value_length", head_dim)
    writer.add_float32(f"{a}.attention.layer_norm_rms_epsilon", c["rms_norm_eps"])
    writer.add_float32(f"{a}.rope.freq_base", float(rope))


def gguf_tokenizer(writer, kind, tok, with_pre):
    """Token types: 1 normal, 2 unknown, 3 control, 6 byte. SentencePiece scores are minus the piece's rank, as the library writes them."""
    vocab = sorted(tok.get_vocab(with_added_tokens=True), key=tok.token_to_id)
    spm = kind.pattern is None
    types = [2 if t == "<unk>" else 3 if t in kind.specials else 6 if spm and i < 259 else 1 for i, t in enumerate(vocab)]
    writer.add_string("tokenizer.ggml.model", "llama" if spm else "gpt2")
    if spm or with_pre:
        writer.add_string("tokenizer.ggml.pre", "default" if spm else kind.pre)
    writer.add_array("tokenizer.ggml.tokens", vocab)
    if spm:
        writer.add_array("tokenizer.ggml.scores", [float(-(i - 259)) if i >= 259 else 0.0 for i in range(len(vocab))])
    writer.add_array("tokenizer.ggml.token_type", types)
    if not spm:
        merges = json.loads(tok.to_str())["model"]["merges"]
        writer.add_array("tokenizer.ggml.merges", [m if isinstance(m, str) else " ".join(m) for m in merges])
    if kind.bos:
        writer.add_uint32("tokenizer.ggml.bos_token_id", tok.token_to_id(kind.bos))
    writer.add_uint32("tokenizer.ggml.eos_token_id", tok.token_to_id(kind.eos))
    if spm:
        writer.add_uint32("tokenizer.ggml.unknown_token_id", 0)
    writer.add_bool("tokenizer.ggml.add_bos_token", kind.add_bos)
    if spm:
        writer.add_bool("tokenizer.ggml.add_space_prefix", True)
    if kind.template:
        writer.add_string("tokenizer.chat_template", kind.template)


def gguf_tensor(writer, name, shape, data, encoding):
    # Bytes go in as int8 so that gguf-py takes the shape and the type id (36 is not in its enum) as given.
    writer.add_tensor(name, np.ascontiguousarray(data).view(np.int8).reshape(-1), raw_shape=list(shape), raw_dtype=TYPE_ID[encoding])


def write_gguf(dst, spec, file, weights, tok):
    path = dst / "gguf" / f"{file.file}.gguf"
    path.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(path), spec.arch)
    writer.add_string("general.name", spec.name)
    gguf_metadata(writer, spec)
    writer.add_uint32("general.file_type", {"I2_S": 40, "TQ1_0": 36, "TQ2_0": 37}[file.encoding])
    gguf_tokenizer(writer, TOKENIZERS[spec.tokenizer], tok, file.pre)
    for name in weights:
        if is_linear(name):
            trits, scale = unpack(spec, weights, name)
            heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
            if spec.arch == "llama" and heads:
                trits = permute_rope(trits, spec.config[heads])
            gguf_tensor(writer, gguf_name(name), trits.shape, PACKERS[file.encoding](trits, scale), file.encoding)
        elif name in ("model.embed_tokens.weight", "lm_head.weight"):
            table = weights[name].float().numpy()
            gguf_tensor(writer, gguf_name(name), table.shape, table_bytes(table, file.table), file.table)
        elif not name.endswith(".weight_scale"):
            norm = weights[name].float().numpy()
            gguf_tensor(writer, gguf_name(name), norm.shape, norm, "F32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ------------------------------------------------------------------------------------------------ block vectors


def random_blocks(g, encoding, count):
    """Random bytes with sane half-precision scales: any bit pattern of the quants must decode."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[encoding]]
    raw = g.integers(0, 256, (count, size), dtype=np.uint8)
    scale_at = {"Q8_0": [0], "Q4_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}[encoding]
    for at in scale_at:
        raw[:, at:at + 2] = half_bytes(g.uniform(0.001, 0.5, count).astype(np.float16) * g.choice([-1, 1], count))
    raw[0, scale_at[0]:scale_at[0] + 2] = 0   # an all-zero scale decodes to zero
    return raw


def decode_vectors(g):
    out = {}
    for encoding in ("Q8_0", "Q4_0", "Q4_K", "Q6_K"):
        raw = random_blocks(g, encoding, 16)
        out[f"dec_{encoding}_raw"] = raw
        out[f"dec_{encoding}_f32"] = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[encoding])
    special = np.array([0.0, -0.0, 1.0, -1.0, 65504.0, 6e-8, -6.1e-5, 0.1], np.float32)
    values = np.concatenate([special, g.normal(size=56).astype(np.float32)]).reshape(2, 32)
    half, brain = values.astype(np.float16), torch.from_numpy(values).to(torch.bfloat16)
    out |= {"dec_F32_raw": values.view(np.uint8).copy(), "dec_F32_f32": values, "dec_F16_raw": half.view(np.uint8), "dec_F16_f32": half.astype(np.float32),
            "dec_BF16_raw": brain.view(torch.uint8).numpy(), "dec_BF16_f32": brain.float().numpy()}
    return out


def make_blocks(out):
    """One ternary matrix in every packed layout, and decode-only vectors for the embedding and head formats."""
    g = np.random.default_rng(20261121)
    q, scale = g.integers(-1, 2, (8, 512)).astype(np.int8), np.float32(0.0375)
    q[7], q[5, :256] = 0, 0
    w = q * scale
    blocks = {"q": q, "w": w, "scale": np.array([scale]), "hf_packed_u8": pack_hf(q), "i2_s_x86": pack_i2_s(q, scale),
              "tq1_0": pack_tq1_0(q, scale), "tq2_0": pack_tq2_0(q, scale), **decode_vectors(g)}
    for name in ("TQ1_0", "TQ2_0"):  # gguf-py's own quantisers must agree
        assert np.array_equal(blocks[name.lower()], gguf.quants.quantize(w, gguf.GGMLQuantizationType[name])), name
    save_tensors({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in blocks.items()}, out / "blocks.safetensors")


# ------------------------------------------------------------------------------------------------ text


def chat_cases():
    user = CONVERSATION[1:2]
    odd = [{"role": "user", "content": "  你好, <b>\"x\"</b> & 'y' 👩\u200d👧 \n"}, {"role": "assistant", "content": "naïve a\tb\\n"}]
    thinking = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "<think>\nadd\n</think>\n\n4"}, {"role": "user", "content": "sure?"},
                {"role": "assistant", "content": "<think>\nagain\n</think>\n\nyes"}]
    nested = odd + [{"role": "data", "content": {"k": "vé", "list": [1, 2.5, None, True], "nested": {"z": "<&>", "a": ""}}}, {"role": "user", "content": "one, two three"}]
    llama, falcon, chatml = ("<|begin_of_text|>", "<|eot_id|>"), ("<|startoftext|>", "<|endoftext|>"), (None, "<|im_end|>")
    plan = [("2b4t", TEMPLATE_2B4T, ("<|begin_of_text|>", "<|end_of_text|>"), [user, CONVERSATION, odd]),
            ("llama3", TEMPLATE_LLAMA3, llama, [user, CONVERSATION, odd]), ("falcon3", TEMPLATE_FALCON, falcon, [user, CONVERSATION, CONVERSATION[:3], odd]),
            ("chatml", TEMPLATE_CHATML, chatml, [user, CONVERSATION, odd]), ("qwen3", TEMPLATE_QWEN3, chatml, [user, CONVERSATION, thinking, thinking[:3]]),
            ("alternating", TEMPLATE_ALTERNATING, ("<s>", "</s>"), [user, CONVERSATION, odd, [user[0], user[0]]]),
            ("exercise", TEMPLATE_EXERCISE, ("<s>", "</s>"), [nested, CONVERSATION[1:], odd])]
    for name, template, (bos, eos), conversations in plan:
        for number, messages in enumerate(conversations):
            for add in (True, False):
                yield f"{name}-{number}-{'prompt' if add else 'bare'}", template, messages, add, bos, eos


def make_text(out):
    cases = []
    for name, template, messages, add, bos, eos in chat_cases():
        case = {"name": name, "template": template, "messages": messages, "add_generation_prompt": add, "bos_token": bos, "eos_token": eos}
        try:
            case["expected"] = render(template, messages, add, bos, eos)
        except Exception as error:  # raise_exception in the template: the message is the golden
            case |= {"expected": None, "error": str(error)}
        cases.append(case)
    (out / "text").mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (out / "text" / "chat_templates.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------ training

TRAIN_SHAPE = argparse.Namespace(vocab=160, hidden=64, ffn=96, layers=2, heads=2, kv_heads=1, context=64)
TRAIN_SEED, TRAIN_LENGTHS, Z_LOSS = 83, (5, 17, 10), 1e-4
TRAIN_RECIPE = {"muon_lr": 0.002, "adamw_lr": 0.001, "momentum": 0.95, "weight_decay": 0.1, "betas": [0.9, 0.95], "eps": 1e-8, "clip": 1.0}


ADAPTER_SEED, ADAPTER = 15, {"r": 4, "lora_alpha": 6.0}


def training_model(seed):
    torch.manual_seed(seed)
    model = bitnet.BitNet(bitnet.config(TRAIN_SHAPE))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.rand(p.shape) + 0.5 if "norm" in name else torch.randn(p.shape) * (0.125 if "embed" in name else 0.05))
    to_bf16(model)
    return model


def training_batch(seed):
    """Three sequences; about a quarter of the targets, as in a conversation, do not count."""
    g, sequences = np.random.default_rng(seed), []
    for length in TRAIN_LENGTHS:
        ids = g.integers(3, TRAIN_SHAPE.vocab, length + 1)
        targets = ids[1:].copy()
        targets[:length // 4] = bitnet.NONE
        sequences.append((ids[:-1], targets))
    return bitnet.Batch(sequences)


def one_gradient(model, batch, prefix, ref):
    """Logits, losses and every gradient, before clipping, under `prefix`."""
    logits = model(batch)
    loss, z = bitnet.losses(logits, batch.targets)
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss + Z_LOSS * z, list(parameters.values()))
    ref[prefix + "logits"] = logits.detach().clone()
    ref |= {f"{prefix}grad.model.{name}": g.contiguous() for name, g in zip(parameters, gradients)}
    return {"loss": loss.item(), "z": z.item(), "gradient_norm": sum(g.square().sum() for g in gradients).sqrt().item()}


def watch_ties(model):
    """assert_no_ties for the input of every ternary matrix, as long as the handles are not removed."""
    def hook(name):
        return lambda _module, args: assert_no_ties(args[0].detach() * (127.0 / args[0].detach().abs().amax(-1, keepdim=True)), name)
    return [m.register_forward_pre_hook(hook(name)) for name, m in model.named_modules() if isinstance(m, bitnet.Linear)]


def optimiser_steps(model, batch, ref):
    """Three steps on the same batch; what the first and all three have added to each parameter, as F16."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser, rows = bitnet.Optimiser(model, TRAIN_RECIPE), []
    for step in (1, 2, 3):
        loss, z = bitnet.losses(model(batch), batch.targets)
        rows.append({"loss": loss.item(), "z": z.item(), "gradient_norm": optimiser.step(loss + Z_LOSS * z).item()})
        if step != 2:
            ref |= {f"update{step}.model.{name}": (p.detach() - before[name]).half() for name, p in model.named_parameters()}
    return rows


@torch.no_grad()
def against_transformers(directory, model, batch):
    """Largest difference of the logits of any sequence from transformers', with the keys and values in f16 and in f32."""
    reference, ids = load(directory), batch.tokens.split(TRAIN_LENGTHS)
    theirs = torch.cat([reference(input_ids=t[None], use_cache=False).logits[0] for t in ids])
    halves = (model(batch) - theirs).abs().max().item()
    exact = (model.set(half_cache=False)(batch) - theirs).abs().max().item()
    model.set()
    assert exact < 1e-4 and halves < 0.25, (exact, halves)
    return {"f16_cache": halves, "f32_cache": exact}


def make_train(out):
    """A tiny model, a ragged batch, and what a trainer must compute from them."""
    dst, ref = out / "train", {}
    shutil.rmtree(dst, ignore_errors=True)
    model, batch = training_model(TRAIN_SEED), training_batch(TRAIN_SEED)
    bitnet.save(model, dst, [1, 2])
    ties = watch_ties(model)
    facts = {"ternary": one_gradient(model, batch, "", ref)}
    for handle in ties:
        handle.remove()
    facts["full"] = one_gradient(model.set(quantised=False), batch, "full.", ref)
    difference = against_transformers(dst, model.set(), batch)
    facts["steps"] = optimiser_steps(model, batch, ref)
    save_tensors(ref, dst / "ref.safetensors")
    starts = np.cumsum((0, *TRAIN_LENGTHS[:-1])).tolist()
    targets = [t if t != bitnet.NONE else 2 ** 32 - 1 for t in batch.targets.tolist()]
    recipe = TRAIN_RECIPE | {"z_loss": Z_LOSS, "newton_schulz": bitnet.MUON, "newton_schulz_steps": 5}
    rows = {"tokens": batch.tokens.tolist(), "targets": targets, "starts": starts, "recipe": recipe, **facts}
    (dst / "batch.json").write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in rows.items()) + "\n}\n")
    print(f"train: {facts['ternary']} {facts['full']}, from transformers {difference}", flush=True)


def make_adapter(out):
    """A random adapter of that model in PEFT's files, and the gradients of its matrices on the same batch."""
    source, dst = out / "train", out / "adapter"
    dst.mkdir(exist_ok=True)
    model, batch = bitnet.load(source), training_batch(TRAIN_SEED)
    torch.manual_seed(ADAPTER_SEED)
    for m in model.modules():
        if isinstance(m, bitnet.Linear):
            m.adapt(ADAPTER["r"], ADAPTER["lora_alpha"])
            torch.nn.init.normal_(m.lora_B, std=0.1)
    watch_ties(model)
    names = {n: p for n, p in model.named_parameters() if "lora" in n}
    logits = model(batch)
    loss, z = bitnet.losses(logits, batch.targets)
    gradients = torch.autograd.grad(loss + Z_LOSS * z, list(names.values()))
    ref = {"logits": logits.detach(), "loss": loss.detach()} | {f"grad.model.{n}": g.contiguous() for n, g in zip(names, gradients)}
    save_tensors({f"base_model.model.model.{n}.weight": p.detach() for n, p in names.items()}, dst / "adapter_model.safetensors")
    save_tensors(ref, dst / "ref.safetensors")
    (dst / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | ADAPTER, indent=2) + "\n")
    print(f"adapter: loss {loss.item()}", flush=True)


# ------------------------------------------------------------------------------------------------ the embedded model

EMBEDDED_PROMPT = ("User:\nWho are you?<|eot_id|>Assistant:\nI am Sterna, a small language model that runs on your own computer.<|eot_id|>"
                   "User:\nWhat is a ternary weight?<|eot_id|>Assistant:\n")


def make_embedded(out, directory):
    """First greedy tokens and last-position logits of the embedded model, from its master weights and an embedding in Q8_0."""
    model, kind = load(directory), gguf.GGMLQuantizationType.Q8_0
    embedding = model.get_input_embeddings().weight
    embedding.data = torch.from_numpy(gguf.dequantize(gguf.quantize(embedding.detach().numpy(), kind), kind))
    model.tie_weights()
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).encode(EMBEDDED_PROMPT).ids
    tokens, margins, cached = greedy(model, ids, 16)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    clear = [i for i, margin in enumerate(margins) if margin > 0.3]
    rows = {"prompt": EMBEDDED_PROMPT, "input_ids": ids, "greedy": tokens, "margin": [round(m, 4) for m in margins], "clear": clear}
    (out / "embedded.json").write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in rows.items()) + "\n}\n")
    save_tensors({"logits_last": logits[-1].contiguous().clone(), "argmax": logits.argmax(-1)}, out / "embedded.safetensors")
    print(f"embedded: {len(ids)} prompt tokens, {len(clear)}/16 clear, cache agrees: {tokens == cached}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", help="names of checkpoints, or blocks, text, train, adapter")
    parser.add_argument("--embedded", type=Path, metavar="DIR", help="the model that is embedded, as `sterna train` writes it; nothing else is made")
    parser.add_argument("--full", action="store_true", help="keep every token and the hidden states in ref.safetensors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = {spec.name: (lambda spec=spec: make_checkpoint(args.out, spec, args.full)) for spec in CHECKPOINTS}
    jobs |= {"blocks": lambda: make_blocks(args.out), "text": lambda: make_text(args.out), "train": lambda: make_train(args.out),
             "adapter": lambda: make_adapter(args.out)}
    if args.embedded:
        return make_embedded(args.out, args.embedded)
    for name in jobs if args.only is None else args.only:
        jobs[name]()


if __name__ == "__main__":
    main()
