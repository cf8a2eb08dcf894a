#!/bin/sh
# Build programs into .tools/bin from the sources that tools/go/go.sum pins; say something only when it fails.
#
#   tools/go_install.sh PACKAGE...
set -eu
GOBIN=$(pwd)/.tools/bin
export GOBIN
cd tools/go
output=$(go install "$@" 2>&1) || { echo "$output" >&2; exit 1; }
