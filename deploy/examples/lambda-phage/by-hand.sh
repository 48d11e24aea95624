#!/bin/sh
# The example without Windrow: the same commands, one after the other.
#
#     by-hand.sh DIRECTORY [CHUNKS]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
directory=${1:?usage: by-hand.sh DIRECTORY [CHUNKS]}
chunks=${2:-20}

"$here/prepare.sh" "$directory" "$chunks"
"$here/pipeline.sh" index "$directory"
chunk=0
while [ "$chunk" -lt "$chunks" ]; do
    AWS_BATCH_JOB_ARRAY_INDEX=$chunk "$here/pipeline.sh" align "$directory" 2>/dev/null
    chunk=$((chunk + 1))
done
"$here/pipeline.sh" merge "$directory"
"$here/pipeline.sh" call "$directory"
