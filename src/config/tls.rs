//! The certificate and the key by which the gateway speaks TLS: read from their files, and held against each other. No
//! message holds anything of a key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::key::warn_of_readers;

/// A certificate, the chain to its authority, and its key, which fit each other.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// The certificate and the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two is not named.
    #[error("{given} is of no use without {missing}: name both files, or none of them")]
    Half {
        /// The option that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("the {what} in {} cannot be read: {source}", path.display())]
    File {
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no PEM.
    #[error("{} is no well-formed PEM (RFC 7468)", .0.display())]
    NoPem(PathBuf),
    /// There is no certificate in its file.
    #[error(
        "{} holds no certificate: it should hold PEM blocks `-----BEGIN CERTIFICATE-----`, the gateway's own first, \
         then those that lead to its authority",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// There is no key in its file.
    #[error(
        "{} holds no private key: it should hold a PEM block `-----BEGIN PRIVATE KEY-----`, or one of an RSA or EC key",
        .0.display()
    )]
    NoKey(PathBuf),
    /// A passphrase would be needed.
    #[error(
        "the key in {path} is encrypted, and nobody can be asked for its passphrase: decrypt it for the gateway alone \
         (umask 077; openssl pkey -in {path} -out NEW)",
        path = .0.display()
    )]
    Encrypted(PathBuf),
    /// Keys of this kind are not known.
    #[error("the key in {} cannot be used: take ECDSA (P-256, P-384), Ed25519, or RSA of 2048 to 8192 bits", .0.display())]
    Unusable(PathBuf),
    /// The certificate cannot be taken apart.
    #[error("the first certificate in {} cannot be read: it is no X.509 certificate of version 3", .0.display())]
    Unreadable(PathBuf),
    /// They are of different pairs.
    #[error(
        "the key in {} does not fit the first certificate in {}, which has to be the gateway's own; those that lead to \
         its authority follow it",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

impl Identity {
    /// What rustls signs with.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

impl PartialEq for Identity {
    /// A certificate has one key.
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Reads both files; none if neither is named.
pub(super) fn read(
    certificate: Option<&Path>,
    key: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Option<Identity>, TlsError> {
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(TlsError::Half { given: "tls-cert", missing: "tls-key" }),
        (None, Some(_)) => return Err(TlsError::Half { given: "tls-key", missing: "tls-cert" }),
    };
    let chain = chain(certificate)?;
    let signing = ring::sign::any_supported_type(&private_key(key)?);
    warn_of_readers("private key", key, warnings);
    let certified = CertifiedKey::new(chain, signing.map_err(|_| TlsError::Unusable(key.to_owned()))?);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Some(Identity(Arc::new(certified)))),
        Err(Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(_) => Err(TlsError::Unreadable(certificate.to_owned())),
    }
}

fn content(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { what, path: path.to_owned(), source })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = content("certificate", path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(_) => Err(TlsError::NoPem(path.to_owned())),
    }
}

/// The first key of PKCS #8, PKCS #1 or SEC 1.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = content("private key", path)?;
    let encrypted = || memchr::memmem::find(&content, b"ENCRYPTED").is_some();
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| match error {
        _ if encrypted() => TlsError::Encrypted(path.to_owned()),
        PemError::NoItemsFound => TlsError::NoKey(path.to_owned()),
        _ => TlsError::NoPem(path.to_owned()),
    })
}
