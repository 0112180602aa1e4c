//! What many sessions share: trust, identity, tickets.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The PEM files of a configuration; none of them: the platform's roots and no certificate of our own.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Authorities to trust, in place of the platform's.
    pub ca: Option<PathBuf>,
    /// Our certificate, and the chain to its authority.
    pub certificate: Option<PathBuf>,
    /// Its key, unencrypted; None where it stands in the file of the certificate.
    pub key: Option<PathBuf>,
}

/// Trust, identity and tickets of a client: TLS 1.2 and 1.3, every check on, no early data.
///
/// Cheap to clone; clones share the tickets, by which a later session with the same host is a short one.
#[derive(Clone)]
pub struct TlsConfig {
    pub(super) client: Arc<ClientConfig>,
    /// The system has no roots, so that nobody is trusted.
    pub(super) is_rootless: bool,
}

impl TlsConfig {
    /// Reads the files.
    ///
    /// The platform's roots are read once per process, from where `SSL_CERT_FILE` and `SSL_CERT_DIR` point or else from
    /// where the system keeps them. A system without any is no error here: then no server is trusted.
    pub fn new(files: &TlsFiles) -> Result<Self, ConfigError> {
        let roots = match &files.ca {
            Some(path) => Arc::new(authorities(path)?),
            None => platform_roots(),
        };
        let is_rootless = roots.is_empty();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let client = match (&files.certificate, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (None, Some(_)) => return Err(ConfigError::KeyWithoutCertificate),
            (Some(certificate), key) => {
                let key = key.as_ref().unwrap_or(certificate);
                builder
                    .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                    .map_err(|_| ConfigError::Invalid {
                        path: key.clone(),
                        expected: "the key of the certificate",
                    })?
            }
        };
        Ok(Self {
            client: Arc::new(client),
            is_rootless,
        })
    }
}

impl fmt::Debug for TlsConfig {
    /// Names no key and no certificate.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// A file cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else than it should.
    Invalid {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A key alone proves nothing.
    KeyWithoutCertificate,
}

impl Display for ConfigError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(formatter, "cannot read {}: {error}", path.display()),
            Self::Invalid { path, expected } => write!(formatter, "{} must hold {expected}", path.display()),
            Self::KeyWithoutCertificate => formatter.write_str("a key without a certificate, give both or neither"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Returns the platform's roots, read at the first call: that takes milliseconds.
///
/// rustls-native-certs and not rustls-platform-verifier: on Linux both read the same files, and this one does no more.
fn platform_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // Of what a system carries, some may be unusable; the others still count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    }))
}

fn authorities(path: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| ConfigError::Invalid {
            path: path.to_owned(),
            expected: "certificates of authorities",
        })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    certificates
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| ConfigError::Invalid {
            path: path.to_owned(),
            expected: "certificates in PEM",
        })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| ConfigError::Invalid {
        path: path.to_owned(),
        expected: "an unencrypted private key in PEM",
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    })
}
