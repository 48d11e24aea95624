#!/usr/bin/env bash
# Makes the container image of the example from the programs installed here, without a registry:
# busybox for the shell, the bioinformatics programs, and the libraries they need. Prints the
# image's name. Quick when the image exists.
set -euo pipefail

programs=(bowtie2-align-s bowtie2-build-s samtools bcftools)
rootfs=$(mktemp -d)
trap 'rm -rf "$rootfs"' EXIT

busybox=$(command -v busybox) || {
    echo "error: there is no busybox" >&2
    echo "hint: install Debian's package busybox-static" >&2
    exit 1
}
mkdir -p "$rootfs"/{bin,tmp,etc,data,example}
chmod 1777 "$rootfs/tmp"
echo 'root:x:0:0:root:/:/bin/sh' >"$rootfs/etc/passwd"

cp "$busybox" "$rootfs/bin/busybox"
for applet in $("$busybox" --list); do
    ln -s busybox "$rootfs/bin/$applet" 2>/dev/null || true
done
for program in "${programs[@]}"; do
    path=$(command -v "$program") || {
        echo "error: there is no $program; install bowtie2, samtools and bcftools" >&2
        exit 1
    }
    cp --remove-destination "$path" "$rootfs/bin/$program"
    # Lines of ldd: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
    for library in $(ldd "$path" | grep -o '/[^ ]*'); do
        mkdir -p "$rootfs$(dirname "$library")"
        cp -nL "$library" "$rootfs$library"
    done
done

# The name holds a digest of what is in the image, so one image is made once.
digest=$(cd "$rootfs" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
image=windrow-lambda-phage:$digest
if ! docker image inspect "$image" >/dev/null 2>&1; then
    tar -C "$rootfs" --numeric-owner --owner=0 --group=0 -c . |
        docker import -c 'ENV PATH=/bin' - "$image" >/dev/null
fi
echo "$image"
