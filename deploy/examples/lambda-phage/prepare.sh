#!/bin/sh
# Lays out a directory for the example from Debian's bowtie2-examples:
#
#     prepare.sh DIRECTORY [CHUNKS]
#
# reference.fa (the lambda phage genome) and, for each chunk N from 0, reads/N.1.fq and
# reads/N.2.fq (the pairs N, N + CHUNKS, N + 2 CHUNKS, ...). Removes what an earlier run left there.
set -eu

directory=${1:?usage: prepare.sh DIRECTORY [CHUNKS]}
chunks=${2:-20}
source=${BOWTIE2_EXAMPLES:-/usr/share/doc/bowtie2/examples}

case $chunks in
*[!0-9]* | '' | ????*) chunks=0 ;;
esac
if [ "$chunks" -lt 2 ] || [ "$chunks" -gt 500 ]; then
    echo "error: the number of chunks must be from 2 to 500, got \`${2:-}\`" >&2
    exit 2
fi
[ -d "$source" ] || {
    echo "error: there is no \`$source\`" >&2
    echo "hint: install Debian's package bowtie2-examples" >&2
    exit 1
}

mkdir -p "$directory"
cd "$directory"
rm -rf reads aligned index reference.fa* sorted.bam* variants.vcf result.txt ./*.part.*
mkdir reads aligned
gzip -dc "$source/reference/lambda_virus.fa.gz" >reference.fa
for mate in 1 2; do
    gzip -dc "$source/reads/reads_$mate.fq.gz" | awk -v chunks="$chunks" -v mate="$mate" '
        { print > ("reads/" int((NR - 1) / 4) % chunks "." mate ".fq") }'
done
