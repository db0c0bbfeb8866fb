#!/bin/bash
# Inside the builder: installs those of Covey's packages that were copied here into /opt/covey, keeps only the commands
# named as arguments, compiles, and imports every module once, so that a missing dependency fails the build.
set -euo pipefail
/opt/tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /build/dist .
/opt/tools/bin/pip --python /opt/covey/bin/python3 install --quiet --no-index --no-deps --no-compile /build/dist/covey-*.whl
site=$(echo /opt/covey/lib/python3.*/site-packages)
# libp2p alone brings some thirty commands for its examples.
for command in /opt/covey/bin/*; do
  keep=0
  for name in "$@" python python3 "$(basename "$(readlink -f /opt/covey/bin/python3)")"; do
    [ "$(basename "$command")" != "$name" ] || keep=1
  done
  [ "$keep" = 1 ] || rm "$command"
done
for package in "$site"/covey_*; do
  python3 -m compileall -q --invalidation-mode unchecked-hash "$package"
done
/opt/covey/bin/python3 - "$site" <<'PYTHON'
import importlib, pathlib, sys
site = pathlib.Path(sys.argv[1])
names = []
for path in sorted(site.glob("covey_*/**/*.py")):
    parts = path.relative_to(site).with_suffix("").parts
    names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
if (site / "covey_node").exists():  # a node's own relay keeps its mailboxes in a file: PostgreSQL's client is the relay's
    names = [name for name in names if not name.startswith("covey_relay.mailbox.postgres")]
for name in names:
    importlib.import_module(name)
print(f"imported {len(names)} modules")
PYTHON
for name in "$@"; do "/opt/covey/bin/$name" --version; done
