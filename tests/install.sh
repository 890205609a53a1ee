# Sourced by tests/run.sh and tests/stack, in the project's root: installs what the tests use and is missing.
# shellcheck shell=bash

# Names a Debian package as missing unless the command shows that it is there.
need() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

have() { command -v "$1"; }

# Debian keeps the server's programs off the PATH.
have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' || have initdb; }

install_missing() {
  missing=()
  need gcc have cc
  need git have git
  need strace have strace
  need valgrind have valgrind
  need sqlite3 have sqlite3
  need python3 have python3
  need python3-venv python3 -c 'import ensurepip'
  need util-linux have setpriv
  need iproute2 have ip
  need nftables have nft
  need default-jdk-headless have javac
  need maven have mvn
  need postgresql have_postgres
  need kcat have kcat
  need chromium have chromium
  if [ "${#missing[@]}" -gt 0 ]; then
    echo "== installing ${missing[*]}" >&2
    if [ "$(id -u)" -ne 0 ] || ! have apt-get >/dev/null; then
      echo "$0: install these Debian packages (or their like) first: ${missing[*]}" >&2
      exit 2
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "${missing[@]}"; } >&2
  fi
  have cargo >/dev/null || { echo "$0: install Rust 1.95 or newer first" >&2; exit 2; }
  resolve_kafka
  resolve_promtool
  resolve_python target/python tests/native/requirements.txt
  resolve_python target/compose tests/compose/requirements.txt
  resolve_python target/openapi tests/openapi/requirements.txt
}

# Puts the broker's jars into target/kafka. The copy of the pom beside them, written last, tells that all are there.
resolve_kafka() {
  local jars=target/kafka new=target/kafka.$$
  cmp -s tests/kafka/pom.xml "$jars/pom.xml" && return
  echo "== resolving the Kafka broker's jars" >&2
  mkdir -p "$new"
  mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$new" >&2
  cp tests/kafka/pom.xml "$new/pom.xml"
  rm -rf "$jars"
  mv -T "$new" "$jars"
}

# Puts promtool (48 MB) into target/prometheus: the program alone, as its Debian package (19 MB to fetch) is 96 MB and
# starts a server.
resolve_promtool() {
  local dir=target/prometheus new=target/prometheus.$$
  [ -x "$dir/promtool" ] && return
  mkdir -p "$new"
  if have promtool >/dev/null; then
    ln -s "$(command -v promtool)" "$new/promtool"
  else
    echo "== fetching promtool" >&2
    have apt-get >/dev/null || { echo "$0: install promtool of Prometheus first" >&2; exit 2; }
    (cd "$new" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } >&2 && dpkg-deb -x prometheus_*.deb . && mv usr/bin/promtool . && rm -rf usr etc lib var ./*.deb)
  fi
  rm -rf "$dir"
  mv -T "$new" "$dir"
}

# Puts what a requirements.txt names into a folder below target, with a Python of its own. The copy of the file, written
# last, tells that all is there. The folder is moved in the end, so only programs in it run that name no path of it.
resolve_python() {
  local python=$1 requirements=$2 new=$1.$$
  cmp -s "$requirements" "$python/requirements.txt" && return
  echo "== installing what $requirements names" >&2
  python3 -m venv "$new" >&2
  "$new/bin/python" -m pip install -q --disable-pip-version-check -r "$requirements" >&2
  cp "$requirements" "$new/requirements.txt"
  rm -rf "$python"
  mv -T "$new" "$python"
}
