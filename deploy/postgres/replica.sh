#!/bin/sh
# A replica of the service `postgres`: a copy of it at the first start, then whatever it does. One that was away for
# longer than wal_keep_size lasts cannot catch up: remove its volume, and it begins with a copy again.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Half of a copy is none.
    find "$PGDATA" -mindepth 1 -delete
    PGPASSWORD="$POSTGRES_PASSWORD" pg_basebackup --host postgres --username replicator --pgdata "$PGDATA" \
        --write-recovery-conf --wal-method stream --checkpoint fast
    chmod 0700 "$PGDATA"
fi
exec postgres -c listen_addresses='*'
