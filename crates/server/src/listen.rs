//! Sockets: accepts connections, with or without TLS, and shuts them down gracefully.

use std::fs::File;
use std::future::Future;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use sterna::kernels::limits;
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
use crate::client::Peer;
use crate::endpoints;
use crate::{Error, Models, Settings, Tls};

/// Time limit for a client's TLS handshake, for the headers of a request, for reading from a full socket buffer, and for an
/// idle connection between requests.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time for sending the errors of answers that the end of the grace period cuts.
const FLUSH: Duration = Duration::from_secs(2);
/// Limit for the headers of a request in bytes; up to twice as many pass if they arrive quickly.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// Time between two warnings that no connection can be accepted.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// A server that listens on its address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
}

impl Server {
    /// Listens on the address of the settings. Connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// For settings that [`Settings::check`] refuses, an address that is in use, certificates that cannot be used, models
    /// without a tokenizer, and two models of one name.
    pub async fn bind(models: impl Into<Models>, settings: Settings) -> Result<Self, Error> {
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        let address = SocketAddr::new(settings.host, settings.port);
        let app = App::new(models.into(), settings)?;
        let taken = |source| Error::Listen { address: address.to_string(), source: limits::explained(source) };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, tls, app })
    }

    /// Address and port in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.app.settings.base_path)
    }

    /// Serves until `stop`, then finishes the running requests, for [`Settings::grace`] at most. Answers that are not finished
    /// then end with an error.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, tls, app, .. } = self;
        let (router, permits) = (endpoints::router(&app), Arc::new(Semaphore::new(app.settings.connections)));
        let connections = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        let mut warned = None;
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener, &permits) => accepted,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly because file descriptors are used up until other connections end.
                    if warned.is_none_or(|at: Instant| at.elapsed() > BETWEEN_WARNINGS) {
                        warned = Some(Instant::now());
                        let error = limits::explained(error);
                        tracing::warn!(%error, "connections wait, because none can be accepted");
                    }
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (tls, router, watcher) = (tls.clone(), router.clone(), connections.watcher());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, peer, router, watcher).await,
                    Some(tls) => match timeout(TIMEOUT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve(stream, peer, router, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
                        Err(_) => tracing::debug!("the TLS handshake took too long"),
                    },
                }
                drop(permit);
            });
        }
        drop(listener);
        tracing::info!(running = app.metrics.in_flight(), "shutting down");
        let mut closed = std::pin::pin!(connections.shutdown());
        if timeout(app.settings.grace, &mut closed).await.is_err() {
            tracing::warn!(running = app.metrics.in_flight(), "shut down before all answers were finished");
            app.ended.send_replace(true);
            let _ = timeout(FLUSH, closed).await;
        }
    }
}

/// The next connection, with a permit of those that limit their number.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(Pin<Box<TimeoutStream<TcpStream>>>, Peer, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Each token is sent at once, without waiting for a full packet (Nagle's algorithm).
    stream.set_nodelay(true)?;
    Ok((with_timeout(stream), Peer(peer.ip()), permit))
}

/// The stream with a time limit for writes, which a client exceeds that reads nothing.
fn with_timeout<S: AsyncRead + AsyncWrite>(stream: S) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(TIMEOUT));
    Box::pin(stream)
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    watcher: Watcher,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection failed");
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |problem: String| Error::Tls { path, problem }
    };
    let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|source| error(path)(source.to_string()));
    let certificates = CertificateDer::pem_reader_iter(open(&tls.cert)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|source| error(&tls.cert)(format!("no certificate in PEM: {source}")))?;
    if certificates.is_empty() {
        return Err(error(&tls.cert)("holds no certificate; one begins with -----BEGIN CERTIFICATE-----".into()));
    }
    let key = PrivateKeyDer::from_pem_reader(open(&tls.key)?);
    let key = key.map_err(|source| error(&tls.key)(format!("no private key in PEM: {source}")))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.map_err(|source| error(&tls.key)(format!("does not match the certificate: {source}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    /// The response that a client reads ten bytes at a time, with a `pause` before each.
    async fn read_slowly(pause: Duration) -> String {
        let (mut client, server) = duplex(64);
        let router = Router::new().route("/", get(async || "x".repeat(500)));
        let connections = GracefulShutdown::new();
        tokio::spawn(serve(with_timeout(server), Peer([127, 0, 0, 1].into()), router, connections.watcher()));
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
    async fn slow_clients_are_served_and_stalled_ones_are_dropped() {
        let begin = Instant::now();
        let slow = read_slowly(TIMEOUT * 2 / 3).await;
        assert!(slow.starts_with("HTTP/1.1 200") && slow.ends_with(&"x".repeat(500)), "{slow}");
        assert!(begin.elapsed() > TIMEOUT * 20, "the whole response has no time limit");
        let stalled = read_slowly(TIMEOUT * 4 / 3).await;
        assert!(stalled.starts_with("HTTP/1.1 200") && stalled.len() == 64, "{stalled}");
    }
}
