//! `sterna serve`: an HTTP server with OpenAI's API, Ollama's API and a chat page.

mod keys;
mod log;
mod options;

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;
use sterna::kernels::limits;
use sterna_server::Server;

use crate::{output, version};
use options::Options;

const HELP: &str = "\
Options on the command line override environment variables (STERNA_PORT for --port, …), which override \
the --config file (TOML, `port = 8080`), which overrides the defaults.

Examples:
  sterna serve                                    serve the built-in model at http://127.0.0.1:8080
  sterna serve -m model.gguf --port 9000
  sterna serve --models DIR                       load the models in a folder when requests name them
  sterna serve --host 0.0.0.0 --api-key-file keys let other machines use it with the keys of a file
  sterna serve --config serve.toml --dry-run      show the settings, and exit

  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'";

/// Open files without which a server cannot start: its own, and some connections.
const LEAST_FILES: u64 = 32;

/// Serve a model over HTTP: OpenAI's API, Ollama's API and a chat page
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Serve {
    /// TOML file with any of these options
    #[arg(long, value_name = "FILE", env = "STERNA_CONFIG")]
    config: Option<PathBuf>,
    /// Print the effective settings as JSON, and exit
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: Options,
}

impl Serve {
    /// Serves until Ctrl-C or SIGTERM. `warnings` go to the log.
    ///
    /// # Errors
    /// For options that cannot be used, a model that cannot be loaded, and an address that is in use.
    pub fn run(self, warnings: &[String]) -> anyhow::Result<()> {
        let file = self.config.as_deref().map(Options::read).transpose()?.unwrap_or_default();
        let options = self.options.or(file);
        log::begin(options.log.unwrap_or_default());
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let settings = options.settings()?;
        settings.check().map_err(|error| output::Misuse(error.to_string()))?;
        if self.dry_run {
            let mut effective = serde_json::to_value(&settings)?;
            if let (Value::Object(all), Value::Object(rest)) = (&mut effective, options.effective()?) {
                all.extend(rest);
            }
            return output::line(&serde_json::to_string_pretty(&effective)?);
        }
        if let Some(limit) = limits::open_files().filter(|limit| *limit < LEAST_FILES) {
            bail!("a server needs {LEAST_FILES} open files, but this process may have {limit} (ulimit -n)");
        }
        tracing::info!(version = version::RELEASE, commit = version::COMMIT, "starting");
        if let Some(warning) = options.api_key_file.as_deref().and_then(keys::warning) {
            tracing::warn!("{warning}");
        }
        let found = options.found()?;
        let models = match options.source() {
            Some(source) => found.with_loaded(source.engine(&options.engine()?)?),
            None => found,
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(8).enable_all().build();
        let runtime = runtime.map_err(limits::explained).context("the server's threads could not be started")?;
        let served = runtime.block_on(async {
            let server = Server::bind(models, settings).await?;
            output::line(&format!("listening on {}", server.url()))?;
            tokio::select! {
                () = server.run(shutdown_signal()) => {}
                // A second signal ends the server without the grace period.
                () = async { shutdown_signal().await; shutdown_signal().await } => {}
            }
            Ok(())
        });
        // A model that is being loaded delays the end no further.
        runtime.shutdown_background();
        served
    }
}

/// Waits for Ctrl-C or, on Unix, for SIGTERM, which `kill` and systemd send.
async fn shutdown_signal() {
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
