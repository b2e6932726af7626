//! A real clip cut by nodes that begin at different times.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::super::window::{Progress, Rendition, Window};
use super::*;
use crate::hub::{Hub, Limits, PublishOptions, Publisher};
use crate::media::flv::Parser;
use crate::package::testing;
use headwater_contract::StreamSource;

/// Everything of a stream that the sample clip was published to: what a node is given that was there from the beginning.
fn items(rounds: i64, skip_key: impl Fn(i64) -> bool) -> Vec<Item> {
    let limits = Limits {
        ring_items: 1 << 20,
        ring_bytes: 1 << 30,
        ..Limits::default()
    };
    let hub = Hub::new(limits, None);
    let options = PublishOptions {
        source: StreamSource::Publish,
        grace: std::time::Duration::from_secs(10),
    };
    let publisher: Publisher = hub
        .publish(&"cam".parse().unwrap(), options, "full", |_| Ok(()))
        .unwrap();
    let mut subscriber = publisher.stream().subscribe();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut parser = Parser::default();
    let mut all = Vec::new();
    let clip = testing::clip();
    let length = clip.last().unwrap().dts + 40;
    let mut keys = 0;
    for round in 0..rounds {
        for tag in &clip {
            let Ok(mut parsed) = parser.parse(tag.track, 0, tag.body.clone()) else {
                continue;
            };
            if parsed.learned.is_some() && round > 0 {
                continue;
            }
            parsed.unit.dts = tag.dts + round * length;
            if parsed.unit.kind == UnitKind::Key {
                keys += 1;
                if skip_key(keys) {
                    parsed.unit.kind = UnitKind::Frame; // a longer group of pictures
                }
            }
            publisher.send(parsed.unit, parsed.learned);
            runtime.block_on(async {
                let waited = std::time::Duration::ZERO;
                let _ = tokio::time::timeout(waited, subscriber.next(&mut all)).await; // nothing yet before the first key frame
            });
        }
    }
    all
}

/// Every part that a node makes which is given `items` from `from` on, by name.
fn parts(items: &[Item], from: usize) -> BTreeMap<(u64, Rendition, usize), Part> {
    let mut window = Window::new();
    window.settle();
    let mut segmenter = Segmenter::default();
    let now = Instant::now();
    let mut made = BTreeMap::new();
    let begin = items
        .iter()
        .skip(from)
        .position(|item| item.start.is_some())
        .unwrap_or(items.len());
    for item in items.iter().skip(from + begin) {
        segmenter.item(item, &mut window, now);
        window.settle();
        for segment in window.shown() {
            for rendition in Rendition::ALL {
                for (index, part) in segment
                    .track(rendition)
                    .iter()
                    .flat_map(|track| track.parts.iter().enumerate())
                {
                    made.insert((segment.number, rendition, index), part.clone());
                }
            }
        }
    }
    made
}

#[test]
fn parts_keep_to_their_target_and_segments_begin_at_key_frames() {
    let items = items(2, |_| false);
    let made = parts(&items, 0);
    assert!(made.len() > 80, "{}", made.len());
    let longest = |rendition: Rendition| {
        let of = made.iter().filter(|((_, held, _), _)| *held == rendition);
        of.map(|(_, part)| part.ticks).max().unwrap()
    };
    assert!(
        (160..=205).contains(&longest(Rendition::Video)),
        "{}",
        longest(Rendition::Video)
    );
    for ((segment, rendition, index), part) in &made {
        let first = *rendition == Rendition::Video && *index == 0;
        assert!(!first || part.independent, "segment {segment}");
        assert_eq!(part.bytes.as_ref().unwrap().len() as u64, part.size);
    }
}

#[test]
fn the_next_frame_of_a_part_begins_where_the_one_before_ends() {
    let made = parts(&items(2, |_| false), 0);
    let tfdt = |part: &Part| {
        let bytes = part.bytes.as_ref().unwrap();
        let at = bytes.windows(4).position(|four| four == b"tfdt").unwrap() + 8;
        u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
    };
    for rendition in Rendition::ALL {
        let of = made.iter().filter(|((_, held, _), _)| *held == rendition);
        let mut end = None;
        for (name, part) in of {
            assert!(
                end.is_none_or(|end| end == tfdt(part)),
                "{name:?}: {end:?} {}",
                tfdt(part)
            );
            end = Some(tfdt(part) + part.ticks);
        }
    }
}

/// The whole point: an edge that joins late, restarts, or is fed by a cascade makes the same bytes under the same names.
#[test]
fn whoever_begins_later_makes_the_same_parts() {
    let items = items(4, |key| key % 3 == 1);
    let whole = parts(&items, 0);
    for from in (0..items.len()).step_by(items.len() / 23) {
        let late = parts(&items, from);
        for (name, part) in &late {
            assert_eq!(Some(part), whole.get(name), "from item {from}: {name:?}");
        }
    }
}

#[test]
fn a_segment_of_which_a_unit_was_lost_is_not_shown() {
    let mut items = items(2, |_| false);
    let clocks: Vec<u64> = items.iter().filter_map(clock_of).collect();
    let second = items.iter().position(|item| clock_of(item) == Some(clocks[1])).unwrap();
    items.remove(second + 7);
    let mut window = Window::new();
    window.settle();
    let mut segmenter = Segmenter::default();
    for item in &items {
        segmenter.item(item, &mut window, Instant::now());
        window.settle();
    }
    assert_eq!(window.first_hole(), Some(clocks[1]));
    assert_eq!(
        window.shown().next_back().map(|segment| segment.number),
        Some(clocks[0])
    );
    window.give_up(clocks[1]);
    assert_eq!(window.first_hole(), None);
    assert!(window.shown().any(|segment| segment.progress == Progress::Gap));
}

fn clock_of(item: &Item) -> Option<u64> {
    match &item.what {
        What::Clock(clock) => Some(clock.segment),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn wherever_key_frames_are_and_whenever_a_node_begins(seed in any::<u64>(), from in 0usize..600) {
        let items = items(2, |key| (seed >> (key % 64)) & 1 == 1 && key > 1);
        let whole = parts(&items, 0);
        for (name, part) in parts(&items, from.min(items.len())) {
            prop_assert_eq!(Some(&part), whole.get(&name), "{:?}", name);
        }
    }
}
