#!/bin/sh
# Run uv with the settings of pip and of the machine. `make` puts uv itself into .tools/uv.
#
#   tools/uv.sh ARGUMENT...
set -eu

# uv does not read pip's settings; a machine behind a mirror often has only those, so they are handed on.
pip_index=$(.tools/uv/bin/python -m pip config get global.index-url 2>/dev/null || true)
index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$pip_index}}}
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
[ -z "${SSL_CERT_FILE:-${PIP_CERT:-}}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
# As pip does: trust the authorities that the machine trusts. Never fetch another Python.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" UV_PYTHON_DOWNLOADS=never

exec .tools/uv/bin/uv "$@"
