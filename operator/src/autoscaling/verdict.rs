//! The scaling rule: how many edges a pool should have, and why.
//!
//! load = max(bits sent, what the viewers want) over all edges, draining ones included; n = edges that do not drain,
//! starting ones counted; utilisation = load / (n × capacity). See DESIGN, "Scaling rule".

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::window::{Extreme, Window};
use super::{Mode, Pause, Pool};
use crate::fleet::{UnknownWord, one_of};
use crate::validate::Autoscaling;

/// A gap between two looks longer than this empties the windows: what was recommended meanwhile is not known.
const LONGEST_GAP: Duration = Duration::from_secs(10);
/// Figures that have been missing for so long are not about to come back.
const BLIND: Duration = Duration::from_secs(60);

/// Why the number is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Load is between the thresholds, or no smaller number would carry it.
    WithinBand,
    /// Load is above `scaleOutPercent`, and has been for the window.
    LoadAboveScaleOut,
    /// Load is below `scaleInPercent`, and has been for the window.
    LoadBelowScaleIn,
    /// More edges are recommended, but not yet for the whole window.
    ScaleOutStabilizing,
    /// Fewer edges would do, but not yet for the whole window.
    ScaleInStabilizing,
    /// Fewer edges would do by the figures that there are, but some are missing or stale.
    FiguresMissing,
    /// Figures have been missing for so long that `fallbackReplicas` holds.
    Fallback,
    /// There are fewer edges than `minReplicas`.
    BelowMinimum,
    /// There are more edges than `maxReplicas`.
    AboveMaximum,
    /// The annotation `headwater.dev/paused` holds the number.
    Paused,
    /// The annotation `headwater.dev/paused-scale-in` holds the number.
    ScaleInPaused,
    /// The annotation `headwater.dev/paused-scale-out` holds the number.
    ScaleOutPaused,
    /// No autoscaling: `replicas` is the number.
    Manual,
    /// `suspend` is set.
    Suspended,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::WithinBand,
        Self::LoadAboveScaleOut,
        Self::LoadBelowScaleIn,
        Self::ScaleOutStabilizing,
        Self::ScaleInStabilizing,
        Self::FiguresMissing,
        Self::Fallback,
        Self::BelowMinimum,
        Self::AboveMaximum,
        Self::Paused,
        Self::ScaleInPaused,
        Self::ScaleOutPaused,
        Self::Manual,
        Self::Suspended,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The derived name is the CamelCase word that conditions, events and metric labels use.
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Reason {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        one_of("reason", &Self::ALL, word)
    }
}

/// A bound that cut the recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Fewer would do: `minReplicas` holds.
    AtMinimum,
    /// More would be needed: `maxReplicas` holds.
    AtMaximum,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 2] = [Self::AtMinimum, Self::AtMaximum];
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Limit {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        one_of("limit", &Self::ALL, word)
    }
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Edges wanted, draining ones not counted.
    pub desired: u32,
    /// Edges that do not drain now.
    pub current: u32,
    /// Why.
    pub reason: Reason,
    /// A bound that cut it.
    pub limited: Option<Limit>,
    /// Load, bits per second, as far as figures are known.
    pub load_bps: u64,
    /// Load against the capacity of the edges that do not drain, percent; none without autoscaling or without edges.
    pub utilization_percent: Option<f64>,
    /// Figures of every edge are there and fresh.
    pub figures_complete: bool,
}

impl Verdict {
    /// Condition `AbleToScale`: false while a pause or missing figures hold the number.
    pub fn able_to_scale(&self) -> bool {
        use Reason::{FiguresMissing, Paused, ScaleInPaused, ScaleOutPaused};
        !matches!(self.reason, FiguresMissing | Paused | ScaleInPaused | ScaleOutPaused)
    }

    /// Condition `ScalingActive`: the scaling rule is at work, and has figures to work on.
    pub fn scaling_active(&self) -> bool {
        !matches!(self.reason, Reason::Manual | Reason::Suspended | Reason::Paused) && self.figures_complete
    }

    /// Condition `ScalingLimited`: a bound cut the recommendation.
    pub fn scaling_limited(&self) -> bool {
        self.limited.is_some()
    }
}

/// What the rule remembers of a pool: its recommendations within the windows.
#[derive(Clone, Debug)]
pub struct Scaler {
    lowest: Window,
    highest: Window,
    looked: Option<Instant>,
    /// Since when figures are missing.
    blind: Option<Instant>,
}

impl Default for Scaler {
    fn default() -> Self {
        Self {
            lowest: Window::new(Extreme::Lowest),
            highest: Window::new(Extreme::Highest),
            looked: None,
            blind: None,
        }
    }
}

impl Scaler {
    /// The verdict at `now`. Call it about once a second: the windows hold what it recommended. After a start, or a
    /// gap, the number as it is counts as recommended, so that nothing happens before a whole window was seen.
    pub fn verdict(&mut self, pool: &Pool, mode: &Mode, pause: Pause, now: Instant) -> Verdict {
        let current = pool.current();
        let plain = |desired, reason| Verdict {
            desired,
            current,
            reason,
            limited: None,
            load_bps: pool.load_bps(),
            utilization_percent: None,
            figures_complete: pool.figures_complete(),
        };
        let rule = match mode {
            Mode::Auto(rule) => rule,
            Mode::Manual { replicas } => {
                self.forget();
                return plain(*replicas, Reason::Manual);
            }
            Mode::Suspended => {
                self.forget();
                return plain(0, Reason::Suspended);
            }
        };
        let verdict = Verdict {
            utilization_percent: utilization_percent(pool.load_bps(), current, rule),
            ..plain(current, Reason::WithinBand)
        };
        self.steadied(verdict, rule, pause, now)
    }

    fn steadied(&mut self, mut verdict: Verdict, rule: &Autoscaling, pause: Pause, now: Instant) -> Verdict {
        let current = verdict.current;
        let raw = recommendation(verdict.load_bps, current, rule);
        let blind = raw < current && !verdict.figures_complete;
        let wanted = if blind { current } else { raw };
        let bounded = wanted.clamp(rule.min_replicas, rule.max_replicas);
        verdict.limited = match wanted {
            wanted if wanted > rule.max_replicas => Some(Limit::AtMaximum),
            wanted if wanted < rule.min_replicas => Some(Limit::AtMinimum),
            _ => None,
        };

        let as_it_is = current.clamp(rule.min_replicas, rule.max_replicas);
        if self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) > LONGEST_GAP)
        {
            self.forget();
            self.lowest.push(as_it_is, rule.scale_out_stabilization, now);
            self.highest.push(as_it_is, rule.scale_in_stabilization, now);
        }
        self.looked = Some(now);
        let lowest = self.lowest.push(bounded, rule.scale_out_stabilization, now);
        let highest = self.highest.push(bounded, rule.scale_in_stabilization, now);
        self.blind = match verdict.figures_complete {
            true => None,
            false => self.blind.or(Some(now)),
        };
        let blind_for_long = self
            .blind
            .is_some_and(|since| now.saturating_duration_since(since) >= BLIND);
        let fallback = rule.fallback_replicas.filter(|_| blind_for_long).unwrap_or(0);
        let steady = if as_it_is < lowest {
            lowest
        } else if as_it_is > highest {
            highest
        } else {
            as_it_is
        };
        let steady = steady.max(fallback);

        let reason = match () {
            () if current < fallback && steady == fallback => Reason::Fallback,
            () if current < rule.min_replicas && steady == rule.min_replicas => Reason::BelowMinimum,
            () if current > rule.max_replicas && steady == rule.max_replicas => Reason::AboveMaximum,
            () if steady > current => Reason::LoadAboveScaleOut,
            () if steady < current => Reason::LoadBelowScaleIn,
            () if bounded > current => Reason::ScaleOutStabilizing,
            () if blind => Reason::FiguresMissing,
            () if bounded < current => Reason::ScaleInStabilizing,
            () => Reason::WithinBand,
        };
        let held = match () {
            // A pool that has no edges yet, or has them no more, has no number to hold.
            () if current == 0 => None,
            () if pause.all => Some(Reason::Paused),
            () if pause.scale_out && steady > current => Some(Reason::ScaleOutPaused),
            () if pause.scale_in && steady < current => Some(Reason::ScaleInPaused),
            () => None,
        };
        verdict.desired = if held.is_some() { current } else { steady };
        verdict.reason = held.unwrap_or(reason);
        verdict
    }

    fn forget(&mut self) {
        self.lowest.clear();
        self.highest.clear();
        self.looked = None;
        self.blind = None;
    }
}

/// The rule without bounds, windows and pauses: how many edges a load asks for while there are `n`.
pub fn recommendation(load_bps: u64, n: u32, rule: &Autoscaling) -> u32 {
    // Whole numbers throughout: a load right at a threshold is not a matter of rounding.
    let load = u128::from(load_bps) * 100;
    let capacity = u128::from(rule.capacity_bps.max(1));
    let (edges, out) = (u128::from(n), u128::from(rule.scale_out_percent.max(1)));
    let scale_in = u128::from(rule.scale_in_percent);
    if n == 0 || load > edges * capacity * out {
        return narrow(load.div_ceil(capacity * out));
    }
    if load < edges * capacity * scale_in {
        let fewest = narrow((load * 2).div_ceil(capacity * (out + scale_in))).max(1);
        return fewest.min(n);
    }
    n
}

fn narrow(edges: u128) -> u32 {
    u32::try_from(edges).unwrap_or(u32::MAX)
}

fn utilization_percent(load_bps: u64, n: u32, rule: &Autoscaling) -> Option<f64> {
    (n > 0).then(|| load_bps as f64 * 100.0 / (f64::from(n) * rule.capacity_bps.max(1) as f64))
}

#[cfg(test)]
mod tests;
