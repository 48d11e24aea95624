//! Takes connections: so many, each with its limits of time; plain or over TLS. Stops in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use windrow_common::subjects::Subjects;

use crate::auth::Auth;
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::logs::Logs;
use crate::router::Router;
use crate::tls::Certificate;

/// Largest header of a request: signed ones have some hundred bytes, presigned ones some more.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Pause after a connection could not be taken, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway that listens and is connected to its cluster.
pub struct Server {
    listener: TcpListener,
    router: Arc<Router>,
    certificate: Option<Certificate>,
    header_timeout: Duration,
    stop_timeout: Duration,
    connections: Arc<Semaphore>,
}

impl Server {
    /// Connects to NATS, reads the certificate and listens.
    ///
    /// # Errors
    /// One of these fails.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let certificate = Certificate::load(&config.tls)?;
        let nats = config.nats.connect("windrow gateway").await.map_err(anyhow::Error::msg)?;
        let subjects = Subjects::new(config.cluster.clone());
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listen on `{}`", config.listen))?;
        let coordinator =
            Coordinator::new(nats.clone(), subjects.clone(), config.request_timeout.0);
        let router = Router {
            auth: Auth::new(config, &coordinator).map_err(anyhow::Error::msg)?,
            logs: Logs::new(nats, subjects, coordinator.clone()),
            coordinator,
            body_bytes_max: config.limits.body_kib * 1024,
            body_timeout: config.limits.body_timeout.0,
        };
        Ok(Self {
            listener,
            router: Arc::new(router),
            certificate,
            header_timeout: config.limits.header_timeout.0,
            stop_timeout: config.limits.stop_timeout.0,
            connections: Arc::new(Semaphore::new(config.limits.connections)),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `stop`; then takes no more, and ends when those that run have ended or the
    /// time for that is over.
    pub async fn run(self, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        if let Some(certificate) = self.certificate.clone() {
            connections.spawn(certificate.follow(stop.clone()));
        }
        loop {
            let (stream, permit) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            let (router, watcher) = (Arc::clone(&self.router), graceful.watcher());
            let header_timeout = self.header_timeout;
            let acceptor = self.certificate.as_ref().map(Certificate::acceptor);
            connections.spawn(async move {
                let _permit: OwnedSemaphorePermit = permit;
                let Some(acceptor) = acceptor else {
                    return serve(stream, router, header_timeout, watcher).await;
                };
                match timeout(header_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, router, header_timeout, watcher).await,
                    Ok(Err(error)) => debug!(%error, "no TLS connection"),
                    Err(_) => debug!("no TLS connection in time"),
                }
            });
        }
        drop(self.listener);
        info!("stopping");
        if timeout(self.stop_timeout, graceful.shutdown()).await.is_err() {
            warn!(timeout = ?self.stop_timeout, "requests were cut off");
        }
        connections.shutdown().await;
    }

    /// The next connection, once there is room for one.
    async fn accept(&self) -> (TcpStream, OwnedSemaphorePermit) {
        let permit = Arc::clone(&self.connections).acquire_owned();
        let permit = permit.await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%error, "small answers may wait");
                    }
                    return (stream, permit);
                }
                Err(error) => {
                    warn!(%error, "a connection could not be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Answers the requests of one connection, one after the other.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Arc<Router>,
    header_timeout: Duration,
    watcher: Watcher,
) {
    let service = service_fn(|request| {
        let router = Arc::clone(&router);
        async move { Ok::<_, Infallible>(router.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        debug!(%error, "a connection ended");
    }
}
