//! The options of `sterna serve`, from the command line, the environment or a file.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna::checkpoint::{I2sLayout, gguf};
use sterna::engine::{Engine, EngineBuilder};
use sterna::kernels::pool::default_threads;
use sterna::model;
use sterna_server::{KeepAlive, Models, Settings, Tls};

use super::keys;
use super::log::Format;
use crate::headings;
use crate::model::{Ffn, I2s, Kv, Source};
use crate::output::Misuse;
use crate::{size, version};

/// Prompt tokens of a forward pass: few, so that a new prompt delays the answers that are being generated only a
/// little.
const DEFAULT_CHUNK: usize = 40;
/// Full contexts that the key/value cache has room for.
const DEFAULT_SEQUENCES: usize = 8;

/// The options of one source; `None` where it sets none. A file has the same names as the command line.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Format of the log on stderr [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "STERNA_LOG")]
    pub log: Option<Format>,
    /// Also log prompts and answers
    #[arg(long, env = "STERNA_LOG_TEXT", value_parser = BoolishValueParser::new())]
    pub log_text: bool,
    /// A .gguf file or a Hugging Face directory [default: the built-in model]
    #[arg(short, long, value_name = "MODEL", env = "STERNA_MODEL", help_heading = headings::MODEL)]
    pub model: Option<PathBuf>,
    /// Folder of models that are loaded when a request names them: .gguf files and Hugging Face directories
    #[arg(long, value_name = "DIR", env = "STERNA_MODELS", help_heading = headings::MODEL)]
    pub models: Option<PathBuf>,
    /// Memory that all models together may take, as in 8G or 500M [default: what the machine has available]
    #[arg(long, value_name = "SIZE", env = "STERNA_MEMORY", help_heading = headings::MODEL)]
    pub memory: Option<String>,
    /// How long a model of --models stays in memory after its last request, as in 300, 5m or 1h; -1: until another needs
    /// its memory; requests may ask for less [default: 5m]
    #[arg(long, value_name = "TIME", env = "STERNA_KEEP_ALIVE", help_heading = headings::MODEL, allow_hyphen_values = true)]
    pub keep_alive: Option<String>,
    /// Layout of I2_S weights in GGUF files, which files do not name: that of x86 machines, or that of files written on
    /// Arm machines [default: found by the weights' statistics, in case of doubt x86]
    #[arg(long, value_enum, value_name = "TYPE", env = "STERNA_I2S_LAYOUT", help_heading = headings::MODEL)]
    pub i2s_layout: Option<I2s>,
    /// Read the model's files into memory instead of mapping them, so that they may change while the server runs
    #[arg(long, env = "STERNA_NO_MMAP", help_heading = headings::MODEL, value_parser = BoolishValueParser::new())]
    pub no_mmap: bool,
    /// Name of the model in the API [default: the name of its file]
    #[arg(long, value_name = "NAME", env = "STERNA_MODEL_NAME", help_heading = headings::MODEL)]
    pub model_name: Option<String>,
    /// Address to listen on [default: 127.0.0.1, reachable from this machine only]
    #[arg(long, value_name = "ADDRESS", env = "STERNA_HOST", help_heading = headings::NETWORK)]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes any that is free [default: 8080]
    #[arg(long, value_name = "N", env = "STERNA_PORT", help_heading = headings::NETWORK)]
    pub port: Option<u16>,
    /// Host name of this machine in URLs, as in http://NAME/; may be given several times
    #[arg(long, value_name = "NAME", env = "STERNA_NAME", help_heading = headings::NETWORK)]
    pub name: Vec<String>,
    /// Path below which all paths are, as in http://NAME/PATH/, for proxies that pass paths on as they are [default: none]
    #[arg(long, value_name = "PATH", env = "STERNA_BASE_PATH", help_heading = headings::NETWORK)]
    pub base_path: Option<String>,
    /// Believe the `X-Forwarded-For` of a proxy in front: the log then has the address of the proxy's client
    #[arg(long, env = "STERNA_TRUST_PROXY", help_heading = headings::NETWORK, value_parser = BoolishValueParser::new())]
    pub trust_proxy: bool,
    /// Certificate for HTTPS, a PEM file
    #[arg(long, value_name = "FILE", env = "STERNA_TLS_CERT", help_heading = headings::NETWORK)]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", env = "STERNA_TLS_KEY", help_heading = headings::NETWORK)]
    pub tls_key: Option<PathBuf>,
    /// API key that clients must send; may be given several times
    #[arg(long, value_name = "KEY", env = "STERNA_API_KEY", help_heading = headings::ACCESS, hide_env_values = true)]
    pub api_key: Vec<String>,
    /// File with API keys, one a line; blank lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE", env = "STERNA_API_KEY_FILE", help_heading = headings::ACCESS)]
    pub api_key_file: Option<PathBuf>,
    /// Let other machines use the server without an API key
    #[arg(long, env = "STERNA_OPEN", help_heading = headings::ACCESS, value_parser = BoolishValueParser::new())]
    pub open: bool,
    /// Origin of web pages that may use the server, or "*" for all (CORS); may be given several times
    #[arg(long, value_name = "ORIGIN", env = "STERNA_ORIGIN", help_heading = headings::ACCESS)]
    pub origin: Vec<String>,
    /// Answers that may wait for their first token; further requests get HTTP 429 [default: 256]
    #[arg(long, value_name = "N", env = "STERNA_QUEUE", help_heading = headings::LIMITS)]
    pub queue: Option<usize>,
    /// Limit for open connections [default: 512]
    #[arg(long, value_name = "N", env = "STERNA_CONNECTIONS", help_heading = headings::LIMITS)]
    pub connections: Option<usize>,
    /// Limit for the body of a request, in bytes [default: 2097152]
    #[arg(long, value_name = "N", env = "STERNA_BODY_BYTES", help_heading = headings::LIMITS)]
    pub body_bytes: Option<usize>,
    /// Time limit of a request, in seconds [default: 600]
    #[arg(long, value_name = "SECONDS", env = "STERNA_TIMEOUT", help_heading = headings::LIMITS)]
    pub timeout: Option<u64>,
    /// Grace period for running requests at shutdown, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS", env = "STERNA_GRACE", help_heading = headings::LIMITS)]
    pub grace: Option<u64>,
    /// Refuse requests with unknown fields, instead of ignoring and naming these
    #[arg(long, env = "STERNA_STRICT", help_heading = headings::LIMITS, value_parser = BoolishValueParser::new())]
    pub strict: bool,
    /// Threads for computing [default: all that this process may use]
    #[arg(short, long, value_name = "N", env = "STERNA_THREADS", help_heading = headings::COMPUTING)]
    pub threads: Option<usize>,
    /// Length of the context in tokens [default: the model's own, at most 4096]
    #[arg(long, value_name = "N", env = "STERNA_CTX", help_heading = headings::COMPUTING)]
    pub ctx: Option<usize>,
    /// Full contexts that the key/value cache has room for; shorter requests share it [default: 8]
    #[arg(long, value_name = "N", env = "STERNA_SEQUENCES", help_heading = headings::COMPUTING)]
    pub sequences: Option<usize>,
    /// Prompt tokens of a forward pass at the start of a prompt; fewer deep in a long prompt [default: 40]
    #[arg(long, value_name = "N", env = "STERNA_CHUNK", help_heading = headings::COMPUTING)]
    pub chunk: Option<usize>,
    /// Type of the key/value cache: f16, or int8, which takes half the memory and is slightly less exact [default: f16]
    #[arg(long, value_enum, value_name = "TYPE", env = "STERNA_KV", help_heading = headings::COMPUTING)]
    pub kv: Option<Kv>,
    /// Feed-forward layers: sparse skips weights whose activation is zero, dense reads all, auto skips after ReLU²
    /// gates
    /// [default: auto]
    #[arg(long, value_enum, value_name = "MODE", env = "STERNA_FFN", help_heading = headings::COMPUTING)]
    pub ffn: Option<Ffn>,
}

impl Options {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// For a file that cannot be read, and for unknown options or wrong types in it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let options = toml::from_str(&text);
        options.map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.to_string().trim_end()))
    }

    /// These options, and those of `other` that these do not set.
    pub fn or(self, other: Self) -> Self {
        let list = |ours: Vec<String>, others: Vec<String>| if ours.is_empty() { others } else { ours };
        Self {
            model: self.model.or(other.model),
            models: self.models.or(other.models),
            memory: self.memory.or(other.memory),
            keep_alive: self.keep_alive.or(other.keep_alive),
            host: self.host.or(other.host),
            port: self.port.or(other.port),
            model_name: self.model_name.or(other.model_name),
            api_key: list(self.api_key, other.api_key),
            api_key_file: self.api_key_file.or(other.api_key_file),
            open: self.open || other.open,
            name: list(self.name, other.name),
            origin: list(self.origin, other.origin),
            base_path: self.base_path.or(other.base_path),
            trust_proxy: self.trust_proxy || other.trust_proxy,
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            queue: self.queue.or(other.queue),
            connections: self.connections.or(other.connections),
            body_bytes: self.body_bytes.or(other.body_bytes),
            timeout: self.timeout.or(other.timeout),
            grace: self.grace.or(other.grace),
            i2s_layout: self.i2s_layout.or(other.i2s_layout),
            no_mmap: self.no_mmap || other.no_mmap,
            threads: self.threads.or(other.threads),
            ctx: self.ctx.or(other.ctx),
            sequences: self.sequences.or(other.sequences),
            chunk: self.chunk.or(other.chunk),
            kv: self.kv.or(other.kv),
            ffn: self.ffn.or(other.ffn),
            log: self.log.or(other.log),
            strict: self.strict || other.strict,
            log_text: self.log_text || other.log_text,
        }
    }

    /// The model that is loaded at the start: that of `--model`, or the built-in one without `--models`.
    pub fn source(&self) -> Option<Source> {
        let source = || Source { model: self.model.clone(), i2s_layout: self.i2s_layout };
        (self.model.is_some() || self.models.is_none()).then(source)
    }

    /// The models that the server offers, without the one that is loaded at the start.
    ///
    /// # Errors
    /// Those of [`Options::engine`] and [`Models::in_folder`], and a folder without models.
    pub fn found(&self) -> anyhow::Result<Models> {
        let Some(folder) = &self.models else { return Ok(Models::default()) };
        let models = Models::in_folder(folder, self.model.as_deref(), &self.engine()?)?;
        if models.is_empty() && self.model.is_none() {
            bail!(
                "{}: no model is here; --models takes a folder with .gguf files or Hugging Face directories",
                folder.display()
            );
        }
        Ok(models)
    }

    /// How the engine loads and runs the model.
    ///
    /// # Errors
    /// For numbers outside their range.
    pub fn engine(&self) -> Result<EngineBuilder, Misuse> {
        let count = |name: &str, value: Option<usize>, default, most| match value {
            Some(n) if !(1..=most).contains(&n) => Err(Misuse(format!("--{name} is {n}; it must be from 1 to {most}"))),
            value => Ok(value.unwrap_or(default)),
        };
        Ok(Engine::builder()
            .threads(count("threads", self.threads, default_threads(), 1024)?)
            .context(self.ctx)
            .chunk(count("chunk", self.chunk, DEFAULT_CHUNK, 4096)?)
            .sequences(count("sequences", self.sequences, DEFAULT_SEQUENCES, 4096)?)
            .kv(self.kv.unwrap_or_default().into())
            .mmap(!self.no_mmap)
            .i2s_layout(self.i2s_layout.map(I2sLayout::from))
            .settings(model::Settings { ffn: self.ffn.unwrap_or_default().into(), ..Default::default() }))
    }

    /// The effective values of the options that are not in [`Settings`]: the model, the engine and the log.
    ///
    /// # Errors
    /// Those of [`Options::engine`], and a model that cannot be opened.
    pub fn effective(&self) -> anyhow::Result<Value> {
        let builder = self.engine()?;
        let source = self.source();
        let context = match &source {
            Some(source) => Some(builder.positions(source.checkpoint()?.config())?),
            None => builder.context,
        };
        let path = source.map(|source| source.model.map_or("built-in model".into(), |path| path.display().to_string()));
        self.found()?;
        Ok(json!({
            "model_path": path,
            "api_key_file": self.api_key_file,
            "models": self.models,
            "i2s_layout": self.i2s_layout,
            "no_mmap": self.no_mmap,
            "threads": builder.threads,
            "ctx": context,
            "sequences": builder.sequences,
            "chunk": builder.chunk,
            "kv": self.kv.unwrap_or_default(),
            "ffn": self.ffn.unwrap_or_default(),
            "log": self.log.unwrap_or_default(),
        }))
    }

    /// The server's settings.
    ///
    /// # Errors
    /// For a certificate without a key, a key without a certificate, a file of API keys that cannot be used, a size or time
    /// that cannot be read, and one without a folder of models.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let default = Settings::default();
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some(Tls { cert: cert.clone(), key: key.clone() }),
            (None, None) => None,
            _ => return Err(Misuse("HTTPS needs both --tls-cert and --tls-key".into()).into()),
        };
        if self.models.is_none() && (self.memory.is_some() || self.keep_alive.is_some()) {
            return Err(
                Misuse("--memory and --keep-alive need --models: they concern models loaded on demand".into()).into()
            );
        }
        let from_file = || {
            let name = self.model.as_deref().and_then(Path::file_stem)?.to_string_lossy();
            Some(gguf::model_name(&name).to_owned())
        };
        let mut api_keys = self.api_key.clone();
        if let Some(file) = &self.api_key_file {
            api_keys.extend(keys::read(file)?);
        }
        let seconds = |value: Option<u64>, default| value.map_or(default, Duration::from_secs);
        Ok(Settings {
            host: self.host.unwrap_or(default.host),
            port: self.port.unwrap_or(default.port),
            model: self.model_name.clone().or_else(from_file).unwrap_or(default.model),
            api_keys,
            open: self.open,
            names: self.name.clone(),
            origins: self.origin.clone(),
            base_path: base_path(self.base_path.as_deref().unwrap_or_default()),
            tls,
            trust_proxy: self.trust_proxy,
            queue: self.queue.unwrap_or(default.queue),
            connections: self.connections.unwrap_or(default.connections),
            body_bytes: self.body_bytes.unwrap_or(default.body_bytes),
            timeout: seconds(self.timeout, default.timeout),
            grace: seconds(self.grace, default.grace),
            memory: self.memory.as_deref().map(|size| size::bytes("--memory", size)).transpose()?,
            keep_alive: self.keep_alive.as_deref().map_or(Ok(default.keep_alive), time)?,
            strict: self.strict,
            log_text: self.log_text,
            commit: version::COMMIT,
        })
    }
}

/// A base path as the server reads it: with a slash before it and none after it.
fn base_path(given: &str) -> String {
    match given.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

fn time(text: &str) -> Result<KeepAlive, Misuse> {
    text.parse().map_err(|problem| Misuse(format!("--keep-alive: {problem}")))
}
