#!/usr/bin/env bash
# Installs what the tests need from the ordinary Debian, PyPI and npm registries, and makes the media that they publish.
# What is already there is left alone. Works as root or with sudo.
set -euo pipefail
cd "$(dirname "$0")/.."

# Command that shows that a package is there, and the package.
needs="
ffmpeg:ffmpeg
ffprobe:ffmpeg
chromium:chromium
chromedriver:chromium-driver
gst-launch-1.0:gstreamer1.0-tools
rtmpdump:rtmpdump
nginx:libnginx-mod-rtmp
curl:curl
prometheus:prometheus
promtool:prometheus
python3:python3-venv
npm:npm
"
# GStreamer elements and the package that has them.
elements="
flvmux:gstreamer1.0-plugins-good
souphttpsrc:gstreamer1.0-plugins-good
qtdemux:gstreamer1.0-plugins-good
hlsdemux:gstreamer1.0-plugins-bad
rtmp2sink:gstreamer1.0-plugins-bad
rtmpsink:gstreamer1.0-plugins-bad
x264enc:gstreamer1.0-plugins-ugly
avenc_aac:gstreamer1.0-libav
"

missing=()
for need in $needs; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
if command -v gst-inspect-1.0 >/dev/null; then
    for element in $elements; do
        gst-inspect-1.0 --exists "${element%%:*}" 2>/dev/null || missing+=("${element#*:}")
    done
else
    for element in $elements; do missing+=("${element#*:}"); done
fi
[ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || missing+=(libnginx-mod-rtmp)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
# The cluster tests need a store beside the API server; without that they are skipped.
assets=${KUBEBUILDER_ASSETS:-/usr/local/kubebuilder/bin}
if [ -x "$assets/kube-apiserver" ] && [ ! -x "$assets/etcd" ]; then
    command -v etcd >/dev/null || missing+=(etcd-server)
fi
[ -n "$(fc-list 2>/dev/null | head -n 1)" ] || missing+=(fontconfig fonts-dejavu-core)

if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    echo "setup: installing ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "setup: neither root nor sudo: install these packages by hand: ${missing[*]}" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    # The tests start their own nginx, etcd and Prometheus on their own ports: the packages' services are not wanted.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
        "${as_root[@]}" chmod +x $policy
        # shellcheck disable=SC2064
        trap "${as_root[*]} rm -f $policy" EXIT
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
else
    echo "setup: every package is there"
fi

# A newer ffmpeg beside Debian's: H.265, AV1 and Opus over Enhanced RTMP.
venv=.cache/venv
if [ ! -x .cache/bin/ffmpeg-enhanced ]; then
    echo "setup: fetching ffmpeg with Enhanced RTMP into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
    mkdir -p .cache/bin
    ln -sf "$("$venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" .cache/bin/ffmpeg-enhanced
else
    echo "setup: ffmpeg with Enhanced RTMP is there"
fi

# Helm as a library, for the chart's tests.
if ! "$venv/bin/python" -m pip show --quiet helm-python-sdk 2>/dev/null; then
    echo "setup: fetching Helm into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check helm-python-sdk==0.2.2 ||
        echo "setup: WARNING: there is no Helm for this machine: the chart's tests will be skipped" >&2
else
    echo "setup: Helm is there"
fi

# dash.js, which plays MPEG-DASH in the browser tests: the one file of its package, of this version.
dashjs=5.2.1
if [ ! -e .cache/dashjs/$dashjs ]; then
    echo "setup: fetching dash.js $dashjs"
    rm -rf .cache/dashjs
    mkdir -p .cache/dashjs
    (cd .cache/dashjs && npm pack --silent dashjs@$dashjs >/dev/null)
    tar -xzf .cache/dashjs/dashjs-$dashjs.tgz -C .cache/dashjs --strip-components=4 package/dist/modern/umd/dash.all.min.js
    rm .cache/dashjs/dashjs-$dashjs.tgz
    touch .cache/dashjs/$dashjs
else
    echo "setup: dash.js is there"
fi

tests/media/make-fixtures.sh
