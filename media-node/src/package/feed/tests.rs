//! Behaviour of feeds as viewers see it.

use super::*;

fn draft(kind: EntryKind, dts: i64) -> Draft {
    Draft {
        kind,
        audience: Audience::All,
        dts,
        ws_header: Bytes::new(),
        parts: vec![Bytes::from_static(b"0123456789")],
    }
}

fn limits() -> FeedLimits {
    FeedLimits::default()
}

/// Appends a group of pictures that begins at `dts`, with headers for newcomers.
fn gop(feed: &Feed, dts: i64, frames: i64, now: Instant) {
    feed.start(vec![draft(EntryKind::Init, dts)], now);
    let kinds = (0..frames).map(|n| if n == 0 { EntryKind::Key } else { EntryKind::Frame });
    let mut drafts = kinds.zip(0..).map(|(kind, n)| draft(kind, dts + n)).collect();
    feed.append(&mut drafts, now);
}

fn take(cursor: &mut Cursor, now: Instant) -> (Option<Taken>, Vec<(EntryKind, i64)>) {
    let mut out = Vec::new();
    let taken = cursor.try_take(&mut out, 1_000, usize::MAX, now);
    (taken, out.iter().map(|entry| (entry.kind, entry.dts)).collect())
}

#[test]
fn a_newcomer_gets_headers_and_the_newest_group_of_pictures() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 3, now);
    gop(&feed, 100, 2, now);
    let (taken, got) = take(&mut feed.cursor(), now);
    assert_eq!(taken, Some(Taken::Entries));
    assert_eq!(
        got,
        [(EntryKind::Init, 100), (EntryKind::Key, 100), (EntryKind::Frame, 101)]
    );
}

#[test]
fn viewers_share_the_bytes() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 1, now);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    feed.cursor().try_take(&mut one, 10, usize::MAX, now);
    feed.cursor().try_take(&mut two, 10, usize::MAX, now);
    assert!(one.iter().zip(&two).all(|(a, b)| Arc::ptr_eq(a, b)));
}

#[test]
fn a_viewer_too_far_behind_goes_on_at_the_newest_key_frame_without_headers_again() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 3, now);
    let mut cursor = feed.cursor();
    take(&mut cursor, now);
    gop(&feed, 100, 3, now);
    let late = now + limits().patience.max_behind + Duration::from_secs(1);
    gop(&feed, 200, 1, late);
    assert_eq!(take(&mut cursor, late).0, Some(Taken::Skipped(3)));
    assert_eq!(take(&mut cursor, late).1, [(EntryKind::Key, 200)]);
}

#[test]
fn a_viewer_that_skips_over_a_change_of_headers_gets_the_new_ones() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 1, now);
    let mut cursor = feed.cursor();
    take(&mut cursor, now);
    feed.append(&mut vec![draft(EntryKind::Frame, 1), draft(EntryKind::Init, 50)], now);
    let late = now + Duration::from_secs(60);
    gop(&feed, 100, 1, late);
    assert!(matches!(take(&mut cursor, late).0, Some(Taken::Skipped(_))));
    assert_eq!(
        take(&mut cursor, late).1,
        [(EntryKind::Init, 100), (EntryKind::Key, 100)]
    );
}

/// A relay that was moved on took the frames of one segment for those of another.
#[test]
fn one_that_is_moved_on_is_told_the_clock_again_and_no_other_header() {
    let now = Instant::now();
    let feed = Feed::new(FeedLimits { entries: 3, ..limits() });
    let headers = |dts| vec![draft(EntryKind::Clock, dts), draft(EntryKind::Init, dts)];
    feed.start(headers(0), now);
    feed.append(&mut vec![draft(EntryKind::Key, 0)], now);
    let mut cursor = feed.cursor();
    let first = [(EntryKind::Clock, 0), (EntryKind::Init, 0), (EntryKind::Key, 0)];
    assert_eq!(take(&mut cursor, now).1, first);
    feed.append(&mut (1..9).map(|dts| draft(EntryKind::Frame, dts)).collect(), now);
    feed.start(headers(9), now);
    feed.append(&mut vec![draft(EntryKind::Key, 9)], now);
    assert!(matches!(take(&mut cursor, now).0, Some(Taken::Skipped(_))));
    assert_eq!(take(&mut cursor, now).1, [(EntryKind::Clock, 9), (EntryKind::Key, 9)]);
}

/// A second FLV file header in mid-stream would be read as the beginning of a tag.
#[test]
fn new_headers_in_mid_stream_come_without_the_preamble() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    let headers = |dts| vec![draft(EntryKind::Preamble, dts), draft(EntryKind::Init, dts)];
    feed.start(headers(0), now);
    feed.append(&mut vec![draft(EntryKind::Key, 0)], now);
    let mut cursor = feed.cursor();
    let kinds = |got: Vec<(EntryKind, i64)>| got.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    let newcomer = [EntryKind::Preamble, EntryKind::Init, EntryKind::Key];
    assert_eq!(kinds(take(&mut cursor, now).1), newcomer);
    feed.restart();
    feed.start(headers(100), now);
    feed.append(&mut vec![draft(EntryKind::Key, 100)], now);
    assert_eq!(kinds(take(&mut cursor, now).1), [EntryKind::Init, EntryKind::Key]);
    assert_eq!(kinds(take(&mut feed.cursor(), now).1), newcomer);
}

#[test]
fn a_viewer_that_skips_for_ever_is_dropped() {
    let (feed, mut now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 1, now);
    let mut cursor = feed.cursor();
    take(&mut cursor, now);
    for round in 1.. {
        gop(&feed, round * 100, 2, now);
        now += limits().patience.max_behind + Duration::from_millis(100);
        gop(&feed, round * 100 + 50, 1, now);
        match take(&mut cursor, now).0 {
            Some(Taken::TooSlow) => break,
            _ => assert!(round < 20, "still served after {round} skips"),
        }
        take(&mut cursor, now);
    }
}

#[test]
fn the_ring_holds_no_more_than_its_bounds() {
    let bounded = FeedLimits {
        entries: 10,
        ..limits()
    };
    let (feed, now) = (Feed::new(bounded), Instant::now());
    gop(&feed, 0, 1_000, now);
    assert_eq!(feed.lock().entries.len(), 10);
    assert_eq!(
        take(&mut feed.cursor(), now).0,
        None,
        "the key frame is gone: a newcomer waits"
    );
    gop(&feed, 2_000, 2, now);
    assert_eq!(take(&mut feed.cursor(), now).0, Some(Taken::Entries));
}

#[test]
fn history_goes_once_a_newer_group_is_there_and_nobody_may_still_want_it() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 100, now);
    let later = now + limits().history + Duration::from_secs(1);
    gop(&feed, 1_000, 1, later);
    assert_eq!(feed.lock().entries.len(), 1);
}

#[test]
fn after_a_restart_every_viewer_begins_at_the_new_start_with_headers() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 2, now);
    let mut cursor = feed.cursor();
    take(&mut cursor, now);
    feed.restart();
    assert_eq!(take(&mut cursor, now).0, None);
    gop(&feed, 5, 1, now);
    assert_eq!(take(&mut cursor, now).1, [(EntryKind::Init, 5), (EntryKind::Key, 5)]);
}

#[tokio::test]
async fn a_viewer_gets_all_there_is_before_the_end() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 2, now);
    let mut cursor = feed.cursor();
    feed.end(FeedEnd::Stream(StreamEnd::Unpublished));
    let mut out = Vec::new();
    assert_eq!(cursor.take(&mut out, 100, usize::MAX).await, Taken::Entries);
    let end = Taken::Ended(FeedEnd::Stream(StreamEnd::Unpublished));
    assert_eq!(cursor.take(&mut out, 100, usize::MAX).await, end);
}

#[test]
fn one_take_is_bounded_by_count_and_bytes() {
    let (feed, now) = (Feed::new(limits()), Instant::now());
    gop(&feed, 0, 100, now);
    let mut cursor = feed.cursor();
    let mut out = Vec::new();
    cursor.try_take(&mut out, 5, usize::MAX, now);
    assert_eq!(out.len(), 1 + 5, "headers, then five");
    out.clear();
    cursor.try_take(&mut out, 100, 25, now);
    assert_eq!(out.len(), 3, "ten bytes each: the third passes the bound");
}
