//! The init segment: `ftyp` and a `moov` without samples (§8.2, §8.8.1).
//!
//! Configuration records go in byte for byte as the publisher sent them: writing them anew loses what the writer does not
//! know, and some that play everywhere could not be written at all (High profile without its trailing fields).

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, Brand, DinfBox, DopsBox, EsdsBox, FtypBox, HdlrBox, MdhdBox, MdiaBox, MediaHeader, MinfBox,
    MoovBox, Mp4aBox, MvexBox, MvhdBox, OpusBox, SampleEntry, SmhdBox, StblBox, StcoBox, StscBox, StsdBox, StszBox,
    SttsBox, TkhdBox, TrakBox, TrexBox, UnknownBox, VisualSampleEntryFields, VmhdBox,
};
use shiguredo_mp4::descriptors::{DecoderConfigDescriptor, DecoderSpecificInfo, EsDescriptor, SlConfigDescriptor};
use shiguredo_mp4::{BoxSize, BoxType, Either, Encode, FixedPointNumber, LanguageCode, Mp4FileTime, SampleFlags, Uint};

use super::program::{AUDIO_TRACK, VIDEO_TRACK};
use crate::media::opus;
use crate::media::pace::VIDEO_TIMESCALE;
use crate::media::track::{AudioCodec, AudioConfig, VideoCodec, VideoConfig};

const NO_TIME: Mp4FileTime = Mp4FileTime::from_secs(0);

/// The segment; none if a box can't be written, which no configuration that was parsed leads to.
pub(super) fn segment(tracks: Vec<TrakBox>) -> Option<Bytes> {
    let trex = |track: &TrakBox| TrexBox {
        track_id: track.tkhd_box.track_id,
        default_sample_description_index: 1,
        default_sample_duration: 0,
        default_sample_size: 0,
        default_sample_flags: SampleFlags::new(0),
    };
    let ftyp = FtypBox {
        major_brand: Brand::ISO6,
        minor_version: 0,
        compatible_brands: vec![Brand::ISO6, Brand::ISO5, Brand::MP41],
    };
    let moov = MoovBox {
        mvhd_box: MvhdBox {
            creation_time: NO_TIME,
            modification_time: NO_TIME,
            timescale: NonZeroU32::new(1_000)?,
            duration: 0,
            rate: MvhdBox::DEFAULT_RATE,
            volume: MvhdBox::DEFAULT_VOLUME,
            matrix: MvhdBox::DEFAULT_MATRIX,
            next_track_id: VIDEO_TRACK.max(AUDIO_TRACK) + 1,
        },
        mvex_box: Some(MvexBox {
            mehd_box: None,
            trex_boxes: tracks.iter().map(trex).collect(),
            unknown_boxes: Vec::new(),
        }),
        trak_boxes: tracks,
        unknown_boxes: Vec::new(),
    };
    let mut segment = ftyp.encode_to_vec().ok()?;
    segment.extend(moov.encode_to_vec().ok()?);
    Some(segment.into())
}

/// The track of a video.
pub(super) fn video_track(config: &VideoConfig, entry: SampleEntry) -> TrakBox {
    let size = |pixels: u32| FixedPointNumber::new(i16::try_from(pixels).unwrap_or(i16::MAX), 0);
    TrakBox {
        tkhd_box: TkhdBox {
            width: size(config.width),
            height: size(config.height),
            ..tkhd(VIDEO_TRACK, TkhdBox::DEFAULT_VIDEO_VOLUME)
        },
        edts_box: None,
        mdia_box: mdia(
            HdlrBox::HANDLER_TYPE_VIDE,
            b"video\0",
            VIDEO_TIMESCALE,
            MediaHeader::Vmhd(VmhdBox {
                graphicsmode: VmhdBox::DEFAULT_GRAPHICSMODE,
                opcolor: VmhdBox::DEFAULT_OPCOLOR,
            }),
            entry,
        ),
        unknown_boxes: Vec::new(),
    }
}

/// The track of an audio: its timescale is the sample rate.
pub(super) fn audio_track(config: &AudioConfig, entry: SampleEntry) -> TrakBox {
    TrakBox {
        tkhd_box: tkhd(AUDIO_TRACK, TkhdBox::DEFAULT_AUDIO_VOLUME),
        edts_box: None,
        mdia_box: mdia(
            HdlrBox::HANDLER_TYPE_SOUN,
            b"audio\0",
            config.sample_rate,
            MediaHeader::Smhd(SmhdBox {
                balance: SmhdBox::DEFAULT_BALANCE,
            }),
            entry,
        ),
        unknown_boxes: Vec::new(),
    }
}

/// The sample entry of a video, with its record as it came; none for a codec that MP4 players do not know.
pub(super) fn video_entry(config: &VideoConfig) -> Option<SampleEntry> {
    let (entry, record) = match config.codec {
        VideoCodec::H264 => (*b"avc1", *b"avcC"),
        VideoCodec::H265 => (*b"hvc1", *b"hvcC"),
        VideoCodec::Av1 => (*b"av01", *b"av1C"),
        VideoCodec::Other => return None,
    };
    let size = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    let fields = VisualSampleEntryFields {
        data_reference_index: NonZeroU16::MIN,
        width: size(config.width),
        height: size(config.height),
        horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
        vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
        frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
        compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
        depth: VisualSampleEntryFields::DEFAULT_DEPTH,
    };
    let mut payload = fields.encode_to_vec().ok()?;
    payload.extend(raw_box(record, config.record.to_vec()).encode_to_vec().ok()?);
    Some(SampleEntry::Unknown(raw_box(entry, payload)))
}

/// True for audio that [`audio_entry`] can describe: Opus beyond stereo has a channel mapping that we can't write.
pub(super) fn carries(config: &AudioConfig) -> bool {
    match config.codec {
        AudioCodec::Aac => true,
        AudioCodec::Opus => opus::Head::parse(&config.record).is_ok_and(|head| head.mapping_family == 0),
        AudioCodec::Other => false,
    }
}

/// The sample entry of an audio; none for one that is not carried.
pub(super) fn audio_entry(config: &AudioConfig) -> Option<SampleEntry> {
    if !carries(config) {
        return None;
    }
    let audio = AudioSampleEntryFields {
        data_reference_index: NonZeroU16::MIN,
        channelcount: config.channels.into(),
        samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
        samplerate: FixedPointNumber::new(u16::try_from(config.sample_rate).unwrap_or(0), 0),
    };
    let unknown_boxes = Vec::new();
    if config.codec == AudioCodec::Aac {
        return Some(SampleEntry::Mp4a(Mp4aBox {
            audio,
            esds_box: esds(&config.record),
            unknown_boxes,
        }));
    }
    let head = opus::Head::parse(&config.record).ok()?;
    Some(SampleEntry::Opus(OpusBox {
        audio,
        dops_box: DopsBox {
            output_channel_count: head.channels,
            pre_skip: head.pre_skip,
            input_sample_rate: head.input_rate,
            output_gain: head.gain,
        },
        unknown_boxes,
    }))
}

fn esds(record: &[u8]) -> EsdsBox {
    EsdsBox {
        es: EsDescriptor {
            es_id: EsDescriptor::MIN_ES_ID,
            stream_priority: EsDescriptor::LOWEST_STREAM_PRIORITY,
            depends_on_es_id: None,
            url_string: None,
            ocr_es_id: None,
            dec_config_descr: DecoderConfigDescriptor {
                object_type_indication: DecoderConfigDescriptor::OBJECT_TYPE_INDICATION_AUDIO_ISO_IEC_14496_3,
                stream_type: DecoderConfigDescriptor::STREAM_TYPE_AUDIO,
                up_stream: DecoderConfigDescriptor::UP_STREAM_FALSE,
                buffer_size_db: Uint::new(0),
                max_bitrate: 0,
                avg_bitrate: 0,
                dec_specific_info: Some(DecoderSpecificInfo {
                    payload: record.to_vec(),
                }),
            },
            sl_config_descr: SlConfigDescriptor,
        },
    }
}

fn raw_box(kind: [u8; 4], payload: Vec<u8>) -> UnknownBox {
    let box_type = BoxType::Normal(kind);
    UnknownBox {
        box_type,
        box_size: BoxSize::with_payload_size(box_type, payload.len() as u64),
        payload,
    }
}

fn tkhd(track_id: u32, volume: FixedPointNumber<i8, u8>) -> TkhdBox {
    TkhdBox {
        flag_track_enabled: true,
        flag_track_in_movie: true,
        flag_track_in_preview: false,
        flag_track_size_is_aspect_ratio: false,
        creation_time: NO_TIME,
        modification_time: NO_TIME,
        track_id,
        duration: 0,
        layer: TkhdBox::DEFAULT_LAYER,
        alternate_group: TkhdBox::DEFAULT_ALTERNATE_GROUP,
        volume,
        matrix: TkhdBox::DEFAULT_MATRIX,
        width: FixedPointNumber::new(0, 0),
        height: FixedPointNumber::new(0, 0),
    }
}

fn mdia(handler_type: [u8; 4], name: &[u8], timescale: u32, header: MediaHeader, entry: SampleEntry) -> MdiaBox {
    MdiaBox {
        mdhd_box: MdhdBox {
            creation_time: NO_TIME,
            modification_time: NO_TIME,
            timescale: NonZeroU32::new(timescale).unwrap_or(NonZeroU32::MIN),
            duration: 0,
            language: LanguageCode::UNDEFINED,
        },
        hdlr_box: HdlrBox {
            handler_type,
            name: name.to_vec(),
        },
        minf_box: MinfBox {
            media_header: Some(header),
            dinf_box: DinfBox::LOCAL_FILE,
            stbl_box: StblBox {
                stsd_box: StsdBox { entries: vec![entry] },
                stts_box: SttsBox { entries: Vec::new() },
                ctts_box: None,
                cslg_box: None,
                stsc_box: StscBox { entries: Vec::new() },
                stsz_box: StszBox::Variable {
                    entry_sizes: Vec::new(),
                },
                stco_or_co64_box: Either::A(StcoBox {
                    chunk_offsets: Vec::new(),
                }),
                stss_box: None,
                sdtp_box: None,
                unknown_boxes: Vec::new(),
            },
            unknown_boxes: Vec::new(),
        },
        unknown_boxes: Vec::new(),
    }
}
