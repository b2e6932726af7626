#!/usr/bin/env bash
# Makes the media that the tests publish, into .cache/media: one file for each kind of stream. Made anew when this script changes.
#
# All but one are 6 s long with a key frame each second, small pictures, and bit exact for one version of ffmpeg.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=.cache/media
stamp=$(sha256sum "$0" | cut -c1-16)
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "setup: media is there"
    exit 0
fi
echo "setup: making media in $out"
mkdir -p "$out"
new=.cache/bin/ffmpeg-enhanced
common=(-hide_banner -loglevel error -y -bitexact)
picture() { echo "testsrc2=s=$1:r=$2:d=6,format=yuv420p"; }
sound=(-f lavfi -i "sine=f=440:r=48000:b=1:d=6,aformat=channel_layouts=stereo")
gop=(-g 25 -keyint_min 25 -sc_threshold 0)
aac=(-c:a aac -b:a 64k)
flv=(-flvflags no_duration_filesize -f flv)

ffmpeg "${common[@]}" -f lavfi -i "$(picture 640x360 25)" "${sound[@]}" \
    -c:v libx264 -profile:v main -preset veryfast -bf 0 -b:v 500k "${gop[@]}" "${aac[@]}" "${flv[@]}" "$out/h264-aac.flv"
# High profile, B-frames with references among them: composition times up to 3 frames.
ffmpeg "${common[@]}" -f lavfi -i "$(picture 480x270 25)" "${sound[@]}" \
    -c:v libx264 -profile:v high -preset medium -bf 3 -b_strategy 0 -b:v 400k "${gop[@]}" "${aac[@]}" "${flv[@]}" "$out/bframes-aac.flv"
ffmpeg "${common[@]}" "${sound[@]}" "${aac[@]}" "${flv[@]}" "$out/audio-only.flv"
# 24 s of groups of pictures from 0.5 to 5.2 s, B-frames, times that are no whole milliseconds.
ffmpeg "${common[@]}" -f lavfi -i "testsrc2=s=320x180:r=30000/1001:d=24,format=yuv420p" \
    -f lavfi -i "sine=f=440:r=44100:b=1:d=24,aformat=channel_layouts=stereo" \
    -c:v libx264 -profile:v high -preset medium -bf 3 -b_strategy 0 -b:v 300k -g 1000 -keyint_min 1 -sc_threshold 0 \
    -force_key_frames 0,1,1.5,2.6,4.6,5.6,6.2,11.4,12.4,13.4,14.9,15.5,18.5,19.5,20.5,21.5,22.5 "${aac[@]}" "${flv[@]}" "$out/gops-aac.flv"
ffmpeg "${common[@]}" -f lavfi -i "$(picture 480x270 25)" \
    -c:v libx264 -profile:v main -preset veryfast -bf 0 -b:v 400k "${gop[@]}" "${flv[@]}" "$out/video-only.flv"
# Another resolution and profile: joined behind h264-aac.flv it is a stream whose parameters change.
ffmpeg "${common[@]}" -f lavfi -i "$(picture 320x180 25)" "${sound[@]}" \
    -c:v libx264 -profile:v high -preset veryfast -bf 0 -b:v 300k "${gop[@]}" "${aac[@]}" "${flv[@]}" "$out/h264-small-aac.flv"
$new "${common[@]}" -f lavfi -i "$(picture 480x270 25)" "${sound[@]}" \
    -c:v libx265 -preset veryfast -x265-params "log-level=none:keyint=25:min-keyint=25:scenecut=0:bframes=2:info=0" -b:v 300k \
    "${aac[@]}" "${flv[@]}" "$out/h265-aac.flv"
SVT_LOG=1 $new "${common[@]}" -f lavfi -i "$(picture 480x270 25)" "${sound[@]}" \
    -c:v libsvtav1 -preset 12 -g 25 -b:v 300k -c:a libopus -b:a 64k "${flv[@]}" "$out/av1-opus.flv"
echo "$stamp" >"$out/stamp"
