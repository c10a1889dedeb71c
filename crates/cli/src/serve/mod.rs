//! `sterna serve`: a local endpoint for programs that speak OpenAI's or Ollama's language, and a chat page.

mod given;
mod log;

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;
use sterna_server::Server;

use crate::output;
use given::Given;

const HELP: &str = "\
Examples:
  sterna serve                                    the built-in model, at http://127.0.0.1:8080
  sterna serve -m model.gguf --port 9000
  sterna serve --host 0.0.0.0 --api-key SECRET    for other machines, which must send the key
  sterna serve --config serve.toml --dry-run      what would be in effect

  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'

Options on the command line go before environment variables (STERNA_PORT for --port, …), these
before the --config file (TOML, `port = 8080`), and that before the defaults.";

/// Serve a model over HTTP: OpenAI's API, Ollama's API and a chat page
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Serve {
    #[command(flatten)]
    given: Given,
    /// A TOML file with these options
    #[arg(long, value_name = "FILE", env = "STERNA_CONFIG")]
    config: Option<PathBuf>,
    /// Print the settings that would be in effect as JSON, and end
    #[arg(long)]
    dry_run: bool,
}

impl Serve {
    /// Serves until Ctrl-C or SIGTERM.
    pub fn run(self) -> anyhow::Result<()> {
        let file = self.config.as_deref().map(Given::read).transpose()?.unwrap_or_default();
        let given = self.given.or(file);
        let settings = given.settings()?;
        settings.check().map_err(|error| output::Misuse(error.to_string()))?;
        if self.dry_run {
            let mut effective = serde_json::to_value(&settings)?;
            if let (Value::Object(all), Value::Object(loading)) = (&mut effective, given.loading()?) {
                all.extend(loading);
            }
            return output::line(&serde_json::to_string_pretty(&effective)?);
        }
        log::begin(given.log.unwrap_or_default());
        let engine = given.source().load(&given.options()?)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).enable_all().build();
        runtime.context("the threads that serve could not be started")?.block_on(async {
            let server = Server::bind(engine, settings).await?;
            output::line(&format!("listening on {}", server.url()))?;
            tokio::select! {
                () = server.run(stopped()) => {}
                // Who says it twice does not want to wait for running answers.
                () = async { stopped().await; stopped().await } => {}
            }
            Ok(())
        })
    }
}

/// Waits for a Ctrl-C, or for what `kill` and systemd send.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
