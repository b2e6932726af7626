//! What is read, and what is refused.

use std::time::Duration;

use super::*;

const MEDIA: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n\
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24,PART-HOLD-BACK=1.0,HOLD-BACK=12.0\n\
    #EXT-X-PART-INF:PART-TARGET=0.33334\n#EXT-X-MEDIA-SEQUENCE:266\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n\
    #EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2019-02-14T02:13:36.106Z\n#EXTINF:4.00008,\n266.mp4\n\
    # a comment\n\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"next.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2019-02-14T03:13:40.106+01:00\n\
    #EXT-X-PART:DURATION=0.33334,URI=\"267.0.mp4\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.2,URI=\"267.1.mp4\"\n\
    #EXTINF:0.53334,a title, with a comma\n267.mp4\n\
    #EXT-X-PROGRAM-DATE-TIME:2019-02-14T02:13:40.639Z\n#EXT-X-PART:DURATION=0.33334,URI=\"268.0.mp4\"\n\
    #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"268.1.mp4\"\n#EXT-X-RENDITION-REPORT:URI=\"../a.m3u8\",LAST-MSN=268,LAST-PART=0\n";

#[test]
fn a_media_playlist_is_read_whole() {
    let media = parse_media(MEDIA).unwrap();
    assert_eq!((media.version, media.target, media.media_sequence), (9, 4, 266));
    assert_eq!(media.part_target, Some(Duration::from_micros(333_340)));
    let control = media.control.as_ref().unwrap();
    assert_eq!(
        (control.skip_until, control.block_reload),
        (Some(Duration::from_secs(24)), true)
    );
    let numbers: Vec<_> = media
        .all()
        .map(|s| (s.number, s.discontinuities, s.parts.len(), s.length()))
        .collect();
    let long = Duration::from_micros(4_000_080);
    let short = Duration::from_micros(533_340);
    assert_eq!(
        numbers,
        [
            (266, 2, 0, long),
            (267, 3, 2, short),
            (268, 3, 1, Duration::from_micros(333_340))
        ]
    );
    let maps: Vec<_> = media.all().map(|s| s.map.as_deref().unwrap()).collect();
    assert_eq!(maps, ["init.mp4", "next.mp4", "next.mp4"]);
    assert_eq!(
        media.segments[1].date,
        Some("2019-02-14T02:13:40.106Z".parse().unwrap())
    );
    assert_eq!(media.edge(), Edge { msn: 268, part: 1 });
    assert_eq!((media.hints[0].uri.as_str(), media.reports[0].msn), ("268.1.mp4", 268));
    assert_eq!(
        media.segments[1]
            .parts
            .iter()
            .map(|p| p.independent)
            .collect::<Vec<_>>(),
        [true, false]
    );
    assert!(!media.ended && media.skipped.is_none());
}

#[test]
fn what_a_client_must_refuse_is_refused_with_its_rule_and_line() {
    for (from, to, rule, line) in [
        ("#EXTM3U\n", "#EXTM3U8\n", Rule::Header, 1),
        ("#EXTM3U\n", "\u{feff}#EXTM3U\n", Rule::Header, 1),
        ("LAST-PART=0\n", "LAST-PART=0", Rule::Syntax, 24),
        ("PART-HOLD-BACK=1.0", "PART-HOLD-BACK=1,0", Rule::Syntax, 4),
        ("PART-HOLD-BACK=1.0", "PART-HOLD-BACK=1.", Rule::Syntax, 4),
        ("PART-HOLD-BACK=1.0", "PART-HOLD-BACK=-1.0", Rule::Syntax, 4),
        ("PART-HOLD-BACK=1.0", "PART-HOLD-BACK=1e0", Rule::Syntax, 4),
        ("PART-HOLD-BACK=1.0", "PART-HOLD-BACK=\"1.0\"", Rule::Syntax, 4),
        ("PART-HOLD-BACK=1.0", " PART-HOLD-BACK=1.0", Rule::Syntax, 4),
        ("HOLD-BACK=12.0", "HOLD-BACK=12.0,HOLD-BACK=12.0", Rule::Syntax, 4),
        ("CAN-BLOCK-RELOAD=YES", "CAN-BLOCK-RELOAD=yes", Rule::Syntax, 4),
        ("INDEPENDENT=YES", "INDEPENDENT=NO", Rule::Syntax, 17),
        ("URI=\"267.0.mp4\"", "URI=267.0.mp4", Rule::Syntax, 17),
        ("URI=\"267.0.mp4\"", "URI=\"\"", Rule::Syntax, 17),
        (",URI=\"267.0.mp4\"", "", Rule::RequiredTag, 17),
        ("TARGETDURATION:4", "TARGETDURATION:4.0", Rule::Syntax, 3),
        ("#EXT-X-TARGETDURATION:4\n", "", Rule::RequiredTag, 1),
        (
            "#EXT-X-PART-INF:PART-TARGET=0.33334",
            "#EXT-X-PART-INF:TARGET=0.33334",
            Rule::RequiredTag,
            5,
        ),
        ("#EXTINF:4.00008,", "#EXTINF:4.00008", Rule::Syntax, 10),
        ("#EXTINF:4.00008,\n", "", Rule::RequiredTag, 10),
        ("266.mp4\n", "", Rule::TagPlace, 15),
        (
            "#EXT-X-MEDIA-SEQUENCE:266\n",
            "#EXT-X-MEDIA-SEQUENCE:266\n#EXT-X-MEDIA-SEQUENCE:266\n",
            Rule::RepeatedTag,
            7,
        ),
        (
            "#EXT-X-PRELOAD-HINT",
            "#EXT-X-MEDIA-SEQUENCES:1\n#EXT-X-PRELOAD-HINT",
            Rule::Syntax,
            23,
        ),
        (
            "#EXTINF:0.53334,",
            "#EXT-X-MAP:URI=\"late.mp4\"\n#EXTINF:0.53334,",
            Rule::TagPlace,
            17,
        ),
        (
            "#EXT-X-PRELOAD-HINT",
            "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-PRELOAD-HINT",
            Rule::TagPlace,
            23,
        ),
        (
            "#EXT-X-PRELOAD-HINT",
            "#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-PRELOAD-HINT",
            Rule::TagPlace,
            3,
        ),
        ("02:13:36.106Z", "02:13:36.106", Rule::Syntax, 9),
    ] {
        let text = MEDIA.replacen(from, to, 1);
        assert_ne!(text, MEDIA, "{from}");
        let finding = parse(&text).expect_err(to);
        assert_eq!(
            (finding.rule, finding.lines.first().copied()),
            (rule, Some(line)),
            "{to}: {finding:?}"
        );
    }
    let late = MEDIA.replacen("#EXT-X-DISCONTINUITY-SEQUENCE:2\n", "", 1);
    let late = late.replacen("266.mp4\n", "266.mp4\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n", 1);
    assert_eq!(parse(&late).unwrap_err().rule, Rule::TagPlace);
}

#[test]
fn a_multivariant_playlist_is_read_whole() {
    let text = crate::hls::model::Model::default().multivariant("");
    let Playlist::Multivariant(playlist) = parse(&text).unwrap() else {
        panic!("{text}")
    };
    let variant = &playlist.variants[0];
    assert_eq!(
        (variant.bandwidth, variant.resolution),
        (Some(400_000), Some((640, 360)))
    );
    assert_eq!(variant.codecs, ["avc1.64001e", "mp4a.40.2"]);
    assert_eq!(playlist.uris().collect::<Vec<_>>(), ["video.m3u8", "audio.m3u8"]);
    for (from, to, rule) in [
        ("video.m3u8\n", "", Rule::RequiredTag),
        ("RESOLUTION=640x360", "RESOLUTION=640", Rule::Syntax),
        (
            "#EXT-X-INDEPENDENT-SEGMENTS\n",
            "#EXT-X-TARGETDURATION:2\n",
            Rule::TagPlace,
        ),
        ("GROUP-ID=\"audio\",", "", Rule::RequiredTag),
        (
            "#EXT-X-VERSION:6\n",
            "#EXT-X-VERSION:6\n#EXT-X-VERSION:6\n",
            Rule::RepeatedTag,
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert_eq!(parse(&changed).unwrap_err().rule, rule, "{to}");
    }
}

#[test]
fn a_delta_update_and_what_it_skips_are_the_whole_playlist() {
    let model = crate::hls::model::Model {
        breaks: vec![3, 19],
        ..Default::default()
    };
    let before = parse_media(&model.playlist("video", 118, false)).unwrap();
    for parts in 118..126 {
        let delta = parse_media(&model.playlist("video", parts, true)).unwrap();
        assert!(delta.skipped.is_some_and(|skipped| skipped > 3));
        let whole = parse_media(&model.playlist("video", parts, false)).unwrap();
        let merged = delta.merge(&before).unwrap();
        let plain = |media: &Media| media.all().map(Segment::facts).collect::<Vec<_>>();
        assert_eq!(plain(&merged), plain(&whole), "{parts}");
        assert_eq!(merged.edge(), whole.edge());
    }
    let far = parse_media(&model.playlist("video", 500, true)).unwrap();
    assert_eq!(far.merge(&before).unwrap_err().rule, Rule::SkipArithmetic);
}

impl Segment {
    /// All but the lines.
    fn facts(&self) -> String {
        let parts: Vec<_> = self.parts.iter().map(|p| (&p.uri, p.duration, p.independent)).collect();
        let Self {
            number,
            discontinuities,
            uri,
            duration,
            date,
            discontinuity,
            map,
            ..
        } = self;
        format!("{number} {discontinuities} {uri} {duration:?} {date:?} {discontinuity} {map:?} {parts:?}")
    }
}

#[test]
fn times_are_exact() {
    assert_eq!(seconds("4.00008"), Some(Duration::from_micros(4_000_080)));
    assert_eq!(seconds("0.1234567891"), Some(Duration::from_nanos(123_456_789)));
    assert_eq!(seconds("6"), Some(Duration::from_secs(6)));
    for bad in ["", ".5", "5.", "1.2.3", "+1", "1e3", " 1"] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
    assert_eq!(
        (integer("18446744073709551615"), integer("18446744073709551616")),
        (Some(u64::MAX), None)
    );
}
