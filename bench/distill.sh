#!/usr/bin/env bash
# Distillation on Fashion-MNIST over seeds: one ResNet-20 teaches a narrow ResNet-8 that sees 6,000 images, by each method and by none.
#   bench/distill.sh [SEEDS] [OUT]      default: "1 2 3", runs/distill
# The teacher is trained once, with seed 1; a seed fixes initialisation and order of the student, so runs of one seed are paired.
# Prints top-1 of the test split per run, and mean and standard deviation over seeds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seeds=${1:-"1 2 3"}
out=${2:-runs/distill}
export OMP_WAIT_POLICY=passive

# figure FILE NETWORK KEY: a number of one network in a result.json
figure() { grep -o "\"$2\":{[^}]*}" "$1" | grep -o "\"$3\":[0-9.eE+-]*" | cut -d: -f2; }
# statistics: mean and standard deviation (n - 1) of numbers on standard input
statistics() { awk '{n++; s+=$1; q+=$1*$1} END {m=s/n; printf "%.2f +- %.2f (n = %d)\n", m, n>1 ? sqrt((q-n*m*m)/(n-1)) : 0, n}'; }
newest() { ls -d "$out/$1"-2* 2>/dev/null | tail -n 1; }
# train NAME RECIPE OVERRIDES...: nothing if it is there already
train() {
  local name=$1 recipe=recipes/resnet8_28_$2.yaml
  shift 2
  [ -e "$(newest "$name")/result.json" ] ||
    build/vtrain "$recipe" --quiet threads=2 amp=off log.tensorboard=false out.dir="$out" out.name="$name" '~pair' "$@" >/dev/null
}

train teacher kd '~phases.student'
teacher=$(newest teacher)/teacher.safetensors
student() { # NAME SEED RECIPE OVERRIDES...
  train "$1-$2" "$3" '~phases.teacher' --seed "$2" "${@:4}"
}
for seed in $seeds; do
  student plain "$seed" kd phases.student.compress=null
  for t in 1 2 4 8; do
    student "kd_t$t" "$seed" kd phases.student.compress.kd.teacher="$teacher" phases.student.compress.kd.temperature="$t"
  done
  for beta in 1 8; do
    student "dkd_beta$beta" "$seed" dkd phases.student.compress.dkd.teacher="$teacher" phases.student.compress.dkd.beta="$beta"
  done
  student fitnets "$seed" fitnets phases.student.compress.fitnets.teacher="$teacher"
  student fitnets_hint_only "$seed" fitnets phases.student.compress.fitnets.teacher="$teacher" \
    phases.student.compress.fitnets.lambda_start=0 phases.student.compress.fitnets.lambda_end=0
  student takd "$seed" takd phases.assistant.compress.takd.teacher="$teacher"
done
echo "teacher $(figure "$(newest teacher)/result.json" teacher top1_percent)"
for kind in plain kd_t1 kd_t2 kd_t4 kd_t8 dkd_beta1 dkd_beta8 fitnets fitnets_hint_only takd; do
  printf '%-18s' "$kind"
  for seed in $seeds; do printf ' %s' "$(figure "$(newest "$kind-$seed")/result.json" student top1_percent)"; done
  printf '   '
  for seed in $seeds; do figure "$(newest "$kind-$seed")/result.json" student top1_percent; done | statistics
done
