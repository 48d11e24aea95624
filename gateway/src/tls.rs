//! The certificate and its key, read again when their files change.

use std::fs;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Tls;

/// Makes TLS connections with the newest certificate.
#[derive(Clone)]
pub(crate) struct Certificate {
    settings: Tls,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Certificate {
    /// From the files, if any are set.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub(crate) fn load(settings: &Tls) -> anyhow::Result<Option<Self>> {
        if settings.certificate.is_empty() {
            return Ok(None);
        }
        let current = Arc::new(RwLock::new(read(settings)?));
        Ok(Some(Self { settings: settings.clone(), current }))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Reads the files again whenever one has changed. What cannot be read changes nothing.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut seen = self.stamp();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.settings.reload.0) => {}
            }
            let stamp = self.stamp();
            if stamp == seen {
                continue;
            }
            match read(&self.settings) {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    seen = stamp;
                    info!("new certificate");
                }
                // Perhaps one of the two files is still the old one: look again.
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the certificate in use stays");
                }
            }
        }
    }

    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.settings.certificate, &self.settings.key].map(|file| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn read(settings: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    use anyhow::Context;
    let (file, key_file) = (&settings.certificate, &settings.key);
    let chain: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("read certificate `{file}`"))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .with_context(|| format!("read the certificate's key `{key_file}`"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the protocol versions of TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("use certificate `{file}` with key `{key_file}`"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
