//! How a server is set up.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::Error;

/// Everything about a server but its model. Keys are never written out.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port; 0: any that is free.
    pub port: u16,
    /// The model's name for clients.
    pub model: String,
    /// Who asks needs one of these; empty: nobody is asked.
    #[serde(serialize_with = "hidden")]
    pub api_keys: Vec<String>,
    /// Whether other machines may ask without a key.
    pub open: bool,
    /// Names by which clients call this server besides its address and "localhost".
    pub names: Vec<String>,
    /// Origins of pages that may ask (CORS); "*": all.
    pub origins: Vec<String>,
    /// Certificate and key, for HTTPS.
    pub tls: Option<Tls>,
    /// Requests that wait for their first token; one more is told to come back.
    pub queue: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// A request that takes longer ends with an error.
    #[serde(rename = "timeout_s", serialize_with = "seconds")]
    pub timeout: Duration,
    /// Running requests get so long when the server is told to stop.
    #[serde(rename = "grace_s", serialize_with = "seconds")]
    pub grace: Duration,
    /// Whether prompts and answers are logged.
    pub log_text: bool,
}

/// Files in PEM.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    /// The certificate and those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
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
            tls: None,
            queue: 256,
            connections: 512,
            body_bytes: 2 << 20,
            timeout: Duration::from_secs(600),
            grace: Duration::from_secs(30),
            log_text: false,
        }
    }
}

impl Settings {
    /// Whether these can be served.
    ///
    /// # Errors
    /// An address that other machines reach, with neither a key nor [`Settings::open`]; keys that no header can carry;
    /// limits of zero.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |problem: String| Err(Error::Settings(problem));
        if !self.host.is_loopback() && self.api_keys.is_empty() && !self.open {
            return refuse(format!(
                "other machines can reach {}: set a key that clients must send (--api-key), or say that everybody may ask \
                 (--open)",
                self.host
            ));
        }
        if self.api_keys.iter().any(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return refuse("an API key must be letters, digits and signs of ASCII, without spaces".into());
        }
        let limits = [("queue", self.queue), ("connections", self.connections), ("body-bytes", self.body_bytes)];
        if let Some((name, _)) = limits.iter().find(|(_, limit)| *limit == 0) {
            return refuse(format!("--{name} is 0; it must be 1 or more"));
        }
        if self.timeout.is_zero() {
            return refuse("--timeout is 0; it must be a second or more".into());
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
