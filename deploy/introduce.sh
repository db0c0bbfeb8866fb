#!/bin/sh
# Makes two nodes contacts of each other, once: the first invites, the second uses the link, the first accepts.
# Usage: introduce.sh HOME HOME, each with the node's API socket and token; the account names are the folders' names.
# Says /tmp/introduced when both show the other as accepted, then waits, so that `docker compose up --wait` sees it healthy.
set -eu
one=$1
other=$2
name() { basename "$1"; }

knows() { # HOME ALIAS: is ALIAS an accepted contact there?
  covey --home "$1" contacts --json | python3 -c '
import json, sys
found = json.load(sys.stdin)
found = found["contacts"] if isinstance(found, dict) else found
sys.exit(not any(c["alias"] == sys.argv[1] and c["state"] == "accepted" for c in found))' "$2"
}

until knows "$one" "$(name "$other")" && knows "$other" "$(name "$one")"; do
  link=$(covey --home "$one" invite --for "$(name "$other")" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["link"])')
  covey --home "$other" add "$link" --as "$(name "$one")" --wait 60s || echo "introduce: not yet, trying again" >&2
done
echo "introduced: $(name "$one") and $(name "$other") are contacts"
touch /tmp/introduced
exec sleep infinity
