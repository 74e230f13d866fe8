#!/bin/sh
# The same with loudnorm in two passes, as FFmpeg's documentation teaches it: two_pass.sh SOURCE FOLDER, with the
# program in $FF. Pictures are scaled from the full one, as is usual.
set -e
source=$1
out=$2
mkdir -p "$out"

norm=I=-14:TP=-1.5:LRA=11
"$FF" -hide_banner -nostats -y -i "$source" -vn -af "loudnorm=$norm:print_format=json" -f null - 2> "$out/loudness.txt"
measured() { sed -n "s/.*\"$1\" : \"\(.*\)\".*/\1/p" "$out/loudness.txt"; }
norm=$norm:measured_I=$(measured input_i):measured_TP=$(measured input_tp):measured_LRA=$(measured input_lra)
norm=$norm:measured_thresh=$(measured input_thresh):offset=$(measured target_offset):linear=true

"$FF" -v error -y -i "$source" -filter_complex "
  [0:v]split=5[full][half][still][tiles][pictures];
  [still]trim=start=3:duration=0.1[poster];
  [half]scale=-2:360[preview];
  [tiles]fps=1,scale=160:-2,tile=10x10[storyboard];
  [pictures]fps=0.5,scale=224:224[stills];
  [0:a]asplit=3[sound][small][speech];
  [sound]loudnorm=$norm,aresample=48000[audio]" \
  -map "[full]" -map "[audio]" -c:v libx264 -preset veryfast -crf 21 -g 48 -pix_fmt yuv420p \
  -c:a aac -b:a 160k -ac 2 -movflags +faststart "$out/mezzanine.mp4" \
  -map "[preview]" -map "[small]" -c:v libx264 -preset veryfast -crf 26 -g 24 -pix_fmt yuv420p \
  -c:a aac -b:a 96k -ac 2 -movflags +faststart "$out/preview.mp4" \
  -map "[poster]" -frames:v 1 -q:v 3 -update 1 "$out/poster.jpg" \
  -map "[storyboard]" -frames:v 1 -q:v 4 -update 1 "$out/storyboard.jpg" \
  -map "[stills]" -q:v 3 "$out/still-%03d.jpg" \
  -map "[speech]" -ac 1 -ar 16000 "$out/speech.wav"
