# syntax=docker/dockerfile:1
#
# One static binary on nothing else. Build it with
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag sidestream:0.1.0 .
#
# The same sources and the same image give the same binary: paths and Cargo.lock are fixed. The image's
# tag moves with every patch of Rust and of Debian: pin it by digest if the compilers and the bundle of
# authorities are to be fixed too.
ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src

# What a static build needs; the same script serves `make`.
COPY scripts/ensure.sh scripts/find-python.sh scripts/
RUN scripts/ensure.sh static

# The dependencies, with nothing in our own crates: built again only when this layer's files change.
COPY Cargo.toml Cargo.lock ./
COPY loadtest/Cargo.toml loadtest/Cargo.toml
COPY scripts/static-binary.sh scripts/
RUN mkdir -p src benches/fast_path loadtest/src loadtest/tests \
    && printf '//! Empty.\nfn main() {}\n' \
        | tee src/main.rs benches/fast_path/main.rs loadtest/tests/scenario.rs > loadtest/src/main.rs \
    && echo '//! Empty.' > src/lib.rs \
    && scripts/static-binary.sh

# Our own code. Its files are older than what was just built from empty ones: cargo would keep that.
COPY src/ src/
RUN touch src/main.rs src/lib.rs \
    && scripts/static-binary.sh /out

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sidestream" \
      org.opencontainers.image.description="SSE fan-out sidecar" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# For upstreams over TLS without a `ca` of their own.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE-APACHE LICENSE-MIT /licenses/
COPY --from=build /out/sidestream /sidestream
# By number: there is no /etc/passwd, and Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/sidestream"]
CMD ["run"]
