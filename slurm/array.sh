#!/bin/bash
# One group of patches on one node: a task of a job array. No task waits for another, so a lost node, or a
# queue with room for one, costs little. merge.sh follows when all are done.
#
#   sbatch array.sh
#
# `viamachinae submit` fills in the fields and writes the result to the scan's folder; or edit them here.
#SBATCH --job-name=scan
#SBATCH --array=1-4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=06:00:00
#SBATCH --signal=B:USR2@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.out

SCAN=scan.toml     # settings of the scan
OUT=scan           # its folder, on a disk that all nodes see
N_GROUPS=4         # groups of patches; --array counts them from 1
HERE=slurm         # folder of common.sh
BIN=               # folder of the program viamachinae, put first on PATH; empty: it is there
GPU=no             # yes: densities train on GPUs
THREADS_PER_CORE=1 # CPUs, as Slurm counts them, that a worker takes
MAX_RESTARTS=100   # how often the job may put itself back into the queue
CONTAINER=         # shifter or podman-hpc; empty: none
IMAGE=             # its image, with viamachinae in it
MOUNTS=()          # podman-hpc: folders to read, beside OUT

# shellcheck source=common.sh
source "$HERE/common.sh" || exit 78
prepare
supervise "${inside[@]}" "${drive[@]}" --workers "$workers" --group "$SLURM_ARRAY_TASK_ID/$N_GROUPS"
