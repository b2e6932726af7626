//! What a stream consists of at a moment: its decoder configurations and metadata.

use std::sync::Arc;

use bytes::Bytes;

use super::unit::TrackKind;

/// Video codecs that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// ITU-T H.264, FLV codec id 7 or FourCC `avc1`.
    H264,
    /// ITU-T H.265, FourCC `hvc1`.
    H265,
    /// AV1, FourCC `av01`.
    Av1,
    /// Passed on by RTMP and FLV only (VP9, VP8, Sorenson, …).
    Other,
}

/// Audio codecs that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC, FLV sound format 10 or FourCC `mp4a`.
    Aac,
    /// Opus, FourCC `Opus`.
    Opus,
    /// Passed on by RTMP and FLV only (MP3, Speex, AC-3, FLAC, …).
    Other,
}

/// Configuration of the video decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoConfig {
    /// Which codec.
    pub codec: VideoCodec,
    /// Codec string of RFC 6381, e.g. `avc1.64001f`; empty for [`VideoCodec::Other`].
    pub rfc6381: String,
    /// Coded picture width after cropping, pixels; 0 if unknown.
    pub width: u32,
    /// Coded picture height after cropping, pixels; 0 if unknown.
    pub height: u32,
    /// The codec's configuration record: `avcC`, `hvcC`, `av1C` body.
    pub record: Bytes,
    /// The whole FLV tag body that carried it, for newcomers of RTMP and FLV; empty if there was none.
    pub tag: Bytes,
}

/// Configuration of the audio decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// Which codec.
    pub codec: AudioCodec,
    /// Codec string of RFC 6381, e.g. `mp4a.40.2`; empty for [`AudioCodec::Other`].
    pub rfc6381: String,
    /// Hertz; 0 if unknown.
    pub sample_rate: u32,
    /// Channel count; 0 if unknown.
    pub channels: u8,
    /// The codec's configuration record: AudioSpecificConfig, OpusHead.
    pub record: Bytes,
    /// The whole FLV tag body that carried it; empty if there was none.
    pub tag: Bytes,
}

/// What a unit taught about the stream: parsed once, at ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// A video configuration (for codecs that have none: once, with the first frame).
    Video(VideoConfig),
    /// An audio configuration (for codecs that have none: once, with the first frame).
    Audio(AudioConfig),
    /// An `onMetaData` message.
    Metadata {
        /// Its body, beginning with the AMF0 string `onMetaData` (a leading `@setDataFrame` is cut off).
        body: Bytes,
        /// It has a video codec id, a width or a frame rate.
        expects_video: bool,
        /// It has an audio codec id or a sample rate.
        expects_audio: bool,
    },
}

/// All that a newcomer must know before the first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// Video, if there is any.
    pub video: Option<Arc<VideoConfig>>,
    /// Audio, if there is any.
    pub audio: Option<Arc<AudioConfig>>,
    /// Body of the newest `onMetaData` message, if there was one.
    pub metadata: Option<Bytes>,
    /// `onMetaData` promised video (it has a video codec id, a width or a frame rate).
    pub expects_video: bool,
    /// `onMetaData` promised audio (it has an audio codec id or a sample rate).
    pub expects_audio: bool,
    /// Counts changes of the configurations (not of the metadata) within an epoch.
    pub version: u32,
}

impl Tracks {
    /// These tracks and what was learned, or none if it changes nothing.
    pub fn with(&self, learned: Learned) -> Option<Tracks> {
        let mut next = self.clone();
        match learned {
            Learned::Video(config) if self.video.as_deref() != Some(&config) => {
                next.video = Some(Arc::new(config));
                next.version += 1;
            }
            Learned::Audio(config) if self.audio.as_deref() != Some(&config) => {
                next.audio = Some(Arc::new(config));
                next.version += 1;
            }
            Learned::Metadata {
                body,
                expects_video,
                expects_audio,
            } if self.metadata.as_ref() != Some(&body) => {
                next.metadata = Some(body);
                next.expects_video = expects_video;
                next.expects_audio = expects_audio;
            }
            _ => return None,
        }
        Some(next)
    }

    /// These tracks without the one of `kind`, or none if there is no such track or the metadata does not leave it out.
    pub fn without(&self, kind: TrackKind) -> Option<Tracks> {
        let mut next = self.clone();
        match kind {
            TrackKind::Audio if self.expects_video && !self.expects_audio => next.audio.take().map(drop),
            TrackKind::Video if self.expects_audio && !self.expects_video => next.video.take().map(drop),
            _ => None,
        }?;
        next.version += 1;
        Some(next)
    }

    /// The FLV tag bodies that a newcomer of RTMP and FLV needs before the first frame, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (TrackKind, &Bytes)> {
        let video = self.video.as_deref().map(|video| &video.tag);
        let audio = self.audio.as_deref().map(|audio| &audio.tag);
        let tags = [
            (TrackKind::Script, self.metadata.as_ref()),
            (TrackKind::Video, video),
            (TrackKind::Audio, audio),
        ];
        tags.into_iter()
            .filter_map(|(track, tag)| Some((track, tag.filter(|tag| !tag.is_empty())?)))
    }

    /// True when every promised configuration is here, and at least one is.
    pub fn complete(&self) -> bool {
        (self.video.is_some() || !self.expects_video)
            && (self.audio.is_some() || !self.expects_audio)
            && (self.video.is_some() || self.audio.is_some())
    }
}
