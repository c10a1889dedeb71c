//! What the command line, the environment or a file say about a server.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::builder::BoolishValueParser;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna::engine::Options;
use sterna::kernels::pool::default_threads;
use sterna::model;
use sterna_server::{Settings, Tls};

use super::log::Format;
use crate::model::{Ffn, Kv, Source};
use crate::output::Misuse;

/// Tokens of prompts that a step computes; few, so that who writes already does not wait long.
const CHUNK: usize = 40;
/// Full contexts that the cache holds together.
const SEQUENCES: usize = 8;

/// Every option, given or not. The names in a file are those of the command line.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Given {
    /// A .gguf file or a Hugging Face directory [default: the built-in model]
    #[arg(short, long, value_name = "MODEL", env = "STERNA_MODEL")]
    pub model: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1, this machine only]
    #[arg(long, value_name = "ADDRESS", env = "STERNA_HOST")]
    pub host: Option<IpAddr>,
    /// Port; 0 takes any that is free [default: 8080]
    #[arg(long, value_name = "N", env = "STERNA_PORT")]
    pub port: Option<u16>,
    /// The model's name for clients [default: from the file's name]
    #[arg(long, value_name = "NAME", env = "STERNA_MODEL_NAME")]
    pub model_name: Option<String>,
    /// A key that clients must send; may be given several times
    #[arg(long, value_name = "KEY", env = "STERNA_API_KEY", hide_env_values = true)]
    pub api_key: Vec<String>,
    /// Let other machines ask without a key
    #[arg(long, env = "STERNA_OPEN", value_parser = BoolishValueParser::new())]
    pub open: bool,
    /// A name by which clients call this machine, as in http://NAME/; may be given several times
    #[arg(long, value_name = "NAME", env = "STERNA_NAME")]
    pub name: Vec<String>,
    /// A page's origin that may ask from a browser, or "*" (CORS); may be given several times
    #[arg(long, value_name = "ORIGIN", env = "STERNA_ORIGIN")]
    pub origin: Vec<String>,
    /// Certificate for HTTPS, in PEM
    #[arg(long, value_name = "FILE", env = "STERNA_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", env = "STERNA_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Requests that may wait for their first token; more are answered with 429 [default: 256]
    #[arg(long, value_name = "N", env = "STERNA_QUEUE")]
    pub queue: Option<usize>,
    /// Connections at a time [default: 512]
    #[arg(long, value_name = "N", env = "STERNA_CONNECTIONS")]
    pub connections: Option<usize>,
    /// Bytes of a request at most [default: 2097152]
    #[arg(long, value_name = "N", env = "STERNA_BODY_BYTES")]
    pub body_bytes: Option<usize>,
    /// Seconds that a request may take [default: 600]
    #[arg(long, value_name = "S", env = "STERNA_TIMEOUT")]
    pub timeout: Option<u64>,
    /// Seconds that running requests get when the server stops [default: 30]
    #[arg(long, value_name = "S", env = "STERNA_GRACE")]
    pub grace: Option<u64>,
    /// Threads [default: as many as this process may use]
    #[arg(short, long, value_name = "N", env = "STERNA_THREADS")]
    pub threads: Option<usize>,
    /// Tokens of the context [default: the model's own, at most 4096]
    #[arg(long, value_name = "N", env = "STERNA_CTX")]
    pub ctx: Option<usize>,
    /// Full contexts that the key/value cache holds together; shorter requests share the room [default: 8]
    #[arg(long, value_name = "N", env = "STERNA_SEQUENCES")]
    pub sequences: Option<usize>,
    /// Tokens of prompts that a step computes at their beginning; fewer where more went before [default: 40]
    #[arg(long, value_name = "N", env = "STERNA_CHUNK")]
    pub chunk: Option<usize>,
    /// Type of the key/value cache: f16, or int8 (half the memory, slightly less exact) [default: f16]
    #[arg(long, value_enum, value_name = "TYPE", env = "STERNA_KV")]
    pub kv: Option<Kv>,
    /// Whether feed-forward weights that meet a zero are read: auto skips them where the gate is ReLU² [default: auto]
    #[arg(long, value_enum, value_name = "MODE", env = "STERNA_FFN")]
    pub ffn: Option<Ffn>,
    /// How the log on stderr is written [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "STERNA_LOG")]
    pub log: Option<Format>,
    /// Log prompts and answers too
    #[arg(long, env = "STERNA_LOG_TEXT", value_parser = BoolishValueParser::new())]
    pub log_text: bool,
}

impl Given {
    /// What a file says.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let given = toml::from_str(&text);
        given.map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.to_string().trim_end()))
    }

    /// These, and what `other` says where these say nothing.
    pub fn or(self, other: Self) -> Self {
        let list = |ours: Vec<String>, others: Vec<String>| if ours.is_empty() { others } else { ours };
        Self {
            model: self.model.or(other.model),
            host: self.host.or(other.host),
            port: self.port.or(other.port),
            model_name: self.model_name.or(other.model_name),
            api_key: list(self.api_key, other.api_key),
            open: self.open || other.open,
            name: list(self.name, other.name),
            origin: list(self.origin, other.origin),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            queue: self.queue.or(other.queue),
            connections: self.connections.or(other.connections),
            body_bytes: self.body_bytes.or(other.body_bytes),
            timeout: self.timeout.or(other.timeout),
            grace: self.grace.or(other.grace),
            threads: self.threads.or(other.threads),
            ctx: self.ctx.or(other.ctx),
            sequences: self.sequences.or(other.sequences),
            chunk: self.chunk.or(other.chunk),
            kv: self.kv.or(other.kv),
            ffn: self.ffn.or(other.ffn),
            log: self.log.or(other.log),
            log_text: self.log_text || other.log_text,
        }
    }

    /// Where the model comes from.
    pub fn source(&self) -> Source {
        Source { model: self.model.clone() }
    }

    /// How the model is loaded.
    pub fn options(&self) -> Result<Options, Misuse> {
        let from_one = |name: &str, given: Option<usize>, usual, most| match given {
            Some(n) if !(1..=most).contains(&n) => Err(Misuse(format!("--{name} is {n}; it must be from 1 to {most}"))),
            given => Ok(given.unwrap_or(usual)),
        };
        Ok(Options {
            threads: from_one("threads", self.threads, default_threads(), 1024)?,
            context: self.ctx,
            chunk: from_one("chunk", self.chunk, CHUNK, 4096)?,
            sequences: from_one("sequences", self.sequences, SEQUENCES, 4096)?,
            kv: self.kv.unwrap_or_default().into(),
            settings: model::Settings { ffn: self.ffn.unwrap_or_default().into(), ..Default::default() },
            ..Options::default()
        })
    }

    /// What is in effect, but for the server's settings: the model, how it is loaded, and the log.
    pub fn loading(&self) -> anyhow::Result<Value> {
        let options = self.options()?;
        let context = options.positions(&self.source().checkpoint()?.config)?;
        let path = self.model.as_ref().map_or("built-in model".into(), |path| path.display().to_string());
        Ok(json!({
            "model_path": path,
            "threads": options.threads,
            "ctx": context,
            "sequences": options.sequences,
            "chunk": options.chunk,
            "kv": self.kv.unwrap_or_default(),
            "ffn": self.ffn.unwrap_or_default(),
            "log": self.log.unwrap_or_default(),
        }))
    }

    /// The server's settings.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let usual = Settings::default();
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some(Tls { cert: cert.clone(), key: key.clone() }),
            (None, None) => None,
            _ => return Err(Misuse("HTTPS needs both --tls-cert and --tls-key".into()).into()),
        };
        let from_file =
            || self.model.as_deref().and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
        let seconds = |given: Option<u64>, usual| given.map_or(usual, Duration::from_secs);
        Ok(Settings {
            host: self.host.unwrap_or(usual.host),
            port: self.port.unwrap_or(usual.port),
            model: self.model_name.clone().or_else(from_file).unwrap_or(usual.model),
            api_keys: self.api_key.clone(),
            open: self.open,
            names: self.name.clone(),
            origins: self.origin.clone(),
            tls,
            queue: self.queue.unwrap_or(usual.queue),
            connections: self.connections.unwrap_or(usual.connections),
            body_bytes: self.body_bytes.unwrap_or(usual.body_bytes),
            timeout: seconds(self.timeout, usual.timeout),
            grace: seconds(self.grace, usual.grace),
            log_text: self.log_text,
        })
    }
}
