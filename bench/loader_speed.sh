#!/usr/bin/env bash
# Images per second of our loader against PyTorch's ImageFolder and DataLoader, in turn on this machine: the same photos, the
# same transforms, the same number of workers.
#   bench/loader_speed.sh [ROUNDS] [SECONDS]    PYTHON names an interpreter that can import torchvision; without one only ours runs
#                                               PHOTOS a folder of JPEG files, default data/photos of VTRAIN_SHARED or of ../shared
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-3}
seconds=${2:-6}
python=${PYTHON:-python3}
photos=${PHOTOS:-${VTRAIN_SHARED:-../shared}/data/photos}
# Not an error: `./dev bench` goes on with the benchmarks that need no photos.
[ -d "$photos" ] || { echo "skipped: no folder $photos; PHOTOS names one of JPEG files"; exit 0; }
photos=$(realpath "$photos")
has_pytorch=false
"$python" -c 'import torchvision' 2>/dev/null && has_pytorch=true
build=build-bench
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Two classes of links to the photos, eight times over, so that an epoch is long against its start.
mkdir -p "$out/train/a" "$out/train/b"
for copy in 1 2 3 4 5 6 7 8; do
  for photo in "$photos"/*; do
    ln -s "$photo" "$out/train/$([ $((copy % 2)) -eq 0 ] && echo a || echo b)/$copy-$(basename "$photo")"
  done
done
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVTRAIN_BENCH=ON -DVTRAIN_TESTS=OFF >/dev/null
ninja -C "$build" loader >/dev/null
grep -m1 'model name' /proc/cpuinfo
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
for mode in train eval; do
  for workers in 1 2; do
    ours=() theirs=()
    for _ in $(seq "$rounds"); do
      ours+=("$("$build/loader" "$out" "$mode" "$workers" "$seconds")")
      $has_pytorch && theirs+=("$("$python" bench/pytorch_loader.py "$out" "$mode" "$workers" "$seconds")")
    done
    $has_pytorch || { printf '%-5s %s worker(s): vtrain %7.1f images/s   (%s)\n' "$mode" "$workers" \
      "$(printf '%s\n' "${ours[@]}" | median)" "${ours[*]}"; continue; }
    a=$(printf '%s\n' "${ours[@]}" | median) b=$(printf '%s\n' "${theirs[@]}" | median)
    printf '%-5s %s worker(s): vtrain %7.1f  PyTorch %7.1f images/s  ratio %s   (%s | %s)\n' "$mode" "$workers" "$a" "$b" \
      "$(awk -v a="$a" -v b="$b" 'BEGIN {printf "%.2f", a / b}')" "${ours[*]}" "${theirs[*]}"
  done
done
