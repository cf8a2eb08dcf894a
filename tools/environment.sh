#!/bin/sh
# Make one Python environment hold exactly what a lock file lists, and our own packages in place of copies.
#
#   tools/environment.sh DIRECTORY LOCK [PACKAGE_FOLDER...]
set -eu
directory=$1 lock=$2
shift 2

[ -x "$directory/bin/python" ] || tools/uv.sh venv --quiet --clear --python "$PYTHON" "$directory"
tools/uv.sh pip sync --quiet --python "$directory" --require-hashes "$lock"
for folder; do
    tools/uv.sh pip install --quiet --python "$directory" --offline --no-deps --no-build-isolation --editable "$folder"
done
touch "$directory/.ready"
