#!/usr/bin/env bash
# Downloads what jax_uda needs beside jax, flax, optax, orbax, torch, transformers and timm, for Python 3.12
# on Linux x86-64, into the folder $1.
set -euo pipefail
folder=${1:-wheels}
packages=(array-record clu dm-tree grain immutabledict ml-collections promise simple-parsing
  docstring-parser tensorflow-datasets tensorflow-metadata termcolor toml
  googleapis-common-protos importlib-resources portpicker simplejpeg)
platforms=()
for version in 2_17 2_24 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${version}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64)
mkdir -p "$folder"
for package in "${packages[@]}"; do
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --dest "$folder" "$package" || python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$package"
done
du -sh "$folder"
