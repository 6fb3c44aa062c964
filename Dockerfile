# The image of Bourse: the program, the C library it needs, and nothing else: no shell, no package manager.
#
#   docker build -t bourse .
#   docker run -d --read-only -p 8000:8000 -v bourse:/var/lib/bourse bourse
#
# Base images can be others, such as a mirror's:
#   --build-arg BUILD_IMAGE=…   with Rust, a C and a C++ compiler, make and Perl
#   --build-arg BASE_IMAGE=…    with the C library of the build image, or a newer one
# A faster build of a slower program: --build-arg PROFILE=release
# A program that was built elsewhere, with BuildKit: --build-arg BINARY=prebuilt, from target/image/bourse
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=debian:bookworm-slim
ARG BINARY=build

FROM ${BUILD_IMAGE} AS build
ARG PROFILE=dist
ARG FEATURES=tls,kafka
WORKDIR /src
COPY . .
RUN cargo build --locked --package exchange --profile "$PROFILE" --features "$FEATURES" \
 && cp "target/$PROFILE/bourse" /bourse

FROM scratch AS prebuilt
# Builders that build every stage come by here without one: the licence keeps the list from being empty.
COPY LICENSE-MIT target/image/bours[e] /

FROM ${BINARY} AS binary

# All that the program needs at run time, in a tree of its own; with the public certificates, if the base image has them.
FROM ${BASE_IMAGE} AS tree
COPY --from=binary /bourse /tree/usr/bin/bourse
COPY crates/catalogue/demo.json /tree/var/lib/bourse/data.json
COPY crates/catalogue/demo.json /tree/usr/share/bourse/demo.json
RUN ldd /tree/usr/bin/bourse | grep -o '/[^ ]*' | xargs -I LIBRARY cp --parents -L LIBRARY /tree \
 && { test ! -e /etc/ssl/certs/ca-certificates.crt || cp --parents -L /etc/ssl/certs/ca-certificates.crt /tree; } \
 && mkdir -p /tree/etc /tree/tmp \
 && echo 'bourse:x:10001:10001::/var/lib/bourse:/sbin/nologin' > /tree/etc/passwd \
 && echo 'bourse:x:10001:' > /tree/etc/group \
 && echo 'hosts: files dns' > /tree/etc/nsswitch.conf \
 && chown -R 10001:10001 /tree/var/lib/bourse && chmod 1777 /tree/tmp

FROM scratch
COPY --from=tree /tree /
ENV PATH=/usr/bin BOURSE_LISTEN=0.0.0.0:8000 BOURSE_DATA_DIR=/var/lib/bourse
USER 10001:10001
# Where `generate-data` writes and `load-data` looks; a new volume begins with the demo catalogue in it.
WORKDIR /var/lib/bourse
VOLUME /var/lib/bourse
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["bourse", "health"]
ENTRYPOINT ["bourse"]
CMD ["serve"]
