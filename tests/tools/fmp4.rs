//! The reader of fragmented MP4 against files that ffmpeg writes.

use e2e::harness::fixture;
use e2e::harness::media::Ffmpeg;
use e2e::wire::{Frame, PLAIN_HEAD, Sink, Track, flv, fmp4};

use crate::LONG;

#[derive(Default)]
struct Kept(Vec<Frame>);

impl Sink for Kept {
    fn frame(&mut self, frame: Frame) {
        self.0.push(frame);
    }
}

impl Kept {
    /// Size, key flag and decoding time in milliseconds of each frame of a track.
    fn of(&self, track: Track) -> Vec<(usize, bool, i64)> {
        let frames = self.0.iter().filter(|frame| frame.track == track);
        frames
            .map(|frame| (frame.size, frame.key, (frame.dts_us + 500) / 1000))
            .collect()
    }
}

async fn reads_as_flv(name: &str, flags: &str) {
    let file = fixture(name).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let out = folder.path().join("out.mp4");
    let (from, to) = (file.to_str().unwrap(), out.to_str().unwrap());
    let args = [
        "-i",
        from,
        "-map",
        "0",
        "-c",
        "copy",
        "-copyts",
        "-movflags",
        flags,
        "-frag_duration",
        "400000",
        "-f",
        "mp4",
        to,
    ];
    assert!(Ffmpeg::System.start(&args).unwrap().wait(LONG).await.unwrap().success());

    let mut source = Kept::default();
    flv::Reader::new(PLAIN_HEAD)
        .feed(&std::fs::read(&file).unwrap(), &mut source)
        .unwrap();
    assert!(source.0.len() > 200);
    let bytes = std::fs::read(&out).unwrap();
    for step in [13, 4096, bytes.len()] {
        let (mut reader, mut kept) = (fmp4::Reader::new(PLAIN_HEAD), Kept::default());
        for piece in bytes.chunks(step) {
            reader.feed(piece, &mut kept).unwrap();
        }
        for track in [Track::Video, Track::Audio] {
            let (sent, came) = (source.of(track), kept.of(track));
            assert_eq!(came.len(), sent.len(), "{name} {flags} {step} {track:?}");
            // ffmpeg stretches the first frame back to zero; sound is in samples, so rounded differently.
            let shift = sent[5].2 - came[5].2;
            for (index, (sent, came)) in sent.iter().zip(&came).enumerate() {
                assert_eq!((sent.0, sent.1), (came.0, came.1), "{name} {flags} {step} {track:?}");
                assert!(
                    index == 0 || (sent.2 - came.2 - shift).abs() <= 2,
                    "{name} {flags} {track:?}: {sent:?} {came:?} {shift}"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_sample_of_a_fragmented_file_is_read() {
    for flags in [
        "frag_keyframe+empty_moov+default_base_moof",
        "frag_keyframe+empty_moov",
        "empty_moov+separate_moof+default_base_moof",
    ] {
        reads_as_flv("bframes-aac.flv", flags).await;
        reads_as_flv("h264-aac.flv", flags).await;
    }
}
