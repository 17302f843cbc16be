#!/bin/bash
#SBATCH --job-name=icecore
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --signal=B:TERM@120
# Features of a folder by eight jobs at once, all into one cache in a shared folder:
#
#     sbatch examples/slurm.sh /shared/photos /shared/cache gluon:resnet152_v2 gluon:inceptionv3
#
# With GPUs, add `#SBATCH --gres=gpu:1` and `--device cuda:0`. Jobs take what no other job computes;
# one that is ended leaves its rows to the others, and the same command continues. `exec` lets
# SIGTERM reach icecore, which saves what it has and ends with status 143.
set -eu
photos=$1 cache=$2
shift 2
networks=()
for name in "$@"; do networks+=(-b "$name"); done
exec icecore extract "$photos" -o "$cache" "${networks[@]}" --workers "${SLURM_CPUS_PER_TASK:-2}"
