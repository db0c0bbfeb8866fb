#!/bin/sh
# Takes out of an installed environment what no running component reads, then compiles the rest to byte code.
# docs/adr/0025-image-size.md says what each line saves. Usage: prune.sh SITE_PACKAGES
set -eu
cd "$1"
rm -rf examples docs interop newsfragments stubs ./*-stubs   # libp2p installs these as top-level packages
rm -f netaddr/eui/oui.* netaddr/eui/iab.*         # registries of MAC address vendors; netaddr is used for IP addresses
rm -rf Crypto/SelfTest coincurve/_windows_libsecp256k1.py
find . -depth -type d \( -name tests -o -name _tests -o -name testing -o -name test \) \
  ! -path './trio/*' ! -path './google/*' -exec rm -rf {} +
rm -rf trio/_tests trio/_core/_tests
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' -o -name '*.a' \) -delete
# Symbols for debuggers; what the dynamic linker needs stays.
find . -type f -name '*.so*' -exec strip --strip-unneeded {} +
# Hash-based and never checked: the files do not change, and the image is the same at every build.
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash .
