#!/bin/sh
# llmkit's main job on the sample data beside this file, with no network: run it by `make demo`, as often as you like.
set -eu
cd "$(dirname "$0")/.."
BIN=${BIN:-}

run() {
    printf '\n$ llmkit'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./=:-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "${BIN:+$BIN/}llmkit" "$@"
}

run generate 'Once upon a time' --max-new-tokens 100
run pretrain examples/corpus.txt -o runs/demo-stories --overwrite
run generate -m runs/demo-stories 'Once upon a time' --max-new-tokens 60
run finetune examples/reviews -m built-in -o runs/demo-reviews --overwrite
run eval examples/reviews -m runs/demo-reviews --split test --fail-under accuracy=0.6
run classify -m runs/demo-reviews 'The room was clean and the staff were kind.' 'It broke after two days.'
