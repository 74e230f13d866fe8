#!/bin/sh
# The strongest way with one ffmpeg command that we know of: expert.sh SOURCE FOLDER, with the program in $FF.
# Small pictures are scaled from the 360p one. Loudness is measured by ebur128 on the stereo downmix that is delivered,
# then applied by gain and a limiter at 192 kHz (0.75 is 1 dB below the ceiling of -1.5 dBTP: AAC raises peaks).
set -e
source=$1
out=$2
mkdir -p "$out"

"$FF" -hide_banner -nostats -y -i "$source" -vn \
  -af aformat=channel_layouts=stereo,ebur128=peak=true:framelog=quiet -f null - 2> "$out/loudness.txt"
gain=$(awk '/Summary/ { seen = 1 } seen && $1 == "I:" { print -14 - $2; exit }' "$out/loudness.txt")

"$FF" -v error -y -i "$source" -filter_complex "
  [0:v]split=3[full][half][still];
  [still]trim=start=3:duration=0.1[poster];
  [half]scale=-2:360,split=3[preview][tiles][pictures];
  [tiles]fps=1,scale=160:-2,tile=10x10[storyboard];
  [pictures]fps=0.5,scale=224:224[stills];
  [0:a]asplit=2[sound][speech];
  [sound]aformat=channel_layouts=stereo,volume=${gain}dB,aresample=192000,
    alimiter=limit=0.75:level=0:latency=1,aresample=48000,asplit=2[audio][small]" \
  -map "[full]" -map "[audio]" -c:v libx264 -preset veryfast -crf 21 -g 48 -pix_fmt yuv420p \
  -c:a aac -b:a 160k -movflags +faststart "$out/mezzanine.mp4" \
  -map "[preview]" -map "[small]" -c:v libx264 -preset veryfast -crf 26 -g 24 -pix_fmt yuv420p \
  -c:a aac -b:a 96k -movflags +faststart "$out/preview.mp4" \
  -map "[poster]" -frames:v 1 -q:v 3 -update 1 "$out/poster.jpg" \
  -map "[storyboard]" -frames:v 1 -q:v 4 -update 1 "$out/storyboard.jpg" \
  -map "[stills]" -q:v 3 "$out/still-%03d.jpg" \
  -map "[speech]" -ac 1 -ar 16000 "$out/speech.wav"
