//! What changes when the configuration is read anew, and what of it waits for a restart.

use super::key::digests;
use super::{Configuration, Keep, KeyKind, ServeArgs, TopicRule};

/// The options that a running gateway takes over; all others need a restart.
macro_rules! reloaded {
    ($($option:ident),*) => {
        const RELOADED: &[&str] = &[$(stringify!($option)),*];

        fn take_over(used: &mut ServeArgs, read: ServeArgs) {
            $(used.$option = read.$option;)*
            used.publish_keys = read.publish_keys;
            used.admin_keys = read.admin_keys;
            used.identity = read.identity;
            used.topics = read.topics;
        }
    };
}

reloaded!(
    host,
    trusted_proxy,
    tls_cert,
    tls_key,
    publish_key_file,
    admin_key_file,
    read,
    cors_origin,
    pages,
    transports,
    heartbeat,
    retry,
    drain,
    event_bytes,
    batch_bytes,
    max_topics,
    log_level
);

/// What is new in a configuration, by the names of options; `publish key` and `admin key` are the keys,
/// `certificate` is that of TLS, `topics` are the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What takes effect now.
    pub now: Vec<String>,
    /// What takes effect at the next start.
    pub at_restart: Vec<String>,
}

impl Configuration {
    /// Takes over what a running gateway can, and says what that is. All else stays as it is used.
    pub fn take(&mut self, mut read: Self) -> Changes {
        let mut changes = Changes::default();
        // Whoever connects speaks TLS, or does not: that is said at the start.
        let other_protocol = self.args.identity.is_some() != read.args.identity.is_some();
        for (used, read) in self.settings.iter_mut().zip(read.settings) {
            if used.values == read.values {
                continue;
            }
            if is_reloaded(&used.name) && !(other_protocol && used.name.starts_with("tls-")) {
                changes.now.push(used.name.clone());
                *used = read;
            } else {
                changes.at_restart.push(used.name.clone());
            }
        }
        let keys = [
            (KeyKind::Publish, &self.args.publish_keys, &read.args.publish_keys),
            (KeyKind::Admin, &self.args.admin_keys, &read.args.admin_keys),
        ];
        let others = keys.iter().filter(|(_, used, read)| digests(used) != digests(read));
        changes.now.extend(others.map(|(kind, ..)| kind.to_string()));
        if other_protocol {
            let ServeArgs { tls_cert, tls_key, identity, .. } = self.args.clone();
            read.args = ServeArgs { tls_cert, tls_key, identity, ..read.args };
        } else if self.args.identity != read.args.identity {
            changes.now.push("certificate".into());
        }
        let but_for_keep = |rule: &TopicRule| TopicRule { keep: Keep::default(), ..rule.clone() };
        if !self.args.topics.iter().map(but_for_keep).eq(read.args.topics.iter().map(but_for_keep)) {
            changes.now.push("topics".into());
        }
        if self.kept != read.kept {
            changes.at_restart.push("keep of topics".into());
        }
        take_over(&mut self.args, read.args);
        changes
    }
}

/// Whether a running gateway takes this option over.
pub(super) fn is_reloaded(name: &str) -> bool {
    RELOADED.contains(&name.replace('-', "_").as_str())
}
