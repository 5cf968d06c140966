#!/bin/sh
# Installs Livery from a release archive: from a URL, from a file (no network), or from the unpacked archive itself.
#
# Everything is unpacked aside and verified before the first visible file changes; what changes then are links, one rename
# each. Runs nothing as another user and asks for no password: where root is needed it says so and ends.
set -eu
umask 022

usage() {
    cat <<'USAGE'
usage: install.sh [source] [options]

Source (default: the unpacked archive this script lies in)
  --url URL        an archive, or the folder that has it beside SHA256SUMS
  --file FILE      an archive on this machine; nothing is fetched
  --sha256 HEX     the archive's digest; without it SHA256SUMS beside the archive is used

Options
  --prefix DIR     where to install (default /usr/local; as an ordinary user: --prefix "$HOME/.local")
  --systemd        also set up the service: user, data folder, unit, /etc/livery/livery.env (needs root)
  --start          with --systemd: enable the service and start it, or restart it
  --root DIR       put everything below DIR and touch no user and no service (for building images and packages)
  --rollback       go back to the version that was installed before this one
  --uninstall      remove the program and the service; data, settings and the user stay
  --dry-run        verify, then print what would be done
  --help
USAGE
}

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Does something, or says that it would.
act() {
    if [ "$dry_run" = yes ]; then say "would run: $*"; else "$@"; fi
}

clean_up() {
    if [ -n "$work" ]; then rm -rf "$work"; fi
    if [ -n "$stage" ]; then rm -rf "$stage"; fi
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --url | --file | --sha256 | --prefix | --root)
                [ $# -ge 2 ] || die "$1 needs a value"
                case $1 in
                    --url) url=$2 ;;
                    --file) file=$2 ;;
                    --sha256) sha256=$2 ;;
                    --prefix) prefix=$2 ;;
                    --root) root=$2 ;;
                esac
                shift
                ;;
            --systemd) systemd=yes ;;
            --start) start=yes ;;
            --rollback) verb=rollback ;;
            --uninstall) verb=uninstall ;;
            --dry-run) dry_run=yes ;;
            --help) usage; exit 0 ;;
            *) usage >&2; die "unknown option $1" ;;
        esac
        shift
    done
    [ -z "$url" ] || [ -z "$file" ] || die "give --url or --file, not both"
    case $prefix in /*) ;; *) die "--prefix $prefix: give the whole path, from /" ;; esac
    case $root in '' | /*) ;; *) die "--root $root: give the whole path, from /" ;; esac
    case $sha256 in *[!0-9a-f]*) die "--sha256: 64 digits 0-9 a-f" ;; esac
    [ -z "$sha256" ] || [ ${#sha256} -eq 64 ] || die "--sha256: 64 digits 0-9 a-f"
    [ "$start" = no ] || [ "$systemd" = yes ] || die "--start goes with --systemd"
    lib=$root$prefix/lib/livery
    unit=$root/etc/systemd/system/livery.service
}

# ---- the source ----

digest_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum <"$1" | cut -d ' ' -f 1
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 <"$1" | cut -d ' ' -f 1
    else
        die "neither sha256sum nor shasum is installed: nothing can be verified"
    fi
}

# fetch URL FILE
fetch() {
    if command -v curl >/dev/null 2>&1; then
        case $1 in https:*) allowed='=https' ;; *) allowed='=http,https' ;; esac
        curl --fail --silent --show-error --location --proto "$allowed" --max-time 1800 --output "$2" "$1" ||
            die "cannot fetch $1"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -O "$2" "$1" || die "cannot fetch $1"
    else
        die "neither curl nor wget is installed: fetch the archive yourself and give --file"
    fi
}

# Whoever can change an archive on its way could change the digests beside it as well.
check_url() {
    case $1 in
        https://*) ;;
        http://127.0.0.1[:/]* | http://localhost[:/]* | http://\[::1\][:/]*) ;;
        http://*) [ -n "$sha256" ] || die "$1 can be changed on its way: use https, or give --sha256" ;;
        *) die "--url $1: only https and http" ;;
    esac
}

# The digest that the list $1 has for the name $2.
listed() {
    while read -r digest name; do
        if [ "${name#\*}" = "$2" ]; then say "$digest"; fi
    done <"$1"
}

# The one archive in the list $1 for this machine.
listed_archive() {
    found=
    while read -r _ name; do
        case $name in
            livery-*-"$(uname -m)"-*.tar.gz)
                [ -z "$found" ] || die "$url has several archives for this machine: give the URL of one"
                found=$name
                ;;
        esac
    done <"$1"
    [ -n "$found" ] || die "$url has no archive for $(uname -m)"
    say "$found"
}

# Brings the archive to $archive and its digest to $sha256.
obtain() {
    case $url in
        '') ;;
        *.tar.gz)
            check_url "$url"
            archive=$work/${url##*/}
            fetch "$url" "$archive"
            [ -n "$sha256" ] || fetch "${url%/*}/SHA256SUMS" "$work/SHA256SUMS"
            ;;
        *)
            url=${url%/}
            check_url "$url/"
            fetch "$url/SHA256SUMS" "$work/SHA256SUMS"
            archive=$(listed_archive "$work/SHA256SUMS")
            archive=$work/$archive
            fetch "$url/${archive##*/}" "$archive"
            ;;
    esac
    if [ -n "$file" ]; then
        [ -f "$file" ] || die "there is no file $file"
        archive=$file
        beside=$(dirname -- "$file")/SHA256SUMS
        if [ -z "$sha256" ] && [ -f "$beside" ]; then cp -- "$beside" "$work/SHA256SUMS"; fi
    fi
    if [ -z "$sha256" ] && [ -f "$work/SHA256SUMS" ]; then
        sha256=$(listed "$work/SHA256SUMS" "${archive##*/}")
        [ -n "$sha256" ] || die "SHA256SUMS does not name ${archive##*/}"
    fi
    [ -n "$sha256" ] || die "no digest to compare with: give --sha256, or put SHA256SUMS beside $archive"
}

verify_archive() {
    have=$(digest_of "$archive")
    [ "$have" = "$sha256" ] ||
        die "$archive is not what it should be; nothing was changed
  expected sha256 $sha256
  found           $have"
    say "verified: sha256 $have"
}

# Unpacks or copies into $stage, which lies on the file system it will stay on, and verifies each file.
prepare() {
    if [ "$dry_run" = yes ]; then
        stage=$work/stage
    else
        mkdir -p -- "$lib" 2>/dev/null || die "cannot write $lib: run this as root, or give --prefix \"\$HOME/.local\""
        [ -w "$lib" ] || die "cannot write $lib: run this as root, or give --prefix \"\$HOME/.local\""
        stage=$lib/.incoming.$$
        forget_interrupted
    fi
    mkdir -- "$stage"
    if [ -n "$url$file" ]; then
        obtain
        verify_archive
        tar -xzf "$archive" -C "$stage" || die "cannot unpack $archive"
        for inner in "$stage"/livery-*; do unpacked=$inner; done
        [ -d "$unpacked" ] || die "$archive has no folder livery-…"
    else
        for needed in SHA256SUMS RELEASE bin/livery; do
            [ -f "$here/$needed" ] || die "this script does not lie in an unpacked archive: give --url or --file"
        done
        unpacked=$stage/livery
        cp -R -- "$here" "$unpacked"
    fi
    ( cd -- "$unpacked" && verify_files ) || die "a file of the archive is damaged; nothing was changed"
    release=$(release_of "$unpacked")
    [ -n "$release" ] || die "the archive does not say which version it is"
}

# Compares every file of the working folder with its list, in one go: there are hundreds.
verify_files() {
    grep -q '  bin/livery$' SHA256SUMS || return 1
    if command -v sha256sum >/dev/null 2>&1; then
        results=$(sha256sum -c SHA256SUMS 2>/dev/null) || true
    else
        results=$(shasum -a 256 -c SHA256SUMS 2>/dev/null) || true
    fi
    if [ "$(say "$results" | grep -c ': OK$')" -ne "$(grep -c . SHA256SUMS)" ]; then
        say "$results" | grep -v ': OK$' | sed 's/^/damaged: /' >&2
        return 1
    fi
}

# The value of "name: value" in a release's own description.
described() { sed -n "s/^$2: //p" "$1/RELEASE"; }

# A version and the beginning of its contents' digest: two builds of one version can lie side by side.
release_of() {
    version=$(described "$1" version)
    [ -z "$version" ] || say "$version-$(digest_of "$1/SHA256SUMS" | cut -c 1-8)"
}

# The program must start here before anything points to it.
try_out() {
    spoken=$("$unpacked/bin/livery" --version 2>&1) || spoken="it does not start: $spoken"
    [ "$spoken" = "livery $(described "$unpacked" version)" ] ||
        die "the program does not work on this machine ($spoken); nothing was changed
  it is for $(described "$unpacked" target) and needs $(described "$unpacked" needs)"
}

# ---- links ----

# The installed release, from the link; empty when there is none.
installed() {
    target=$(readlink -- "$root$prefix/bin/livery" 2>/dev/null) || return 0
    case $target in
        ../lib/livery/*/bin/livery)
            target=${target#../lib/livery/}
            say "${target%/bin/livery}"
            ;;
    esac
}

# link TARGET PATH: in place at once, so that there is no moment without the program.
link() {
    mkdir -p -- "${2%/*}"
    ln -sf -- "$1" "$2.new.$$"
    mv -f -- "$2.new.$$" "$2"
}

# switch RELEASE: every link points into it.
switch_to() {
    for pair in \
        "livery.fish share/fish/vendor_completions.d/livery.fish ../../.." \
        "_livery share/zsh/site-functions/_livery ../../.." \
        "livery share/bash-completion/completions/livery ../../.."; do
        # shellcheck disable=SC2086  # three words
        set -- "$1" $pair
        if [ -f "$lib/$1/completions/$2" ] || [ "$dry_run" = yes ]; then
            act link "$4/lib/livery/$1/completions/$2" "$root$prefix/$3"
        fi
    done
    act link "$1/install.sh" "$lib/install.sh"
    # Last: whoever starts livery now gets the new one.
    act link "../lib/livery/$1/bin/livery" "$root$prefix/bin/livery"
}

remember() {
    say "$1" >"$lib/.previous.$$"
    mv -f -- "$lib/.previous.$$" "$lib/previous"
}

previous() { if [ -f "$lib/previous" ]; then cat -- "$lib/previous"; fi; }

# Removes what an installation left that was killed: its process number is in the name.
forget_interrupted() {
    for folder in "$lib"/.incoming.*; do
        if [ -d "$folder" ] && ! kill -0 "${folder##*.}" 2>/dev/null; then rm -rf -- "$folder"; fi
    done
}

# Removes releases that are neither the one in use nor the one before.
forget_older() {
    for folder in "$lib"/*-????????; do
        name=${folder##*/}
        if [ -d "$folder" ] && [ "$name" != "$1" ] && [ "$name" != "$(previous)" ]; then act rm -rf -- "$folder"; fi
    done
}

# ---- the service ----

need_root() {
    [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || [ "$dry_run" = yes ] ||
        die "the service needs root: it makes a user, a data folder and a unit; run this again as root"
}

# copy FILE PATH MODE
copy() {
    mkdir -p -- "${2%/*}"
    cp -- "$1" "$2.new.$$"
    chmod "$3" "$2.new.$$"
    mv -f -- "$2.new.$$" "$2"
}

copy_unit() {
    mkdir -p -- "${unit%/*}"
    sed "s|/usr/local/bin/livery|$prefix/bin/livery|g" "$1" >"$unit.new.$$"
    chmod 644 "$unit.new.$$"
    mv -f -- "$unit.new.$$" "$unit"
}

install_service() {
    from=$1/systemd
    act copy "$from/livery.sysusers" "$root/etc/sysusers.d/livery.conf" 644
    act copy "$from/livery.tmpfiles" "$root/etc/tmpfiles.d/livery.conf" 644
    # Settings are the operator's: written once.
    if [ ! -f "$root/etc/livery/livery.env" ]; then
        act mkdir -p -m 700 -- "$root/etc/livery"
        act copy "$from/livery.env" "$root/etc/livery/livery.env" 600
    fi
    act copy_unit "$from/livery.service"
    [ -z "$root" ] || return 0
    make_user
    make_data_folder
    if [ ! -d /run/systemd/system ]; then
        say "this machine does not run systemd: the unit is there, nothing was started"
        return 0
    fi
    act systemctl daemon-reload
    if [ "$start" = yes ]; then
        act systemctl enable livery.service
        act systemctl restart livery.service
    elif systemctl is-active --quiet livery.service; then
        say "the service runs the old version until: systemctl restart livery"
    else
        say "set it up in /etc/livery/livery.env, then: systemctl enable --now livery"
    fi
}

make_user() {
    if id livery >/dev/null 2>&1; then return 0; fi
    if command -v systemd-sysusers >/dev/null 2>&1; then
        act systemd-sysusers /etc/sysusers.d/livery.conf
    else
        act useradd --system --user-group --home-dir /var/lib/livery --no-create-home --shell /usr/sbin/nologin livery
    fi
}

make_data_folder() {
    if [ -d /var/lib/livery ]; then return 0; fi
    act mkdir -m 700 -- /var/lib/livery
    act chown livery:livery /var/lib/livery
}

remove_service() {
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then act systemctl disable --now livery.service; fi
    act rm -f -- "$unit" "$root/etc/sysusers.d/livery.conf" "$root/etc/tmpfiles.d/livery.conf"
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then act systemctl daemon-reload; fi
}

# ---- the verbs ----

install() {
    if [ "$systemd" = yes ]; then need_root; fi
    now=$(installed)
    [ -n "$now" ] || [ ! -e "$root$prefix/bin/livery" ] ||
        die "$root$prefix/bin/livery is there and was not put there by this script: move it away first"
    prepare
    try_out
    if [ -d "$lib/$release" ]; then
        say "livery $release is already in $lib"
    else
        act mv -- "$unpacked" "$lib/$release"
    fi
    if [ -n "$now" ] && [ "$now" != "$release" ]; then act remember "$now"; fi
    switch_to "$release"
    if [ "$systemd" = yes ]; then
        if [ "$dry_run" = yes ]; then install_service "$unpacked"; else install_service "$lib/$release"; fi
    elif [ -f "$unit" ]; then
        say "the service is as it was: --systemd brings its unit up to date as well"
    fi
    forget_older "$release"
    [ "$dry_run" = yes ] || say "installed: $prefix/bin/livery is livery $release"
    case ":$PATH:" in *":$prefix/bin:"*) ;; *) say "your shell does not look there yet: PATH=\"$prefix/bin:\$PATH\"" ;; esac
    if [ -n "$now" ] && [ "$now" != "$release" ]; then
        say "back to $now: sh $prefix/lib/livery/install.sh --prefix $prefix --rollback"
    fi
}

rollback() {
    back=$(previous)
    now=$(installed)
    [ -d "$lib/${back:-none}" ] || die "no earlier version is kept in $lib"
    [ -w "$lib" ] || [ "$dry_run" = yes ] || die "cannot write $lib: run this as root"
    if [ -f "$unit" ]; then need_root; fi
    switch_to "$back"
    if [ -n "$now" ]; then act remember "$now"; fi
    if [ -f "$unit" ]; then install_service "$lib/$back"; fi
    [ "$dry_run" = yes ] || say "rolled back: $prefix/bin/livery is livery $back"
}

uninstall() {
    now=$(installed)
    [ -n "$now" ] || [ -d "$lib" ] || { say "nothing is installed in $root$prefix"; return 0; }
    [ -w "$lib" ] || [ "$dry_run" = yes ] || die "cannot write $lib: run this as root"
    if [ -f "$unit" ]; then
        need_root
        remove_service
    fi
    for path in bin/livery share/fish/vendor_completions.d/livery.fish share/zsh/site-functions/_livery \
        share/bash-completion/completions/livery; do
        case $(readlink -- "$root$prefix/$path" 2>/dev/null || true) in
            */lib/livery/*) act rm -f -- "$root$prefix/$path" ;;
        esac
    done
    act rm -rf -- "$lib"
    say "removed; what is yours stays: the data folder (/var/lib/livery for the service), /etc/livery and the user livery"
}

main() {
    url='' file='' sha256='' prefix=/usr/local root='' verb=install systemd=no start=no dry_run=no
    work='' stage='' archive='' unpacked='' release=''
    here=$(CDPATH='' cd -- "$(dirname -- "$0")" 2>/dev/null && pwd) || here=
    parse "$@"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d "${TMPDIR:-/tmp}/livery-install.XXXXXX")
    "$verb"
}

# At the end, so that half a download does nothing.
main "$@"
