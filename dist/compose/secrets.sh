#!/bin/sh
# Makes the secrets of the Compose file, once: what is there is kept. Keep a copy of secrets/root_key apart from your backups.
set -eu
umask 077
cd -- "$(dirname -- "$0")"
mkdir -p secrets

# random BYTES: as hexadecimal digits.
random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -f secrets/postgres_password ]; then random 24 >secrets/postgres_password; fi
if [ ! -f secrets/root_key ]; then random 32 >secrets/root_key; fi
printf 'postgres://livery:%s@postgres:5432/livery' "$(cat secrets/postgres_password)" >secrets/database
# Compose shows these files to the containers as they are. Postgres reads its own as another user.
chmod 755 secrets
chmod 644 secrets/postgres_password
printf 'secrets are in %s\n' "$PWD/secrets"
