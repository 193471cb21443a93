#!/usr/bin/env bash
# Training speed of the main recipe's two steps against PyTorch, in turn on this machine: batch 128, f32, the same number of threads.
#   bench/train_speed.sh [ROUNDS]     PYTHON=python3 names an interpreter that can import torch; without one only ours runs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-2}
python=${PYTHON:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

ours() {
  build/vtrain recipes/deit_dynamicvit.yaml data.batch_size=128 data.val=0 data.limit=12800 out.dir="$out" log.every=100000 \
    phases.dense.train.epochs=2 phases.sparse.train.epochs=2 log.tensorboard=false |
    sed -n 's/^\([a-z]*\) epoch 2\/2: .* \([0-9]*\) images\/s.*/vtrain \1: \2 images\/s/p'
}
grep -m1 'model name' /proc/cpuinfo
for round in $(seq "$rounds"); do
  ours
  "$python" -c 'import torch' 2>/dev/null && "$python" bench/pytorch_step.py --modes eager,compile 2>/dev/null
done
# The first epoch warms up and is not shown. Peak memory: the largest resident set of a whole process that trains one phase.
command -v /usr/bin/time >/dev/null || exit 0
dense=$(ls -d "$out"/deit_dynamicvit-* | head -n 1)/dense.safetensors
for kind in dense sparse; do
  changes=('~phases.sparse' '~pair')
  [ "$kind" = sparse ] && changes=('~phases.dense' '~phases.sparse.from' '~pair' phases.sparse.model.weights="$dense"
    phases.sparse.compress.dynamicvit.teacher="$dense")
  /usr/bin/time -f "vtrain $kind peak: %M KiB" build/vtrain recipes/deit_dynamicvit.yaml data.batch_size=128 data.val=0 \
    data.limit=12800 out.dir="$out" out.name="peak-$kind" --quiet "phases.$kind.train.epochs=1" "${changes[@]}" 2>&1 | grep peak
done
