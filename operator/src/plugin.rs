//! The kubectl plugin: `kubectl headwater …`. It asks the API server alone, with a person's rights, and needs no way to the operator.
//!
//! ```text
//! API server ─list─▶ Seen ─▶ Tree ─▶ render (status, streams, top), urls      (pure from Seen on)
//!            ◀─evict─ drain            report: everything for a bug report, redacted, as a zip
//! ```

mod columns;
pub mod complete;
mod drain;
mod look;
mod render;
mod report;
mod seen;
mod top;
mod tree;
mod urls;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::CommandFactory;
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};

use crate::args::plugin::{CompletionArgs, Output, PLUGIN, PluginArgs, PluginCommand, PluginLine, Shown, TopArgs};
use crate::local::status::Screen;
use look::Look;
use render::Wish;
use tree::Tree;

/// Size that is assumed where the terminal does not tell.
const SIZE: (u16, u16) = (100, 40);

/// Why the plugin did not do what it was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server's word, or none.
    #[error(transparent)]
    Look(#[from] look::Error),
    /// An edge is not drained.
    #[error(transparent)]
    Drain(#[from] drain::Error),
    /// The report is not written.
    #[error(transparent)]
    Report(#[from] report::Error),
    /// Nothing can be shown.
    #[error("failed to write to standard output")]
    Output(#[source] io::Error),
    /// A tree that is no JSON or YAML.
    #[error("failed to write it as {0}: {1}")]
    Encode(&'static str, String),
}

/// Does what the command line says.
///
/// # Errors
/// [`Error`].
pub async fn run(args: PluginArgs) -> Result<(), Error> {
    if let PluginCommand::Completion(args) = &args.command {
        return print(&completion(*args));
    }
    let look = Look::new(&args.target).await?;
    match args.command {
        PluginCommand::Status(shown) => {
            let tree = look.tree().await?;
            let text = |wish| render::status(&tree, wish, Timestamp::now());
            show(&look, shown, &tree, tree.is_empty(), text)
        }
        PluginCommand::Streams(shown) => {
            let tree = look.tree().await?;
            let streams = Streams::of(&tree);
            let text = |wish| render::streams(&tree, wish, Timestamp::now());
            show(&look, shown, &streams, streams.0.is_empty(), text)
        }
        PluginCommand::Urls(shown) => {
            let addresses = urls::addresses(&look.tree().await?);
            let text = |wish| urls::render(&addresses, wish);
            show(&look, shown, &addresses, addresses.is_empty(), text)
        }
        PluginCommand::Top(args) => top(&look, args).await,
        PluginCommand::Drain(args) => Ok(drain::run(&look, &args).await?),
        PluginCommand::Report(args) => Ok(report::run(&look, args).await?),
        PluginCommand::Completion(args) => print(&completion(args)),
    }
}

/// Live streams with where they are published, for programs.
#[derive(Serialize)]
struct Streams<'a>(Vec<StreamAt<'a>>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamAt<'a> {
    namespace: &'a str,
    origin: &'a str,
    app: &'a str,
    #[serde(flatten)]
    stream: &'a crate::api::stream_origin::StreamStatus,
}

impl<'a> Streams<'a> {
    fn of(tree: &'a Tree) -> Self {
        let streams = tree.origins.iter().flat_map(|origin| {
            origin.streams.iter().map(|stream| StreamAt {
                namespace: &origin.namespace,
                origin: &origin.name,
                app: &origin.app,
                stream,
            })
        });
        Self(streams.collect())
    }
}

/// Prints a value as it is asked for.
fn show(
    look: &Look,
    shown: Shown,
    value: &impl Serialize,
    is_empty: bool,
    text: impl Fn(Wish) -> String,
) -> Result<(), Error> {
    match shown.output {
        Some(Output::Json) => {
            let text = serde_json::to_string_pretty(value).map_err(|error| Error::Encode("JSON", error.to_string()))?;
            print(&(text + "\n"))
        }
        Some(Output::Yaml) => {
            print(&serde_saphyr::to_string(value).map_err(|error| Error::Encode("YAML", error.to_string()))?)
        }
        _ if is_empty => {
            eprintln!("Nothing found in {}.", look.place());
            Ok(())
        }
        output => print(&text(wish(look, output == Some(Output::Wide)))),
    }
}

fn wish(look: &Look, wide: bool) -> Wish {
    Wish {
        wide,
        namespaces: look.is_everywhere(),
    }
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has had enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}

/// Draws again and again on a terminal; prints once elsewhere.
async fn top(look: &Look, args: TopArgs) -> Result<(), Error> {
    let wish = wish(look, false);
    if !io::stdout().is_terminal() {
        let lines = top::lines(&look.tree().await?, wish, Timestamp::now(), usize::MAX);
        return print(&(lines.join("\n") + "\n"));
    }
    let draw = async {
        let mut screen = Screen::default();
        let mut ticks = interval(Duration::from_secs(args.interval));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (width, height) = crossterm::terminal::size().unwrap_or(SIZE);
            let (width, height) = (usize::from(width), usize::from(height.saturating_sub(1)));
            let now = Timestamp::now();
            let mut lines = vec![format!(
                "Headwater in {}   {} UTC   every {} s; Ctrl-C ends it",
                look.place(),
                now.strftime("%H:%M:%S"),
                args.interval
            )];
            lines.push(String::new());
            match look.tree().await {
                Ok(tree) => lines.extend(top::lines(&tree, wish, now, width)),
                // It may be back at the next look.
                Err(error) => lines.push(crate::fleet::link::chain(&error)),
            }
            let lines = top::fitted(lines, width, height);
            screen.draw(&lines).map_err(Error::Output)?;
        }
    };
    // Dropping the screen gives the cursor back.
    tokio::select! {
        result = draw => result,
        // The terminal has put `^C` there: the prompt goes below it.
        _ = tokio::signal::ctrl_c() => print("\n"),
    }
}

fn completion(args: CompletionArgs) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut PluginLine::command(), PLUGIN, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests;
