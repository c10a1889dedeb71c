//! The known fields that no type reads, and values of read fields that other servers give a meaning to.
//!
//! Sources: the references of OpenAI's API, Ollama's (`api/types.go`), llama.cpp's server (`tools/server/README.md`) and
//! vLLM's (`docs/serving/openai_compatible_server.md`), and Anthropic's.

use super::Rule::{Counts, Mapped, Means, Only, Unread};
use super::{Row, row};
use crate::{history, mapped};

const CHAT: &str = "/chat/completions";
const TEXT: &str = "/completions";
const RESPONSES: &str = "/responses";
const OLLAMA_CHAT: &str = "/api/chat";
const OLLAMA_GENERATE: &str = "/api/generate";
/// Anthropic's API.
const MESSAGES: &[&str] = &["/messages", "/messages/count_tokens"];
const EMBEDDINGS: &str = "/embeddings";
const OLLAMA_EMBEDS: &[&str] = &["/api/embed", "/api/embeddings"];
const SHOW: &[&str] = &["/api/show"];
const TOKENIZE: &[&str] = &["/tokenize"];
const ALL: &[&str] = &[CHAT, TEXT, RESPONSES, MESSAGES[0], MESSAGES[1], OLLAMA_CHAT, OLLAMA_GENERATE];
/// Endpoints with OpenAI's sampling parameters, where vLLM and llama.cpp have more.
const SAMPLED: &[&str] = &[CHAT, TEXT];
const OPENAI: &[&str] = &[CHAT, TEXT, RESPONSES];
const OLLAMA: &[&str] = &[OLLAMA_CHAT, OLLAMA_GENERATE];
const CHATS: &[&str] = &[CHAT, OLLAMA_CHAT];

pub(super) static FIELDS: &[Row] = &[
    // OpenAI.
    row(
        OPENAI,
        "",
        &["safety_identifier", "prompt_cache_key"],
        Unread,
        "identifies the user, or a prefix that is found anyway",
    ),
    row(
        OPENAI,
        "",
        &["prompt_cache_retention", "prompt_cache_options", "service_tier"],
        Unread,
        "concerns cost and speed",
    ),
    row(SAMPLED, "", &["user", "metadata"], Unread, "notes of the client"),
    row(&[TEXT], "", &["store"], Only("[false]"), "answers are never stored"),
    row(&[CHAT, RESPONSES], "", &["verbosity"], Only("[\"medium\"]"), "ask for it in a message"),
    row(&[RESPONSES], "text", &["verbosity"], Only("[\"medium\"]"), "ask for it in a message"),
    row(&[CHAT, RESPONSES], "", &["modalities"], Only("[[\"text\"]]"), "these models write text only"),
    row(&[CHAT], "", &["audio"], Only("[]"), "these models write text only"),
    row(&[CHAT], "", &["prediction"], Unread, "concerns speed"),
    row(&[CHAT], "", &["web_search_options"], Only("[]"), "this server does not search the web"),
    row(&[CHAT], "", &["functions"], Only("[]"), "use tools"),
    row(&[CHAT], "", &["function_call"], Only("[\"none\", \"auto\"]"), "use tool_choice"),
    row(OPENAI, "stream_options", &["include_obfuscation"], Unread, "pads events, whose text stays the same"),
    row(SAMPLED, "stream_options", &["continuous_usage_stats"], Only("[false]"), "use include_usage"),
    row(&[RESPONSES], "stream_options", &["include_usage"], Unread, "the last event has the token counts"),
    row(&[RESPONSES], "", &["stream_options"], Only("[]"), "leave it out"),
    row(&[TEXT], "", &["suffix"], Only("[]"), "these models only continue texts"),
    row(&[TEXT], "", &["best_of"], Mapped(mapped::best_of), "1 or the value of `n`: nothing"),
    row(&[TEXT], "", &["logprobs"], Counts("[false]", "null"), ""),
    row(SAMPLED, "", &["n_predict", "max_new_tokens"], Means("max_tokens"), ""),
    row(&[TEXT], "", &["max_tokens"], Counts("[-1, -2]", "2147483647"), ""),
    row(OPENAI, "", &["max_tokens", "max_completion_tokens", "max_output_tokens"], Counts("[-1, -2]", "null"), ""),
    row(SAMPLED, "", &["seed"], Mapped(mapped::seed), "a number of 64 bits without sign: the same bits"),
    row(&[RESPONSES], "", &["background"], Only("[false]"), "answers are never stored"),
    row(
        &[RESPONSES],
        "",
        &["previous_response_id", "conversation"],
        Only("[]"),
        "send the whole conversation in input",
    ),
    row(&[RESPONSES], "", &["prompt"], Only("[]"), "prompts are not stored here; send the text in input"),
    row(&[RESPONSES], "", &["max_tool_calls"], Unread, "limits built-in tools, which this server has not"),
    row(&[RESPONSES], "", &["context_management"], Only("[]"), "use truncation"),
    row(&[RESPONSES], "", &["top_logprobs"], Only("[0]"), "use /v1/chat/completions"),
    row(&[RESPONSES], "", &["include"], Mapped(mapped::include), "parts that answers here never have: nothing"),
    row(
        &[RESPONSES],
        "reasoning",
        &["summary", "generate_summary"],
        Unread,
        "answers here have no reasoning to sum up",
    ),
    // Anthropic.
    row(
        MESSAGES,
        "",
        &["metadata", "user_profile_id", "workspace_id", "betas", "diagnostics"],
        Unread,
        "notes of the client",
    ),
    row(
        MESSAGES,
        "",
        &["service_tier", "inference_geo", "speed", "cache_control", "context_management"],
        Unread,
        "concerns cost and speed; a prompt that is too long is an error",
    ),
    row(MESSAGES, "", &["container", "mcp_servers"], Only("[]"), "tools run at the client; use tools"),
    row(MESSAGES, "", &["max_tokens", "top_p"], Counts("[-1]", "null"), ""),
    row(MESSAGES, "", &["top_k"], Counts("[-1]", "0"), ""),
    row(MESSAGES, "", &["output_format"], Mapped(mapped::output_format), "`output_config.format`"),
    row(MESSAGES, "output_config", &["effort", "task_budget"], Unread, "concerns cost and speed"),
    row(MESSAGES, "", &["system"], Mapped(history::content), "parts: their text"),
    row(
        MESSAGES,
        "messages[]",
        &["content"],
        Mapped(history::blocks),
        "text, calls and results; blocks of thinking and of a server's own tools: nothing",
    ),
    row(MESSAGES, "messages[]", HISTORY, Unread, "an answer has it, and clients send answers back"),
    row(
        MESSAGES,
        "tools[]",
        &["cache_control", "defer_loading", "eager_input_streaming", "input_examples"],
        Unread,
        "concerns speed, or repeats the description",
    ),
    row(MESSAGES, "tools[]", &["allowed_callers"], Only("[[\"direct\"]]"), "the model alone calls functions"),
    // Thinking.
    row(ALL, "", &["think", "thinking", "enable_thinking", "reasoning_effort"], Mapped(mapped::think), THINK),
    row(ALL, "", &["chat_template_kwargs", "reasoning"], Mapped(mapped::thinking), THINKING),
    row(SAMPLED, "", &["thinking_budget", "thinking_budget_tokens"], Only("[0, -1]"), "leave it out"),
    // `think` was false, or is an error there.
    row(&[TEXT], "", &["think"], Only("[false]"), "use /v1/chat/completions"),
    row(
        SAMPLED,
        "",
        &["include_reasoning", "separate_reasoning", "reasoning_format", "reasoning_in_content"],
        Unread,
        "answers here have no separate reasoning",
    ),
    // Forms of the answer.
    row(SAMPLED, "", &["response_format"], Mapped(mapped::response_format), "a schema beside `type`: `json_schema`"),
    row(
        SAMPLED,
        "",
        &["structured_outputs"],
        Mapped(mapped::structured_outputs),
        "`json`, `json_object`, `regex`, `choice`, `grammar`: `response_format`",
    ),
    row(SAMPLED, "", &["guided_json", "json_schema"], Mapped(mapped::json), "`response_format`, a JSON schema"),
    row(SAMPLED, "", &["guided_regex"], Mapped(mapped::regex), "`response_format`, a regular expression"),
    row(SAMPLED, "", &["guided_choice"], Mapped(mapped::choice), "`response_format`, one of the texts"),
    row(SAMPLED, "", &["guided_grammar"], Mapped(mapped::grammar), "`response_format`, a Lark grammar"),
    row(SAMPLED, "", &["guided_decoding_backend"], Unread, "there is one"),
    row(SAMPLED, "", &["guided_whitespace_pattern", "structural_tag", "grammar"], Only("[]"), "use response_format"),
    // Sampling, as in llama.cpp and vLLM.
    row(SAMPLED, "", &["top_k"], Counts("[-1]", "0"), ""),
    row(SAMPLED, "", &["repeat_penalty"], Means("repetition_penalty"), ""),
    row(SAMPLED, "", &["repeat_last_n", "penalty_last_n"], Mapped(mapped::last_n), LAST_N),
    row(SAMPLED, "", &["typical_p", "typ_p", "tfs_z"], Only("[1]"), "use top_p"),
    row(
        SAMPLED,
        "",
        &["mirostat", "mirostat_mode", "xtc_probability", "dry_multiplier", "dynatemp_range", "smoothing_factor"],
        Only("[0]"),
        "use temperature and top_p",
    ),
    row(SAMPLED, "", MODIFIERS, Unread, "modifies a sampler that is off"),
    row(SAMPLED, "", &["top_n_sigma", "nsigma"], Only("[-1, 0]"), "use min_p"),
    row(SAMPLED, "", &["top_a", "epsilon_cutoff", "eta_cutoff", "no_repeat_ngram_size"], Only("[0]"), "use min_p"),
    row(SAMPLED, "", &["min_keep"], Only("[0, 1]"), "leave it out"),
    row(SAMPLED, "", &["samplers", "sampler_seq", "logits_processors"], Only("[]"), "samplers have one order here"),
    row(
        SAMPLED,
        "",
        &[
            "penalize_nl",
            "ban_eos_token",
            "use_beam_search",
            "early_stopping",
            "ignore_eos",
            "include_stop_str_in_output",
        ],
        Only("[false]"),
        "leave it out",
    ),
    row(SAMPLED, "", &["length_penalty"], Only("[1, 0]"), "there is no beam search"),
    row(SAMPLED, "", &["do_sample"], Only("[true]"), "set temperature to 0"),
    row(SAMPLED, "", &["num_beams"], Only("[1]"), "there is no beam search"),
    row(SAMPLED, "", &["min_tokens", "min_length"], Only("[0]"), "leave it out"),
    row(
        SAMPLED,
        "",
        &["stop_token_ids", "allowed_token_ids", "bad_words", "bad_words_ids"],
        Only("[]"),
        "use stop or logit_bias",
    ),
    row(
        SAMPLED,
        "",
        &["skip_special_tokens", "spaces_between_special_tokens", "parse_tool_calls"],
        Only("[true]"),
        "leave it out",
    ),
    row(SAMPLED, "", &["prompt_logprobs", "truncate_prompt_tokens"], Only("[-1]"), "leave it out"),
    row(
        SAMPLED,
        "",
        &["return_tokens_as_token_ids", "return_token_ids", "post_sampling_probs", "return_tokens"],
        Only("[false]"),
        "use /tokenize",
    ),
    row(SAMPLED, "", &["n_probs"], Only("[0]"), "use logprobs"),
    row(SAMPLED, "", &["n_indent"], Only("[0]"), "leave it out"),
    row(
        SAMPLED,
        "",
        &["t_max_predict_ms", "t_max_prompt_ms"],
        Only("[0, -1]"),
        "the server has a time limit of its own",
    ),
    row(&[CHAT], "", &["add_generation_prompt"], Only("[true]"), "use /v1/completions"),
    row(&[CHAT], "", &["continue_final_message"], Only("[false]"), "use /v1/completions"),
    row(&[CHAT], "", &["add_special_tokens"], Only("[false]"), "the template says which tokens there are"),
    row(&[TEXT], "", &["add_special_tokens"], Only("[true]"), "send token ids"),
    row(&[CHAT], "", &["documents", "chat_template"], Only("[]"), "send the text in messages"),
    row(
        SAMPLED,
        "",
        &[
            "mm_processor_kwargs",
            "image_data",
            "lora",
            "vllm_xargs",
            "kv_transfer_params",
            "response_fields",
            "logprob_token_ids",
        ],
        Only("[]"),
        "leave it out",
    ),
    row(SAMPLED, "", &["echo_prompt", "thinking_forced_open", "grammar_lazy"], Only("[false]"), "leave it out"),
    row(
        SAMPLED,
        "",
        &[
            "cache_prompt",
            "id_slot",
            "slot_id",
            "n_keep",
            "n_discard",
            "n_cache_reuse",
            "priority",
            "request_id",
            "cache_salt",
            "timings_per_token",
            "return_progress",
            "keep_alive",
            "drop_params",
        ],
        Unread,
        "concerns the server's work, not the answer",
    ),
    // Ollama.
    row(OLLAMA, "", &["truncate", "shift"], Unread, "a prompt that is too long is an error"),
    row(OLLAMA, "", &["template"], Only("[]"), "the template is the model's"),
    row(OLLAMA, "", &["logprobs"], Only("[false]"), "use /v1/chat/completions"),
    row(OLLAMA, "", &["top_logprobs"], Only("[0]"), "use /v1/chat/completions"),
    row(&[OLLAMA_GENERATE], "", &["suffix"], Only("[]"), "these models only continue texts"),
    row(&[OLLAMA_GENERATE], "", &["context"], Only("[]"), "use /api/chat, or send the text before in prompt"),
    row(&[OLLAMA_GENERATE], "", &["width", "height", "steps"], Only("[0]"), "these models write text only"),
    row(&[OLLAMA_CHAT], "", &["system", "prompt", "suffix", "context", "images"], Only("[]"), "use messages"),
    row(OLLAMA, "", &["name"], Means("model"), ""),
    row(OLLAMA, "options", MACHINE, Unread, "concerns the machine; the server has options of its own"),
    row(OLLAMA, "options", &["mirostat"], Only("[0]"), "use temperature and top_p"),
    row(OLLAMA, "options", &["mirostat_tau", "mirostat_eta"], Unread, "modifies a sampler that is off"),
    row(OLLAMA, "options", &["tfs_z"], Only("[0, 1]"), "use top_p"),
    row(OLLAMA, "options", &["repeat_last_n"], Mapped(mapped::last_n), LAST_N),
    row(OLLAMA, "options", &["penalize_newline"], Only("[true, false]"), "leave it out"),
    row(OLLAMA, "options", &["typical_p"], Counts("[0]", "1"), ""),
    row(OLLAMA, "options", &["top_k"], Counts("[-1]", "0"), ""),
    row(OLLAMA, "options", &["rope_frequency_base"], Only("[0]"), "the model's own is used"),
    row(OLLAMA, "options", &["rope_frequency_scale"], Only("[0, 1]"), "the model's own is used"),
    row(OLLAMA, "options", &["max_tokens"], Means("num_predict"), ""),
    row(OLLAMA, "options", &["repetition_penalty"], Means("repeat_penalty"), ""),
    // Embeddings.
    row(&[EMBEDDINGS], "", &["user", "metadata"], Unread, "notes of the client"),
    row(
        &[EMBEDDINGS],
        "",
        &["priority", "request_id", "keep_alive", "drop_params"],
        Unread,
        "concerns the server's work",
    ),
    row(&[EMBEDDINGS], "", &["input_type", "task", "prompt_name"], Only("[]"), "write the instruction into the text"),
    row(&[EMBEDDINGS], "", &["content"], Means("input"), ""),
    row(&[EMBEDDINGS], "", &["truncate_prompt_tokens"], Only("[-1]"), "split the text"),
    row(&[EMBEDDINGS], "", &["add_special_tokens", "normalize"], Only("[true]"), "leave it out"),
    row(&[EMBEDDINGS], "", &["embd_normalize"], Only("[2]"), "vectors have length 1"),
    row(OLLAMA_EMBEDS, "", &["options"], Unread, "concerns the machine; the server has options of its own"),
    row(OLLAMA_EMBEDS, "", &["name"], Means("model"), ""),
    row(&["/api/embed"], "", &["prompt"], Means("input"), ""),
    row(&["/api/embeddings"], "", &["input"], Means("prompt"), ""),
    row(SHOW, "", &["system", "template", "options", "verbose"], Unread, "the description has no details to add"),
    row(TOKENIZE, "", &["prompt"], Means("content"), ""),
    row(TOKENIZE, "", &["add_special_tokens"], Means("add_special"), ""),
    // Conversations: fields that only answers have, and parts of messages.
    row(CHATS, "messages[]", HISTORY, Unread, "an answer has it, and clients send answers back"),
    row(&[OLLAMA_CHAT], "messages[]", &["tool_name", "tool_call_id"], Unread, "models see the order only"),
    row(
        &[CHAT],
        "messages[]",
        &["images", "audio", "function_call"],
        Only("[]"),
        "these models read text only, and calls are in tool_calls",
    ),
    row(&[CHAT], "messages[]", &["role"], Counts("[\"function\"]", "\"tool\""), ""),
    row(&[CHAT, RESPONSES], "messages[]", &["content"], Mapped(history::content), "parts: their text"),
    row(&[OLLAMA_CHAT], "messages[]", &["content"], Mapped(history::joined), "parts: their text"),
    row(CHATS, "messages[].tool_calls[]", CALL, Unread, "an answer has it, and clients send answers back"),
    row(&[OLLAMA_CHAT], "messages[].tool_calls[]", &["id", "type"], Unread, "models see the order only"),
    row(
        CHATS,
        "messages[].tool_calls[].function",
        &["index", "parsed_arguments", "description", "strict", "output"],
        Unread,
        "an answer has it, and clients send answers back",
    ),
    row(&[RESPONSES], "", &["input"], Mapped(history::items), "items of reasoning: nothing; `input_text`: a message"),
    row(&[RESPONSES], "input[]", &["content"], Mapped(history::content), "parts: their text"),
    row(&[RESPONSES], "input[]", &["output"], Mapped(history::joined), "parts: their text"),
    row(
        &[RESPONSES],
        "input[]",
        &["id", "status", "phase", "name_space", "created_by", "annotations", "parsed_arguments"],
        Unread,
        "an answer has it, and clients send answers back",
    ),
    row(&[CHAT, OLLAMA_CHAT, RESPONSES], "", &["tools"], Mapped(history::tools), "without `type`: functions"),
    row(
        &[CHAT, OLLAMA_CHAT, RESPONSES],
        "tools[]",
        &["cache_control", "items", "defer_loading"],
        Unread,
        "concerns speed",
    ),
];

const THINK: &str =
    "none, off, disabled, false: off; adaptive: left out; others: on, or an effort, with a template that has a switch";
const THINKING: &str = "`effort`, `enabled`, `enable_thinking`, `thinking`, `reasoning_effort`: `think`";
const LAST_N: &str = "-1 or 64: nothing; 0, or no `repeat_penalty`: no penalty";

/// Fields of an answer's message that clients send back.
#[rustfmt::skip]
const HISTORY: &[&str] = &[
    "index", "reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "annotations", "cache_control",
    "thinking", "thinking_blocks", "refusal", "id", "object", "created", "created_at", "timestamp", "model", "usage",
    "status", "type", "finish_reason", "stop_reason", "stop_sequence", "logprobs", "timings", "parsed", "phase", "citations", "prefix",
    "partial", "provider_specific_fields", "additional_kwargs", "response_metadata", "name", "done", "done_reason",
];
/// Fields of a call that clients send back.
const CALL: &[&str] = &["index", "cache_control", "extra_content", "provider_specific_fields", "status", "caller"];
/// Ollama's options about the machine.
#[rustfmt::skip]
const MACHINE: &[&str] = &[
    "num_ctx", "num_thread", "num_gpu", "num_batch", "num_keep", "use_mmap", "use_mlock", "main_gpu", "low_vram",
    "f16_kv", "numa", "num_gqa", "logits_all", "vocab_only", "embedding_only", "draft_num_predict",
];
/// Parameters of samplers that this server does not have, which [`Rule::Only`] keeps off.
#[rustfmt::skip]
const MODIFIERS: &[&str] = &[
    "mirostat_tau", "mirostat_eta", "xtc_threshold", "dry_base", "dry_allowed_length", "dry_penalty_last_n",
    "dry_sequence_breakers", "dynatemp_exponent", "smoothing_curve",
];
