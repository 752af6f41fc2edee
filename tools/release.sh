#!/usr/bin/env bash
# release.sh OUT PLATFORM... builds the release of the commit that is checked out here into the
# directory OUT, for platforms such as linux/amd64: for each an archive, an SBOM (CycloneDX) and,
# on Linux, a Debian package; then SHA256SUMS. The same commit and Go version give the same bytes:
# times are those of the commit, and owners, orders and modes are fixed.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
if [[ -n $(git status --porcelain) ]]; then
  echo "release: there are changes that are not committed: commit them, or build from a clone" >&2
  exit 1
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH CGO_ENABLED=0 TZ=UTC LC_ALL=C
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# licences prints the licence texts of every module that is linked into the program.
licences() {
  go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' . | sort -u |
    while read -r path version dir; do
      printf '\n======== %s %s\n\n' "$path" "$version"
      find "$dir" -maxdepth 1 -type f \( -iname 'licen*' -o -iname 'copying*' -o -iname 'notice*' \) | sort | xargs -d '\n' cat
    done
  printf '\n======== Go standard library\n\n' && cat "$(go env GOROOT)/LICENSE"
}

# tarball packs the directory $2 of the directory $1 into $3.
tarball() {
  tar -C "$1" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c "$2" | gzip -n9 > "$3"
}

# debian makes the package of the directory $1, which the archive has too, for $2 as $3.
debian() {
  local files=$1 arch=$2 deb=$work/deb-$2
  mkdir -p "$deb"/{DEBIAN,etc/valtrack,usr/bin,usr/lib/systemd/system,usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d,man/man1,doc/valtrack/examples}}
  install -m 755 contrib/debian/* "$deb/DEBIAN/"
  install -m 755 "$files/valtrack" "$deb/usr/bin/"
  for unit in run sentry consumer; do
    sed 's#/usr/local/bin/valtrack#/usr/bin/valtrack#' "contrib/systemd/valtrack-$unit.service" > "$deb/usr/lib/systemd/system/valtrack-$unit.service"
  done
  install -m 644 "$files/completions/valtrack.bash" "$deb/usr/share/bash-completion/completions/valtrack"
  install -m 644 "$files/completions/_valtrack" "$deb/usr/share/zsh/vendor-completions/"
  install -m 644 "$files/completions/valtrack.fish" "$deb/usr/share/fish/vendor_completions.d/"
  gzip -n9 < contrib/man/valtrack.1 > "$deb/usr/share/man/man1/valtrack.1.gz"
  cat LICENSE NOTICE "$files/THIRD_PARTY_LICENSES" > "$deb/usr/share/doc/valtrack/copyright"
  cp -r contrib/prometheus contrib/grafana contrib/systemd/valtrack-nats.service "$deb/usr/share/doc/valtrack/examples/"
  cat > "$deb/DEBIAN/control" <<CONTROL
Package: valtrack
Version: ${debversion}
Architecture: ${arch}
Maintainer: Valtrack <https://github.com/chainbound/valtrack>
Depends: adduser
Suggests: prometheus
Installed-Size: $(du -sk --apparent-size "$deb/usr" | cut -f1)
Section: net
Priority: optional
Homepage: https://github.com/chainbound/valtrack
Description: maps the Ethereum consensus network
 Finds and visits the beacon nodes of an Ethereum consensus network, stores
 what they show as Parquet datasets, and estimates the validators behind each.
CONTROL
  chmod -R u=rwX,go=rX "$deb"
  dpkg-deb --root-owner-group -Zgzip --build "$deb" "$3" > /dev/null
}

host=$work/host
GOOS='' GOARCH='' go build -trimpath -buildvcs=true -o "$host" .
version=$(go version -m "$host" | awk '$1 == "mod" { print $3 }')
if [[ $version = '(devel)' ]]; then
  echo "release: go found no version in git: build in a clone, not in a linked worktree" >&2
  exit 1
fi
debversion=$(sed 's/^v//; s/-/~/g' <<< "$version")
for platform in "$@"; do
  export GOOS=${platform%/*} GOARCH=${platform#*/}
  name=valtrack_${version}_${GOOS}_$GOARCH
  files=$work/$name
  mkdir -p "$files"/{completions,man}
  go build -trimpath -buildvcs=true -ldflags '-s -w' -o "$files/valtrack" .
  cp -r LICENSE NOTICE README.md CHANGELOG.md docs contrib "$files/"
  cp contrib/man/valtrack.1 "$files/man/"
  licences > "$files/THIRD_PARTY_LICENSES"
  "$host" completion bash > "$files/completions/valtrack.bash"
  "$host" completion zsh > "$files/completions/_valtrack"
  "$host" completion fish > "$files/completions/valtrack.fish"
  chmod -R u=rwX,go=rX "$files"
  tarball "$work" "$name" "$out/$name.tar.gz"
  GOOS='' GOARCH='' GOFLAGS=-mod=mod go run "$sbom" bin -json -noserial -notimestamp -std -version "$version" -output "$out/$name.cdx.json" "$files/valtrack"
  if [[ $GOOS = linux ]]; then
    if command -v dpkg-deb > /dev/null; then
      debian "$files" "$GOARCH" "$out/valtrack_${debversion}_$GOARCH.deb"
    else
      echo "release: no Debian package for $platform: dpkg-deb is not installed" >&2
    fi
  fi
done
(cd "$out" && rm -f SHA256SUMS && sha256sum -- * > "$work/sums" && mv "$work/sums" SHA256SUMS)
echo "release: $version in $out"
