#!/usr/bin/env bash
# Kafka, S3, Weaviate and Toxiproxy on loopback: as containers where an engine runs, otherwise as processes.
#   services.sh up|down|status [SERVER…]   starts, ends or lists all of them or some
#   services.sh during COMMAND…            runs a command with all of them up, and ends those that it started
#   services.sh fetch [SERVER…]            gets their programs, so that `up` need not, and kustomize for tests
# SERVICES_STATE is the folder of programs, data, logs and pids (.services); PORT_OFFSET is added to every port.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${SERVICES_STATE:-$here/../.services}
state=$(mkdir -p "$state" && cd "$state" && pwd -P)
mkdir -p "$state"/{bin,log,pid,data}

ALL=(kafka s3 weaviate toxiproxy)
TOOLS=(kustomize)
KUSTOMIZE_VERSION=v5.8.0
S3_VERSION=v1.8.0 WEAVIATE_VERSION=v1.39.0 TOXIPROXY_VERSION=v2.12.0
KAFKA=(-cp "$state/kafka/*")
BUCKETS=(assets tables)
READY_S=120

offset=${PORT_OFFSET:-0}
export KAFKA_PORT=$((9092 + offset)) KAFKA_CONTROLLER_PORT=$((9093 + offset))
export KAFKA_FAULTS_PORT=$((9094 + offset)) KAFKA_FAULTS_PROXY_PORT=$((9095 + offset))
export S3_PORT=$((7070 + offset)) TOXIPROXY_PORT=$((8474 + offset))
export WEAVIATE_PORT=$((8080 + offset)) WEAVIATE_GRPC_PORT=$((50051 + offset))
export WEAVIATE_GOSSIP_PORT=$((7100 + offset)) WEAVIATE_DATA_PORT=$((7101 + offset))
export WEAVIATE_RAFT_PORT=$((7102 + offset)) WEAVIATE_RAFT_RPC_PORT=$((7103 + offset))

die() { echo "services: $*" >&2; exit 1; }

# ---- what is known of each server ----

ports() {
  case $1 in
    kafka) echo "$KAFKA_PORT $KAFKA_CONTROLLER_PORT $KAFKA_FAULTS_PORT" ;;
    s3) echo "$S3_PORT" ;;
    toxiproxy) echo "$TOXIPROXY_PORT" ;;
    weaviate) echo "$WEAVIATE_PORT $WEAVIATE_GRPC_PORT $WEAVIATE_GOSSIP_PORT $WEAVIATE_DATA_PORT" \
      "$WEAVIATE_RAFT_PORT $WEAVIATE_RAFT_RPC_PORT" ;;
  esac
}

answers() { # a container of Kafka is healthy before `compose up --wait` ends
  case $1 in
    kafka) [ "$engine" ] || grep -q 'Kafka Server started' "$state/log/kafka.log" ;;
    s3) curl -sf -o /dev/null "http://127.0.0.1:$S3_PORT/health" ;;
    weaviate) curl -sf -o /dev/null "http://127.0.0.1:$WEAVIATE_PORT/v1/.well-known/ready" ;;
    toxiproxy) curl -sf -o /dev/null "http://127.0.0.1:$TOXIPROXY_PORT/version" ;;
  esac
}

fetch() {
  case $1 in
    kafka) fetch_kafka ;;
    s3) fetch_go "versitygw@$S3_VERSION" github.com/versity/versitygw/cmd/versitygw ;;
    weaviate) fetch_go "weaviate@$WEAVIATE_VERSION" github.com/weaviate/weaviate/cmd/weaviate-server ;;
    toxiproxy) fetch_go "toxiproxy@$TOXIPROXY_VERSION" github.com/Shopify/toxiproxy/v2/cmd/server ;;
    kustomize) fetch_go "kustomize@$KUSTOMIZE_VERSION" sigs.k8s.io/kustomize/kustomize/v5 ;;
  esac
}

launch() {
  case $1 in
    kafka)
      kafka_properties >"$state/kafka.properties"
      [ -e "$state/data/kafka/meta.properties" ] || format_kafka >"$state/log/kafka.log" 2>&1 ||
        die "Kafka's data folder cannot be made: $(tail -n 3 "$state/log/kafka.log")"
      start kafka java -Xmx512m -Dorg.apache.logging.log4j.level=INFO "${KAFKA[@]}" kafka.Kafka \
        "$state/kafka.properties" ;;
    s3)
      mkdir -p "$state/data/s3"
      start s3 "$state/bin/versitygw@$S3_VERSION" posix "$state/data/s3" ;;
    weaviate)
      PERSISTENCE_DATA_PATH=$state/data/weaviate start weaviate "$state/bin/weaviate@$WEAVIATE_VERSION" \
        --host 127.0.0.1 --port "$WEAVIATE_PORT" --scheme http ;;
    toxiproxy)
      start toxiproxy "$state/bin/toxiproxy@$TOXIPROXY_VERSION" -host 127.0.0.1 -port "$TOXIPROXY_PORT" ;;
  esac
}

# ---- programs ----

need() { command -v "$1" >/dev/null || die "$1 is not installed, and $2 needs it where no container engine runs"; }

fetch_kafka() {
  need java Kafka
  cmp -s "$here/pom.xml" "$state/kafka/pom.xml" && return
  need mvn Kafka
  rm -rf "$state/kafka" "$state/kafka.new"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$state/kafka.new" \
    >"$state/log/maven.log" 2>&1 || die "Kafka's jars cannot be had: $(tail -n 5 "$state/log/maven.log")"
  cp "$here/pom.xml" "$state/kafka.new"
  mv "$state/kafka.new" "$state/kafka"
}

fetch_go() { # PROGRAM@VERSION PACKAGE: the folder in between keeps half a build from counting as one
  [ -x "$state/bin/$1" ] && return
  need go "${1%@*}"
  echo "services: building $1"
  rm -rf "$state/bin/new"
  GOBIN=$state/bin/new go install "$2@${1#*@}"
  mv "$state/bin/new/"* "$state/bin/$1"
}

kafka_properties() {
  (
    # shellcheck source=/dev/null
    . "$here/kafka.env"
    while IFS='=' read -r name _; do
      key=${name#KAFKA_}
      key=${key//_/.}
      echo "${key,,}=${!name}"
    done < <(grep '^KAFKA_' "$here/kafka.env")
    echo "log.dirs=$state/data/kafka"
  )
}

format_kafka() {
  (
    # shellcheck source=/dev/null
    . "$here/kafka.env"
    java "${KAFKA[@]}" kafka.tools.StorageTool format --ignore-formatted -t "$CLUSTER_ID" -c "$state/kafka.properties"
  )
}

# ---- processes ----

start() { # SERVER COMMAND…: SERVICE_OF is the mark by which its process is known again
  : >"$state/log/$1.log"
  (
    set -a
    # shellcheck source=/dev/null
    if [ -e "$here/$1.env" ]; then . "$here/$1.env"; fi
    export SERVICE_OF=$state/$1
    exec setsid "${@:2}" >>"$state/log/$1.log" 2>&1 </dev/null
  ) &
  echo $! >"$state/pid/$1"
  while kill -0 $! 2>/dev/null && ! process "$1" >/dev/null; do sleep 0.05; done
}

process() { # its pid, if that process is the one that was started here
  local pid
  pid=$(cat "$state/pid/$1" 2>/dev/null) && grep -qzxF "SERVICE_OF=$state/$1" "/proc/$pid/environ" 2>/dev/null &&
    echo "$pid"
}

need_ports() {
  local port
  for port in $(ports "$1"); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port, which $1 needs, is taken by another process"
  done
}

wait_for() {
  local until=$((SECONDS + READY_S))
  until answers "$1"; do
    sleep 0.3
    running "$1" || die "$1 did not start: $(tail -n 5 "$state/log/$1.log")"
    ((SECONDS < until)) || die "$1 is not ready after $READY_S s: $(tail -n 5 "$state/log/$1.log")"
  done
}

end() {
  local server pid
  for server; do if pid=$(process "$server"); then kill "$pid"; fi; done
  for server; do
    for _ in {1..150}; do process "$server" >/dev/null || break; sleep 0.2; done
    if pid=$(process "$server"); then kill -KILL "$pid"; fi
    rm -f "$state/pid/$server"
  done
}

# ---- containers ----

engine() { { timeout 20 docker info && docker compose version; } >/dev/null 2>&1; }

compose() { docker compose --file "$here/../compose.yaml" "$@"; }

# ---- commands ----

running() { process "$1" >/dev/null || { [ "$engine" ] && [ "$(compose ps --quiet --status running "$1")" ]; }; }

not_running() { local server; for server; do running "$server" || echo "$server"; done; }

up() {
  local server missing
  mapfile -t missing < <(not_running "$@")
  if [ "$engine" ]; then
    ((${#missing[@]} == 0)) || compose up --detach --wait "${missing[@]}"
  else
    for server in "${missing[@]}"; do fetch "$server"; done
    for server in "${missing[@]}"; do need_ports "$server"; launch "$server"; done
  fi
  for server; do
    wait_for "$server"
    [ "$server" != s3 ] || make_buckets
  done
}

make_buckets() {
  local bucket answer
  for bucket in "${BUCKETS[@]}"; do
    answer=$(curl -s -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 --user test:testsecret \
      -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT "http://127.0.0.1:$S3_PORT/$bucket")
    [[ $answer == 200 || $answer == 409 ]] || die "S3 answers $answer where the bucket $bucket is to be made"
  done
}

down() {
  end "$@"
  if [ "$engine" ]; then compose rm --stop --force "$@"; fi
}

status() {
  local server
  for server; do
    if running "$server"; then echo "$server runs on $(ports "$server")"; else echo "$server is down"; fi
  done
}

during() {
  mapfile -t started < <(not_running "${ALL[@]}")
  trap '((${#started[@]} == 0)) || locked down "${started[@]}"' EXIT
  locked up "${ALL[@]}"
  "$@"
}

locked() { # one command at a time starts or ends servers; these do not inherit the lock
  (
    flock 9
    "$@" 9>&-
  ) 9>"$state/lock"
}

fetch_all() { for server; do fetch "$server"; done; }

command=${1:-}
shift || true
servers=("$@")
known=("${ALL[@]}")
if [ "$command" = fetch ]; then known=("${TOOLS[@]}" "${ALL[@]}"); fi
if [ $# = 0 ] || [ "$command" = during ]; then servers=("${known[@]}"); fi
for server in "${servers[@]}"; do
  [[ " ${known[*]} " == *" $server "* ]] || die "no server is called '$server': ${ALL[*]}"
done
if engine; then engine=docker; else engine=; fi
case $command in
  up) locked up "${servers[@]}" ;;
  down) locked down "${servers[@]}" ;;
  fetch) locked fetch_all "${servers[@]}" ;;
  status) status "${servers[@]}" ;;
  during) during "$@" ;;
  *) die "up, down, status, during or fetch; not '$command'" ;;
esac
