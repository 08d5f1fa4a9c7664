#!/usr/bin/env bash
# One scenario file on a Slurm cluster: Ray starts on every node of the allocation, the first one drives, all ends with it.
#
#     sbatch tools/cluster/slurm.sh scenarios/quickstart.py
#
# Submit it again after a time limit: runs go on from their newest checkpoints. $RAYSPLIT_VENV, $RAYSPLIT_DATA and the
# working directory must be on a disk that all nodes see.
#SBATCH --job-name=raysplit
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --output=raysplit-%j.log
set -euo pipefail

scenario=${1:?give the scenario file: sbatch tools/cluster/slurm.sh FILE}
# shellcheck disable=SC1091 # the user's own
source "${RAYSPLIT_VENV:-$PWD/.venv}/bin/activate"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=$(srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname --ip-address | cut -d' ' -f1):6379
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))') # of this job alone

# Slurm's limits, not the machine's: Ray would count all cores of a shared node.
srun --kill-on-bad-exit=1 ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" -- \
    raysplit sweep "$scenario" --address auto --out runs
