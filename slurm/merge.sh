#!/bin/bash
# The whole scan, or what is left of it, on one node: after array.sh that is the merge over all patches.
#
#   sbatch --dependency=afterok:JOB --kill-on-invalid-dep=yes merge.sh     (JOB: the number of the array)
#
# `viamachinae submit` fills in the fields and writes the result to the scan's folder; or edit them here.
#SBATCH --job-name=scan-merge
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=06:00:00
#SBATCH --signal=B:USR2@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

SCAN=scan.toml     # settings of the scan
OUT=scan           # its folder, on a disk that all nodes see
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
supervise "${inside[@]}" "${drive[@]}" --workers "$workers"
