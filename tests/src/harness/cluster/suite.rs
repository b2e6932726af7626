//! The main of a suite whose tests need a cluster: those that can't run here are told as ignored, in one loud line and in the count.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Assets, Cluster, Space};

/// How long a test may take that says nothing else.
const LIMIT: Duration = Duration::from_secs(180);

/// What a test needs to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An API server: somebody's will do.
    Api,
    /// An API server, and kubectl.
    Kubectl,
    /// A cluster of our own, with the test kubelet.
    Nodes,
    /// The same with kube-controller-manager: garbage collection, choice of victims, disruption budgets.
    ControllerManager,
}

type Run = Arc<dyn Fn(Space) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A test; it is given a namespace of its own and fails by a panic.
#[derive(Clone)]
pub struct Case {
    name: String,
    need: Need,
    limit: Duration,
    long: bool,
    alone: bool,
    run: Run,
}

impl Case {
    /// A test by its path in the crate.
    pub fn new<F, R>(path: &str, need: Need, run: F) -> Self
    where
        F: Fn(Space) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self {
            name: path.split_once("::").map_or(path, |(_, name)| name).to_owned(),
            need,
            limit: LIMIT,
            long: false,
            alone: false,
            run: Arc::new(move |space| Box::pin(run(space))),
        }
    }

    /// A test that may take longer than usual.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A test that measures time: no other runs beside it, with however many threads.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// A test that `make long` runs.
    pub fn long(mut self) -> Self {
        self.long = true;
        self
    }
}

/// Tests of a module: `cases![Nodes: one, two; Api: three]`.
#[macro_export]
macro_rules! cases {
    ($($need:ident: $($name:ident),+);+ $(;)?) => {
        vec![$($($crate::harness::cluster::Case::new(
            concat!(module_path!(), "::", stringify!($name)),
            $crate::harness::cluster::Need::$need,
            $name,
        )),+),+]
    };
}

/// The cluster that all tests share; started by the first.
#[derive(Clone)]
struct Shared {
    runtime: Arc<Runtime>,
    assets: Assets,
    cluster: Arc<OnceCell<Result<Arc<Cluster>, String>>>,
    /// Held for writing by tests that run alone, for reading by the others.
    turn: Arc<RwLock<()>>,
}

/// Runs the tests that the arguments choose, as the standard harness would.
pub fn main(suite: &str, cases: Vec<Case>) -> ExitCode {
    let args = Arguments::from_args();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let shared = Shared {
        runtime,
        assets: Assets::find(),
        cluster: Arc::default(),
        turn: Arc::default(),
    };
    let reason = |case: &Case| shared.assets.lacks(case.need);
    let trials: Vec<(Trial, Option<String>)> = cases.iter().map(|case| (trial(case, &shared), reason(case))).collect();
    let chosen = trials.iter().filter(|(trial, _)| !args.is_filtered_out(trial));
    let reasons: Vec<String> = chosen.filter_map(|(_, reason)| reason.clone()).collect();
    let conclusion = libtest_mimic::run(&args, trials.into_iter().map(|(trial, _)| trial).collect());
    if !args.list
        && let Some(line) = skipped(suite, &reasons)
    {
        eprintln!("{line}");
    }
    shared.end();
    conclusion.exit_code()
}

/// The loud line, if anything was left out: how many, and why.
fn skipped(suite: &str, reasons: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let why = match counts.len() {
        0 => return None,
        1 => reasons.first()?.clone(),
        _ => {
            let parts = counts.iter().map(|(reason, count)| format!("{count}: {reason}"));
            parts.collect::<Vec<_>>().join("; ")
        }
    };
    let tests = if reasons.len() == 1 { "test" } else { "tests" };
    Some(format!("SKIPPED: {} {suite} {tests}: {why}", reasons.len()))
}

fn trial(case: &Case, shared: &Shared) -> Trial {
    let (own, case) = (shared.clone(), case.clone());
    let lacks = shared.assets.lacks(case.need);
    let (name, ignored) = (case.name.clone(), lacks.is_some() || case.long);
    let run = move || match lacks {
        // With --ignored it would run in spite of it.
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => own.run(&case).map(|()| Completion::Completed),
    };
    Trial::ignorable_test(name, run).with_ignored_flag(ignored)
}

/// A test's right to run, until it is dropped.
enum Turn<'a> {
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>),
    Beside(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>),
}

impl Shared {
    fn run(&self, case: &Case) -> Result<(), Failed> {
        self.runtime.block_on(async {
            // Both are given in the order in which they were asked for.
            let _turn = match case.alone {
                true => Turn::Alone(self.turn.write().await),
                false => Turn::Beside(self.turn.read().await),
            };
            let cluster = self.cluster().await.map_err(Failed::from)?;
            let space = Space::make(&cluster).await.map_err(|error| format!("{error:#}"))?;
            let test = tokio::time::timeout(case.limit, (case.run)(space.clone()));
            let fault = match AssertUnwindSafe(test).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(format!("not done within {:?}", case.limit)),
                Err(panic) => Some(message(panic.as_ref())),
            };
            if fault.is_some() {
                eprintln!("{}{}", space.dump().await, cluster.log_tails().await);
            }
            let closed = space.close().await;
            match (fault, closed) {
                (Some(fault), _) => Err(Failed::from(fault)),
                (None, Err(error)) => Err(Failed::from(format!("failed to clean up: {error:#}"))),
                (None, Ok(())) => Ok(()),
            }
        })
    }

    async fn cluster(&self) -> Result<Arc<Cluster>, String> {
        let start = || async {
            let cluster = match &self.assets {
                Assets::Found(programs) => Cluster::start(programs.clone()).await,
                Assets::Outside => Cluster::outside().await,
                Assets::Missing(why) => Err(anyhow::anyhow!("{why}")),
            };
            cluster
                .map(Arc::new)
                .map_err(|error| format!("failed to start the cluster: {error:#}"))
        };
        self.cluster.get_or_init(start).await.clone()
    }

    /// Ends the cluster within the runtime that it was started in.
    fn end(self) {
        let _inside = self.runtime.enter();
        drop(self.cluster);
    }
}

/// What a panic said; it stands on standard error too, with its place.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_said_in_one_line_with_its_count() {
        assert_eq!(skipped("cluster", &[]), None);
        let reasons = [
            "no kube-apiserver in /x; set Y",
            "no kube-apiserver in /x; set Y",
            "no kubectl",
        ]
        .map(str::to_owned);
        let line = skipped("cluster", &reasons[..2]).unwrap();
        assert_eq!(line, "SKIPPED: 2 cluster tests: no kube-apiserver in /x; set Y");
        let line = skipped("cluster", &reasons).unwrap();
        assert_eq!(
            line,
            "SKIPPED: 3 cluster tests: 2: no kube-apiserver in /x; set Y; 1: no kubectl"
        );
    }

    #[test]
    fn a_case_is_named_by_its_path_below_the_crate() {
        async fn nothing(_: Space) {}
        let case = Case::new("cluster::crds::a_rule_holds", Need::Api, nothing);
        assert_eq!(case.name, "crds::a_rule_holds");
    }
}
