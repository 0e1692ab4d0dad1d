#!/usr/bin/env bash
# make demo: the whole path of hsta-hf on synthetic (drawn) faces, from files on disk to a classified video.
#
#   bash scripts/demo.sh [FOLDER]      (needs `hsta` on the PATH; make demo sees to it)
#
# Each step writes into FOLDER (default: demo) and is skipped or resumed where it is done or half done, so a demo that
# was interrupted goes on when it is started again.
set -euo pipefail
recipe="$(cd "$(dirname "$0")" && pwd)/recipes/synthetic_demo.yaml"
train="$(dirname "$recipe")/../train.py"
demo="${1:-demo}"
mkdir -p "$demo"
export HF_HUB_OFFLINE=1
SECONDS=0

step() { printf '\n=== %s  [%d s so far]\n' "$1" "$SECONDS"; }

step "1/5  Draw a synthetic database in CAS(ME)^3's layout"
[ -d "$demo/database" ] || hsta synthesize "$demo/database" --subjects 24 --clips-per-subject 14

step "2/5  Prepare it: read annotation and frames, report mistakes, write one dataset"
[ -d "$demo/prepared" ] || hsta prepare "$recipe" "$demo/database" "$demo/prepared"

step "3/5  Train and cross-validate: every test subject is unseen in training"
accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
    --num_cpu_threads_per_process "$(getconf _NPROCESSORS_ONLN)" \
    "$train" "$recipe" --dataset "$demo/prepared" --output_dir "$demo/run"

step "4/5  Draw videos of somebody new, and ask the model about them"
[ -d "$demo/unseen" ] || hsta synthesize "$demo/unseen" --subjects 1 --clips-per-subject 7 --seed 1 --videos --quiet
hsta predict "$demo/run" "$demo"/unseen/videos/*.mp4 --faces keep --top_k 2

step "5/5  Done"
cat <<EOF
Everything here is synthetic: no number above is a result on people.
  report     $demo/run/report.html
  model      $demo/run/folds/fold-00-seed-42/model, for AutoModelForVideoClassification.from_pretrained
  video      pipeline("video-classification", model=...)("$demo/unseen/videos/....mp4")
EOF
