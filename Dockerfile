# syntax=docker/dockerfile:1

# The build image brings what librdkafka and zstd are built with: gcc, g++, make.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package millpond \
    && install -D target/release/millpond /out/millpond

# The binary needs libc, libm and libgcc_s; the health checks of docker-compose.yml need bash.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="millpond" \
      org.opencontainers.image.description="A SQL-backed key-value store that takes writes at log speed" \
      org.opencontainers.image.licenses="Apache-2.0"
# A volume that is first mounted over this folder is the user's too.
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/millpond --create-home \
        --shell /usr/sbin/nologin millpond
COPY --from=build /out/millpond /usr/local/bin/millpond
USER 10001:10001
WORKDIR /var/lib/millpond
EXPOSE 7420 7421
STOPSIGNAL SIGTERM
ENTRYPOINT ["millpond"]
