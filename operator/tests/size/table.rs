//! The table of all sizes, as text and as a plot.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::process::{Part, Running};
use crate::scene::Scene;
use crate::{operator, plan};

/// What one size takes.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scene: Scene,
    pub(crate) plan: plan::Figures,
    pub(crate) cascade: plan::Figures,
    pub(crate) operator: operator::Measured,
}

impl Row {
    /// Measures it, each part in a process of its own, counting for so many seconds wherever something is counted.
    pub(crate) fn measure(scene: &Scene, seconds: u64) -> Self {
        let plan = |scene: Scene| -> plan::Figures { Running::start(&Part::Plan { scene }).hear() };
        Self {
            plan: plan(scene.clone()),
            cascade: plan(scene.cascade()),
            operator: operator::measure(scene, seconds),
            scene: scene.clone(),
        }
    }
}

/// Writes `docs/operator-at-size.md` and its plot.
pub(crate) fn write(rows: &[Row]) -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    std::fs::write(docs.join("operator-at-size.svg"), plot(rows))?;
    let path = docs.join("operator-at-size.md");
    let known = std::fs::read_to_string(&path)?;
    // What people wrote around the table stays.
    let (before, rest) = known.split_once(BEGIN).unwrap_or((&known, ""));
    let after = rest.split_once(END).map_or("\n", |(_, after)| after);
    std::fs::write(path, format!("{before}{BEGIN}\n{}{END}{after}", text(rows)))
}

const BEGIN: &str = "<!-- measured -->";
const END: &str = "<!-- end -->";

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let line = |what: &str, of: &dyn Fn(&Row) -> String| row_of(&mut text, rows, what, of);
    plans(line);
    let line = |what: &str, of: &dyn Fn(&Row) -> String| row_of(&mut text, rows, what, of);
    program(line);
    if let Some(row) = rows.last() {
        text += &writes(row);
    }
    text
}

fn row_of(text: &mut String, rows: &[Row], what: &str, of: &dyn Fn(&Row) -> String) {
    let cells: Vec<String> = rows.iter().map(of).collect();
    let _ = writeln!(text, "| {what} | {} |", cells.join(" | "));
}

/// What planning costs.
fn plans(mut line: impl FnMut(&str, &dyn Fn(&Row) -> String)) {
    line("edges", &|row| row.scene.all_edges().to_string());
    line("---", &|_| "---:".to_owned());
    line("origins, pools", &|row| {
        format!("{}, {}", row.scene.origins, row.scene.pools)
    });
    line("full plan, ms", &|row| format!("{:.1}", row.plan.full_ms));
    line("plan for one changed stream, ms, slowest of 20", &|row| {
        format!("{:.2}", row.plan.one_ms)
    });
    line("plan for no change, ms, slowest of 20", &|row| {
        format!("{:.2}", row.plan.none_ms)
    });
    line("full plan with a tier between, ms", &|row| {
        format!("{:.1}", row.cascade.full_ms)
    });
    line("plan for one changed stream with a tier between, ms", &|row| {
        format!("{:.2}", row.cascade.one_ms)
    });
    line("map and plan for each edge, KiB", &|row| {
        format!("{:.0}", row.plan.edge_kib)
    });
    line("the same with a tier between, KiB", &|row| {
        format!("{:.0}", row.cascade.edge_kib)
    });
}

/// What the whole program does.
fn program(mut line: impl FnMut(&str, &dyn Fn(&Row) -> String)) {
    line(
        "new stream told to the last of its 250 edges, ms: median, slowest of 20",
        &|row| {
            let delivered = row.operator.delivered_ms;
            format!("{:.0}, {:.0}", delivered.median, delivered.max)
        },
    );
    line("the same, figures of every stream changing", &|row| {
        let delivered = row.operator.delivered_busy_ms;
        format!("{:.0}, {:.0}", delivered.median, delivered.max)
    });
    line("start until every edge was told all, s", &|row| {
        format!("{:.1}", row.operator.start_seconds)
    });
    line("memory, MiB", &|row| format!("{:.0}", row.operator.rss_mib));
    line("memory at its most, MiB", &|row| {
        format!("{:.0}", row.operator.peak_mib)
    });
    line("processor seconds a second, viewers steady", &|row| {
        format!("{:.2}", row.operator.cpu_steady)
    });
    line("the same, figures of every stream changing", &|row| {
        format!("{:.2}", row.operator.cpu_busy)
    });
    line("the same, every status' figures moving", &|row| {
        format!("{:.2}", row.operator.cpu_moving)
    });
    line("API writes until everything stands", &|row| {
        row.operator.writes_at_start.all().to_string()
    });
    line("API writes a second, viewers steady", &|row| {
        format!("{:.2}", row.operator.writes_steady.a_second())
    });
    line("API writes a second, every status' figures moving", &|row| {
        format!("{:.2}", row.operator.writes_moving.a_second())
    });
}

/// What was written at one size, by verb and kind.
fn writes(row: &Row) -> String {
    let of = &row.operator;
    let columns = [&of.writes_at_start, &of.writes_steady, &of.writes_moving];
    let kinds: BTreeSet<_> = columns.iter().flat_map(|writes| writes.of.keys()).collect();
    let mut text = format!(
        "\nAPI writes by verb and kind at {} edges; a `status` is applied to the status alone:\n\n\
         | verb, kind | until everything stands, {:.0} s | viewers steady, {:.0} s | every status' figures moving, {:.0} s |\n\
         | --- | ---: | ---: | ---: |\n",
        row.scene.all_edges(),
        columns[0].seconds,
        columns[1].seconds,
        columns[2].seconds,
    );
    for (verb, kind) in kinds {
        let counts = columns.map(|writes| writes.of.get(&(*verb, *kind)).copied().unwrap_or(0).to_string());
        let _ = writeln!(text, "| {verb} {kind} | {} |", counts.join(" | "));
    }
    text
}

/// One line of a panel: its name and what it shows of a row.
type Line = (&'static str, fn(&Row) -> f64);

/// A panel of the plot: title, bound or none, and lines.
struct Panel {
    title: &'static str,
    bound: Option<f64>,
    lines: Vec<Line>,
}

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 260.0;
const COLOURS: [&str; 2] = ["#1f6feb", "#d1570b"];

fn plot(rows: &[Row]) -> String {
    let panels = [
        Panel {
            title: "memory of the operator, MiB",
            bound: Some(500.0),
            lines: vec![
                ("resident", |row| row.operator.rss_mib),
                ("at its most", |row| row.operator.peak_mib),
            ],
        },
        Panel {
            title: "full plan, ms",
            bound: None,
            lines: vec![
                ("pools of origins", |row| row.plan.full_ms),
                ("with a tier between", |row| row.cascade.full_ms),
            ],
        },
        Panel {
            title: "plan for one changed stream, ms",
            bound: Some(50.0),
            lines: vec![
                ("pools of origins", |row| row.plan.one_ms),
                ("with a tier between", |row| row.cascade.one_ms),
            ],
        },
        Panel {
            title: "new stream told to its last edge, ms",
            bound: None,
            lines: vec![
                ("median", |row| row.operator.delivered_ms.median),
                ("slowest of 20", |row| row.operator.delivered_ms.max),
            ],
        },
    ];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH * 2.0,
        HEIGHT * 2.0
    );
    for (at, panel) in panels.iter().enumerate() {
        let (x, y) = ((at % 2) as f64 * WIDTH, (at / 2) as f64 * HEIGHT);
        let _ = write!(svg, "<g transform=\"translate({x} {y})\">\n{}</g>\n", panel.svg(rows));
    }
    svg + "</svg>\n"
}

/// A round number that is no smaller.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-6).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= value)
        .unwrap_or(value)
}

impl Panel {
    fn svg(&self, rows: &[Row]) -> String {
        let (left, right, top, bottom) = (52.0, WIDTH - 18.0, 52.0, HEIGHT - 34.0);
        let values = self.lines.iter().flat_map(|(_, of)| rows.iter().map(of));
        let highest = values.chain(self.bound).fold(0.0, f64::max);
        let (most, widest) = (
            round_up(highest),
            rows.iter().map(|row| row.scene.all_edges()).max().unwrap_or(1),
        );
        let x = |row: &Row| left + (right - left) * row.scene.all_edges() as f64 / widest as f64;
        let y = |value: f64| bottom - (bottom - top) * value / most;
        let mut svg = format!(
            "<text x=\"{left}\" y=\"18\" font-weight=\"bold\">{}</text>\n",
            self.title
        );
        for step in 0..=4 {
            let value = most * f64::from(step) / 4.0;
            let at = y(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                left - 6.0,
                at + 4.0
            );
        }
        // The small sizes stand too close together for a number each.
        for row in rows.iter().filter(|row| row.scene.all_edges() * 10 >= widest) {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(row),
                bottom + 16.0,
                row.scene.all_edges()
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">edges</text>",
            bottom + 30.0
        );
        if let Some(bound) = self.bound {
            let at = y(bound);
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#c00\" stroke-dasharray=\"5 4\"/>\
                 <text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#c00\">bound</text>",
                at + 14.0
            );
        }
        for ((at, (name, of)), colour) in self.lines.iter().enumerate().zip(COLOURS) {
            let points: Vec<String> = rows
                .iter()
                .map(|row| format!("{:.1},{:.1}", x(row), y(of(row))))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{:.1}\" y=\"36\" fill=\"{colour}\">{name}</text>",
                points.join(" "),
                left + 150.0 * at as f64
            );
            for point in points.iter().filter_map(|point| point.split_once(',')) {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{}\" cy=\"{}\" r=\"3\" fill=\"{colour}\"/>",
                    point.0, point.1
                );
            }
        }
        svg
    }
}
