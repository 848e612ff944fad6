#!/usr/bin/env bash
# A job array over one folder: each task does its part of the photographs, and none knows of the others.
#
#   sbatch --array=1-16 deploy/slurm.sh /data/photographs /data/results
#   sbatch --dependency=afterany:JOB --array=1-1 deploy/slurm.sh /data/photographs /data/results   (the tables)
#
# Both folders lie on a disk that all nodes share, or are s3:// prefixes. A task that was killed, or ran out of
# time, is sent again as it stands: what is done is kept. An array of one writes the tables.
#SBATCH --job-name=foveate
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

part=(--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT")
[ "$SLURM_ARRAY_TASK_COUNT" -gt 1 ] || part=()

exec foveate predict "$1" --out "$2" "${@:3}" --on local --workers "${SLURM_CPUS_PER_TASK:-4}" --resume "${part[@]}" \
  --log "${FOVEATE_LOGS:-.}/foveate-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID.jsonl"
