//! Pools below pools: who pulls from whom between tiers, and who moves when an edge above comes, drains or goes.

use super::*;

#[test]
fn a_new_stream_goes_down_every_tier_at_once() {
    let mut fleet = Fleet::new().pool("mid", origin(), 2).pool("low", pool("mid"), 2);
    fleet.facts("mid").streams = vec!["cam*".into()];
    fleet.publish(&["cam1", "other"]);
    let plan = fleet.plan();
    let low = &plan.nodes[&pool("low").node("low-0")];
    assert_eq!(
        pulled(low),
        ["cam1"],
        "though no middle edge carries it yet, and no `other`"
    );
    let sources = urls(&low.pulls[0].sources);
    assert_eq!(sources.len(), 3);
    assert!(sources[0].starts_with("rtmp://mid-") && sources[1].starts_with("rtmp://mid-"));
    assert_eq!(sources[2], "rtmp://mid.svc:1935/live/cam1");
    assert_eq!(app_of(&fleet.resources, &pool("low")), Some("live"));
}

fn children_of(plan: &Plan) -> BTreeMap<&NodeId, usize> {
    let mut children = BTreeMap::new();
    for parent in plan.parents.values().flat_map(BTreeMap::values) {
        *children.entry(&**parent).or_default() += 1;
    }
    children
}

fn moved(before: &Parents, after: &Parents) -> usize {
    let pairs = |parents: &Parents| -> BTreeSet<(NodeId, String, NodeId)> {
        parents
            .iter()
            .flat_map(|(child, streams)| {
                streams
                    .iter()
                    .map(|(s, p)| (child.clone(), s.to_string(), (**p).clone()))
            })
            .collect()
    };
    pairs(before).difference(&pairs(after)).count()
}

fn cascade() -> Fleet {
    let mut fleet = Fleet::new().pool("mid", origin(), 6).pool("low", pool("mid"), 20);
    fleet.publish(&["cam1", "cam2", "cam3"]);
    fleet
}

#[test]
fn pulls_are_spread_evenly_over_the_tier_above() {
    let plan = cascade().plan();
    let children = children_of(&plan);
    assert_eq!(children.values().sum::<usize>(), 60);
    assert_eq!(children.len(), 6);
    // An even share is 10; the bound is a quarter above it.
    assert!(
        children.values().all(|&count| (5..=13).contains(&count)),
        "{children:?}"
    );
}

#[test]
fn the_loss_of_a_middle_edge_moves_its_own_children_only() {
    let mut fleet = cascade();
    let before = fleet.plan().parents;
    let lost = pool("mid").node("mid-2");
    fleet.pass(3, std::slice::from_ref(&lost));
    let after = fleet.plan_after(&before);
    let orphans = before
        .values()
        .flat_map(BTreeMap::values)
        .filter(|parent| ***parent == lost)
        .count();
    assert!(orphans > 0);
    assert_eq!(moved(&before, &after.parents), orphans);
    assert!(!children_of(&after).contains_key(&lost));
    let named = after
        .nodes
        .values()
        .flat_map(|desired| &desired.pulls)
        .flat_map(|pull| &pull.sources);
    assert!(named.clone().all(|source| !source.url.contains("mid-2:")));
}

#[test]
fn a_plan_of_the_same_facts_moves_nothing_with_and_without_memory() {
    let fleet = cascade();
    let first = fleet.plan();
    assert_eq!(fleet.plan_after(&first.parents), first);
    assert_eq!(fleet.plan(), first);
}

#[test]
fn a_new_middle_edge_takes_only_what_is_above_the_others_bound() {
    let mut fleet = cascade();
    let before = fleet.plan().parents;
    fleet.node(&pool("mid"), "mid-9", true);
    let after = fleet.plan_after(&before);
    // 60 pulls over 7 edges: at most 11 each. Nothing but what exceeds that may move.
    let excess: usize = children_of(&Plan {
        parents: before.clone(),
        ..Default::default()
    })
    .values()
    .map(|count| count.saturating_sub(11))
    .sum();
    assert_eq!(moved(&before, &after.parents), excess);
    assert!(children_of(&after).values().all(|&count| count <= 11));
}

#[test]
fn a_draining_middle_edge_loses_its_children_unless_it_is_the_last() {
    let mut fleet = Fleet::new().pool("mid", origin(), 2).pool("low", pool("mid"), 4);
    fleet.publish(&["cam1"]);
    fleet.drain(&pool("mid").node("mid-0"), 5);
    let plan = fleet.plan();
    assert_eq!(
        children_of(&plan).keys().collect::<Vec<_>>(),
        [&&pool("mid").node("mid-1")]
    );
    fleet.drain(&pool("mid").node("mid-1"), 5);
    assert_eq!(children_of(&fleet.plan()).len(), 2);
}

#[test]
fn with_no_middle_edge_fit_the_stable_address_is_left() {
    let mut fleet = Fleet::new().pool("mid", origin(), 1).pool("low", pool("mid"), 1);
    fleet.publish(&["cam1"]);
    fleet.pass(3, &[pool("mid").node("mid-0")]);
    let desired = &fleet.plan().nodes[&pool("low").node("low-0")];
    assert_eq!(urls(&desired.pulls[0].sources), ["rtmp://mid.svc:1935/live/cam1"]);
}
