//! Sockets: connections come in, with or without TLS, and are ended in order.

use std::fs::File;
use std::future::Future;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use sterna::engine::Engine;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::app::App;
use crate::endpoints;
use crate::{Error, Settings, Tls};

/// How long a client may take for its part of the TLS handshake, for the headers of a request, and to take a piece of an
/// answer once the system holds all it can for it. A connection between requests is closed after the same time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the headers of a request, up to twice as many if they come quickly.
const HEADERS: usize = 32 << 10;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
}

impl Server {
    /// Listens. Connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// For settings that cannot be served, an address that is taken, certificates that cannot be used, and models without
    /// a tokenizer.
    pub async fn bind(engine: Engine, settings: Settings) -> Result<Self, Error> {
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        let address = SocketAddr::new(settings.host, settings.port);
        let app = App::new(engine, settings)?;
        let taken = |source| Error::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, tls, app })
    }

    /// Address and port in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for people and clients.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves until `stop`, then finishes what runs, for [`Settings::grace`] at most.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, tls, app, .. } = self;
        let (router, places) = (endpoints::router(&app), Arc::new(Semaphore::new(app.settings.connections)));
        let connections = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: others must end first.
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (tls, router, watcher) = (tls.clone(), router.clone(), connections.watcher());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, router, watcher).await,
                    Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve(stream, router, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                        Err(_) => tracing::debug!("no TLS in time"),
                    },
                }
                drop(place);
            });
        }
        drop(listener);
        tracing::info!(running = app.metrics.busy(), "stopping");
        if timeout(app.settings.grace, connections.shutdown()).await.is_err() {
            tracing::warn!(running = app.metrics.busy(), "stopped before all answers were finished");
        }
    }
}

/// A connection, and its place among them.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(Pin<Box<TimeoutStream<TcpStream>>>, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Tokens are small and should not wait for each other.
    stream.set_nodelay(true)?;
    Ok((patient(stream), place))
}

/// The stream, which breaks once the client has taken nothing for too long.
fn patient<S: AsyncRead + AsyncWrite>(stream: S) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(PATIENCE));
    Box::pin(stream)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, watcher: Watcher) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEADERS);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |problem: String| Error::Tls { path, problem }
    };
    let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|error| wrong(path)(error.to_string()));
    let certificates = CertificateDer::pem_reader_iter(open(&tls.cert)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| wrong(&tls.cert)(format!("no certificate in PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong(&tls.cert)("holds no certificate; it begins with -----BEGIN CERTIFICATE-----".into()));
    }
    let key = PrivateKeyDer::from_pem_reader(open(&tls.key)?);
    let key = key.map_err(|error| wrong(&tls.key)(format!("no private key in PEM: {error}")))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.map_err(|error| wrong(&tls.key)(format!("does not fit the certificate: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    /// What a client gets that takes ten bytes at a time, `pause` apart.
    async fn taken(pause: Duration) -> String {
        let (mut client, server) = duplex(64);
        let router = Router::new().route("/", get(async || "x".repeat(500)));
        let connections = GracefulShutdown::new();
        tokio::spawn(serve(patient(server), router, connections.watcher()));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut all, mut bytes) = (Vec::new(), [0; 10]);
        loop {
            sleep(pause).await;
            match client.read(&mut bytes).await.unwrap() {
                0 => return String::from_utf8(all).unwrap(),
                n => all.extend_from_slice(&bytes[..n]),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_left_and_who_is_slow_is_not() {
        let begin = Instant::now();
        let slow = taken(PATIENCE * 2 / 3).await;
        assert!(slow.starts_with("HTTP/1.1 200") && slow.ends_with(&"x".repeat(500)), "{slow}");
        assert!(begin.elapsed() > PATIENCE * 20, "no limit on the whole");
        let left = taken(PATIENCE * 4 / 3).await;
        assert!(left.starts_with("HTTP/1.1 200") && left.len() == 64, "{left}");
    }
}
