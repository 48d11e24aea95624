#!/usr/bin/env bash
# Runs the lambda phage example through Windrow and prints its figures.
#
#     run.sh [--docker] [--chunks N] [--directory D]
#
# All four jobs are submitted at once; Windrow runs each when what it depends on has succeeded.
# Needs a cluster (`windrow up`) and Debian's bowtie2, bowtie2-examples, samtools, bcftools;
# --docker also needs a Docker engine and busybox-static. `deploy/quickstart.sh` sees to all of that.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
windrow=${WINDROW:-windrow}
executor=process
chunks=20
directory=

usage() {
    sed -n 's/^#     /usage: /p' "${BASH_SOURCE[0]}"
    exit "$1"
}

while [ $# -gt 0 ]; do
    case $1 in
    --docker) executor=docker ;;
    --chunks) shift && chunks=${1:?} ;;
    --directory) shift && directory=${1:?} ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
    esac
    shift
done

command -v "$windrow" >/dev/null || {
    echo "error: there is no \`$windrow\`" >&2
    echo "hint: put windrow on the PATH, or set WINDROW to its location" >&2
    exit 1
}
[ -n "$directory" ] || directory=$(mktemp -d "${TMPDIR:-/tmp}/windrow-lambda-phage.XXXXXX")
"$here/prepare.sh" "$directory" "$chunks"
directory=$(cd "$directory" && pwd)
case $here$directory in
*[!A-Za-z0-9/_.,:@%+=\ -]*)
    echo "error: \`$directory\` or \`$here\` has characters that this script cannot put into JSON" >&2
    exit 1
    ;;
esac

image=
[ "$executor" = process ] || image=$("$here/image.sh")
definition=$(
    sed -e "s|@EXAMPLE@|$here|g" -e "s|@DIRECTORY@|$directory|g" \
        -e "s|@IMAGE@|$image|g" -e "s|@USER@|$(id -u):$(id -g)|g" \
        "$here/definitions/$executor.json" | "$windrow" jobdef register -q -f -
)

# submit STEP OPTION...: prints the new job's id.
submit() {
    local step=$1
    shift
    "$windrow" submit -q -f "$here/jobs/$step.json" --job-definition "$definition" "$@"
}

index=$(submit index)
align=$(submit align --array "$chunks" --depends-on "$index")
merge=$(submit merge --depends-on "$align")
call=$(submit call --depends-on "$merge")

if ! "$windrow" job wait --progress "$index" "$align" "$merge" "$call"; then
    echo "error: the example did not succeed; what its jobs said:" >&2
    for job in "$index" "$align" "$merge" "$call"; do
        "$windrow" job logs "$job" >&2 || true
    done
    exit 1
fi
cat "$directory/result.txt"
echo "files $directory"
