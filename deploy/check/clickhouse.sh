#!/bin/sh
# What compose.yaml uses of the official image: a user of its own, and a server that others may call.
set -eu
mkdir -p /etc/clickhouse-server/config.d /etc/clickhouse-server/users.d
cat > /etc/clickhouse-server/config.d/listen.xml <<EOF
<yandex><listen_host>0.0.0.0</listen_host><mark_cache_size>16777216</mark_cache_size></yandex>
EOF
cat > /etc/clickhouse-server/users.d/user.xml <<EOF
<yandex><users><$CLICKHOUSE_USER>
  <password>$CLICKHOUSE_PASSWORD</password>
  <networks><ip>::/0</ip></networks>
  <profile>default</profile>
  <quota>default</quota>
</$CLICKHOUSE_USER></users></yandex>
EOF
chown -R clickhouse:clickhouse /var/lib/clickhouse /var/log/clickhouse-server
exec setpriv --reuid=clickhouse --regid=clickhouse --init-groups \
    clickhouse-server --config-file=/etc/clickhouse-server/config.xml
