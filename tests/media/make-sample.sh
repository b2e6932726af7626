#!/usr/bin/env bash
# Makes operator/src/local/sample.flv, the clip that `headwater local --sample` publishes in a loop.
#
# H.264 Main without B-frames, 640x360 at 25/s, a key frame each second; AAC-LC stereo at 48 kHz.
# The loop is seamless: 200 pictures and 375 AAC frames (of 1024 samples) are both 8.000 s exactly, so that a player of
# the clip adds 8000 ms to every timestamp each time round. Picture and sound have a period of 8 s (only the drawn clock
# starts again), and the sound is cut out of the middle of a longer encode: no encoder priming, and the first
# AAC frame overlaps with the last one as with any other.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=operator/src/local/sample.flv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ff=(ffmpeg -hide_banner -loglevel error -y -bitexact)

# Flowing water, and a disc that goes round once in 2 s and lights up on each full second, with the blip of the sound.
wave='26*sin(2*PI*(X/260+Y/700-T/4))+18*sin(2*PI*(X/170-Y/240+T/8))+10*sin(2*PI*(Y/90+X/900-T/2))'
disc='lt(hypot(X-W/2-150*sin(PI*T),Y-H/2+150*cos(PI*T)),11)'
picture="color=c=black:s=640x360:r=25:d=8,format=yuv420p,
geq=lum='if($disc,150+100*exp(-5*mod(T,1)),86+$wave)'
:cb='152+14*sin(2*PI*(X/300+Y/200-T/8))':cr='98+14*sin(2*PI*(X/260-Y/300+T/4))',
drawtext=text='Headwater':fontcolor=white:fontsize=44:x=(w-tw)/2:y=h/2-52,
drawtext=text='%{pts\:hms}':fontcolor=white@0.9:fontsize=30:x=(w-tw)/2:y=h/2+14"
sound='0.05*sin(2*PI*220*t)*(0.7+0.3*sin(PI*t/2))+0.04*sin(2*PI*330*t)*(0.7+0.3*cos(PI*t/2))+0.12*sin(2*PI*880*t)*exp(-16*mod(t,1))'

"${ff[@]}" -f lavfi -i "$picture" -frames:v 200 \
    -c:v libx264 -profile:v main -preset veryslow -bf 0 -g 25 -keyint_min 25 -sc_threshold 0 -crf 24 -maxrate 700k -bufsize 700k \
    -threads 1 -bsf:v filter_units=remove_types=6 "$work/picture.mp4"
"${ff[@]}" -f lavfi -i "aevalsrc='$sound|$sound':s=48000:d=24" -c:a aac -b:a 96k "$work/long.m4a"
# The second 8 s: AAC frames 375 to 749.
"${ff[@]}" -i "$work/long.m4a" -c copy \
    -bsf:a "noise=drop='not(between(n,375,749))',setts=ts=N*1024/48000/TB" "$work/sound.m4a"
"${ff[@]}" -i "$work/picture.mp4" -i "$work/sound.m4a" -map 0:v -map 1:a -c copy \
    -flvflags no_duration_filesize+no_sequence_end "$out"
ls -l "$out"
