#!/usr/bin/env bash
# Starts a streaming replica of docker-compose.yml with the command that follows. An empty PGDATA is made a copy of the
# primary first, and a slot on the primary keeps what the replica has not had.
# PRIMARY: its host, or a connection string of libpq. PGPASSWORD: the role replicator's.
set -euo pipefail
case $PRIMARY in
  *=*) primary="$PRIMARY user=replicator" ;;
  *) primary="host=$PRIMARY user=replicator" ;;
esac
slot=compose_replica

if [ ! -e "$PGDATA" ]; then
  # What a copy that was cut short left behind: a folder, and perhaps its slot.
  rm -rf "$PGDATA.new"
  psql --no-psqlrc --quiet --tuples-only --set=ON_ERROR_STOP=1 --dbname="$primary dbname=postgres" --command="
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '$slot' AND NOT active"
  pg_basebackup --write-recovery-conf --create-slot --slot="$slot" --wal-method=stream --checkpoint=fast \
    --dbname="$primary" --pgdata="$PGDATA.new"
  mv "$PGDATA.new" "$PGDATA"
fi
exec docker-entrypoint.sh "$@"
