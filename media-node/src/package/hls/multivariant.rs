//! Text of the multivariant playlist (RFC 8216bis §4.4.6), with figures measured over the window.

use std::fmt::Write;

use super::playlist::playlist_name;
use super::window::{InitTrack, Progress, Rendition, Segment, Window};

/// What a multivariant playlist says of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Where its playlists are, with a slash at the end: `cam1/`.
    pub folder: String,
    /// Headers in force.
    pub video: Option<InitTrack>,
    /// Headers in force.
    pub audio: Option<InitTrack>,
    /// Highest bit rate of a segment.
    pub peak_bps: u64,
    /// Bit rate over all segments.
    pub average_bps: u64,
    /// Frames per 1,000 s.
    pub frames_per_1000s: u64,
    /// Every segment begins with a frame at which decoding can begin.
    pub independent: bool,
}

impl Variant {
    /// Measures a window; none before its headers are known.
    pub fn measure(window: &Window, folder: String) -> Option<Self> {
        let [video, audio] = window.newest_inits()?.clone();
        let whole: Vec<&Segment> = window
            .whole()
            .filter(|segment| segment.progress == Progress::Whole)
            .collect();
        let bits = |segment: &Segment| {
            segment
                .tracks
                .iter()
                .flatten()
                .map(|track| track.size() * 8)
                .sum::<u64>()
        };
        let rate = |bits: u64, ms: u64| bits.saturating_mul(1_000) / ms.max(1);
        let total_ms: u64 = whole.iter().map(|segment| segment.duration_ms).sum();
        let total_bits: u64 = whole.iter().map(|segment| bits(segment)).sum();
        let tracks = || whole.iter().filter_map(|segment| segment.track(Rendition::Video));
        let frames: u64 = tracks().map(|track| track.samples()).sum();
        let frames_ms: u64 = tracks().map(|track| track.ms()).sum();
        Some(Self {
            folder,
            video,
            audio,
            peak_bps: whole
                .iter()
                .map(|segment| rate(bits(segment), segment.duration_ms))
                .max()
                .unwrap_or(0),
            average_bps: rate(total_bits, total_ms),
            frames_per_1000s: usual(frames * 1_000_000 / frames_ms.max(1)),
            independent: tracks().all(|track| track.independent()),
        })
    }

    fn codecs(&self) -> String {
        let codecs = self.video.iter().chain(&self.audio).map(|track| track.codec.as_str());
        codecs.collect::<Vec<_>>().join(",")
    }
}

/// Frame rates that are meant where something next to them is measured, in frames per 1,000 s.
const USUAL: [u64; 8] = [23_976, 24_000, 25_000, 29_970, 30_000, 50_000, 59_940, 60_000];

/// Times are whole milliseconds: the usual frame rate within 0.05 % of what was measured, else that.
pub(in crate::package) fn usual(measured: u64) -> u64 {
    USUAL
        .into_iter()
        .find(|usual| usual.abs_diff(measured) * 2_000 <= *usual)
        .unwrap_or(measured)
}

/// The playlist of these variants, the best one first. Each has its own sound: players tie sound to pictures by discontinuity
/// sequence numbers, which hold for a stream and its group only as long as its members began together.
pub fn render(variants: &[Variant], plain: bool) -> String {
    let version = if plain { 6 } else { 9 };
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{version}\n");
    if variants.iter().all(|variant| variant.independent) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let pictured = variants.iter().any(|variant| variant.video.is_some());
    let shown = || variants.iter().filter(|variant| variant.video.is_some() || !pictured);
    for (at, variant) in shown().enumerate() {
        if let Some(audio) = variant.audio.as_ref().filter(|_| pictured) {
            let _ = writeln!(
                text,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"audio\",LANGUAGE=\"und\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"{}{}\"",
                sound(at),
                audio.channels,
                variant.folder,
                playlist_name(Rendition::Audio, plain)
            );
        }
    }
    for (at, variant) in shown().enumerate() {
        stream_inf(&mut text, variant, at, plain);
    }
    text
}

/// Name of the group of renditions that the variant at this place has its sound in.
fn sound(at: usize) -> String {
    match at {
        0 => "audio".to_owned(),
        _ => format!("audio-{}", at + 1),
    }
}

fn stream_inf(text: &mut String, variant: &Variant, at: usize, plain: bool) {
    let _ = write!(
        text,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
        variant.peak_bps.max(1),
        variant.average_bps.max(1),
        variant.codecs()
    );
    let rendition = match &variant.video {
        Some(video) => {
            if video.width > 0 && video.height > 0 {
                let _ = write!(text, ",RESOLUTION={}x{}", video.width, video.height);
            }
            if variant.frames_per_1000s > 0 {
                let rate = variant.frames_per_1000s;
                let _ = write!(text, ",FRAME-RATE={}.{:03}", rate / 1_000, rate % 1_000);
            }
            if variant.audio.is_some() {
                let _ = write!(text, ",AUDIO=\"{}\"", sound(at));
            }
            Rendition::Video
        }
        None => Rendition::Audio,
    };
    let _ = writeln!(text, "\n{}{}", variant.folder, playlist_name(rendition, plain));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(height: u32) -> Variant {
        let init = |codec: &str, height, channels| InitTrack {
            codec: codec.into(),
            width: height * 16 / 9,
            height,
            channels,
            timescale: 1_000,
            bytes: None,
        };
        Variant {
            folder: format!("show_{height}/"),
            video: (height > 0).then(|| init("avc1.64001f", height, 0)),
            audio: Some(init("mp4a.40.2", 0, 2)),
            peak_bps: 1_000 * u64::from(height),
            average_bps: 900 * u64::from(height),
            frames_per_1000s: usual(29_967),
            independent: true,
        }
    }

    #[test]
    fn a_stream_is_its_video_with_its_audio_as_a_rendition() {
        let text = render(&[variant(720)], false);
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",LANGUAGE=\"und\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"show_720/audio.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=720000,AVERAGE-BANDWIDTH=648000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,\
             FRAME-RATE=29.970,AUDIO=\"audio\"\nshow_720/video.m3u8\n"
        );
    }

    #[test]
    fn sound_alone_is_a_variant_of_its_own() {
        let text = render(&[variant(0)], true);
        assert!(
            text.ends_with("CODECS=\"mp4a.40.2\"\nshow_0/plain-audio.m3u8\n"),
            "{text}"
        );
        assert!(!text.contains("EXT-X-MEDIA:"), "{text}");
    }

    #[test]
    fn several_variants_have_each_their_own_sound() {
        let text = render(&[variant(1080), variant(480)], false);
        assert_eq!(text.matches("EXT-X-MEDIA:").count(), 2);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].contains("GROUP-ID=\"audio\"") && lines[3].ends_with("URI=\"show_1080/audio.m3u8\""));
        assert!(lines[4].contains("GROUP-ID=\"audio-2\"") && lines[4].ends_with("URI=\"show_480/audio.m3u8\""));
        assert!(lines[5].ends_with("AUDIO=\"audio\"") && lines[6] == "show_1080/video.m3u8");
        assert!(lines[7].ends_with("AUDIO=\"audio-2\"") && lines[8] == "show_480/video.m3u8");
    }

    #[test]
    fn what_is_next_to_a_usual_frame_rate_is_that() {
        assert_eq!([29_967, 25_003, 12_500, 0].map(usual), [29_970, 25_000, 12_500, 0]);
    }
}
