//! How many edges there are, and which of them drain.

use super::*;

#[tokio::test]
async fn load_adds_edges_and_its_end_drains_them_before_they_go() {
    let mut running = run(wishes(AUTO));
    running.until(ready(2)).await;
    for (_, edge) in running.edges() {
        load(&edge, 12, 10);
    }
    // 24 Mbit/s at 7 Mbit/s an edge: four.
    running.until(ready(4)).await;
    assert_eq!(running.world.routed.lock().unwrap().len(), 4);
    for (_, edge) in running.edges() {
        load(&edge, 0, 1);
    }
    let draining = running.until(|snapshot| snapshot.fleet.pools[0].draining == 2).await;
    let names: Vec<_> = draining.fleet.pools[0]
        .edges
        .iter()
        .filter(|edge| edge.draining)
        .map(|edge| edge.name.clone())
        .collect();
    assert_eq!(running.edges().len(), 4, "edges with viewers stay");
    assert!(
        running
            .world
            .routed
            .lock()
            .unwrap()
            .iter()
            .all(|id| !names.contains(&id.name))
    );
    for (id, edge) in running.edges() {
        if names.contains(&id.name) {
            assert!(last(&edge.told(), "PUT /v1/drain").is_some());
            edge.change(|hello| hello.figures.viewers = 0);
            edge.cut();
        }
    }
    running.until(|snapshot| snapshot.fleet.pools[0].edges.len() == 2).await;
}

#[tokio::test]
async fn load_that_returns_takes_draining_edges_back_before_new_ones_are_made() {
    let mut running = run(wishes(&AUTO.replace("minReplicas: 2", "minReplicas: 1")));
    running.until(ready(1)).await;
    load(&running.edges()[0].1, 12, 10);
    running.until(ready(2)).await;
    for (_, edge) in running.edges() {
        load(&edge, 0, 1);
    }
    running.until(|snapshot| snapshot.fleet.pools[0].draining == 1).await;
    for (_, edge) in running.edges() {
        edge.change(|hello| hello.figures.sent_bps = 12_000_000);
        edge.cut();
    }
    let back = running
        .until(|snapshot| snapshot.fleet.pools[0].draining == 0 && snapshot.fleet.pools[0].desired > 1)
        .await;
    assert!(back.fleet.pools[0].edges.len() >= 2);
    let taken_back = |edge: &FakeNode| last(&edge.told(), "DELETE /v1/drain").is_some();
    assert!(running.edges().iter().any(|(_, edge)| taken_back(edge)));
}

#[tokio::test]
async fn after_a_scale_out_viewers_of_full_edges_are_asked_to_move() {
    let mut running = run(wishes(&AUTO.replace("minReplicas: 2", "minReplicas: 1")));
    running.until(ready(1)).await;
    let full = running.edges()[0].1.clone();
    load(&full, 12, 100);
    running.until(ready(2)).await;
    let told = full.until_told(|told| last(told, "POST /v1/move").is_some()).await;
    assert_eq!(
        last(&told, "POST /v1/move").unwrap().body["viewers"],
        5,
        "5 % of its viewers a second"
    );
}

#[tokio::test]
async fn bounds_and_capacity_of_a_pool_are_told_while_it_scales_by_itself() {
    let mut running = run(wishes(AUTO));
    running.until(ready(2)).await;
    let text = running.metrics.text().unwrap();
    for line in [
        "headwater_edgepool_min_replicas{namespace=\"default\",pool=\"web\"} 2",
        "headwater_edgepool_max_replicas{namespace=\"default\",pool=\"web\"} 5",
        "headwater_edgepool_edge_capacity_bits_per_second{namespace=\"default\",pool=\"web\"} 10000000",
        "headwater_edgepool_scale_out_ratio{namespace=\"default\",pool=\"web\"} 0.7",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    running.wishes.send_replace(wishes("  replicas: 3"));
    running.until(ready(3)).await;
    let text = running.metrics.text().unwrap();
    assert!(!text.contains("headwater_edgepool_max_replicas{"), "{text}");
}

#[tokio::test]
async fn a_drain_of_somebody_elses_node_is_left_as_it_is() {
    let web = ResourceId::pool("default", "web");
    let world = Arc::new(World::default());
    world.foreign.store(true, Ordering::Relaxed);
    let id = world.make(&web, Role::Edge).await;
    let node = world.of(&web)[0].1.clone();
    node.change(|hello| {
        hello.figures.ready = false;
        hello.figures.drain = Some(headwater_contract::DrainState {
            since: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::MAX,
        });
    });
    let running = run_in(world, wishes("  replicas: 1"));
    let told = node.until_told(|told| last(told, "PUT /v1/pulls").is_some()).await;
    assert!(last(&told, "DELETE /v1/drain").is_none(), "{id} serves again: {told:?}");
    drop(running);
}

#[tokio::test]
async fn edges_that_could_not_be_made_are_no_scale_event() {
    let world = Arc::new(World::default());
    world.full.store(true, Ordering::Relaxed);
    let mut running = run_in(world, wishes("  replicas: 1"));
    running
        .until(|snapshot| snapshot.fleet.origins.first().is_some_and(|origin| origin.ready))
        .await;
    let failed = |metrics: &Metrics| {
        metrics
            .text()
            .unwrap()
            .contains("headwater_reconcile_errors_total{reason=\"make an edge\"}")
    };
    assert!(failed(&running.metrics));
    assert!(
        !running
            .metrics
            .text()
            .unwrap()
            .contains("headwater_scale_events_total{")
    );
    running.world.full.store(false, Ordering::Relaxed);
    running.until(ready(1)).await;
    let text = running.metrics.text().unwrap();
    assert!(
        text.contains("headwater_scale_events_total{direction=\"out\",reason=\"Manual\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_pool_whose_annotation_pauses_it_gets_its_minimum_and_no_more_under_load() {
    let paused = |held: bool| {
        let mut wishes = (*wishes(AUTO)).clone();
        wishes.pools.values_mut().for_each(|pool| pool.pause.scale_out = held);
        Arc::new(wishes)
    };
    let mut running = run(paused(true));
    running.until(ready(2)).await;
    for (_, edge) in running.edges() {
        load(&edge, 12, 10);
    }
    let reason = |snapshot: &Snapshot| {
        let pool = snapshot.pools.values().next();
        pool.and_then(|pool| pool.verdict).map(|verdict| verdict.reason)
    };
    running
        .until(|snapshot| reason(snapshot) == Some(crate::autoscaling::verdict::Reason::ScaleOutPaused))
        .await;
    assert_eq!(running.edges().len(), 2);
    running.wishes.send_replace(paused(false));
    running.until(ready(4)).await;
}
