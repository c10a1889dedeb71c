//! Documents as tokens: which tokens are targets of the loss, and where a document may be split.

use std::path::Path;

use sterna::text::{ChatTemplate, Message, Tokenizer};

use super::source::{Content, Part};
use crate::{Error, Result};

/// Tokenises documents.
///
/// In a text, every token is a target, and so is the EOS token at its end. In a conversation, only the answers are
/// targets, each with the token that ends it. A conversation is tokenised in segments that end where answers begin and
/// end. So before an answer the model reads exactly the prompt tokens that `sterna chat` makes.
pub struct Packer<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
    stops: Vec<u32>,
    /// For each token, how suitable a split after it is.
    cuts: Vec<Boundary>,
    context: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Boundary {
    Anywhere,
    Sentence,
    Line,
    Turn,
}

/// Tokens of a document, without BOS.
#[derive(Default)]
pub(super) struct Body {
    pub tokens: Vec<u32>,
    /// Whether each token is a target of the loss.
    pub learned: Vec<bool>,
}

impl Body {
    fn push(&mut self, tokens: &[u32], learned: usize) {
        self.tokens.extend_from_slice(tokens);
        self.learned.extend((0..tokens.len()).map(|i| i < learned));
    }

    pub fn append(&mut self, mut other: Self) {
        self.tokens.append(&mut other.tokens);
        self.learned.append(&mut other.learned);
    }
}

impl<'a> Packer<'a> {
    /// A packer for a model with a context of `context` tokens and a vocabulary of `vocab`. Without a template,
    /// conversations are refused.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] if the tokenizer has more than `vocab` tokens, [`Error::Recipe`] if the context is too
    /// short.
    pub fn new(
        tokenizer: &'a Tokenizer,
        template: Option<&'a ChatTemplate>,
        vocab: usize,
        context: usize,
    ) -> Result<Self> {
        if tokenizer.vocab_size() > vocab {
            return Err(Error::Vocabulary { tokens: tokenizer.vocab_size(), vocab });
        }
        if context < 8 {
            return Err(Error::Recipe(format!("a context of {context} tokens is too short; use 8 or more")));
        }
        let stops = tokenizer.stop_tokens();
        let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let cut = |id| {
            if stops.contains(&id) {
                Ok(Boundary::Turn)
            } else {
                Ok(cut_after(&tokenizer.decode_without_special(&[id])?))
            }
        };
        let cuts = ids.map(cut).collect::<Result<_>>()?;
        Ok(Self { tokenizer, template, stops, cuts, context })
    }

    /// The token that starts every piece (BOS), if the model uses one.
    pub(super) fn bos(&self) -> Option<u32> {
        self.tokenizer.bos()
    }

    /// Tokens of a part of a document in `path`. An empty text has none.
    pub(super) fn encode(&self, path: &Path, part: &Part) -> Result<Body> {
        match &part.content {
            Content::Text(text) => self.text(text),
            Content::Chat(messages) => {
                self.chat(messages, |problem| Error::Template { path: path.to_owned(), line: part.line, problem })
            }
        }
    }

    fn text(&self, text: &str) -> Result<Body> {
        let mut body = Body::default();
        let tokens = self.tokenizer.encode(text)?;
        body.push(&tokens, tokens.len());
        Ok(body)
    }

    /// The token that ends a text (EOS), if the model has one. A conversation already ends with its own token.
    pub(super) fn end(&self, part: &Part, document: &mut Body) {
        let text = matches!(part.content, Content::Text(_)) && !document.tokens.is_empty();
        if let Some(eos) = self.tokenizer.eos().filter(|eos| text && document.tokens.last() != Some(eos)) {
            document.push(&[eos], 1);
        }
    }

    fn chat(&self, messages: &[Message], wrong: impl Fn(String) -> Error) -> Result<Body> {
        let template = self.template.ok_or_else(|| wrong("the model has none; use rows with \"text\"".into()))?;
        let explain = |error| match error {
            sterna::Error::Template(problem) => wrong(problem),
            other => other.into(),
        };
        let rewritten =
            || wrong("it writes earlier turns differently when the conversation goes on; use one answer a row".into());
        let mut body = Body::default();
        let mut written = String::new();
        for (i, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let question = template.render_prompt(&messages[..i]).map_err(explain)?;
            let answer = template.render(&messages[..=i]).map_err(explain)?;
            let tokens = self.tokenizer.encode(question.strip_prefix(&written).ok_or_else(rewritten)?)?;
            body.push(&tokens, 0);
            let tokens = self.tokenizer.encode(answer.strip_prefix(&question).ok_or_else(rewritten)?)?;
            // The model never generates the template's text after the token that ends the answer.
            let end = tokens.iter().rposition(|token| self.stops.contains(token));
            body.push(&tokens, end.map_or(tokens.len(), |end| end + 1));
            written = answer;
        }
        Ok(body)
    }

    /// Lengths of the pieces of a document. They leave room for BOS. A split comes after an answer, a line or a
    /// sentence in the last quarter of a piece, if there is one.
    pub(super) fn lengths(&self, tokens: &[u32], learned: &[bool]) -> Vec<usize> {
        let capacity = self.context - usize::from(self.bos().is_some());
        let mut lengths = Vec::new();
        let mut start = 0;
        while tokens.len() - start > capacity {
            let rest = &tokens[start..];
            // The last piece gets a quarter at least. A piece of one or two tokens would teach the model to end at
            // once.
            let most = capacity.min(rest.len() - capacity / 4);
            let window = most - most / 4..=most;
            let cut = |length: usize| {
                // A split after a question would put its answer at the start of the next piece.
                let cut = if learned[start + length - 1] { self.cuts.get(rest[length - 1] as usize) } else { None };
                cut.copied().unwrap_or(Boundary::Anywhere)
            };
            let length = window.max_by_key(|&length| (cut(length), length)).unwrap_or(most);
            lengths.push(length);
            start += length;
        }
        if start < tokens.len() {
            lengths.push(tokens.len() - start);
        }
        lengths
    }
}

fn cut_after(token: &str) -> Boundary {
    let closed = token.trim_end_matches(['"', '\'', '”', '’', '」', ')']);
    if token.ends_with('\n') {
        Boundary::Line
    } else if closed.ends_with(['.', '!', '?', '。', '！', '？']) {
        Boundary::Sentence
    } else {
        Boundary::Anywhere
    }
}
