//! Certificates and keys that can be used, and those that cannot: each says what to mend, and shows nothing of a key.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::KEY;
use crate::support::PATIENCE;
use crate::support::tls::{Certificate, readable_for};

/// A directory in which certificates and keys are made.
struct Made(TempDir);

impl Made {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// Runs `openssl` in the directory.
    #[track_caller]
    fn openssl(&self, line: &str) {
        let output = Command::new("openssl").args(line.split(' ')).current_dir(self.0.path()).output();
        let output = output.expect("openssl runs");
        assert!(output.status.success(), "openssl {line}: {output:?}");
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.path().join(name), content).expect("it can be written");
        readable_for(0o600, &self.0.path().join(name));
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect("it is there")
    }

    /// What `encke check` says of a pair: whether it is good, and its words.
    fn check(&self, certificate: &str, key: &str) -> (bool, String) {
        let (certificate, key) = (self.path(certificate), self.path(key));
        check(&[("ENCKE_TLS_CERT", &certificate), ("ENCKE_TLS_KEY", &key)])
    }
}

fn check(env: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    let output = command.arg("check").env("ENCKE_PUBLISH_KEY", KEY).envs(env.iter().copied()).output();
    let output = output.expect("encke runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn keys_of_every_common_form_can_be_used() {
    let made = Made::new();
    let certify = |key: &str| made.openssl(&format!("req -x509 -key {key} -out cert.pem -subj /CN=localhost"));
    for (form, make) in [
        ("PKCS #8, RSA", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem"),
        ("PKCS #1", "rsa -in key.pem -traditional -out key.pem"),
        ("PKCS #8, P-256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"),
        ("SEC 1", "ec -in key.pem -out key.pem"),
        // With its parameters in a block before it, as older manuals have it.
        ("SEC 1, P-384", "ecparam -name secp384r1 -genkey -out key.pem"),
        ("Ed25519", "genpkey -algorithm ED25519 -out key.pem"),
    ] {
        made.openssl(make);
        readable_for(0o600, Path::new(&made.path("key.pem")));
        certify("key.pem");
        assert_eq!(made.check("cert.pem", "key.pem"), (true, String::new()), "{form}");
    }
    // Both in one file, as some tools want it, with words between the blocks.
    made.write("both.pem", &format!("A gateway's\n{}and its key\n{}", made.read("cert.pem"), made.read("key.pem")));
    assert_eq!(made.check("both.pem", "both.pem"), (true, String::new()));
}

#[test]
fn a_pair_that_cannot_be_used_is_told_with_what_to_mend() {
    let (made, pair, other) = (Made::new(), Certificate::new(), Certificate::new());
    let text = |path: &Path| std::fs::read_to_string(path).expect("it is there");
    made.write("cert.pem", &text(&pair.file()));
    made.write("chain.pem", &(text(&pair.file()) + &text(&pair.authority())));
    made.write("reversed.pem", &(text(&pair.authority()) + &text(&pair.file())));
    made.write("key.pem", &text(&pair.key()));
    made.write("other.pem", &text(&other.key()));
    made.write("empty", "");
    made.write("cut.pem", &text(&pair.key())[..80]);
    made.write("nonsense.pem", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0-secret-secret\n-----END PRIVATE KEY-----\n");
    made.write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    made.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp521r1 -out odd.pem");
    made.openssl("req -x509 -key odd.pem -out odd-cert.pem -subj /CN=localhost");
    made.openssl("ec -in key.pem -aes128 -passout pass:secret -out encrypted-sec1.pem");
    made.openssl("pkcs8 -topk8 -in key.pem -passout pass:secret -out encrypted.pem");

    assert_eq!(made.check("cert.pem", "key.pem"), (true, String::new()));
    assert_eq!(made.check("chain.pem", "key.pem"), (true, String::new()));
    let secret: Vec<String> = made.read("key.pem").lines().skip(1).take(2).map(str::to_owned).collect();
    let refused = |certificate: &str, key: &str, words: &str| {
        let (good, told) = made.check(certificate, key);
        assert!(!good && told.contains(words), "{certificate}, {key}: {words:?} is not in {told}");
        assert_eq!(told.trim().lines().count(), 1, "{told}");
        assert!(!told.contains("c2VjcmV0") && secret.iter().all(|line| !told.contains(line)), "{told}");
    };
    refused("cert.pem", "other.pem", "does not fit the first certificate");
    refused("reversed.pem", "key.pem", "the gateway's own; those that lead to its authority follow it");
    refused("nowhere.pem", "key.pem", "the certificate in");
    refused("cert.pem", "nowhere.pem", "nowhere.pem cannot be read: No such file");
    refused("empty", "key.pem", "holds no certificate");
    refused("key.pem", "key.pem", "holds no certificate");
    refused("cert.pem", "cert.pem", "holds no private key");
    refused("cert.pem", "cut.pem", "cut.pem is no well-formed PEM");
    refused("cert.pem", "nonsense.pem", "nonsense.pem is no well-formed PEM");
    refused("junk.pem", "key.pem", "no X.509 certificate");
    refused("odd-cert.pem", "odd.pem", "take ECDSA (P-256, P-384), Ed25519, or RSA");
    refused("cert.pem", "encrypted.pem", "is encrypted");
    refused("cert.pem", "encrypted-sec1.pem", "openssl pkey -in");

    let (good, told) = check(&[("ENCKE_TLS_CERT", &made.path("cert.pem"))]);
    assert!(!good && told.contains("tls-cert is of no use without tls-key"), "{told}");
    let (good, told) = check(&[("ENCKE_TLS_KEY", &made.path("key.pem"))]);
    assert!(!good && told.contains("tls-key is of no use without tls-cert"), "{told}");
}

#[test]
fn what_works_but_should_not_be_so_is_warned_of() {
    let pair = Certificate::new();
    let (certificate, key) = (pair.file(), pair.key());
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let both = [("ENCKE_TLS_CERT", &*certificate), ("ENCKE_TLS_KEY", &*key)];
    readable_for(0o644, &pair.key());
    let (good, told) = check(&both);
    assert!(good && told.contains("the private key in") && told.contains("(mode 644): chmod o="), "{told}");
    readable_for(0o600, &pair.key());
    let (good, told) = check(&[&both[..], &[("ENCKE_LISTEN", "unix:a,unix:b")]].concat());
    assert!(good && told.contains("Unix sockets are not encrypted"), "{told}");
    assert_eq!(check(&[&both[..], &[("ENCKE_LISTEN", "unix:a,systemd")]].concat()), (true, String::new()));
}

#[test]
fn a_start_with_a_wrong_pair_is_refused_as_the_check_refuses_it() {
    let (pair, other) = (Certificate::new(), Certificate::new());
    let (certificate, key) = (pair.file(), other.key());
    let args = ["--dev", "--tls-cert", &*certificate.to_string_lossy(), "--tls-key", &*key.to_string_lossy()];
    let mut process = crate::hostile::start::serve(&args, &[]);
    assert_eq!(process.wait(PATIENCE).code(), Some(1));
    assert!(process.errors().contains("does not fit the first certificate"), "{}", process.errors());
}
