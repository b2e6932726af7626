//! Each rule with a history that keeps it and one that breaks it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::hls::model::Model;

/// One playlist as it came.
#[derive(Clone, Debug)]
struct Step {
    server: &'static str,
    target: String,
    asked: Duration,
    at: Duration,
    text: String,
}

type Steps = Vec<Step>;

const MULTIVARIANT: &str = "/live/a.m3u8";
/// Parts that are there when the histories begin: 24 segments, of which 20 are listed, and two parts.
const START: u64 = 122;
/// Playlists in [`history`]: one multivariant, then two whole ones, then two for each part.
const STEPS: usize = 3 + 2 * 13;

fn path(kind: &str) -> String {
    format!("/live/a/{kind}.m3u8")
}

/// When there are so many parts: a hundredth of a second after the last one.
fn time(parts: u64) -> Duration {
    Duration::from_millis(200) * (parts - START) as u32 + Duration::from_millis(10)
}

fn whole(model: &Model, kind: &str, parts: u64) -> Step {
    let at = time(parts);
    Step {
        server: "one",
        target: path(kind),
        asked: at,
        at,
        text: model.playlist(kind, parts, false),
    }
}

/// An answer that was held back for the last of the parts.
fn held(model: &Model, kind: &str, parts: u64) -> Step {
    let (msn, part) = (model.first + (parts - 1) / model.parts, (parts - 1) % model.parts);
    let target = format!("{}?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES", path(kind));
    let asked = time(parts - 1) + Duration::from_millis(5);
    Step {
        server: "one",
        target,
        asked,
        at: time(parts),
        text: model.playlist(kind, parts, true),
    }
}

/// What a player sees: both renditions, then each part by an answer that was held back.
fn history(model: &Model) -> Steps {
    let multivariant = Step {
        target: MULTIVARIANT.to_owned(),
        text: model.multivariant("a/"),
        ..whole(model, "video", START)
    };
    let mut steps = vec![multivariant, whole(model, "video", START), whole(model, "audio", START)];
    for parts in START + 1..=START + 13 {
        steps.extend([held(model, "video", parts), held(model, "audio", parts)]);
    }
    steps
}

fn judge(steps: &Steps, limits: Limits) -> Validator {
    let mut validator = Validator::new(limits);
    for Step {
        server,
        target,
        asked,
        at,
        text,
    } in steps
    {
        validator.see(Observation {
            server,
            target,
            asked: *asked,
            at: *at,
            text,
        });
    }
    drop(validator.finish());
    validator
}

fn text(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

/// Fails unless the history keeps all rules.
#[track_caller]
fn kept(steps: &Steps, limits: Limits) -> Summary {
    let validator = judge(steps, limits);
    assert!(validator.faults().is_empty(), "{}", text(validator.faults()));
    validator.summary()
}

/// Fails unless the history breaks the rule, and says so with the rule, its section and what the playlist has.
#[track_caller]
fn broken(rule: Rule, lines: &[&str], steps: &Steps, limits: Limits) {
    let validator = judge(steps, limits);
    let all = text(validator.faults());
    let fault = validator.faults().iter().find(|fault| fault.rule == rule);
    let told = fault.unwrap_or_else(|| panic!("{rule:?} holds:\n{all}")).to_string();
    assert!(
        told.starts_with(&format!("{rule:?} ({}): {}: ", rule.section(), rule.text())),
        "{told}"
    );
    for line in lines {
        assert!(told.contains(line), "{line} is not in: {told}");
    }
}

fn edit(step: &mut Step, from: &str, to: &str) {
    assert!(step.text.contains(from), "{from} is not in {}", step.text);
    step.text = step.text.replace(from, to);
}

/// The history with one text replaced in all its playlists, or those from `since` on.
fn edited(since: usize, from: &str, to: &str) -> Steps {
    let mut steps = history(&Model::default());
    let mut found = false;
    for step in steps.iter_mut().skip(since) {
        found |= step.text.contains(from);
        step.text = step.text.replace(from, to);
    }
    assert!(found, "{from}");
    steps
}

/// The history with one playlist edited.
fn one(at: usize, from: &str, to: &str) -> Steps {
    let mut steps = history(&Model::default());
    edit(&mut steps[at], from, to);
    steps
}

/// The line of a segment's EXTINF and URI, and the number of the segment so many before the last complete one.
fn number(back: u64) -> u64 {
    Model::default().first + (START + 13) / 5 - 1 - back
}

#[test]
fn what_a_player_sees_of_a_right_stream_keeps_every_rule() {
    let summary = kept(&history(&Model::default()), Limits::default());
    assert_eq!(
        (summary.playlists, summary.deltas, summary.restarts),
        (STEPS - 1, 26, 0)
    );
    assert!(summary.hints == 26 - 2 + 2 && summary.segments > 40, "{summary:?}");
}

#[test]
fn a_break_in_time_keeps_every_rule_while_it_comes_passes_and_goes() {
    for at in [3, 4, 5, 6, 22, 23, 24, 25] {
        kept(
            &history(&Model {
                breaks: vec![at],
                ..Model::default()
            }),
            Limits::default(),
        );
    }
}

#[test]
fn the_end_of_a_stream_keeps_every_rule() {
    let model = Model {
        end: Some(START + 9),
        ..Model::default()
    };
    let mut steps = history(&Model {
        end: None,
        ..model.clone()
    });
    steps.truncate(3 + 2 * 8);
    for kind in ["video", "audio"] {
        steps.push(held(&model, kind, START + 9));
        for later in 10..13 {
            let at = time(START + later);
            steps.push(Step {
                asked: at,
                at,
                ..whole(&model, kind, START + 9)
            });
        }
    }
    kept(&steps, Limits::default());
    for (from, to) in [
        ("#EXT-X-ENDLIST\n", ""),
        ("#EXT-X-MEDIA-SEQUENCE:1795000006", "#EXT-X-MEDIA-SEQUENCE:1795000007"),
    ] {
        let mut steps = steps.clone();
        edit(steps.last_mut().unwrap(), from, to);
        broken(Rule::EndlistFinal, &["ended", "#EXT"], &steps, Limits::default());
    }
    let hint = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x.m4s\"\n";
    edit(
        steps.last_mut().unwrap(),
        "#EXT-X-ENDLIST\n",
        &format!("{hint}#EXT-X-ENDLIST\n"),
    );
    broken(Rule::TagPlace, &[hint.trim()], &steps, Limits::default());
}

#[test]
fn a_restart_is_right_where_it_is_expected_and_begins_a_timeline() {
    let old = Model::default();
    let new = Model {
        first: old.first + 1000,
        timelines: 1,
        begin: old.date(1000),
        ..Model::default()
    };
    let mut steps = history(&old);
    let base = steps.last().unwrap().at;
    for parts in 1..4 {
        for kind in ["video", "audio"] {
            let at = base + Duration::from_millis(150) * parts as u32;
            steps.push(Step {
                asked: at,
                at,
                ..whole(&new, kind, START + parts)
            });
        }
    }
    let expected = Limits {
        restarts: 1,
        ..Limits::default()
    };
    assert_eq!(kept(&steps, expected.clone()).restarts, 1);
    broken(
        Rule::MediaSequence,
        &["jumps from", "#EXT-X-MEDIA-SEQUENCE"],
        &steps,
        Limits::default(),
    );
    let mut same = steps;
    for step in same.iter_mut().skip(STEPS) {
        edit(
            step,
            "#EXT-X-DISCONTINUITY-SEQUENCE:1",
            "#EXT-X-DISCONTINUITY-SEQUENCE:0",
        );
    }
    broken(Rule::DiscontinuitySequence, &["restart"], &same, expected);
}

#[test]
fn plain_playlists_keep_the_rules_and_name_the_same_segments() {
    let model = Model::default();
    let mut steps = history(&model);
    for second in 0..3 {
        for kind in ["video", "audio"] {
            let parts = START + second * 5;
            let target = format!("/live/a/plain-{kind}.m3u8");
            steps.push(Step {
                target,
                text: model.plain(kind, parts),
                ..whole(&model, kind, parts)
            });
        }
    }
    kept(&steps, Limits::default());
    let last = steps.len() - 1;
    let mut parts = steps.clone();
    edit(
        &mut parts[last],
        "#EXT-X-MEDIA-S",
        "#EXT-X-PART-INF:PART-TARGET=0.21\n#EXT-X-MEDIA-S",
    );
    broken(Rule::PlainTags, &["#EXT-X-PART-INF"], &parts, Limits::default());
    let number = model.first + 20;
    let line = format!("#EXTINF:1.00000,\naudio-{number}.m4s");
    let mut other = steps;
    for step in other
        .iter_mut()
        .filter(|step| step.target.ends_with("plain-audio.m3u8"))
    {
        edit(step, &line, &line.replace("1.00000", "1.00100"));
    }
    broken(
        Rule::SegmentIdentity,
        &[&format!("audio-{number}.m4s is"), "#EXT"],
        &other,
        Limits::default(),
    );
}

#[test]
fn a_segment_that_is_told_to_be_missing_keeps_the_rules_as_long_as_it_stays_so() {
    let model = Model::default();
    let mut steps = history(&model);
    steps.truncate(1);
    for second in 0..3 {
        for kind in ["video", "audio"] {
            let parts = START + second * 5;
            let target = format!("/live/a/plain-{kind}.m3u8");
            let line = format!("{kind}-{}.m4s", model.first + 10);
            let text = model.plain(kind, parts).replace(&line, &format!("#EXT-X-GAP\n{line}"));
            let text = text.replace("VERSION:6", "VERSION:8");
            steps.push(Step {
                target,
                text,
                ..whole(&model, kind, parts)
            });
        }
    }
    steps[0].text = model.multivariant("a/plain-");
    kept(&steps, Limits::default());
    let last = steps.len() - 1;
    edit(&mut steps[last], "#EXT-X-GAP\n", "");
    broken(
        Rule::SegmentIdentity,
        &["its gap was true, and is false"],
        &steps,
        Limits::default(),
    );
    broken(Rule::VersionNotHigher, &["#EXT-X-VERSION:8"], &steps, Limits::default());
}

#[test]
fn servers_may_be_apart_as_far_as_they_are_said_to_be() {
    let model = Model::default();
    let mut steps = history(&model);
    let at = time(START + 12) + Duration::from_millis(150);
    let text = model.playlist("video", START + 11, false);
    steps.push(Step {
        server: "two",
        target: path("video"),
        asked: at,
        at,
        text,
    });
    kept(&steps, Limits::servers(Duration::from_millis(300)));
    broken(
        Rule::Progress,
        &["two still has"],
        &steps,
        Limits::servers(Duration::from_millis(100)),
    );
    // The same server never goes back.
    let step = steps.last_mut().unwrap();
    (step.server, step.asked) = ("one", time(START + 13));
    step.at = step.asked;
    broken(
        Rule::Progress,
        &["the next part was"],
        &steps,
        Limits::servers(Duration::from_secs(9)),
    );
    kept(
        &steps,
        Limits {
            balanced: true,
            ..Limits::servers(Duration::from_secs(9))
        },
    );
    // Another window at the same state is another stream.
    let at = time(START + 13);
    let text = Model { window: 19, ..model }.playlist("video", START + 13, false);
    let step = Step {
        server: "two",
        target: path("video"),
        asked: at,
        at,
        text,
    };
    steps.pop();
    steps.push(step);
    broken(
        Rule::MediaSequence,
        &["it was"],
        &steps,
        Limits::servers(Duration::from_secs(9)),
    );
}

#[test]
fn rules_of_the_header_can_be_broken() {
    let limits = Limits::default;
    let control = "#EXT-X-SERVER-CONTROL";
    broken(Rule::Header, &["   1 |"], &one(3, "#EXTM3U\n", "#EXTM3U9\n"), limits());
    broken(
        Rule::Syntax,
        &["#EXT-X-PART-INF"],
        &one(3, "TARGET=0.21", "TARGET=0,21"),
        limits(),
    );
    broken(
        Rule::VersionEnough,
        &["#EXT-X-VERSION:8", "#EXT-X-SKIP"],
        &one(3, "VERSION:9", "VERSION:8"),
        limits(),
    );
    broken(
        Rule::VersionEnough,
        &["#EXT-X-VERSION:5"],
        &one(1, "VERSION:6", "VERSION:5"),
        limits(),
    );
    broken(
        Rule::VersionNotHigher,
        &["#EXT-X-VERSION:10"],
        &edited(3, "VERSION:9", "VERSION:10"),
        limits(),
    );
    broken(
        Rule::RepeatedTag,
        &["#EXT-X-TARGETDURATION"],
        &one(
            1,
            "#EXT-X-TARGETDURATION:2\n",
            "#EXT-X-TARGETDURATION:2\n#EXT-X-TARGETDURATION:2\n",
        ),
        limits(),
    );
    broken(
        Rule::RequiredTag,
        &["no PART-HOLD-BACK", control],
        &edited(0, ",PART-HOLD-BACK=0.63", ""),
        limits(),
    );
    let map = "#EXT-X-MAP:URI=\"video-init-1795000000-0.mp4\"\n";
    broken(
        Rule::RequiredTag,
        &["has no EXT-X-MAP", "video-"],
        &edited(0, map, ""),
        limits(),
    );
}

#[test]
fn rules_of_durations_can_be_broken() {
    let limits = Limits::default;
    let line = |back: u64| format!("#EXTINF:1.00000,\nvideo-{}.m4s", number(back));
    let long = |text: &str| edited(0, &line(3), &line(3).replace("1.00000", text));
    broken(
        Rule::TargetDuration,
        &["#EXT-X-TARGETDURATION:2", "video-"],
        &long("2.50000"),
        limits(),
    );
    broken(
        Rule::PartSum,
        &["5 parts last 1s", "1.006", "video-"],
        &long("1.00600"),
        limits(),
    );
    let within = judge(&long("1.00400"), limits());
    assert!(
        within.faults().iter().all(|fault| fault.rule != Rule::PartSum),
        "{}",
        text(within.faults())
    );
    let part = |index: u64| format!("DURATION=0.20000,URI=\"video-{}.{index}.m4s\"", number(3));
    let short = |index, text: &str| edited(0, &part(index), &part(index).replace("0.20000", text));
    broken(
        Rule::PartMaximum,
        &["#EXT-X-PART-INF", &part(1).replace("0.20000", "0.22000")],
        &short(1, "0.22000"),
        limits(),
    );
    broken(
        Rule::PartMinimum,
        &["#EXT-X-PART-INF", "0.17800"],
        &short(1, "0.17800"),
        limits(),
    );
    for (index, duration) in [(1, "0.17850"), (4, "0.01000"), (0, "0.01000")] {
        let exempt = judge(&short(index, duration), limits());
        assert!(
            exempt.faults().iter().all(|fault| fault.rule != Rule::PartMinimum),
            "{}",
            text(exempt.faults())
        );
    }
    let dependent = edited(
        0,
        &format!("URI=\"video-{}.0.m4s\",INDEPENDENT=YES", number(3)),
        &format!("URI=\"video-{}.0.m4s\"", number(3)),
    );
    broken(
        Rule::PartIndependent,
        &["is not INDEPENDENT", "#EXT-X-PART"],
        &dependent,
        limits(),
    );
    broken(
        Rule::HoldBack,
        &["HOLD-BACK=5.9"],
        &edited(0, ",HOLD-BACK=6.0", ",HOLD-BACK=5.9"),
        limits(),
    );
    broken(
        Rule::PartHoldBack,
        &["PART-HOLD-BACK=0.62"],
        &edited(0, "PART-HOLD-BACK=0.63", "PART-HOLD-BACK=0.62"),
        limits(),
    );
    broken(
        Rule::SkipBoundary,
        &["CAN-SKIP-UNTIL=11.9"],
        &edited(0, "CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=11.9"),
        limits(),
    );
    broken(
        Rule::BlockReload,
        &["#EXT-X-SERVER-CONTROL"],
        &edited(0, "CAN-BLOCK-RELOAD=YES,", ""),
        limits(),
    );
}

#[test]
fn rules_of_dates_and_init_segments_can_be_broken() {
    let model = Model::default();
    let date = |index: u64| format!("#EXT-X-PROGRAM-DATE-TIME:{:.3}\n", model.date(index));
    broken(
        Rule::DateTime,
        &["has no EXT-X-PROGRAM-DATE-TIME"],
        &edited(0, &date(20), ""),
        Limits::default(),
    );
    let late = edited(0, &date(20), &date(20).replace(".000Z", ".011Z"));
    broken(
        Rule::DateTime,
        &["11.000 ms off", "#EXT-X-PROGRAM-DATE-TIME"],
        &late,
        Limits::default(),
    );
    kept(
        &late,
        Limits {
            dates: Duration::from_millis(11),
            ..Limits::default()
        },
    );
    let early = edited(0, &date(20), &date(19));
    broken(Rule::DateTime, &["ms off"], &early, Limits::default());
    let mut steps = history(&Model {
        breaks: vec![23],
        ..model
    });
    for step in &mut steps {
        step.text = step.text.replace("#EXT-X-DISCONTINUITY\n", "");
    }
    broken(
        Rule::MapChange,
        &["another EXT-X-MAP", "#EXT-X-MAP"],
        &steps,
        Limits::default(),
    );
}

#[test]
fn rules_of_parts_in_the_window_can_be_broken() {
    let model = Model::default();
    let without = |segment: u64| {
        let mut steps = history(&model);
        for step in &mut steps {
            let part = format!("-{}.", model.first + segment);
            let lines = step.text.split_inclusive('\n');
            let kept = lines.filter(|line| !(line.contains(&part) && line.starts_with("#EXT-X-PART:")));
            step.text = kept.collect();
        }
        steps
    };
    broken(
        Rule::PartsKept,
        &["has no parts", "#EXT"],
        &without(22),
        Limits::default(),
    );
    let mut steps = history(&model);
    for step in steps.iter_mut().skip(1) {
        for kind in ["video", "audio"] {
            let number = model.first + 12;
            let line = format!("#EXTINF:1.00000,\n{kind}-{number}.m4s");
            let parts: String = (0..5)
                .map(|part| {
                    format!("#EXT-X-PART:DURATION=0.20000,URI=\"{kind}-{number}.{part}.m4s\",INDEPENDENT=YES\n")
                })
                .collect();
            step.text = step.text.replace(&line, &format!("{parts}{line}"));
        }
    }
    broken(Rule::PartsDropped, &["and has parts", "m4s"], &steps, Limits::default());
    let renamed = edited(9, &format!("video-{}.1.m4s", number(2)), "video-other.1.m4s");
    broken(Rule::PartIdentity, &["video-other.1.m4s"], &renamed, Limits::default());
    let lost = format!("#EXT-X-PART:DURATION=0.20000,URI=\"video-{}.4.m4s\"\n", number(2));
    broken(
        Rule::PartIdentity,
        &["had 5 parts, and has 4"],
        &edited(17, &lost, ""),
        Limits::default(),
    );
}

#[test]
fn rules_of_what_never_changes_can_be_broken() {
    let limits = Limits::default;
    broken(
        Rule::ConstantHeader,
        &["TARGETDURATION:3"],
        &edited(9, "TARGETDURATION:2", "TARGETDURATION:3"),
        limits(),
    );
    broken(
        Rule::ConstantHeader,
        &["PART-TARGET=0.22"],
        &edited(9, "PART-TARGET=0.21", "PART-TARGET=0.22"),
        limits(),
    );
    let line = |back: u64| format!("video-{}.m4s", number(back));
    broken(
        Rule::SegmentIdentity,
        &["its URI was", "other.m4s"],
        &edited(17, &line(2), "other.m4s"),
        limits(),
    );
    let uri = format!("1.00000,\n{}", line(2));
    let longer = edited(17, &uri, &uri.replace("1.00000", "1.00100"));
    broken(
        Rule::SegmentIdentity,
        &["its duration was 1s, and is 1.001s"],
        &longer,
        limits(),
    );
    let map = "video-init-1795000000-0.mp4";
    broken(
        Rule::SegmentIdentity,
        &["its EXT-X-MAP was"],
        &{
            let mut steps = history(&Model::default());
            steps.push(whole(&Model::default(), "video", START + 13));
            edit(steps.last_mut().unwrap(), map, "video-init-2.mp4");
            steps
        },
        limits(),
    );
}

#[test]
fn rules_of_the_window_can_be_broken() {
    let limits = Limits::default;
    let disc = edited(9, "#EXT-X-DISCONTINUITY-SEQUENCE:0", "#EXT-X-DISCONTINUITY-SEQUENCE:1");
    broken(
        Rule::DiscontinuitySequence,
        &["its discontinuity sequence was 0, and is 1"],
        &disc,
        limits(),
    );
    // A discontinuity that leaves the window without being counted.
    let mut steps = history(&Model {
        breaks: vec![5],
        ..Model::default()
    });
    for step in &mut steps {
        step.text = step
            .text
            .replace("#EXT-X-DISCONTINUITY-SEQUENCE:1", "#EXT-X-DISCONTINUITY-SEQUENCE:0");
    }
    broken(
        Rule::DiscontinuitySequence,
        &["its discontinuity sequence was 1, and is 0"],
        &steps,
        limits(),
    );
    let mut steps = history(&Model::default());
    let model = Model {
        window: 3,
        ..Model::default()
    };
    steps.push(whole(&model, "video", START + 14));
    steps.last_mut().unwrap().at += Duration::from_millis(1);
    broken(
        Rule::WindowMinimum,
        &["3 segments", "#EXT-X-MEDIA-SEQUENCE"],
        &steps,
        limits(),
    );
    let mut numbers = history(&Model::default());
    // A window that grows at its beginning.
    let model = Model {
        window: 24,
        ..Model::default()
    };
    numbers.push(whole(&model, "video", START + 14));
    broken(
        Rule::MediaSequence,
        &["it was 1795000007 at", "#EXT-X-MEDIA-SEQUENCE:1795000003"],
        &numbers,
        limits(),
    );
}

#[test]
fn rules_of_pace_can_be_broken() {
    let model = Model::default();
    let later = |steps: &mut Steps, by: u64| {
        let at = time(START + 14) + Duration::from_millis(by);
        let held = held(&model, "video", START + 14);
        steps.push(Step { at, ..held });
    };
    let mut steps = history(&model);
    later(&mut steps, 900);
    kept(&steps, Limits::default());
    let mut steps = history(&model);
    later(&mut steps, 1100);
    broken(Rule::PartCadence, &["no new part for"], &steps, Limits::default());
    let lax = Limits::default().without(&[Rule::PartCadence]);
    kept(&steps, lax.clone());
    // 1.5 target durations and the second of grace after the last segment.
    let mut steps = history(&model);
    let at = time(START + 13) + Duration::from_millis(4300);
    steps.push(Step {
        asked: at,
        at,
        ..whole(&model, "video", START + 13)
    });
    broken(Rule::SegmentCadence, &["no new segment for"], &steps, lax.clone());
    steps.last_mut().unwrap().asked = time(START + 13) + Duration::from_millis(3300);
    kept(&steps, lax);
}

#[test]
fn rules_of_answers_can_be_broken() {
    let (model, limits) = (Model::default(), Limits::default);
    let with = |change: &dyn Fn(&mut Step)| {
        let mut steps = history(&model);
        change(&mut steps[3]);
        steps
    };
    let unasked = with(&|step| step.target = step.target.replace("&_HLS_skip=YES", ""));
    broken(
        Rule::SkipAsked,
        &["nothing was to be skipped", "#EXT-X-SKIP"],
        &unasked,
        limits(),
    );
    let ignored = with(&|step| step.text = model.playlist("video", START + 1, false));
    broken(Rule::SkipAsked, &["the whole playlist came"], &ignored, limits());
    // Fewer, and more, than the boundary asks for; the numbers are right in both.
    let near = Model {
        target: 1,
        ..model.clone()
    }
    .playlist("video", START + 1, true);
    let near = near
        .replace("DURATION:1", "DURATION:2")
        .replace("UNTIL=6.0,HOLD-BACK=3.0", "UNTIL=12.0,HOLD-BACK=6.0");
    broken(
        Rule::SkipExtent,
        &["what is left lasts", "#EXT-X-SKIP"],
        &with(&|step| step.text.clone_from(&near)),
        limits(),
    );
    let far = Model {
        target: 3,
        ..model.clone()
    }
    .playlist("video", START + 1, true);
    let far = far
        .replace("DURATION:3", "DURATION:2")
        .replace("UNTIL=18.0,HOLD-BACK=9.0", "UNTIL=12.0,HOLD-BACK=6.0");
    broken(
        Rule::SkipExtent,
        &["from the end", "#EXT-X-SKIP"],
        &with(&|step| step.text.clone_from(&far)),
        limits(),
    );
    let wrong = |steps: Steps| broken(Rule::SkipArithmetic, &["#EXT-X-SKIP"], &steps, limits());
    wrong(one(3, "SKIPPED-SEGMENTS=8", "SKIPPED-SEGMENTS=80"));
    wrong(
        history(&model)
            .into_iter()
            .filter(|step| step.target != path("video"))
            .collect(),
    );
    // One too few: every segment behind it has the number of another.
    broken(
        Rule::SegmentIdentity,
        &["its URI was"],
        &one(3, "SKIPPED-SEGMENTS=8", "SKIPPED-SEGMENTS=7"),
        limits(),
    );
}

#[test]
fn an_answer_that_comes_too_soon_is_found() {
    let (model, limits) = (Model::default(), Limits::default);
    let mut early = history(&model);
    early[3].text = model.playlist("video", START, true);
    broken(
        Rule::BlockedAnswer,
        &["_HLS_part=2", "came with 1795000024.2"],
        &early,
        limits(),
    );
    for (target, parts, right) in [
        ("24", 125, true),
        ("24", 124, false),
        ("24&_HLS_part=9", 126, true),
        ("24&_HLS_part=9", 125, false),
    ] {
        let mut steps = history(&model);
        let step = whole(&model, "video", parts);
        let asked = time(START) + Duration::from_millis(5);
        steps.truncate(3);
        steps.push(Step {
            target: format!("{}?_HLS_msn=17950000{target}", path("video")),
            asked,
            ..step
        });
        let faults = judge(&steps, limits().without(&[Rule::PartCadence]));
        let fault = faults.faults().iter().any(|fault| fault.rule == Rule::BlockedAnswer);
        assert_eq!(fault, !right, "{target} {parts}: {}", text(faults.faults()));
    }
}

#[test]
fn rules_of_hints_can_be_broken() {
    let (model, limits) = (Model::default(), Limits::default);
    let hint = |part: u64| format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"video-1795000024.{part}.m4s\"\n");
    broken(Rule::Hint, &["no hint"], &one(3, &hint(3), ""), limits());
    broken(
        Rule::Hint,
        &["2 hints", hint(4).trim()],
        &one(3, &hint(3), &(hint(3) + &hint(4))),
        limits(),
    );
    broken(
        Rule::Hint,
        &["is listed already", hint(2).trim()],
        &one(3, &hint(3), &hint(2)),
        limits(),
    );
    broken(
        Rule::HintComesTrue,
        &["video-1795000024.3.m4s came"],
        &one(3, &hint(3), &hint(4)),
        limits(),
    );
    // A hint at a part that the segment never has, where its successor's first part comes.
    let last = history(&model)
        .iter()
        .position(|step| step.text.contains("video-1795000025.0.m4s\"\n#EXT-X-REN"))
        .unwrap();
    let more = one(
        last,
        "URI=\"video-1795000025.0.m4s\"\n#EXT-X-REN",
        "URI=\"video-1795000024.5.m4s\"\n#EXT-X-REN",
    );
    broken(
        Rule::HintComesTrue,
        &["video-1795000024.5.m4s was hinted at behind 1795000025.0"],
        &more,
        limits(),
    );
}

#[test]
fn rules_of_reports_can_be_broken() {
    let (model, limits) = (Model::default(), Limits::default);
    let report = |msn: u64, part: u64| format!("URI=\"audio.m3u8\",LAST-MSN=17950000{msn},LAST-PART={part}\n");
    let told = |to: &str| {
        let mut steps = history(&model);
        let at = steps
            .iter()
            .position(|step| step.text.contains(&report(25, 2)) && step.server == "one")
            .unwrap();
        edit(&mut steps[at], &report(25, 2), to);
        steps
    };
    kept(&told(&report(25, 1)), limits());
    kept(&told(&report(25, 3)), limits());
    broken(
        Rule::Report,
        &["had 1795000025.2 as the next part before", "LAST-PART=4"],
        &told(&report(24, 4)),
        limits(),
    );
    broken(
        Rule::Report,
        &["/live/a/video.m3u8 had 1795000025.6 as the next part"],
        &told(&report(25, 5)),
        limits(),
    );
    broken(
        Rule::Report,
        &["no LAST-PART"],
        &told(&report(25, 2).replace(",LAST-PART=2", "")),
        limits(),
    );
    broken(
        Rule::Report,
        &["is not relative"],
        &told(&report(25, 2).replace("audio.m3u8", "/live/a/audio.m3u8")),
        limits(),
    );
    let none = edited(
        3,
        "#EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\"",
        "#EXT-X-RENDITION-REPORT:URI=\"other.m3u8\"",
    );
    broken(Rule::Report, &["none on /live/a/audio.m3u8"], &none, limits());
}

#[test]
fn rules_between_renditions_can_be_broken() {
    let (model, limits) = (Model::default(), Limits::default);
    let mut steps = history(&model);
    for step in steps.iter_mut().filter(|step| step.target.starts_with(&path("audio"))) {
        edit(step, ",HOLD-BACK=6.0", ",HOLD-BACK=7.0");
    }
    broken(
        Rule::SameTarget,
        &["another target duration or server control", "#EXT-X-SERVER-CONTROL"],
        &steps,
        limits(),
    );
    let audio = Model {
        begin: model.begin + jiff::SignedDuration::from_millis(101),
        ..model.clone()
    };
    let mut steps = history(&model);
    for (step, other) in steps
        .iter_mut()
        .zip(history(&audio))
        .filter(|(step, _)| step.target.starts_with(&path("audio")))
    {
        *step = other;
    }
    broken(Rule::SameDates, &["segment", "in /live/a/"], &steps, limits());
    kept(
        &steps,
        Limits {
            renditions_apart: Duration::from_millis(101),
            ..limits()
        },
    );
}

#[test]
fn rules_of_the_multivariant_playlist_can_be_broken() {
    let limits = Limits::default;
    for (from, rule, told) in [
        ("BANDWIDTH=400000,", Rule::VariantAttributes, "no BANDWIDTH"),
        (
            "AVERAGE-BANDWIDTH=300000,",
            Rule::VariantAttributes,
            "no AVERAGE-BANDWIDTH",
        ),
        (
            "CODECS=\"avc1.64001e,mp4a.40.2\",",
            Rule::VariantAttributes,
            "no CODECS",
        ),
        ("RESOLUTION=640x360,", Rule::VariantAttributes, "no RESOLUTION"),
        ("FRAME-RATE=25.000,", Rule::VariantAttributes, "no FRAME-RATE"),
        ("LANGUAGE=\"und\",", Rule::Renditions, "no LANGUAGE"),
        ("CHANNELS=\"2\",", Rule::Renditions, "no CHANNELS"),
        ("AUTOSELECT=YES,", Rule::Renditions, "DEFAULT without AUTOSELECT"),
        (
            "#EXT-X-INDEPENDENT-SEGMENTS\n",
            Rule::IndependentSegments,
            "neither playlist",
        ),
    ] {
        broken(rule, &[told], &one(0, from, ""), limits());
    }
    broken(
        Rule::VariantAttributes,
        &["three decimals"],
        &one(0, "25.000", "25.0"),
        limits(),
    );
    broken(
        Rule::Renditions,
        &["no member", "#EXT-X-STREAM-INF"],
        &one(0, "AUDIO=\"audio\"\n", "AUDIO=\"other\"\n"),
        limits(),
    );
    let silent = history(&Model::default())
        .into_iter()
        .filter(|step| !step.target.starts_with(&path("audio")));
    broken(
        Rule::VariantExists,
        &["/live/a/audio.m3u8 was never seen", "#EXT-X-STREAM-INF"],
        &silent.collect(),
        limits(),
    );
}

#[test]
fn bandwidths_and_codecs_are_held_against_what_came() {
    let run = |video: u64, format: Format| {
        let mut validator = judge(&history(&Model::default()), Limits::default());
        for index in 4..26 {
            let number = Model::default().first + index;
            validator.segment(
                &format!("/live/a/video-{number}.m4s"),
                if index == 20 { video } else { 30_000 },
            );
            validator.segment(&format!("/live/a/audio-{number}.m4s"), 7_000);
        }
        validator.format(&path("video"), format);
        validator.finish().map_err(|error| error.to_string())
    };
    let right = Format {
        codec: "avc1.64001e".into(),
        size: Some((640, 360)),
    };
    run(30_000, right.clone()).unwrap();
    // A run of one second is long enough to be a peak: (120,000 + 7,000) × 8 is above 125 % of 400,000.
    let told = run(120_000, right.clone()).unwrap_err();
    assert!(
        told.contains("Bandwidth (§4.4.6.2; Apple 1.28, 1.29, 9.13)") && told.contains("BANDWIDTH is 400000"),
        "{told}"
    );
    let other = Format {
        codec: "hvc1".into(),
        ..right.clone()
    };
    assert!(run(30_000, other).unwrap_err().contains("Codecs (§6.2.4)"));
    let small = Format {
        size: Some((320, 180)),
        ..right
    };
    assert!(run(30_000, small).unwrap_err().contains("RESOLUTION is (640, 360)"));
}

#[test]
fn a_waived_rule_is_not_told_and_a_fault_is_told_once() {
    let steps = edited(0, "CAN-BLOCK-RELOAD=YES,", "");
    kept(&steps, Limits::default().without(&[Rule::BlockReload]));
    let validator = judge(&steps, Limits::default());
    let rules: Vec<Rule> = validator.faults().iter().map(|fault| fault.rule).collect();
    assert_eq!(rules, [Rule::BlockReload, Rule::BlockReload], "one for each playlist");
}

/// Those of boxes are tested in `fragments`.
#[test]
fn every_rule_has_a_history_that_breaks_it() {
    let source = concat!(include_str!("tests.rs"), include_str!("../fragments.rs"));
    let told: BTreeSet<Rule> = Rule::ALL
        .iter()
        .copied()
        .filter(|rule| source.contains(&format!("Rule::{rule:?}")))
        .collect();
    let codecs = [Rule::Codecs, Rule::Bandwidth];
    let missing: Vec<&Rule> = Rule::ALL
        .iter()
        .filter(|rule| !told.contains(rule) && !codecs.contains(rule))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
