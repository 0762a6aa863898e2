//! The intermediaries: the shortest reverse proxy of each maker's documentation, the one timer that cuts streams written out
//! so that it can be short, and what `/diagnosis` advises followed to the letter.

use crate::support::proxy::Sheet;

/// What is known of one before it is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Species {
    /// Its label in reports.
    pub(super) product: &'static str,
    pub(super) sheet: Sheet,
    pub(super) timer: Timer,
    /// The vendor's defaults, but that the timer is [`Late::seconds`].
    pub(super) short: &'static str,
    /// How much later than that it cuts.
    pub(super) late: Late,
    /// With the advice followed.
    pub(super) mended: &'static str,
    /// What stands in the advice, word for word.
    pub(super) setting: &'static str,
    /// The same for that it holds answers back, if it does.
    pub(super) holds: Option<&'static str>,
}

/// What a timer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// How long the origin is silent.
    Idle,
    /// How old the answer is.
    Duration,
}

/// How late a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// By less than its thirtieth: the setting itself is found.
    No,
    /// By up to two seconds, now more and now less, as it counts whole ones: what is found is when it really cuts. Of how
    /// many seconds it has to be for that to look narrow.
    BySeconds { of: u32 },
}

impl Late {
    /// What timers are set to here.
    pub(super) const fn seconds(self) -> u32 {
        match self {
            Self::No => 6,
            Self::BySeconds { of } => of,
        }
    }
}

/// nginx 1.22.
pub(super) const NGINX: Species = Species {
    product: "nginx",
    sheet: Sheet {
        command: &["nginx", "-p", "{dir}", "-e", "stderr", "-c", "{dir}/nginx.conf"],
        files: &[(
            "nginx.conf",
            "
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {
        listen 127.0.0.1:{listen_port};
        location / {
            proxy_pass http://127.0.0.1:{origin_port};
            {settings}
        }
    }
}
",
        )],
    },
    timer: Timer::Idle,
    short: "proxy_read_timeout 6s;",
    late: Late::No,
    mended: "proxy_read_timeout 1h;",
    setting: "`proxy_read_timeout`",
    holds: None,
};

/// nginx that was told not to heed what we ask of it.
pub(super) const NGINX_THAT_HOLDS: Species = Species {
    short: "proxy_read_timeout 6s;\n            proxy_ignore_headers X-Accel-Buffering;",
    mended: "proxy_read_timeout 1h;\n            proxy_ignore_headers X-Accel-Buffering;\n            proxy_buffering off;",
    holds: Some("`proxy_buffering off`"),
    ..NGINX
};

/// `HAProxy` 2.6, with the timers of Debian's file.
pub(super) const HAPROXY: Species = Species {
    product: "haproxy",
    sheet: Sheet {
        command: &["haproxy", "-db", "-f", "{dir}/haproxy.cfg"],
        files: &[(
            "haproxy.cfg",
            "
listen public
    mode http
    bind 127.0.0.1:{listen_port}
    timeout connect 5s
    {settings}
    server origin 127.0.0.1:{origin_port}
",
        )],
    },
    timer: Timer::Idle,
    short: "timeout client 6s\n    timeout server 6s",
    late: Late::No,
    mended: "timeout client 1h\n    timeout server 1h",
    setting: "`timeout server`",
    holds: None,
};

/// Apache httpd 2.4 with `mpm_event`. `ProxyTimeout` is what `Timeout` is, if nobody sets it.
pub(super) const APACHE: Species = Species {
    product: "apache",
    sheet: Sheet {
        command: &["/usr/sbin/apache2", "-D", "FOREGROUND", "-d", "{dir}", "-f", "{dir}/httpd.conf"],
        files: &[(
            "httpd.conf",
            "
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ServerName proxy.example
DefaultRuntimeDir {dir}
PidFile {dir}/httpd.pid
ErrorLog {dir}/error.log
StartServers 1
Listen 127.0.0.1:{listen_port}
ProxyPass / http://127.0.0.1:{origin_port}/
ProxyPassReverse / http://127.0.0.1:{origin_port}/
{settings}
",
        )],
    },
    timer: Timer::Idle,
    short: "Timeout 6",
    late: Late::No,
    mended: "Timeout 6\nProxyTimeout 3600",
    setting: "`ProxyTimeout`",
    holds: None,
};

/// Squid 5.7 as an accelerator, with a name of its own, or two of them meet in `/dev/shm`.
pub(super) const SQUID: Species = Species {
    product: "squid",
    sheet: Sheet {
        command: &["squid", "-N", "-d", "1", "-n", "zoo{listen_port}", "-f", "{dir}/squid.conf"],
        files: &[(
            "squid.conf",
            "
http_port 127.0.0.1:{listen_port} accel defaultsite=localhost no-vhost
cache_peer 127.0.0.1 parent {origin_port} 0 no-query originserver name=origin
http_access allow all
cache_peer_access origin allow all
{settings}
shutdown_lifetime 0 seconds
pid_filename {dir}/squid.pid
access_log none
cache_log {dir}/cache.log
cache_store_log none
coredump_dir {dir}
cache_mem 8 MB
pinger_enable off
visible_hostname proxy.example
",
        )],
    },
    timer: Timer::Idle,
    short: "read_timeout 30 seconds",
    late: Late::BySeconds { of: 30 },
    mended: "read_timeout 1 hour",
    setting: "`read_timeout`",
    holds: None,
};

/// Varnish 7.1 with the VCL that it ships.
pub(super) const VARNISH: Species = Species {
    product: "varnish",
    sheet: Sheet {
        command: &[
            "varnishd",
            "-F",
            "-j",
            "none",
            "-n",
            "{dir}",
            "-a",
            "127.0.0.1:{listen_port}",
            "-f",
            "{dir}/default.vcl",
            "-s",
            "malloc,16m",
        ],
        files: &[(
            "default.vcl",
            "
vcl 4.1;
backend default {
    .host = \"127.0.0.1\";
    .port = \"{origin_port}\";
}
{settings}
",
        )],
    },
    timer: Timer::Idle,
    short: "sub vcl_backend_fetch { set bereq.between_bytes_timeout = 6s; }",
    late: Late::No,
    mended: "sub vcl_backend_fetch { set bereq.between_bytes_timeout = 1h; }",
    setting: "`set bereq.between_bytes_timeout = 1h;`",
    holds: None,
};

/// Caddy 2.6 of Debian: one line.
pub(super) const CADDY_2_6: Species = Species {
    product: "caddy",
    sheet: Sheet {
        command: &["caddy", "run", "--config", "{dir}/Caddyfile", "--adapter", "caddyfile"],
        files: &[("Caddyfile", CADDYFILE)],
    },
    timer: Timer::Idle,
    short: "transport http {\n            read_timeout 6s\n        }",
    late: Late::No,
    mended: "transport http {\n            read_timeout 1h\n        }",
    setting: "`read_timeout` of that `transport http`",
    holds: None,
};

/// Caddy 2.11.
pub(super) const CADDY: Species = Species {
    sheet: Sheet {
        command: &["{bin}/caddy", "run", "--config", "{dir}/Caddyfile", "--adapter", "caddyfile"],
        files: &[("Caddyfile", CADDYFILE)],
    },
    ..CADDY_2_6
};

const CADDYFILE: &str = "
{
    admin off
    auto_https off
}
http://:{listen_port} {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{origin_port} {
        {settings}
    }
}
";

/// Envoy 1.40 with a listener, a route and a cluster, as in its guide. Without hot restart, so that several can run.
pub(super) const ENVOY: Species = Species {
    product: "envoy",
    sheet: Sheet {
        command: &[
            "{bin}/envoy",
            "-c",
            "{dir}/envoy.yaml",
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ],
        files: &[(
            "envoy.yaml",
            r#"
static_resources:
  listeners:
  - name: public
    address:
      socket_address: { address: 127.0.0.1, port_value: {listen_port} }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: public
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: origin
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: origin, {settings} }
  clusters:
  - name: origin
    connect_timeout: 5s
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: { address: 127.0.0.1, port_value: {origin_port} }
"#,
        )],
    },
    timer: Timer::Duration,
    short: "timeout: 6s",
    late: Late::No,
    mended: "timeout: 0s",
    setting: "`timeout: 0s` at that route",
    holds: None,
};

/// The other timer of Envoy, which shows when the first is off: no byte in either direction.
pub(super) const ENVOY_IDLE: Species = Species {
    timer: Timer::Idle,
    short: "timeout: 0s, idle_timeout: 6s",
    mended: "timeout: 0s, idle_timeout: 0s",
    setting: "`idle_timeout` of that route",
    ..ENVOY
};

/// Traefik 3.7 with one entry point and the file provider. Its timer is a deadline that only a write meets.
pub(super) const TRAEFIK: Species = Species {
    product: "traefik",
    sheet: Sheet {
        command: &["{bin}/traefik", "--configFile={dir}/traefik.yaml"],
        files: &[
            (
                "traefik.yaml",
                r#"
global:
  checkNewVersion: false
  sendAnonymousUsage: false
log:
  level: ERROR
entryPoints:
  web:
    address: "127.0.0.1:{listen_port}"
    transport:
      respondingTimeouts:
        {settings}
providers:
  file:
    filename: "{dir}/routes.yaml"
    watch: false
"#,
            ),
            (
                "routes.yaml",
                r#"
http:
  routers:
    all:
      entryPoints: ["web"]
      rule: "PathPrefix(`/`)"
      service: origin
  services:
    origin:
      loadBalancer:
        servers:
        - url: "http://127.0.0.1:{origin_port}"
"#,
            ),
        ],
    },
    timer: Timer::Duration,
    short: "writeTimeout: 6s",
    late: Late::No,
    mended: "writeTimeout: 0s",
    setting: "`transport.respondingTimeouts.writeTimeout: 0`",
    holds: None,
};

/// lighttpd 1.4 with `mod_proxy`, which holds whole answers unless it is told not to.
pub(super) const LIGHTTPD: Species = Species {
    product: "lighttpd",
    sheet: Sheet {
        command: &["lighttpd", "-D", "-f", "{dir}/lighttpd.conf"],
        files: &[(
            "lighttpd.conf",
            r#"
server.modules = ( "mod_proxy" )
server.document-root = "{dir}"
server.bind = "127.0.0.1"
server.port = {listen_port}
server.upload-dirs = ( "{dir}" )
{settings}
"#,
        )],
    },
    timer: Timer::Idle,
    short: r#"proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {origin_port}, "read-timeout" => 30 )) )"#,
    late: Late::BySeconds { of: 30 },
    mended: r#"
proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => {origin_port}, "read-timeout" => 3600 )) )
server.stream-response-body = 2
"#,
    setting: "`read-timeout` of that `proxy.server`",
    holds: Some("`server.stream-response-body = 2`"),
};
