//! Work that was checked and is ready to run.

use super::loaded::Loaded;
use super::request::check_tokens;
use super::{Embed, Pooling, Request, Score, Work};
use crate::checkpoint::Config;
use crate::{Error, Result};

/// Checked work on its way to the runner.
pub(super) struct Job {
    /// At least one token; all are in the vocabulary.
    pub tokens: Vec<u32>,
    /// Greatest number of positions that it can need; at most the context.
    pub positions: usize,
    /// The first token whose hidden state is needed. Tokens before it may come from the prefix cache.
    pub outputs_from: usize,
    pub kind: JobKind,
}

pub(super) enum JobKind {
    /// A request with its full list of stop tokens; its prompt is `tokens`.
    Generate(Box<Request>),
    Embed {
        normalized: bool,
        /// At least 1, and at most the hidden size.
        dimensions: usize,
    },
    Score,
}

impl Job {
    /// Checks everything that can be checked before the work reaches the runner.
    pub fn new(work: Work, loaded: &Loaded) -> Result<Self> {
        match work {
            Work::Generate(request) => generate(request, loaded),
            Work::Embed(embed) => self::embed(embed, loaded),
            Work::Score(Score { tokens, from }) => {
                check_text(&tokens, loaded)?;
                if from >= tokens.len() {
                    let problem = format!("hidden states from token {from} on; the text has {} tokens", tokens.len());
                    return Err(Error::request("from", problem));
                }
                Ok(Self { positions: tokens.len(), tokens, outputs_from: from, kind: JobKind::Score })
            }
        }
    }
}

fn embed(embed: Embed, loaded: &Loaded) -> Result<Job> {
    let Embed { tokens, pooling, normalized, dimensions } = embed;
    check_text(&tokens, loaded)?;
    let &Config { hidden, pooling: trained, .. } = loaded.network.config();
    let dimensions = dimensions.unwrap_or(hidden);
    if dimensions == 0 || dimensions > hidden {
        let problem = format!(
            "dimensions is {dimensions}, but this model's embeddings have {hidden} numbers; leave it out, or give 1 to \
             {hidden}"
        );
        return Err(Error::request("dimensions", problem));
    }
    let outputs_from = match pooling.or(trained).unwrap_or_default() {
        Pooling::Last => tokens.len() - 1,
        Pooling::Mean => 0,
    };
    Ok(Job { positions: tokens.len(), tokens, outputs_from, kind: JobKind::Embed { normalized, dimensions } })
}

fn generate(mut request: Request, loaded: &Loaded) -> Result<Job> {
    let config = loaded.network.config();
    loaded.head()?;
    if loaded.network.bidirectional() {
        let problem = "this model reads a text as a whole and does not continue it; ask it for an embedding";
        return Err(Error::request("model", problem));
    }
    let tokenizer = loaded.tokenizer.as_deref().ok();
    let max_tokens = request.settle(loaded.context, config.vocab, tokenizer)?;
    if !request.ignore_eos {
        request.stop_tokens.extend(&config.eos);
        request.stop_tokens.extend(tokenizer.iter().flat_map(|tokenizer| tokenizer.stop_tokens()));
    }
    let tokens = std::mem::take(&mut request.prompt);
    Ok(Job {
        positions: tokens.len() + max_tokens,
        // The first draw needs the hidden state of the last token.
        outputs_from: tokens.len() - 1,
        tokens,
        kind: JobKind::Generate(Box::new(request)),
    })
}

/// Checks the tokens of a text that is embedded or scored.
fn check_text(tokens: &[u32], loaded: &Loaded) -> Result<()> {
    if tokens.is_empty() {
        return Err(Error::request("tokens", "the text has no tokens; give it at least one"));
    }
    check_tokens("tokens", tokens, loaded.network.config().vocab)?;
    if tokens.len() > loaded.context {
        let (tokens, context) = (tokens.len(), loaded.context);
        let problem = format!("{tokens} tokens do not fit into the context of {context}; raise it");
        return Err(Error::request("tokens", problem));
    }
    Ok(())
}
