# Encke in a container: docker build -t encke . && docker run -p 8080:8080 -v encke:/var/lib/encke -e ENCKE_PUBLISH_KEY=… encke
# docs/deploy.md says more.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# Not built, but packages of the workspace, which has one lock file.
COPY benches/compare ./benches/compare
COPY benches/instructions ./benches/instructions
COPY fuzz ./fuzz
COPY tests/loom ./tests/loom
COPY src ./src
COPY static ./static
RUN cargo build --release --locked --bin encke

FROM debian:12.12-slim
# What `encke tail https://…` trusts.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/encke /usr/local/bin/encke
# Nobody else's number; a volume that is mounted here takes over the owner.
RUN install -d -o 10001 -g 10001 -m 700 /var/lib/encke
USER 10001:10001
WORKDIR /var/lib/encke
VOLUME /var/lib/encke
ENV ENCKE_LISTEN=0.0.0.0:8080 \
    ENCKE_DATA=/var/lib/encke \
    ENCKE_LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
# The admin address stays inside. bash is in the image and speaks to it; curl is not.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --start-interval=1s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8081 && printf 'GET /health/live HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '\"live\"' <&3"]
ENTRYPOINT ["encke"]
CMD ["serve"]
