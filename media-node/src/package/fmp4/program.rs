//! What an init segment is about: the tracks that MP4 players know, and how they are announced.

use std::sync::Arc;

use bytes::Bytes;

use super::init;
use crate::media::track::{AudioConfig, Tracks, VideoCodec, VideoConfig};

/// Track id of video.
pub(in crate::package) const VIDEO_TRACK: u32 = 1;
/// Track id of audio.
pub(in crate::package) const AUDIO_TRACK: u32 = 2;

/// Tracks with their init segment.
#[derive(Clone, Debug)]
pub(in crate::package) struct Program {
    video: Option<Arc<VideoConfig>>,
    audio: Option<Arc<AudioConfig>>,
    /// For `MediaSource.isTypeSupported` and `addSourceBuffer`.
    pub(in crate::package) mime: String,
    /// `ftyp` and `moov`.
    pub(in crate::package) init: Bytes,
}

impl Program {
    /// None if there is no track that MP4 can carry.
    pub(in crate::package) fn of(tracks: &Tracks) -> Option<Self> {
        let (video, audio) = known(tracks);
        let video = video.map(|config| init::video_entry(config).map(|entry| (config, entry)));
        let audio = audio.and_then(|config| init::audio_entry(config).map(|entry| (config, entry)));
        let video = video.flatten();
        let codecs: Vec<&str> = video
            .iter()
            .map(|(config, _)| config.rfc6381.as_str())
            .chain(audio.iter().map(|(config, _)| config.rfc6381.as_str()))
            .collect();
        if codecs.is_empty() {
            return None;
        }
        let kind = if video.is_some() { "video" } else { "audio" };
        let mime = format!("{kind}/mp4; codecs=\"{}\"", codecs.join(","));
        let entries = [
            video
                .as_ref()
                .map(|(config, entry)| init::video_track(config, entry.clone())),
            audio
                .as_ref()
                .map(|(config, entry)| init::audio_track(config, entry.clone())),
        ];
        Some(Self {
            mime,
            init: init::segment(entries.into_iter().flatten().collect())?,
            video: video.map(|(config, _)| Arc::clone(config)),
            audio: audio.map(|(config, _)| Arc::clone(config)),
        })
    }

    /// True if this is what `tracks` would become.
    pub(in crate::package) fn is_of(&self, tracks: &Tracks) -> bool {
        let (video, audio) = known(tracks);
        self.video.as_ref() == video && self.audio.as_ref() == audio
    }

    pub(in crate::package) fn video(&self) -> Option<&VideoConfig> {
        self.video.as_deref()
    }

    pub(in crate::package) fn audio(&self) -> Option<&AudioConfig> {
        self.audio.as_deref()
    }
}

/// The tracks that MP4 can carry.
fn known(tracks: &Tracks) -> (Option<&Arc<VideoConfig>>, Option<&Arc<AudioConfig>>) {
    let video = tracks.video.as_ref().filter(|config| config.codec != VideoCodec::Other);
    let audio = tracks.audio.as_ref().filter(|config| init::carries(config));
    (video, audio)
}
