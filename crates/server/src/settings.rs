//! The settings of a server.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base_path::is_base;
use crate::{Error, KeepAlive};

/// Settings of a server. API keys are left out when they are serialized.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port; 0 takes any that is free.
    pub port: u16,
    /// Name of the model in the API.
    pub model: String,
    /// Accepted API keys; empty disables authentication.
    #[serde(serialize_with = "hidden")]
    pub api_keys: Vec<String>,
    /// Allows an address that other machines reach, without API keys.
    pub open: bool,
    /// Host names that requests may have in `Host`, besides addresses and "localhost".
    pub names: Vec<String>,
    /// Origins whose web pages may use the server (CORS); "*" allows all.
    pub origins: Vec<String>,
    /// Path below which all paths are: empty, or "/" and segments.
    pub base_path: String,
    /// Certificate and key for HTTPS; `None` serves HTTP.
    pub tls: Option<Tls>,
    /// Answers that may wait for their first token; further requests get HTTP 429.
    pub queue: usize,
    /// Limit for open connections; further ones wait to be accepted.
    pub connections: usize,
    /// Limit for the body of a request, in bytes.
    pub body_bytes: usize,
    /// Time limit of a request; one that takes longer ends with HTTP 504.
    #[serde(rename = "timeout_s", serialize_with = "seconds")]
    pub timeout: Duration,
    /// Grace period for running requests at shutdown.
    #[serde(rename = "grace_s", serialize_with = "seconds")]
    pub grace: Duration,
    /// Bytes of memory that all models together may take; `None` for what the machine has.
    pub memory: Option<u64>,
    /// How long a model that was loaded on demand stays in memory after its last request. Requests may ask for less.
    #[serde(rename = "keep_alive_s")]
    pub keep_alive: KeepAlive,
    /// Takes the client's address in the log from `X-Forwarded-For`, which only a proxy in front makes true.
    pub trust_proxy: bool,
    /// Refuses requests with unknown fields, instead of ignoring and naming these.
    pub strict: bool,
    /// Logs prompts and answers too.
    pub log_text: bool,
    /// Commit that the program was built from, for the metrics; empty if it is not known.
    #[serde(skip)]
    pub commit: &'static str,
}

/// Certificate and key of a server, as PEM files.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    /// The certificate, followed by its chain.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8080,
            model: "sterna".into(),
            api_keys: Vec::new(),
            open: false,
            names: Vec::new(),
            origins: Vec::new(),
            base_path: String::new(),
            tls: None,
            queue: 256,
            connections: 512,
            body_bytes: 2 << 20,
            timeout: Duration::from_secs(600),
            grace: Duration::from_secs(30),
            memory: None,
            keep_alive: KeepAlive::For(Duration::from_secs(300)),
            trust_proxy: false,
            strict: false,
            log_text: false,
            commit: "",
        }
    }
}

impl Settings {
    /// Checks that a server can run with these settings.
    ///
    /// # Errors
    /// For an address that other machines reach with neither an API key nor [`Settings::open`], keys that a header cannot
    /// carry, a base path that cannot be one, and limits of zero.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |problem: String| Err(Error::Settings(problem));
        if !self.host.is_loopback() && self.api_keys.is_empty() && !self.open {
            return refuse(format!(
                "other machines can reach {}: set a key that clients must send (--api-key), or allow everybody (--open)",
                self.host
            ));
        }
        if self.api_keys.iter().any(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return refuse("an API key must consist of ASCII letters, digits and punctuation, without spaces".into());
        }
        if !is_base(&self.base_path) {
            let path = &self.base_path;
            return refuse(format!("--base-path is {path:?}; it must be like /sterna, of letters, digits and - _ . ~"));
        }
        let limits = [("queue", self.queue), ("connections", self.connections), ("body-bytes", self.body_bytes)];
        if let Some((name, _)) = limits.iter().find(|(_, limit)| *limit == 0) {
            return refuse(format!("--{name} is 0; it must be 1 or more"));
        }
        if self.timeout.is_zero() {
            return refuse("--timeout is 0; it must be 1 or more".into());
        }
        Ok(())
    }
}

fn hidden<S: serde::Serializer>(keys: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(keys.iter().map(|_| "…"))
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}
