#!/bin/sh
# Joins the Redis servers at these addresses to a cluster; if they are one, nothing is to be done.
set -eu
is_cluster() { redis-cli -h "$1" cluster info | grep -q '^cluster_state:ok'; }
is_cluster "$1" && exit 0
nodes=
for address in "$@"; do nodes="$nodes $address:6379"; done
# Left unquoted: each address is a word.
redis-cli --cluster create $nodes --cluster-replicas 0 --cluster-yes
for address in "$@"; do
    until is_cluster "$address"; do sleep 1; done
done
