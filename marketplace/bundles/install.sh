#!/bin/sh
# Sets up OPC Market out of a bundle, on a machine that reaches nothing. Needs Python with venv, and nothing else.
#
#     tar -xOf BUNDLE.tar install.sh | sh -s -- BUNDLE.tar [FOLDER] [options of `market bundle install`]
#
# This runs what lies in the bundle: hold the file against the SHA-256 that its maker told you before.
#
# 离线安装 OPC 市场：只需要带 venv 的 Python，不访问任何网络。
set -eu

say() { case "${MARKET_LANG:-${LC_ALL:-${LANG:-}}}" in zh*) printf '%s\n' "$1" >&2 ;; *) printf '%s\n' "$2" >&2 ;; esac; }
stop() { say "$1" "$2"; exit 1; }

[ $# -ge 1 ] || stop "用法：install.sh 离线包 [目录]" "Usage: install.sh BUNDLE.tar [FOLDER]"
bundle=$1
shift
[ -f "$bundle" ] || stop "没有文件 $bundle" "There is no file $bundle"
bundle=$(cd "$(dirname "$bundle")" && pwd)/$(basename "$bundle")
folder=$HOME/opc-market
case "${1:-}" in '' | -*) ;; *) folder=$1; shift ;; esac

table=$(tar -xOf "$bundle" bundle.json) || stop "$bundle 不是离线包" "$bundle is no bundle"
wanted=$(printf '%s' "$table" | sed -n 's/.*"machine":{[^}]*"python":"\([0-9.]*\)".*/\1/p')
platform=$(printf '%s' "$table" | sed -n 's/.*"machine":{[^}]*"platform":"\([a-z0-9/]*\)".*/\1/p')
[ -n "$wanted" ] || stop "这个离线包里没有商店程序" "This bundle brings no shop along"
case "$(uname -m)" in
    x86_64 | amd64) here=linux/amd64 ;;
    aarch64 | arm64) here=linux/arm64 ;;
    *) here=linux/$(uname -m) ;;
esac
[ "$here" = "$platform" ] || stop "离线包适用于 $platform，本机是 $here" "The bundle is for $platform; this machine is $here"

python=
for each in "${PYTHON:-python$wanted}" python3 python; do
    if [ "$("$each" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$wanted" ]; then
        python=$each
        break
    fi
done
[ -n "$python" ] || stop "需要带 venv 的 Python $wanted" "Python $wanted with venv is needed"

say "正在安装到 $folder" "Setting up in $folder"
mkdir -p "$folder"
unpacked=$(mktemp -d "$folder/.unpacked-XXXXXX")
trap 'rm -rf "$unpacked"' EXIT
trap 'exit 1' HUP INT TERM
tar -xf "$bundle" -C "$unpacked" bundle.json source wheels

# Damage is found before any of it runs; the shop checks the signature over the table.
"$python" -I - "$unpacked" <<'CHECK' || stop "离线包已损坏，什么都没有安装" "The bundle is damaged; nothing was installed"
import hashlib, json, pathlib, sys

root = pathlib.Path(sys.argv[1])
table = json.loads((root / "bundle.json").read_bytes())
parts = ("source", "wheels")
wanted = {item["path"]: item["sha256"] for item in table["items"] if item["path"].split("/")[0] in parts}
found = {}
for path in (path for part in parts for path in (root / part).rglob("*")):
    if path.is_symlink() or not path.is_dir():
        if path.is_symlink() or not path.is_file():
            sys.exit(f"{path} is no plain file")
        with path.open("rb") as file:
            found[path.relative_to(root).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
if found != wanted:
    sys.exit("not what the table says: " + ", ".join(sorted(dict(found.items() ^ wanted.items()))[:3]))
CHECK

cp -R "$unpacked/source/." "$folder/"
[ -x "$folder/.venv/bin/python" ] || "$python" -m venv "$folder/.venv"
pip() {
    "$folder/.venv/bin/python" -m pip --quiet --disable-pip-version-check --no-input install --no-index --no-deps "$@"
}
pip "$unpacked"/wheels/*.whl
(export PYTHONWARNINGS=ignore && pip --no-build-isolation --editable "$folder")
touch "$folder/.venv/.ready"
[ ! -d "$folder/web/static/vendor" ] || touch "$folder/web/static/vendor/.ready"
rm -rf "$unpacked" # before exec, which forgets the trap

say "程序已就绪，下一步安装模型。" "The shop is ready; now its models."
exec "$folder/.venv/bin/market" bundle install "$bundle" "$@"
