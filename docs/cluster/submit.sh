#!/bin/bash
# Makes or refreshes a corpus on a Slurm cluster: an array of parts, then one job that merges them.
#
#   submit.sh 16 CORPUS run --source MIRROR --tokenizer tokenizer.json
#   submit.sh 16 CORPUS refresh
#
# MIRROR, CORPUS and the tokenizer lie on a file system that all nodes share. Options of sbatch for
# both jobs (a partition, an account) go into SBATCH_ARGS.
set -euo pipefail
parts=$1
corpus=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck disable=SC2086
array=$(sbatch --parsable ${SBATCH_ARGS:-} --array="1-$parts" "$here/part.sbatch" "$@" --corpus "$corpus")
# shellcheck disable=SC2086
finish=$(sbatch --parsable ${SBATCH_ARGS:-} --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes \
  "$here/finish.sbatch" "$corpus")
echo "parts: job $array, finish: job $finish"
