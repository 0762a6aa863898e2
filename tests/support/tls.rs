//! TLS for tests: a certificate with an authority of its own, and a way for clients that speak bytes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// A certificate for `localhost` and `127.0.0.1`, its key, and the authority that signed it, each in a file.
pub(crate) struct Certificate {
    directory: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("encke-tls-").tempdir().expect("a temporary directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority for tests");
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("it can be written");
        let certificate = Self { directory, authority: Issuer::new(params, key) };
        certificate.renew();
        certificate
    }

    /// Puts another certificate of the same authority, with another key, in place.
    pub(crate) fn renew(&self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names for a certificate");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        std::fs::write(self.file(), certificate.pem()).expect("it can be written");
        std::fs::write(self.key(), key.serialize_pem()).expect("it can be written");
        readable_for(0o600, &self.key());
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// The options of a gateway that has it.
    pub(crate) fn options(&self) -> [String; 4] {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        ["--tls-cert".into(), text(self.file()), "--tls-key".into(), text(self.key())]
    }

    /// What a client of ours trusts.
    pub(crate) fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.authority()).expect("it was written");
        roots.add(authority).expect("it is an authority's");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has suites for both")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

pub(crate) fn readable_for(mode: u32, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// A port of its own that speaks plainly, and TLS to a gateway: so every client of bytes, and every test of one, tests the
/// gateway over TLS. Ends are passed on as what they are: a close, a reset.
pub(crate) struct Front {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Front {
    pub(crate) fn of(gateway: &str, certificate: &Certificate) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        listener.set_nonblocking(true).expect("a socket can be so");
        let (gateway, connector) = (gateway.to_owned(), certificate.connector());
        let tasks = runtime.handle().clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            while let Ok((client, _)) = listener.accept().await {
                // Whoever is gone in the middle is no failure: the test sees what became of it.
                let (gateway, connector) = (gateway.clone(), connector.clone());
                tasks.spawn(async move { drop(pass(client, &gateway, &connector).await) });
            }
        });
        Self { address, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Bytes that may be under way on each side.
const HELD: usize = 64 << 10;

async fn pass(mut client: TcpStream, gateway: &str, connector: &TlsConnector) -> io::Result<()> {
    client.set_nodelay(true)?;
    let gateway = TcpStream::connect(gateway).await?;
    gateway.set_nodelay(true)?;
    // What a client does not take must not come to rest here.
    SockRef::from(&client).set_send_buffer_size(HELD)?;
    SockRef::from(&gateway).set_recv_buffer_size(HELD)?;
    let mut gateway = connector.connect(ServerName::try_from("localhost").expect("a name"), gateway).await?;
    let passed = copy_bidirectional(&mut client, &mut gateway).await;
    if passed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
        SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO))?;
        SockRef::from(gateway.get_ref().0).set_linger(Some(std::time::Duration::ZERO))?;
    }
    passed.map(drop)
}
