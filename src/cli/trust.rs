//! Whom the commands trust where `--ca` says so: the certificates of a file, in place of those of the system.
//!
//! A certificate of the file may be an authority's, or the gateway's own. `openssl req -x509` makes one that is both, and
//! webpki takes no authority for a server: that very certificate is taken all the same, within its time and for its names.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::CliError;

/// What a client is to trust.
pub(super) fn config(path: &Path) -> Result<ClientConfig, CliError> {
    let told = |why: &str| CliError::Failed(format!("{} {why}", path.display()));
    let content = std::fs::read(path).map_err(|error| told(&format!("cannot be read: {error}")))?;
    let pinned: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let pinned = pinned.map_err(|_| told("is no well-formed PEM (RFC 7468)"))?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(pinned.iter().cloned()).0 == 0 {
        return Err(told("holds no certificate: name the file with that of the gateway, or of its authority, in PEM"));
    }
    let provider = Arc::new(ring::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| told(&format!("cannot be used: {error}")))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .dangerous() // The verifier below is stricter than none: it asks for the very certificate.
        .with_custom_certificate_verifier(Arc::new(Pinned { pinned, usual }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Pinned {
    pinned: Vec<CertificateDer<'static>>,
    usual: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.usual.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // Both come after a look at the time. What rustls has no name for is about how a certificate may be used.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.pinned.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
