#!/usr/bin/env bash
# The main recipe over seeds, against its control: the same sparse phase, from the same dense weights, that drops tokens at random.
#   bench/main_recipe.sh [SEEDS] [OUT]      default: "1 2 3", runs/main_recipe
# Prints a line per run and mean and standard deviation over seeds. About 20 minutes per seed on 2 cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seeds=${1:-"1 2 3"}
out=${2:-runs/main_recipe}
recipe=recipes/deit_dynamicvit.yaml

# figure FILE NETWORK KEY: a number of one network in a result.json
figure() { grep -o "\"$2\":{[^}]*}" "$1" | grep -o "\"$3\":[0-9.eE+-]*" | cut -d: -f2; }
# statistics: mean and standard deviation (n - 1) of numbers on standard input
statistics() { awk '{n++; s+=$1; q+=$1*$1} END {m=s/n; printf "%.2f +- %.2f (n = %d)\n", m, n>1 ? sqrt((q-n*m*m)/(n-1)) : 0, n}'; }

for seed in $seeds; do
  build/vtrain "$recipe" --quiet --seed "$seed" out.dir="$out" out.name="learned-$seed" >/dev/null
  learned=$(ls -d "$out/learned-$seed"-* | tail -n 1)
  dense=$learned/dense.safetensors
  build/vtrain "$recipe" --quiet --seed "$seed" out.dir="$out" out.name="random-$seed" '~phases.dense' '~phases.sparse.from' '~pair' \
    phases.sparse.model.weights="$dense" phases.sparse.compress.dynamicvit.teacher="$dense" \
    +phases.sparse.compress.dynamicvit.scorer=random >/dev/null
  random=$(ls -d "$out/random-$seed"-* | tail -n 1)
  printf 'seed %s: dense %s %%, sparse %s %%, random %s %%, MACs %s, throughput %s, %s s\n' "$seed" \
    "$(figure "$learned/result.json" dense top1_percent)" "$(figure "$learned/result.json" sparse top1_percent)" \
    "$(figure "$random/result.json" sparse top1_percent)" "$(grep -o '"ratio":{"macs":[0-9.]*' "$learned/result.json" | cut -d: -f3)" \
    "$(grep -o '"throughput":[0-9.]*' "$learned/result.json" | cut -d: -f2)" "$(grep -o '"seconds":[0-9.]*' "$learned/result.json" | cut -d: -f2)"
done
for kind in learned:dense learned:sparse random:sparse; do
  printf '%-16s ' "$kind"
  for seed in $seeds; do figure "$(ls "$out/${kind%%:*}-$seed"-*/result.json | tail -n 1)" "${kind##*:}" top1_percent; done | statistics
done
