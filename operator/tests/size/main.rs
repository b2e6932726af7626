//! The operator at size: fleets of up to 5,000 fake nodes that speak the real contract over loopback.
//!
//! ```text
//! table ─▶ API server in memory ◀─HTTP─▶ headwater operator (what it takes is measured) ◀─HTTP─▶ nodes part (a process)
//!     └──▶ plan part (another process: the plan alone, in memory)
//! ```
//!
//! `cargo test --release --workspace --test size -- --ignored --nocapture` measures every size and writes
//! `docs/operator-at-size.md` and `.svg`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod nodes;
mod operator;
mod plan;
mod process;
mod scene;
mod table;

use process::{PART, Part};
use scene::Scene;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Edge pools of each measured fleet, of 25 edges each; there is an origin for every ten.
const POOLS: [usize; 5] = [10, 20, 40, 100, 200];

/// Bounds that hold at every size, in a release build.
fn check(row: &table::Row) {
    assert!(row.operator.peak_mib < 500.0, "{row:?}");
    for plan in [&row.plan, &row.cascade] {
        assert!(plan.full_ms < 1_000.0, "{row:?}");
        assert!(plan.one_ms < 50.0, "{row:?}");
    }
    check_writes(row);
}

/// With steady viewers at most 6 writes a minute of each resource; figures that move all the time are written every 10 s.
fn check_writes(row: &table::Row) {
    let resources = (row.scene.origins + row.scene.pools) as f64;
    let operator = &row.operator;
    assert!(operator.writes_steady.a_second() <= resources * 0.1, "{row:?}");
    // A count may begin just before a write and end just after one.
    let periods = operator.writes_moving.seconds / 10.0 + 1.0;
    assert!(operator.writes_moving.all() as f64 <= resources * periods, "{row:?}");
    assert!(
        operator.writes_moving.all() > 0,
        "statuses say nothing of what moves: {row:?}"
    );
}

/// Not a test of its own: what the others start as a process of its own.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else {
        return;
    };
    match serde_json::from_str(&part).unwrap() {
        Part::Nodes { scene } => nodes::run(&scene),
        Part::Plan { scene } => plan::run(&scene),
    }
}

#[test]
fn a_fleet_of_two_hundred_and_fifty_nodes_is_steered_within_bounds() {
    let scene = Scene::wide(10);
    // Longer than the 10 s and a second between two statuses.
    let row = table::Row::measure(&scene, 15);
    println!("{row:#?}");
    check_writes(&row);
    assert!(row.operator.delivered_ms.max < 2_000.0, "{row:?}");
    assert!(row.operator.rss_mib < 150.0, "{row:?}");
    assert!(row.plan.one_ms < 50.0, "{row:?}");
}

#[test]
#[ignore = "takes minutes, and its figures mean something in a release build alone"]
fn the_table_of_every_size() {
    let rows: Vec<_> = POOLS
        .iter()
        .map(|pools| {
            let row = table::Row::measure(&Scene::wide(*pools), 60);
            println!("{row:?}");
            row
        })
        .collect();
    if cfg!(debug_assertions) {
        println!("a debug build: nothing is checked or written");
        return;
    }
    table::write(&rows).unwrap();
    rows.iter().for_each(check);
}
