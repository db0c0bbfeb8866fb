#!/bin/sh
# The server's process. At its first start it makes the database and a password; /secret/url holds both for the relays.
# Usage: database run|check
set -eu
umask 077
bin=$(echo /usr/lib/postgresql/*/bin)

if [ "$1" = check ]; then
  exec "$bin/pg_isready" --quiet --host=/tmp
fi

if [ ! -s /secret/url ]; then # the last file that is written: a first start that was cut short begins anew
  rm -rf /data/pg
  password=$(od -An -tx1 -N24 /dev/urandom | tr -d ' \n')
  printf '%s\n' "$password" >/secret/password
  "$bin/initdb" --pgdata=/data/pg --username=covey --auth=scram-sha-256 --pwfile=/secret/password \
    --encoding=UTF8 --locale=C.UTF-8 --data-checksums --no-instructions >/dev/null
  printf 'host all all samenet scram-sha-256\n' >>/data/pg/pg_hba.conf
  printf 'CREATE DATABASE covey\n' | "$bin/postgres" --single -D /data/pg -c log_min_messages=error postgres >/dev/null
  printf 'postgresql://covey:%s@database/covey\n' "$password" >/secret/url
fi

exec "$bin/postgres" -D /data/pg -c 'listen_addresses=*' -c unix_socket_directories=/tmp -c max_wal_size=1GB
