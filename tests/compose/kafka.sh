#!/usr/bin/env bash
# Starts the broker of docker-compose.yml as the harness starts its own: kafka.properties, which lies beside this
# script, with what differs here at its end. Formats an empty folder first.
#   kafka.sh DATA
set -euo pipefail
data=$1
PATH=$PATH:/opt/kafka/bin
properties=${TMPDIR:-/tmp}/broker.properties

cat "$(dirname "$0")/kafka.properties" - > "$properties" <<END

# Clients in the stack's network call kafka:9092, clients on the machine around it 127.0.0.1:9094.
listeners=PLAINTEXT://0.0.0.0:9092,HOST://0.0.0.0:9094,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://kafka:9092,HOST://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:9093
log.dirs=$data
END

if [ ! -e "$data/meta.properties" ]; then
  kafka-storage.sh format --standalone -t "$(kafka-storage.sh random-uuid)" -c "$properties"
fi
exec kafka-server-start.sh "$properties"
