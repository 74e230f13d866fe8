#!/bin/sh
# A usual script, one ffmpeg command an output: usual.sh SOURCE FOLDER, with the program in $FF.
# Loudness by loudnorm in two passes, as FFmpeg's documentation teaches it.
set -e
source=$1
out=$2
mkdir -p "$out"

"$FF" -hide_banner -i "$source" 2> "$out/probe.txt" || true

norm=I=-14:TP=-1.5:LRA=11
"$FF" -hide_banner -nostats -y -i "$source" -vn \
  -af "aformat=channel_layouts=stereo,loudnorm=$norm:print_format=json" -f null - 2> "$out/loudness.txt"
measured() { sed -n "s/.*\"$1\" : \"\(.*\)\".*/\1/p" "$out/loudness.txt"; }
norm=$norm:measured_I=$(measured input_i):measured_TP=$(measured input_tp):measured_LRA=$(measured input_lra)
norm=$norm:measured_thresh=$(measured input_thresh):offset=$(measured target_offset):linear=true
"$FF" -v error -y -i "$source" -vn -af "aformat=channel_layouts=stereo,loudnorm=$norm,aresample=48000" \
  -c:a aac -b:a 160k "$out/audio.m4a"

"$FF" -v error -y -i "$source" -i "$out/audio.m4a" -map 0:v -map 1:a \
  -c:v libx264 -preset veryfast -crf 21 -g 48 -pix_fmt yuv420p -c:a copy -movflags +faststart "$out/mezzanine.mp4"
"$FF" -v error -y -i "$source" -i "$out/audio.m4a" -map 0:v -map 1:a -vf scale=-2:360 \
  -c:v libx264 -preset veryfast -crf 26 -g 24 -pix_fmt yuv420p -c:a aac -b:a 96k -movflags +faststart "$out/preview.mp4"
"$FF" -v error -y -ss 3 -i "$source" -frames:v 1 -q:v 3 -update 1 "$out/poster.jpg"
"$FF" -v error -y -i "$source" -an -vf fps=1,scale=160:-2,tile=10x10 -frames:v 1 -q:v 4 -update 1 "$out/storyboard.jpg"
"$FF" -v error -y -i "$source" -an -vf fps=0.5,scale=224:224 -q:v 3 "$out/still-%03d.jpg"
"$FF" -v error -y -i "$source" -vn -ac 1 -ar 16000 "$out/speech.wav"
