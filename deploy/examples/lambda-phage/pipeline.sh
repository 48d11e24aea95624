#!/bin/sh
# The steps of the lambda phage example, each one batch job: the only place where their commands
# are written. run.sh has Windrow run them; by-hand.sh runs the same ones in a loop.
#
#     pipeline.sh index|align|merge|call DIRECTORY
#
# DIRECTORY is laid out by prepare.sh. Plain sh, since the container has no more. Each step writes
# beside its output and renames, so a step that was cut short can simply run again. bowtie2's
# programs are called without their Perl and Python wrappers, hence `--wrapper`.
set -eu

# Where a result is written until it is whole; no two attempts share it.
part=part.${AWS_BATCH_JOB_ID:-hand}.${AWS_BATCH_JOB_ATTEMPT:-1}

index() {
    mkdir -p "index.$part"
    bowtie2-build-s --wrapper basic-0 -q --threads 1 --seed 1 reference.fa "index.$part/lambda"
    samtools faidx reference.fa
    rm -rf index
    mv "index.$part" index
    echo "indexed reference.fa"
}

# One chunk of the reads: the one that has the number of this child of the array job.
align() {
    chunk=${AWS_BATCH_JOB_ARRAY_INDEX:?this step runs as a child of an array job}
    bowtie2-align-s --wrapper basic-0 -p 1 --seed 1 -x index/lambda \
        -1 "reads/$chunk.1.fq" -2 "reads/$chunk.2.fq" -S "aligned/$chunk.$part.sam"
    samtools view -b -o "aligned/$chunk.$part.bam" "aligned/$chunk.$part.sam"
    rm "aligned/$chunk.$part.sam"
    mv "aligned/$chunk.$part.bam" "aligned/$chunk.bam"
}

merge() {
    set --
    chunk=0
    while [ -e "reads/$chunk.1.fq" ]; do
        set -- "$@" "aligned/$chunk.bam"
        chunk=$((chunk + 1))
    done
    samtools cat -o "merged.$part.bam" "$@"
    samtools sort -T "sort.$part" -o "sorted.$part.bam" "merged.$part.bam"
    rm "merged.$part.bam"
    mv "sorted.$part.bam" sorted.bam
    samtools index sorted.bam
    echo "merged $chunk chunks"
}

call() {
    bcftools mpileup -Ob -f reference.fa -o "pileup.$part.bcf" sorted.bam
    bcftools call -mv --ploidy 1 -Ov -o "variants.$part.vcf" "pileup.$part.bcf"
    rm "pileup.$part.bcf"
    mv "variants.$part.vcf" variants.vcf
    {
        # Each read counts once: no secondary (0x100) or supplementary (0x800) alignments.
        echo "reads $(samtools view -c -F 0x900 sorted.bam)"
        echo "aligned $(samtools view -c -F 0x904 sorted.bam)"
        echo "variants $(grep -c -v '^#' variants.vcf)"
    } >"result.$part.txt"
    mv "result.$part.txt" result.txt
    cat result.txt
}

cd "${2:?usage: pipeline.sh index|align|merge|call DIRECTORY}"
case $1 in
index | align | merge | call) "$1" ;;
*)
    echo "error: unknown step \`$1\`" >&2
    exit 2
    ;;
esac
