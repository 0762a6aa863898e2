//! The intermediaries that can be told by what they do to a request: names, marks, and where they stand on a path.

/// An intermediary, or none. A closed set, so it can be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Product {
    /// No sign of an intermediary.
    Direct,
    /// nginx.
    Nginx,
    /// `HAProxy`.
    HaProxy,
    /// Apache httpd.
    Apache,
    /// Squid.
    Squid,
    /// Varnish Cache.
    Varnish,
    /// Caddy.
    Caddy,
    /// Envoy, and meshes and gateways made from it.
    Envoy,
    /// Traefik.
    Traefik,
    /// lighttpd.
    Lighttpd,
    /// AWS Application Load Balancer.
    AwsAlb,
    /// Amazon API Gateway.
    AwsApiGateway,
    /// Amazon `CloudFront`.
    CloudFront,
    /// Cloudflare, its tunnels too.
    Cloudflare,
    /// Fastly.
    Fastly,
    /// Google Cloud's load balancers.
    GoogleCloud,
    /// Azure Application Gateway.
    AzureAppGateway,
    /// Azure Front Door.
    AzureFrontDoor,
    /// Azure App Service.
    AzureAppService,
    /// Heroku's router.
    Heroku,
    /// ingress-nginx of Kubernetes.
    IngressNginx,
    /// IIS with Application Request Routing.
    Iis,
    /// npm's http-proxy and what is made from it: development servers.
    NodeProxy,
    /// Apache Traffic Server.
    TrafficServer,
    /// An intermediary that cannot be told further.
    Unknown,
}

/// Where an intermediary usually stands on the way from the reader to us, farthest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// On the reader's side: a company's proxy.
    Reader,
    /// A content delivery network.
    Network,
    /// A provider's load balancer or router.
    Provider,
    /// Beside us.
    Beside,
}

impl Product {
    /// Every one.
    pub const ALL: [Self; 25] = [
        Self::Direct,
        Self::Nginx,
        Self::HaProxy,
        Self::Apache,
        Self::Squid,
        Self::Varnish,
        Self::Caddy,
        Self::Envoy,
        Self::Traefik,
        Self::Lighttpd,
        Self::AwsAlb,
        Self::AwsApiGateway,
        Self::CloudFront,
        Self::Cloudflare,
        Self::Fastly,
        Self::GoogleCloud,
        Self::AzureAppGateway,
        Self::AzureFrontDoor,
        Self::AzureAppService,
        Self::Heroku,
        Self::IngressNginx,
        Self::Iis,
        Self::NodeProxy,
        Self::TrafficServer,
        Self::Unknown,
    ];

    /// The word for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Apache => "apache",
            Self::Squid => "squid",
            Self::Varnish => "varnish",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Lighttpd => "lighttpd",
            Self::AwsAlb => "aws_alb",
            Self::AwsApiGateway => "aws_api_gateway",
            Self::CloudFront => "cloudfront",
            Self::Cloudflare => "cloudflare",
            Self::Fastly => "fastly",
            Self::GoogleCloud => "google_cloud",
            Self::AzureAppGateway => "azure_app_gateway",
            Self::AzureFrontDoor => "azure_front_door",
            Self::AzureAppService => "azure_app_service",
            Self::Heroku => "heroku",
            Self::IngressNginx => "ingress_nginx",
            Self::Iis => "iis",
            Self::NodeProxy => "node_proxy",
            Self::TrafficServer => "traffic_server",
            Self::Unknown => "unknown",
        }
    }

    /// The name as its makers write it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Direct => "no intermediary",
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Apache => "Apache HTTP Server",
            Self::Squid => "Squid",
            Self::Varnish => "Varnish Cache",
            Self::Caddy => "Caddy",
            Self::Envoy => "Envoy",
            Self::Traefik => "Traefik Proxy",
            Self::Lighttpd => "lighttpd",
            Self::AwsAlb => "AWS Application Load Balancer",
            Self::AwsApiGateway => "Amazon API Gateway",
            Self::CloudFront => "Amazon CloudFront",
            Self::Cloudflare => "Cloudflare",
            Self::Fastly => "Fastly",
            Self::GoogleCloud => "Google Cloud Load Balancing",
            Self::AzureAppGateway => "Azure Application Gateway",
            Self::AzureFrontDoor => "Azure Front Door",
            Self::AzureAppService => "Azure App Service",
            Self::Heroku => "Heroku router",
            Self::IngressNginx => "Ingress NGINX Controller",
            Self::Iis => "IIS with Application Request Routing",
            Self::NodeProxy => "Node.js http-proxy",
            Self::TrafficServer => "Apache Traffic Server",
            Self::Unknown => "an unknown intermediary",
        }
    }

    /// Whether it was met for real: the tests hold heads that went through it. The others rest on documents alone.
    #[must_use]
    pub const fn is_tested(self) -> bool {
        matches!(
            self,
            Self::Direct
                | Self::Nginx
                | Self::HaProxy
                | Self::Apache
                | Self::Squid
                | Self::Varnish
                | Self::Caddy
                | Self::Envoy
                | Self::Traefik
                | Self::Lighttpd
        )
    }

    /// Where it usually stands. Squid is beside us only if it says that it is a surrogate.
    pub(crate) const fn place(self) -> Place {
        match self {
            Self::Direct | Self::Unknown | Self::Squid => Place::Reader,
            Self::CloudFront | Self::Cloudflare | Self::Fastly | Self::AzureFrontDoor => Place::Network,
            Self::AwsAlb
            | Self::AwsApiGateway
            | Self::GoogleCloud
            | Self::AzureAppGateway
            | Self::AzureAppService
            | Self::Heroku => Place::Provider,
            Self::Nginx
            | Self::HaProxy
            | Self::Apache
            | Self::Varnish
            | Self::Caddy
            | Self::Envoy
            | Self::Traefik
            | Self::Lighttpd
            | Self::IngressNginx
            | Self::Iis
            | Self::NodeProxy
            | Self::TrafficServer => Place::Beside,
        }
    }

    /// Whether it may itself write its marks in small letters on HTTP/1.1, by document or for want of one.
    pub(crate) const fn may_write_small(self) -> bool {
        matches!(self, Self::HaProxy | Self::Envoy | Self::NodeProxy | Self::GoogleCloud | Self::AzureAppGateway)
    }

    /// Its bit in a set of products.
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// What a header field is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Only this product adds it.
    Of(Product),
    /// `Via`, `CDN-Loop`: lists of intermediaries by name.
    Via,
    CdnLoop,
    /// Lists with an entry a hop, without names.
    ForwardedFor,
    Forwarded,
    /// Many add these; some only in company.
    ForwardedHost,
    ForwardedPort,
    ForwardedProto,
    ForwardedServer,
    RealIp,
    RequestId,
    Scheme,
    RequestStart,
    ConnectTime,
    ArrLogId,
    /// The field is of the way, not of the client, and says that Squid is a surrogate (Edge Architecture 1.0).
    Surrogate,
    EnvoyTimeout,
    Host,
    Connection,
    UserAgent,
}

impl Mark {
    /// Whether operators have their own proxy set it, with us in mind, and clients do not.
    pub(crate) const fn is_forwarding(self) -> bool {
        matches!(
            self,
            Self::ForwardedFor
                | Self::Forwarded
                | Self::ForwardedHost
                | Self::ForwardedPort
                | Self::ForwardedProto
                | Self::RealIp
                | Self::Scheme
        )
    }
}

/// What the field called `name` is to us, in whatever case.
///
/// Cost: the name is copied to the stack (at most 32 bytes) and matched by length first.
pub(crate) fn mark_of(name: &[u8]) -> Option<Mark> {
    let mut small = [0; LONGEST_NAME];
    let small = small.get_mut(..name.len())?;
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    let of = |product| Some(Mark::Of(product));
    match &*small {
        b"host" => Some(Mark::Host),
        b"connection" => Some(Mark::Connection),
        b"user-agent" => Some(Mark::UserAgent),
        b"via" => Some(Mark::Via),
        b"cdn-loop" => Some(Mark::CdnLoop),
        b"forwarded" => Some(Mark::Forwarded),
        b"surrogate-capability" => Some(Mark::Surrogate),
        b"x-forwarded-for" => Some(Mark::ForwardedFor),
        b"x-forwarded-host" => Some(Mark::ForwardedHost),
        b"x-forwarded-port" => Some(Mark::ForwardedPort),
        b"x-forwarded-proto" => Some(Mark::ForwardedProto),
        b"x-forwarded-server" => Some(Mark::ForwardedServer),
        b"x-real-ip" => Some(Mark::RealIp),
        b"x-request-id" => Some(Mark::RequestId),
        b"x-scheme" | b"x-forwarded-scheme" => Some(Mark::Scheme),
        b"x-request-start" => Some(Mark::RequestStart),
        b"connect-time" | b"total-route-time" => Some(Mark::ConnectTime),
        b"x-arr-log-id" => Some(Mark::ArrLogId),
        b"x-envoy-expected-rq-timeout-ms" => Some(Mark::EnvoyTimeout),
        b"x-envoy-external-address" | b"x-envoy-internal" | b"x-envoy-attempt-count" | b"x-envoy-original-path" => {
            of(Product::Envoy)
        }
        b"x-varnish" => of(Product::Varnish),
        b"x-host" => of(Product::Lighttpd),
        b"x-amzn-trace-id" => of(Product::AwsAlb),
        b"x-amzn-apigateway-api-id" => of(Product::AwsApiGateway),
        b"x-amz-cf-id" => of(Product::CloudFront),
        b"cf-ray" | b"cf-connecting-ip" => of(Product::Cloudflare),
        b"fastly-ff" | b"fastly-client-ip" => of(Product::Fastly),
        b"x-cloud-trace-context" => of(Product::GoogleCloud),
        b"x-appgw-trace-id" | b"x-original-host" => of(Product::AzureAppGateway),
        b"x-azure-ref" | b"x-azure-fdid" => of(Product::AzureFrontDoor),
        b"disguised-host" | b"was-default-hostname" | b"x-site-deployment-id" => of(Product::AzureAppService),
        _ => None,
    }
}

/// The product that one entry of `Via` names: its pseudonym or its comment, at most 128 bytes of it.
///
/// Cost: one pass over the entry for each of ten words; `Via` is rare.
pub(crate) fn named_in_via(entry: &[u8]) -> Option<Product> {
    let entry = &entry[..entry.len().min(LONGEST_ENTRY)];
    VIA_WORDS.iter().find(|(word, _)| contains(entry, word.as_bytes())).map(|(_, product)| *product)
}

/// The product that one entry of `CDN-Loop` names (RFC 8586).
pub(crate) fn named_in_cdn_loop(entry: &[u8]) -> Option<Product> {
    let starts = |word: &[u8]| entry.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match () {
        () if starts(b"cloudflare") => Some(Product::Cloudflare),
        () if starts(b"fastly") => Some(Product::Fastly),
        () => None,
    }
}

/// The product whose own `User-Agent` this is: two replace the client's.
pub(crate) fn named_by_user_agent(value: &[u8]) -> Option<Product> {
    match () {
        () if value.starts_with(b"AmazonAPIGateway") => Some(Product::AwsApiGateway),
        () if value.starts_with(b"Amazon CloudFront") => Some(Product::CloudFront),
        () => None,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// Words that only the product's own `Via` holds. Traffic Server before Apache, whose name it carries.
const VIA_WORDS: [(&str, Product); 11] = [
    ("(squid", Product::Squid),
    (" caddy", Product::Caddy),
    ("varnish", Product::Varnish),
    ("(cloudfront)", Product::CloudFront),
    (" google", Product::GoogleCloud),
    (" vegur", Product::Heroku),
    (" heroku-router", Product::Heroku),
    ("amazonapigateway", Product::AwsApiGateway),
    ("trafficserver", Product::TrafficServer),
    ("(apache/", Product::Apache),
    (" envoy", Product::Envoy),
];

/// The longest name that is a mark has 30 bytes.
const LONGEST_NAME: usize = 32;
const LONGEST_ENTRY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_has_a_label_and_a_bit_of_its_own() {
        for (number, product) in Product::ALL.into_iter().enumerate() {
            assert_eq!(product as usize, number, "ALL is in the order of the variants");
            assert!(product.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{product:?}");
            let same = Product::ALL.iter().filter(|other| other.as_str() == product.as_str()).count();
            assert_eq!(same, 1, "{product:?}");
            assert!(!product.title().is_empty());
        }
    }

    #[test]
    fn names_are_matched_in_any_case_and_whole() {
        assert_eq!(mark_of(b"X-VARNISH"), Some(Mark::Of(Product::Varnish)));
        assert_eq!(mark_of(b"X-Varnish-Cache"), None);
        assert_eq!(mark_of(b""), None);
        assert_eq!(mark_of(&[b'x'; 5000]), None);
    }

    #[test]
    fn via_is_read_by_words_that_are_the_products_own() {
        assert_eq!(named_in_via(b"1.1 proxy.example (squid/5.7)"), Some(Product::Squid));
        assert_eq!(named_in_via(b" 2.0 a1b2.cloudfront.net (CloudFront)"), Some(Product::CloudFront));
        assert_eq!(named_in_via(b"http/1.1 edge (ApacheTrafficServer/9.2.5)"), Some(Product::TrafficServer));
        assert_eq!(named_in_via(b"1.1 google"), Some(Product::GoogleCloud));
        assert_eq!(named_in_via(b"1.1 gateway.example"), None);
    }
}
