//! Reads the fields of a request, one by one, and judges at the end what they tell together.
//!
//! With several hops the product is the nearest to us that can be told, in this order:
//! 1. who wrote the head, by its manner: small letters (`HAProxy`, Envoy, Node), HTTP/1.0 or fields put in front
//!    (nginx), names sorted (Go: Caddy, Traefik). Only the last writer's manner is left, and not all of it: nginx,
//!    Varnish and lighttpd keep the small letters of readers who speak HTTP/2 with them;
//! 2. else by marks, the product that usually stands nearest: a CDN is before a provider's load balancer, this before
//!    what runs beside us; of two in the same place the one whose mark comes later, for most add theirs at the end.
//!
//! What cannot be told: intermediaries that add nothing (nginx in front of others; nginx with keep-alive towards us,
//! unless the reader spoke HTTP/2 with it; layer 4 and NAT), `HAProxy` behind Envoy or on HTTP/2 without `Host`, and
//! of Caddy and Traefik in a row which is the nearer.

use super::agent::Agent;
use super::products::{Mark, Place, Product, mark_of, named_by_user_agent, named_in_cdn_loop, named_in_via};
use super::signature::{MANY, Protocol, Signature};

/// What was seen so far, field by field.
pub(crate) struct Reading<'a> {
    protocol: Protocol,
    agent: Agent,
    envoy_timeout_ms: Option<u32>,
    fields: u16,
    /// Some name has a capital letter.
    capitals: bool,
    /// And some name that the client wrote has.
    client_capitals: bool,
    first_is_host: bool,
    /// No field that the client wrote was seen yet.
    front: bool,
    /// A field of forwarding, and `Connection: close`, that stand before all that the client wrote.
    forwarding_in_front: bool,
    close_in_front: bool,
    connection: bool,
    close: bool,
    sorted: Sorted<'a>,
    forwarded_for: u16,
    via: u16,
    forwarded: u16,
    seen: Seen,
    products: u32,
    nearest: Option<(Place, u16, Product)>,
    last_in_via: Option<Product>,
    server_at: u16,
    surrogate_at: Option<u16>,
    /// `X-Forwarded-Host` or `-Server` is a list: Apache adds to them, where others put their own in place.
    merged: bool,
}

/// Marks that tell only together.
#[derive(Default)]
struct Seen {
    host: bool,
    port: bool,
    proto: bool,
    server: bool,
    real_ip: bool,
    request_id: bool,
    request_uuid: bool,
    scheme: bool,
    request_start: bool,
    connect_time: bool,
    arr_log_id: bool,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            agent: Agent::Other,
            envoy_timeout_ms: None,
            fields: 0,
            capitals: false,
            client_capitals: false,
            first_is_host: false,
            front: true,
            forwarding_in_front: false,
            close_in_front: false,
            connection: false,
            close: false,
            sorted: Sorted::default(),
            forwarded_for: 0,
            via: 0,
            forwarded: 0,
            seen: Seen::default(),
            products: 0,
            nearest: None,
            last_in_via: None,
            server_at: 0,
            surrogate_at: None,
            merged: false,
        }
    }

    /// Takes the next field.
    pub(crate) fn field(&mut self, name: &'a [u8], value: &[u8]) {
        self.fields = self.fields.saturating_add(1);
        self.capitals = self.capitals || name.iter().any(u8::is_ascii_uppercase);
        let Some(mark) = mark_of(name) else {
            self.front = false;
            self.client_capitals = self.client_capitals || name.iter().any(u8::is_ascii_uppercase);
            self.sorted.take(name);
            return;
        };
        match mark {
            // Who makes HTTP/2 from HTTP/1.1 may keep `Host` beside `:authority` (RFC 9113 § 8.3.1); HAProxy 2.6 does.
            Mark::Host if self.protocol == Protocol::Http2 => self.met(Product::HaProxy),
            Mark::Host => self.first_is_host |= self.fields == 1,
            Mark::UserAgent => {
                self.front = false;
                self.client_capitals |= name.iter().any(u8::is_ascii_uppercase);
                self.agent = Agent::of(value);
                if let Some(product) = named_by_user_agent(value) {
                    self.met(product);
                }
            }
            Mark::Connection => {
                self.connection = true;
                self.close |= value.eq_ignore_ascii_case(b"close");
                self.close_in_front |= self.front && self.close;
                self.sorted.take(name);
            }
            mark => {
                self.forwarding_in_front |= self.front && mark.is_forwarding();
                // What is another's mark came to the nearest hop as the client's fields did. An id may be anybody's.
                self.front = self.front && (mark.is_forwarding() || mark == Mark::RequestId);
                self.sorted.take(name);
                self.of_the_way(mark, value);
            }
        }
    }

    /// A field that intermediaries add.
    fn of_the_way(&mut self, mark: Mark, value: &[u8]) {
        match mark {
            Mark::Of(product) => self.met(product),
            Mark::Via => {
                for entry in value.split(|b| *b == b',') {
                    self.via = self.via.saturating_add(1);
                    self.last_in_via = if self.via <= MOST_NAMED { named_in_via(entry) } else { None };
                    self.last_in_via.into_iter().for_each(|product| self.met(product));
                }
            }
            Mark::CdnLoop => value
                .split(|b| *b == b',')
                .filter_map(|entry| named_in_cdn_loop(entry.trim_ascii()))
                .for_each(|product| self.met(product)),
            Mark::ForwardedFor => self.forwarded_for = self.forwarded_for.saturating_add(entries(value)),
            Mark::Forwarded => self.forwarded = self.forwarded.saturating_add(entries(value)),
            Mark::ForwardedServer => {
                self.seen.server = true;
                self.server_at = self.fields;
                self.merged |= entries(value) > 1;
            }
            Mark::EnvoyTimeout => {
                self.envoy_timeout_ms = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                self.met(Product::Envoy);
            }
            Mark::Surrogate => self.surrogate_at = Some(self.fields),
            Mark::ForwardedHost => {
                self.seen.host = true;
                self.merged |= entries(value) > 1;
            }
            Mark::ForwardedPort => self.seen.port = true,
            Mark::ForwardedProto => self.seen.proto = true,
            Mark::RealIp => self.seen.real_ip = true,
            Mark::RequestId => {
                self.seen.request_id = true;
                self.seen.request_uuid |= is_uuid(value);
            }
            Mark::Scheme => self.seen.scheme = true,
            Mark::RequestStart => self.seen.request_start = true,
            Mark::ConnectTime => self.seen.connect_time = true,
            Mark::ArrLogId => self.seen.arr_log_id = true,
            Mark::Host | Mark::Connection | Mark::UserAgent => {}
        }
    }

    /// A mark of `product` in the field that is being read.
    fn met(&mut self, product: Product) {
        self.met_at(product, self.fields);
    }

    fn met_at(&mut self, product: Product, at: u16) {
        self.met_in(product.place(), product, at);
    }

    fn met_in(&mut self, place: Place, product: Product, at: u16) {
        self.products |= product.bit();
        // In `Via` the later entry wins too, though it is in the same field.
        if self.nearest.is_none_or(|(other, where_, _)| (place, at) >= (other, where_)) {
            self.nearest = Some((place, at, product));
        }
    }

    fn has(&self, product: Product) -> bool {
        self.products & product.bit() != 0
    }

    /// What all fields tell.
    pub(crate) fn signature(mut self) -> Signature {
        self.met_in_company();
        let small = self.fields > 0 && !self.capitals && self.protocol != Protocol::Http2;
        let writer = self.writer(small);
        writer.into_iter().for_each(|product| self.products |= product.bit());
        let marked = self.nearest.map(|(_, _, product)| product);
        let product =
            writer.or(marked).unwrap_or(if self.has_forwarding() { Product::Unknown } else { Product::Direct });
        Signature {
            product,
            hops: self.hops(product),
            protocol: self.protocol,
            agent: self.agent,
            envoy_timeout_ms: self.envoy_timeout_ms,
            lower_case_names: small,
        }
    }

    /// Products that only several marks together tell.
    fn met_in_company(&mut self) {
        let seen = &self.seen;
        let traefik = seen.server && seen.port;
        let apache = seen.server && (self.merged || !seen.port);
        let heroku = seen.request_start && seen.connect_time;
        let ingress = seen.scheme && seen.request_id;
        let arr = seen.arr_log_id && !self.has(Product::AzureAppService);
        let at = self.server_at;
        for (is_met, product, at) in [
            (traefik, Product::Traefik, at),
            (apache, Product::Apache, at),
            (heroku, Product::Heroku, 0),
            (ingress, Product::IngressNginx, 0),
            (arr, Product::Iis, 0),
        ] {
            if is_met {
                self.met_at(product, at);
            }
        }
        // A forward proxy does not say this; one that does stands where its mark says.
        if let (true, Some(at)) = (self.has(Product::Squid), self.surrogate_at) {
            self.met_in(Place::Beside, Product::Squid, at);
        }
        // Made from the other, so both marks are one hop's.
        for (whole, part) in [(Product::Fastly, Product::Varnish), (Product::AwsApiGateway, Product::AwsAlb)] {
            if self.has(whole) && self.has(part) {
                self.products &= !part.bit();
                if self.nearest.is_some_and(|(_, _, product)| product == part) {
                    self.nearest = Some((whole.place(), 0, whole));
                }
            }
        }
    }

    /// Who wrote this head, if its manner tells. `small`: no name has a capital letter, on HTTP/1.x.
    fn writer(&mut self, small: bool) -> Option<Product> {
        if self.protocol == Protocol::Http2 {
            return None;
        }
        if small {
            return self.writer_of_small_letters();
        }
        if let Some(product) = self.writer_in_go() {
            return Some(product);
        }
        let nginx = match self.protocol {
            // By default nginx before 1.29.7 speaks HTTP/1.0 with origins, `Connection: close` in front.
            Protocol::Http10 => self.close_in_front || self.forwarding_in_front,
            // Fields of `proxy_set_header` stand in front of the client's, and Host is the first in every example.
            Protocol::Http11 | Protocol::Http2 => self.forwarding_in_front && self.first_is_host,
        };
        match nginx || self.is_http_2_below_a_host() {
            true if self.has(Product::IngressNginx) => Some(Product::IngressNginx),
            true => Some(Product::Nginx),
            false => None,
        }
    }

    /// The reader's names are small, as HTTP/2 gives them, and only `Host` is not: so nginx writes, with keep-alive,
    /// which leaves no other sign. Others that keep the reader's letters (Varnish, lighttpd, CDNs) add marks.
    fn is_http_2_below_a_host(&self) -> bool {
        let unmarked = self.nearest.is_none() && !self.has_forwarding();
        unmarked && self.first_is_host && self.agent.writes_capitals() && !self.client_capitals
    }

    fn writer_of_small_letters(&mut self) -> Option<Product> {
        let marked = self.nearest.map(|(_, _, product)| product);
        if self.has(Product::Envoy) {
            return Some(Product::Envoy);
        }
        if let Some(product) = marked.filter(|product| product.may_write_small()) {
            return Some(product);
        }
        // With its route's `timeout: 0s` Envoy leaves its own field out, and still adds both of these.
        if self.seen.proto && self.seen.request_uuid {
            return Some(Product::Envoy);
        }
        // Node's fetch writes small letters itself, but never without `connection`, which HAProxy takes off.
        let rewritten =
            marked.is_some() || self.agent.writes_capitals() || (self.agent == Agent::Node && !self.connection);
        if !rewritten {
            return None;
        }
        if self.protocol == Protocol::Http10 {
            // HAProxy keeps the version that it was spoken to in: this is nginx's.
            self.products |= Product::Nginx.bit();
            return Some(Product::HaProxy);
        }
        // http-proxy has no keep-alive unless it is given an agent; HAProxy only adds this with `option httpclose`.
        Some(if self.close { Product::NodeProxy } else { Product::HaProxy })
    }

    /// Go's `net/http` writes names sorted and each part of them with a capital.
    fn writer_in_go(&self) -> Option<Product> {
        if !self.sorted.holds() || self.merged {
            return None;
        }
        let seen = &self.seen;
        match () {
            () if self.last_in_via == Some(Product::Caddy) => Some(Product::Caddy),
            () if self.has(Product::Traefik) => Some(Product::Traefik),
            // Caddy before 2.11 has no `Via`. Behind Go's own ReverseProxy with SetXForwarded it looks the same.
            () if self.forwarded_for > 0 && seen.host && seen.proto => Some(Product::Caddy),
            () => None,
        }
    }

    /// Whether some hop must have been, though none that can be told.
    fn has_forwarding(&self) -> bool {
        let seen = &self.seen;
        let added = seen.host || seen.port || seen.proto || seen.real_ip || seen.scheme;
        self.forwarded_for > 0 || self.via > 0 || self.forwarded > 0 || added || self.surrogate_at.is_some()
    }

    fn hops(&self, product: Product) -> u8 {
        if product == Product::Direct {
            return 0;
        }
        let products = u16::try_from(self.products.count_ones()).unwrap_or(u16::MAX);
        let listed = self.forwarded_for.max(self.via).max(self.forwarded);
        // nginx that sets no fields is in none of the lists.
        let unlisted = u16::from(product == Product::Nginx && !self.forwarding_in_front);
        let most = listed.saturating_add(unlisted).max(products);
        u8::try_from(most).unwrap_or(MANY).clamp(1, MANY)
    }
}

/// Whether names come as Go writes them: after `Host` and `User-Agent` all in order, and at the very end perhaps what
/// its client adds itself.
#[derive(Default)]
struct Sorted<'a> {
    before: &'a [u8],
    at_the_end: bool,
    broken: bool,
}

impl<'a> Sorted<'a> {
    fn take(&mut self, name: &'a [u8]) {
        if self.broken {
            return;
        }
        let in_order = self.before <= name;
        let added_last = matches!(name, b"Accept-Encoding" | b"Connection");
        self.broken = self.at_the_end || !(in_order || added_last) || !is_canonical(name);
        self.at_the_end |= !in_order;
        self.before = name;
    }

    fn holds(&self) -> bool {
        !self.broken && !self.before.is_empty()
    }
}

/// Whether a name is spelled as Go spells it: `X-Real-Ip`.
fn is_canonical(name: &[u8]) -> bool {
    let mut first = true;
    name.iter().all(|b| {
        let fits = if first { !b.is_ascii_lowercase() } else { !b.is_ascii_uppercase() };
        first = *b == b'-';
        fits
    })
}

/// Whether a value is spelled as a UUID (RFC 9562): `d7ae253f-6071-445e-845c-41e0ae1a881f`.
fn is_uuid(value: &[u8]) -> bool {
    let fits = |(at, b): (usize, &u8)| if matches!(at, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() };
    value.len() == 36 && value.iter().enumerate().all(fits)
}

/// How many entries a list has.
fn entries(value: &[u8]) -> u16 {
    u16::try_from(value.split(|b| *b == b',').count()).unwrap_or(u16::MAX)
}

/// How many entries of `Via` are read for names: reading one is dear.
const MOST_NAMED: u16 = 8;
