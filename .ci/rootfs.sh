#!/usr/bin/env bash
# Makes a root file system that holds one program, the libraries that it needs, and nothing else: what an image holds.
#
#     .ci/rootfs.sh PROGRAM FOLDER [LIBRARY-FOLDER…]
#
# It reads the program's own headers, so that a program for another processor is fine: name the folders of its libraries.
set -euo pipefail

program=$1
folder=$2
shift 2
machine=$(readelf -h "$program" | sed -n 's/^ *Machine: *//p')
case $machine in
    *X86-64*) triplet=x86_64-linux-gnu ;;
    *AArch64*) triplet=aarch64-linux-gnu ;;
    *) echo "rootfs: no images for $machine" >&2 && exit 1 ;;
esac
libraries=("$@" "/lib/$triplet" "/usr/lib/$triplet" "/usr/$triplet/lib")

find_library() {
    local place
    for place in "${libraries[@]}"; do
        [ -e "$place/$1" ] && readlink -f "$place/$1" && return
    done
    echo "rootfs: no $1 in ${libraries[*]}" >&2
    return 1
}

# The dynamic loader stands where the program says, libraries where the loader looks first.
copy_needed() {
    local name
    while read -r name; do
        [ -e "$folder/lib/$triplet/$name" ] && continue
        install -D -m 0755 "$(find_library "$name")" "$folder/lib/$triplet/$name"
        copy_needed "$folder/lib/$triplet/$name"
    done < <(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
}

install -D -m 0755 "$program" "$folder/usr/bin/$(basename "$program")"
loader=$(readelf -l "$program" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
install -D -m 0755 "$(find_library "$(basename "$loader")")" "$folder$loader"
copy_needed "$program"
# Names are looked up in /etc/hosts first, then by DNS; without this file glibc does it the other way round.
mkdir -p "$folder/etc"
echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
