# One image for all sub-commands of payouts, for example:
#   docker build -t payouts . && docker run --rm payouts version

FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
# Modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/payouts ./cmd/payouts \
    && mkdir /out/keys

# A helper of docker-compose.yml only: `payouts keygen`, run once, needs a shell
# to see whether it has run before.
FROM busybox:1.37.0-musl AS keys
COPY --from=build /out/payouts /payouts
# New volumes take owner and mode from here, so a process that is not root can write to them.
COPY --from=build --chown=65532:65532 --chmod=0700 /out/keys /keys
COPY --from=build --chown=65532:65532 --chmod=0700 /out/keys /keyset
COPY --chmod=0755 deploy/compose/keys.sh /keys.sh
USER 65532:65532
ENTRYPOINT ["/keys.sh"]

FROM gcr.io/distroless/static-debian12:nonroot@sha256:afa5c872c891853ca7fcf1f12c3edb23f7eeef36189728842dd51042ff57f7ab AS payouts
COPY --from=build /out/payouts /payouts
# As a number, so that Kubernetes' runAsNonRoot can see it.
USER 65532:65532
# 8080: Pike's webhooks (webhookgw); 9090: health and metrics (worker, webhookgw).
EXPOSE 8080 9090
ENTRYPOINT ["/payouts"]
