#!/bin/sh
# Write requirements/*.txt anew: the newest versions that the .in files and the two pyproject.toml files allow, with
# the hashes of every platform's files and without any address.
set -eu

compile() {
    lock=requirements/$1.txt
    shift
    tools/uv.sh pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-emit-package steelyard \
        --custom-compile-command "make lock" --output-file "$lock" "$@"
    echo "$lock: $(grep -c '==' "$lock") packages"
}

compile uv requirements/uv.in
compile dev --all-extras pyproject.toml clients/python/pyproject.toml requirements/dev.in
compile gen requirements/gen.in
compile toolchains requirements/toolchains.in
compile compat clients/python/pyproject.toml requirements/compat.in
compile bench requirements/bench.in
