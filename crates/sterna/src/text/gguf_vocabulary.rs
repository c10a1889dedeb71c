//! Tokenizers from the vocabulary inside a GGUF file.

use std::path::Path;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{Merges, Vocab};
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper};

use crate::checkpoint::{Config, GgufVocabulary};
use crate::{Error, Result};

use super::parts::{Options, Parts, malformed};
use super::pre_tokens::{GPT2, HUNYUAN, LLAMA3, PreTokens, QWEN2, QWEN35};

const PLACES: [&str; 2] = ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"];
/// Longest SentencePiece token that is searched for merges, in bytes.
const LONGEST_PIECE: usize = 1024;

/// `tokenizer.ggml.token_type` (source: `llama.h` of llama.cpp).
pub const NORMAL: i32 = 1;
pub const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;
pub const UNUSED: i32 = 5;
pub const BYTE: i32 = 6;

/// The pre-tokenizer that a name in `tokenizer.ggml.pre` stands for.
pub struct Words {
    /// All names of this pre-tokenizer; the first is written to files.
    pub names: &'static [&'static str],
    /// Patterns of `pre_tokens.rs` that are applied before `pattern`.
    first: &'static [&'static str],
    /// One of the patterns of `pre_tokens.rs`.
    pattern: &'static str,
    /// Whether digits are split off one by one before the pattern is applied.
    digits: bool,
    /// Whether a word that is itself a token is not split.
    ignore_merges: bool,
    /// Whether text is first normalized to Unicode NFC.
    nfc: bool,
}

/// Names that llama.cpp's converter gives to byte-level vocabularies (source: `llama-vocab.cpp`).
pub static WORDS: &[Words] = &[
    LLAMA3_WORDS,
    Words { names: &["smaug-bpe", "dbrx"], ignore_merges: false, ..LLAMA3_WORDS },
    Words { names: &["qwen2", "deepseek-r1-qwen"], pattern: QWEN2, nfc: true, ..GPT2_WORDS },
    Words { names: &["qwen35"], pattern: QWEN35, nfc: true, ..GPT2_WORDS },
    Words { names: &["stablelm2"], pattern: QWEN2, ..GPT2_WORDS },
    GPT2_WORDS,
    Words { names: &["mpt"], nfc: true, ..GPT2_WORDS },
    Words { names: &["hunyuan-dense"], first: &[HUNYUAN[0], HUNYUAN[1]], pattern: HUNYUAN[2], ..GPT2_WORDS },
    Words { names: &["smollm", "starcoder", "refact"], digits: true, ..GPT2_WORDS },
];

const LLAMA3_WORDS: Words = Words {
    names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-e", "falcon-h1"],
    first: &[],
    pattern: LLAMA3,
    digits: false,
    ignore_merges: true,
    nfc: false,
};

const GPT2_WORDS: Words = Words {
    names: &["gpt-2", "gpt2", "olmo", "default"],
    first: &[],
    pattern: GPT2,
    digits: false,
    ignore_merges: false,
    nfc: false,
};

impl Words {
    pub fn pre_tokens(&self) -> PreTokens {
        let mut steps = PreTokens::default();
        if self.digits {
            steps.push(PreTokenizerWrapper::Digits(Digits::new(true)));
        }
        self.first.iter().for_each(|pattern| steps.push_pattern(pattern));
        steps.push_pattern(self.pattern);
        steps.push_bytes();
        steps
    }

    pub fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.nfc.then_some(NormalizerWrapper::NFC(NFC))
    }

    pub fn options(&self) -> Options {
        Options { ignore_merges: self.ignore_merges, ..Options::default() }
    }
}

/// Reads the tokenizer of a GGUF file. `path` is for error messages.
///
/// # Errors
/// [`Error::Malformed`] for an inconsistent vocabulary; [`Error::Unsupported`] for a kind of tokenizer that is not known.
pub fn parts(path: &Path, gguf: &GgufVocabulary, config: &Config) -> Result<Parts> {
    for (key, id) in [("bos_token_id", gguf.bos), ("eos_token_id", gguf.eos)] {
        if id.is_some_and(|id| id as usize >= gguf.tokens.len()) {
            let place = format!("tokenizer.ggml.{key}");
            return Err(malformed(path, place, format!("there are only {} tokens", gguf.tokens.len())));
        }
    }
    for (key, length) in [("scores", gguf.scores.len()), ("token_type", gguf.types.len())] {
        if length != 0 && length != gguf.tokens.len() {
            let problem = format!("{length} entries for {} tokens", gguf.tokens.len());
            return Err(malformed(path, format!("tokenizer.ggml.{key}"), problem));
        }
    }
    match gguf.model.as_str() {
        "gpt2" => byte_level(path, gguf, config),
        "llama" => sentence_piece(path, gguf, config),
        other => Err(Error::Unsupported {
            path: path.to_owned(),
            what: format!("tokenizer.ggml.model {other:?}"),
            remedy: "use a model with a \"gpt2\" or \"llama\" vocabulary, or its safetensors with tokenizer.json"
                .into(),
        }),
    }
}

fn byte_level(path: &Path, gguf: &GgufVocabulary, config: &Config) -> Result<Parts> {
    if gguf.merges.is_empty() {
        return Err(malformed(path, PLACES[1], "missing or empty"));
    }
    let merges = gguf.merges.iter().enumerate().map(|(rank, merge)| match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left.to_owned(), right.to_owned())),
        _ => Err(malformed(path, format!("{}[{rank}]", PLACES[1]), format!("{merge:?} is no pair of tokens"))),
    });
    let words = words(path, gguf)?;
    let add_bos = gguf.add_bos.unwrap_or(words.names == LLAMA3_WORDS.names || config.architecture.add_bos);
    let bos = gguf.bos.or_else(|| position(gguf, "<|begin_of_text|>")).filter(|_| add_bos);
    Ok(Parts {
        path: path.to_owned(),
        places: PLACES,
        vocabulary: vocabulary(gguf),
        merges: merges.collect::<Result<Merges>>()?,
        options: words.options(),
        unknown: None,
        added: added(gguf),
        normalizer: words.normalizer(),
        pre_tokens: words.pre_tokens(),
        decoder: Some(DecoderWrapper::ByteLevel(ByteLevel::default())),
        prefix: bos.into_iter().collect(),
        suffix: suffix(gguf, config),
        bos,
        eos: gguf.eos,
    })
}

/// EOS, after a text of which a network without a head makes an embedding: such networks are trained with it, and some files
/// leave the key out. To a prompt that a network continues it is never added.
fn suffix(gguf: &GgufVocabulary, config: &Config) -> Vec<u32> {
    let ends = !config.architecture.head && gguf.add_eos.unwrap_or(true);
    gguf.eos.filter(|_| ends).into_iter().collect()
}

/// Looks up the pre-tokenizer of a byte-level vocabulary by name.
fn words(path: &Path, gguf: &GgufVocabulary) -> Result<&'static Words> {
    // The official 2B4T file has no name: bitnet.cpp's converter does not write one.
    let looks_like_llama3 = gguf.tokens.len() == 128_256 || position(gguf, "<|begin_of_text|>").is_some();
    let name = match gguf.pre.as_deref() {
        None | Some("default") if looks_like_llama3 => "llama-bpe",
        name => name.unwrap_or("default"),
    };
    WORDS.iter().find(|words| words.names.contains(&name)).ok_or_else(|| Error::Unsupported {
        path: path.to_owned(),
        what: format!("tokenizer.ggml.pre {name:?}"),
        remedy: "use the model's safetensors with tokenizer.json".into(),
    })
}

fn sentence_piece(path: &Path, gguf: &GgufVocabulary, config: &Config) -> Result<Parts> {
    if gguf.scores.is_empty() {
        return Err(malformed(path, "tokenizer.ggml.scores", "missing or empty"));
    }
    let vocabulary = vocabulary(gguf);
    let replace = |from: &str, to: &str| {
        Replace::new(from, to).map_err(|error| malformed(path, "tokenizer.ggml.model", error.to_string()))
    };
    let mut normalizers = vec![NormalizerWrapper::Replace(replace(" ", "▁")?)];
    let mut decoders = vec![
        DecoderWrapper::Replace(replace("▁", " ")?),
        DecoderWrapper::ByteFallback(ByteFallback::new()),
        DecoderWrapper::Fuse(Fuse::new()),
    ];
    if gguf.add_space_prefix.unwrap_or(true) {
        normalizers.insert(0, NormalizerWrapper::Prepend(Prepend::new("▁".into())));
        decoders.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    let bos = gguf.bos.or_else(|| position(gguf, "<s>")).filter(|_| gguf.add_bos.unwrap_or(true));
    let unknown = (0..gguf.tokens.len()).find(|&id| kind(gguf, id) == UNKNOWN);
    Ok(Parts {
        path: path.to_owned(),
        places: PLACES,
        merges: merges(path, gguf, &vocabulary)?,
        vocabulary,
        options: Options { byte_fallback: true, fuse_unk: true, ignore_merges: false },
        unknown: unknown.map(|id| gguf.tokens[id].clone()),
        added: added(gguf),
        normalizer: Some(NormalizerWrapper::Sequence(Normalizers::new(normalizers))),
        pre_tokens: PreTokens::default(),
        decoder: Some(DecoderWrapper::Sequence(Decoders::new(decoders))),
        prefix: bos.into_iter().collect(),
        suffix: suffix(gguf, config),
        bos,
        eos: gguf.eos,
    })
}

/// The merges of a SentencePiece vocabulary. SentencePiece joins the two neighbours whose union has the best score. The
/// equivalent list of merges holds every way to split a piece into two others, best piece first. Splits of the same
/// piece are ordered by the length of the left part, longest first, as in Hugging Face's conversion.
fn merges(path: &Path, gguf: &GgufVocabulary, vocabulary: &Vocab) -> Result<Merges> {
    let mut found: Vec<(f32, &str, &str)> = Vec::new();
    let is_piece = |id: usize| !matches!(kind(gguf, id), UNKNOWN | CONTROL | BYTE);
    let has = |text: &str| vocabulary.get(text).is_some_and(|&id| is_piece(id as usize));
    for (id, (piece, &score)) in gguf.tokens.iter().zip(&gguf.scores).enumerate() {
        if !is_piece(id) || kind(gguf, id) == USER_DEFINED {
            continue;
        }
        if piece.len() > LONGEST_PIECE {
            let what = format!("{}[{id}] of {} bytes, over the limit of {LONGEST_PIECE},", PLACES[0], piece.len());
            let remedy = "use the model's safetensors with tokenizer.json";
            return Err(Error::Unsupported { path: path.to_owned(), what, remedy: remedy.into() });
        }
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if has(left) && has(right) {
                found.push((score, left, right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.chars().count().cmp(&a.1.chars().count())));
    Ok(found.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect())
}

/// Maps token text to id. If several tokens have the same text, the first counts. Unused tokens are left out: they name
/// embedding rows that no text encodes to.
fn vocabulary(gguf: &GgufVocabulary) -> Vocab {
    let mut vocabulary = Vocab::with_capacity(gguf.tokens.len());
    for (token, id) in gguf.tokens.iter().zip(0..) {
        if kind(gguf, id as usize) != UNUSED {
            vocabulary.entry(token.clone()).or_insert(id);
        }
    }
    vocabulary
}

fn added(gguf: &GgufVocabulary) -> Vec<AddedToken> {
    let tokens = gguf.tokens.iter().enumerate().filter(|(_, token)| !token.is_empty());
    let tokens = tokens.filter_map(|(id, token)| match kind(gguf, id) {
        UNKNOWN | CONTROL => Some(AddedToken::from(token.clone(), true)),
        USER_DEFINED => Some(AddedToken::from(token.clone(), false).normalized(false)),
        _ => None,
    });
    tokens.collect()
}

/// The type of a token. In a file without types, tokens that look like control tokens count as such.
fn kind(gguf: &GgufVocabulary, id: usize) -> i32 {
    let looks_like_control = || {
        let named = [gguf.bos, gguf.eos].contains(&u32::try_from(id).ok());
        named || gguf.tokens.get(id).is_some_and(|token| token.starts_with("<|") && token.ends_with("|>"))
    };
    gguf.types.get(id).copied().unwrap_or_else(|| if looks_like_control() { CONTROL } else { NORMAL })
}

fn position(gguf: &GgufVocabulary, token: &str) -> Option<u32> {
    gguf.tokens.iter().zip(0..).find(|(text, _)| *text == token).map(|(_, id)| id)
}
