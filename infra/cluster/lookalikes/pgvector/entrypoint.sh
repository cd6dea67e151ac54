#!/bin/sh
# What the official image's entry point does, as far as tests use it: make the database at the first start, run what
# lies in /docker-entrypoint-initdb.d, then become the server.
set -eu
case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"
user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password=${POSTGRES_PASSWORD:-}
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then password=$(cat "$POSTGRES_PASSWORD_FILE"); fi
  if [ -z "$password" ]; then echo "POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE has to be set" >&2; exit 1; fi
  mkdir -p "$PGDATA" && chmod 0700 "$PGDATA"
  file=$(mktemp)
  printf '%s\n' "$password" > "$file"
  initdb -D "$PGDATA" --username "$user" --pwfile "$file" --auth-local trust --auth-host scram-sha-256 --encoding UTF8 \
    --locale-provider builtin --builtin-locale C.UTF-8 --locale C ${POSTGRES_INITDB_ARGS:-}
  rm -f "$file"
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
  database=${POSTGRES_DB:-$user}
  if [ "$database" != postgres ]; then createdb -h /tmp -U "$user" "$database"; fi
  for found in /docker-entrypoint-initdb.d/*; do
    case $found in
      *.sh) sh "$found" ;;
      *.sql) psql -h /tmp -U "$user" -d "$database" -v ON_ERROR_STOP=1 -f "$found" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
shift
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
