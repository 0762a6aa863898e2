//! Which intermediaries an answer names: by the fields that they add, or that they take away.
//!
//! A closed set. Anybody can write these fields, so they are good for advice and for nothing else.

use http::HeaderMap;

/// An intermediary, or a server that often is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Nginx,
    HaProxy,
    Apache,
    Envoy,
    Varnish,
    Caddy,
    Traefik,
    Lighttpd,
    Squid,
    Cloudflare,
    CloudFront,
    Fastly,
    Akamai,
    Google,
    Alb,
    Nlb,
    ApiGateway,
    AzureFrontDoor,
    AzureAppGateway,
    AzureAppService,
    AzureLoadBalancer,
    Iis,
    Heroku,
    IngressNginx,
    Node,
}

/// A hop and the field by which it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) hop: Hop,
    pub(super) by: String,
}

impl Hop {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Apache => "Apache httpd",
            Self::Envoy => "Envoy",
            Self::Varnish => "Varnish",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
            Self::Lighttpd => "lighttpd",
            Self::Squid => "Squid",
            Self::Cloudflare => "Cloudflare",
            Self::CloudFront => "Amazon CloudFront",
            Self::Fastly => "Fastly",
            Self::Akamai => "Akamai",
            Self::Google => "Google Cloud load balancing",
            Self::Alb => "AWS Application Load Balancer",
            Self::Nlb => "AWS Network Load Balancer",
            Self::ApiGateway => "AWS API Gateway",
            Self::AzureFrontDoor => "Azure Front Door",
            Self::AzureAppGateway => "Azure Application Gateway",
            Self::AzureAppService => "Azure App Service",
            Self::AzureLoadBalancer => "Azure Load Balancer",
            Self::Iis => "IIS",
            Self::Heroku => "the Heroku router",
            Self::IngressNginx => "ingress-nginx",
            Self::Node => "a proxy in Node.js",
        }
    }

    /// Whether tests met it. What is said of the others rests on documents alone.
    pub(super) fn is_tested(self) -> bool {
        matches!(
            self,
            Self::Nginx
                | Self::HaProxy
                | Self::Apache
                | Self::Envoy
                | Self::Varnish
                | Self::Caddy
                | Self::Traefik
                | Self::Lighttpd
                | Self::Squid
        )
    }
}

/// A field, a word in its value (lower case; empty: any), and whom that names.
const MARKS: &[(&str, &str, Hop)] = &[
    ("cf-ray", "", Hop::Cloudflare),
    ("server", "cloudflare", Hop::Cloudflare),
    ("x-amz-cf-id", "", Hop::CloudFront),
    ("via", "cloudfront", Hop::CloudFront),
    ("x-served-by", "cache-", Hop::Fastly),
    ("fastly-restarts", "", Hop::Fastly),
    ("server", "akamai", Hop::Akamai),
    ("x-akamai-transformed", "", Hop::Akamai),
    ("via", "google", Hop::Google),
    ("server", "awselb", Hop::Alb),
    ("x-amz-apigw-id", "", Hop::ApiGateway),
    ("apigw-requestid", "", Hop::ApiGateway),
    ("x-azure-ref", "", Hop::AzureFrontDoor),
    ("server", "microsoft-azure-application-gateway", Hop::AzureAppGateway),
    ("x-arr-log-id", "", Hop::AzureAppService),
    ("via", "vegur", Hop::Heroku),
    ("via", "heroku", Hop::Heroku),
    ("server", "heroku", Hop::Heroku),
    ("server", "nginx", Hop::Nginx),
    ("server", "openresty", Hop::Nginx),
    ("server", "tengine", Hop::Nginx),
    ("x-envoy-upstream-service-time", "", Hop::Envoy),
    ("server", "envoy", Hop::Envoy),
    ("server", "istio-envoy", Hop::Envoy),
    ("x-varnish", "", Hop::Varnish),
    ("via", "varnish", Hop::Varnish),
    ("via", "caddy", Hop::Caddy),
    ("server", "caddy", Hop::Caddy),
    ("via", "squid", Hop::Squid),
    ("server", "squid", Hop::Squid),
    ("server", "apache", Hop::Apache),
    ("server", "lighttpd", Hop::Lighttpd),
    ("server", "traefik", Hop::Traefik),
    ("server", "microsoft-iis", Hop::Iis),
    ("server", "haproxy", Hop::HaProxy),
    ("via", "haproxy", Hop::HaProxy),
    ("x-powered-by", "express", Hop::Node),
];

/// The hops that an answer names, each once. `is_encke`: the answer is a gateway's, whose own fields are known.
pub(super) fn marks(fields: &HeaderMap, is_encke: bool) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut add = |hop: Hop, by: String| {
        if marks.iter().all(|mark| mark.hop != hop) {
            marks.push(Mark { hop, by });
        }
    };
    for (name, word, hop) in MARKS {
        for value in fields.get_all(*name) {
            let value = value.to_str().unwrap_or_default();
            if value.to_ascii_lowercase().contains(word) {
                add(*hop, if word.is_empty() { (*name).to_owned() } else { format!("{name}: {}", short(value)) });
            }
        }
    }
    // It obeys the field and takes it away.
    if is_encke && !fields.contains_key("x-accel-buffering") {
        add(Hop::Nginx, "x-accel-buffering, which the gateway sends, is taken away".into());
    }
    marks
}

/// Fields that a hop has added and that name nobody known, for a person to look at.
pub(super) fn unknown(fields: &HeaderMap) -> Vec<String> {
    let told = ["via", "server", "x-cache", "x-cache-status"].iter().filter_map(|name| {
        let value = fields.get(*name)?.to_str().ok()?;
        let is_known = MARKS.iter().any(|(known, word, _)| known == name && value.to_ascii_lowercase().contains(word));
        (!is_known).then(|| format!("{name}: {}", short(value)))
    });
    told.collect()
}

/// As much of a value as fits on a line.
fn short(value: &str) -> String {
    value.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[track_caller]
    fn check(pairs: &[(&'static str, &'static str)], is_encke: bool, expected: &[Hop]) {
        let found: Vec<_> = marks(&fields(pairs), is_encke).into_iter().map(|mark| mark.hop).collect();
        assert_eq!(found, expected, "{pairs:?}");
    }

    #[test]
    fn hops_are_named_by_what_they_add_and_take_away() {
        check(&[("server", "nginx/1.22.1"), ("x-accel-buffering", "no")], true, &[Hop::Nginx]);
        check(&[], true, &[Hop::Nginx]);
        check(&[("x-accel-buffering", "no")], true, &[]);
        check(&[], false, &[]);
        check(&[("cf-ray", "8c"), ("server", "cloudflare")], false, &[Hop::Cloudflare]);
        check(&[("via", "1.1 google, 1.1 varnish")], false, &[Hop::Google, Hop::Varnish]);
        check(&[("server", "istio-envoy")], false, &[Hop::Envoy]);
    }

    #[test]
    fn what_names_nobody_is_kept_for_a_person() {
        let told = unknown(&fields(&[("via", "1.1 box"), ("server", "nginx"), ("x-cache", "MISS")]));
        assert_eq!(told, ["via: 1.1 box", "x-cache: MISS"]);
    }
}
