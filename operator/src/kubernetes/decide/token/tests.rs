//! The rotation, step by step and over years, and what is made of a Secret that somebody has touched.

use proptest::prelude::*;

use super::*;

const OLD: &str = "old-old-old-old-old-old-old-old-old-old-old";
const NEW: &str = "new-new-new-new-new-new-new-new-new-new-new";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn secret(lines: &[&str], annotations: &[(&str, &str)]) -> TokenSecret {
    TokenSecret {
        text: lines.iter().map(|line| format!("{line}\n")).collect(),
        annotations: annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn in_phase(phase: Phase, lines: &[&str]) -> TokenSecret {
    secret(lines, &[(PHASE, phase.as_str()), (SINCE, &at(0).to_string())])
}

fn lines(secret: &TokenSecret) -> Vec<&str> {
    secret.text.lines().collect()
}

fn not_asked_for() -> String {
    panic!("no fresh token is needed");
}

#[test]
fn words_read_back_as_they_are_written() {
    for phase in Phase::ALL {
        assert_eq!(phase.to_string().parse(), Ok(phase));
    }
    for step in Step::ALL {
        assert_eq!(step.to_string().parse(), Ok(step));
    }
}

#[test]
fn a_missing_secret_is_made() {
    let verdict = step(None, at(0), || OLD.to_owned());
    assert_eq!(verdict.step, Step::Made);
    assert!(verdict.changes());
    assert_eq!(verdict.secret, in_phase(Phase::Steady, &[OLD]));
    assert_eq!(verdict.token.expose(), OLD);
    assert_eq!(verdict.again, at(30 * 86_400));
}

#[test]
fn a_secret_stays_until_its_phase_is_over() {
    for (phase, tokens, seconds) in [
        (Phase::Steady, &[OLD][..], 30 * 86_400),
        (Phase::Adding, &[OLD, NEW], 300),
        (Phase::Switching, &[NEW, OLD], 300),
    ] {
        let before = in_phase(phase, tokens);
        let verdict = step(Some(&before), at(seconds - 1), not_asked_for);
        assert_eq!(verdict.step, Step::Kept, "{phase}");
        assert!(!verdict.changes());
        assert_eq!(verdict.secret, before);
        assert_eq!(verdict.again, at(seconds));
        assert_ne!(step(Some(&before), at(seconds), || NEW.to_owned()).step, Step::Kept);
    }
}

#[test]
fn a_rotation_adds_then_switches_then_drops() {
    let month = 30 * 86_400;
    let added = step(Some(&in_phase(Phase::Steady, &[OLD])), at(month), || NEW.to_owned());
    assert_eq!(added.step, Step::Added);
    assert_eq!(lines(&added.secret), [OLD, NEW]);
    assert_eq!(added.token.expose(), OLD);

    let switched = step(Some(&added.secret), added.again, not_asked_for);
    assert_eq!(switched.step, Step::Switched);
    assert_eq!(lines(&switched.secret), [NEW, OLD]);
    assert_eq!(switched.token.expose(), NEW);

    let dropped = step(Some(&switched.secret), switched.again, not_asked_for);
    assert_eq!(dropped.step, Step::Dropped);
    assert_eq!(lines(&dropped.secret), [NEW]);
    assert_eq!(dropped.token.expose(), NEW);
    assert_eq!(dropped.again, at(month + 600 + month));
}

/// Applying our own annotations does not remove a person's, so that the word is remembered instead.
#[test]
fn a_persons_word_rotates_once() {
    let mut before = in_phase(Phase::Steady, &[OLD]);
    before.annotations.insert(ROTATE.to_owned(), "monday".to_owned());
    let added = step(Some(&before), at(60), || NEW.to_owned());
    assert_eq!(added.step, Step::Added);
    assert_eq!(added.secret.annotation(ROTATED), Some("monday"));
    let mut verdict = added;
    for (now, expected) in [(360, Step::Switched), (660, Step::Dropped), (700, Step::Kept)] {
        let mut seen = verdict.secret.clone();
        seen.annotations.insert(ROTATE.to_owned(), "monday".to_owned());
        verdict = step(Some(&seen), at(now), not_asked_for);
        assert_eq!(verdict.step, expected);
    }
    let mut again = verdict.secret.clone();
    again.annotations.insert(ROTATE.to_owned(), "tuesday".repeat(40));
    let added = step(Some(&again), at(800), || OLD.to_owned());
    assert_eq!(added.step, Step::Added);
    assert_eq!(added.secret.annotation(ROTATED).map(str::len), Some(LONGEST_REQUEST));
}

#[test]
fn a_word_in_the_middle_of_a_rotation_waits_for_its_end() {
    let mut before = in_phase(Phase::Adding, &[OLD, NEW]);
    before.annotations.insert(ROTATE.to_owned(), "now".to_owned());
    assert_eq!(step(Some(&before), at(10), not_asked_for).step, Step::Kept);
}

#[test]
fn a_secret_without_a_usable_token_is_replaced() {
    let long = "a".repeat(257);
    for broken in [
        TokenSecret::default(),
        secret(&["short"], &[]),
        secret(&["with spaces with spaces with spaces with"], &[]),
        secret(&[&long], &[]),
        in_phase(Phase::Steady, &["", " "]),
    ] {
        let verdict = step(Some(&broken), at(0), || NEW.to_owned());
        assert_eq!(verdict.step, Step::Replaced, "{broken:?}");
        assert_eq!(verdict.secret, in_phase(Phase::Steady, &[NEW]));
    }
}

#[test]
fn a_secret_whose_annotations_are_wrong_keeps_its_first_token() {
    let since = at(0).to_string();
    let ahead = at(86_400).to_string();
    for broken in [
        secret(&[OLD, NEW], &[]),
        secret(&[OLD], &[(PHASE, "steady")]),
        secret(&[OLD], &[(PHASE, "resting"), (SINCE, &since)]),
        secret(&[OLD], &[(PHASE, "steady"), (SINCE, "yesterday")]),
        secret(&[OLD], &[(PHASE, "steady"), (SINCE, &ahead)]),
        secret(&[OLD, NEW], &[(PHASE, "steady"), (SINCE, &since)]),
        secret(&[OLD], &[(PHASE, "adding"), (SINCE, &since)]),
        secret(&[OLD, NEW, NEW], &[(PHASE, "switching"), (SINCE, &since)]),
        secret(&[OLD, "short"], &[(PHASE, "steady"), (SINCE, &since)]),
    ] {
        let verdict = step(Some(&broken), at(5), not_asked_for);
        assert_eq!(verdict.step, Step::Mended, "{broken:?}");
        assert_eq!(lines(&verdict.secret), [OLD]);
        assert_eq!(verdict.secret.annotation(PHASE), Some("steady"));
        assert_eq!(verdict.secret.annotation(SINCE), Some(at(5).to_string().as_str()));
    }
}

/// A new leader's clock may be a little behind the old one's.
#[test]
fn a_phase_that_began_a_moment_ahead_of_this_clock_holds() {
    let before = in_phase(Phase::Adding, &[OLD, NEW]);
    assert_eq!(step(Some(&before), at(-30), not_asked_for).step, Step::Kept);
    assert_eq!(step(Some(&before), at(-61), not_asked_for).step, Step::Mended);
}

#[test]
fn a_secret_goes_to_the_cluster_and_back() {
    let owner = Owner { uid: "1".to_owned() };
    let id = ResourceId::pool("video", "web");
    let mut decided = in_phase(Phase::Adding, &[OLD, NEW]);
    let object = decided.object(&id, &owner);
    assert_eq!(object.metadata.name.as_deref(), Some("web-edge-control"));
    assert_eq!(names::resource_of(&object.metadata), Some(id.clone()));
    assert_eq!(TokenSecret::from(&object), decided);
    assert_eq!(in_use(&object).as_ref().map(ControlToken::expose), Some(OLD));
    assert_eq!(in_use(&Secret::default()), None);
    decided.annotations.insert(ROTATE.to_owned(), "now".to_owned());
    let object = decided.object(&id, &owner);
    assert!(!object.metadata.annotations.unwrap().contains_key(ROTATE));
    assert_eq!(TokenSecret::from(&Secret::default()), TokenSecret::default());
    let binary = Secret {
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(vec![0xff]))])),
        ..Secret::default()
    };
    assert_eq!(TokenSecret::from(&binary), TokenSecret::default());
}

#[test]
fn tokens_never_stand_in_debug_text() {
    let verdict = step(Some(&in_phase(Phase::Switching, &[NEW, OLD])), at(1), not_asked_for);
    let text = format!("{verdict:?}");
    assert!(!text.contains(NEW) && !text.contains(OLD), "{text}");
}

proptest! {
    /// Nodes see the Secret up to [`SPREAD`] late, the operator looks whenever it likes and may be away for long, and a
    /// person rotates at any time: every node always takes the token that the operator uses.
    #[test]
    fn no_node_ever_refuses_the_operator(
        looks in prop::collection::vec((1_i64..4_000_000, 0_i64..=300, any::<bool>()), 1..60),
    ) {
        let mut number = 0;
        let mut now = 0;
        let mut made: Vec<(i64, TokenSecret)> = Vec::new();
        for (wait, lag, asked) in looks {
            // Mostly as soon as it may, now and then much later.
            let due = made.last().map(|(_, secret)| step(Some(secret), at(now), String::new).again);
            let due = due.map_or(0, |due| due.as_second() - at(0).as_second());
            now = if wait % 3 == 0 { now + wait } else { due.max(now + 1) };
            let mut seen = made.last().map(|(_, secret)| secret.clone());
            if let (true, Some(seen)) = (asked, &mut seen) {
                seen.annotations.insert(ROTATE.to_owned(), now.to_string());
            }
            let verdict = step(seen.as_ref(), at(now), || {
                number += 1;
                format!("{number:040}")
            });
            prop_assert!(verdict.again > at(now) || verdict.changes());
            made.push((now, verdict.secret.clone()));
            // The oldest that a node may still have: the first one counts as there from the start, since pods wait for
            // it.
            let stale = made.iter().rev().find(|(when, _)| *when <= now - lag).unwrap_or(&made[0]);
            prop_assert!(lines(&stale.1).contains(&verdict.token.expose()));
        }
    }
}
