//! CPU and memory of a pod: the defaults, with what a template says merged in key by key, so that no request exceeds
//! its limit.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a pod asks for and may use where its template says nothing. No limit on CPU: it would stop a node in the middle
/// of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    cpu_request: &'static str,
    memory_request: &'static str,
    memory_limit: &'static str,
}

/// Of an origin.
pub(super) const ORIGIN: Defaults = Defaults {
    cpu_request: "100m",
    memory_request: "128Mi",
    memory_limit: "1Gi",
};
/// Of an edge.
pub(super) const EDGE: Defaults = Defaults {
    cpu_request: "250m",
    memory_request: "256Mi",
    memory_limit: "2Gi",
};

type Quantities = BTreeMap<String, Quantity>;

/// The defaults under what was given. A default gives way where it would contradict: a default limit rises to a given
/// request, a default request falls to a given limit.
pub(super) fn merged(defaults: Defaults, given: Option<&ResourceRequirements>) -> ResourceRequirements {
    let given = given.cloned().unwrap_or_default();
    let given_requests = given.requests.unwrap_or_default();
    let given_limits = given.limits.unwrap_or_default();
    let mut requests = given_requests.clone();
    for (key, default) in [("cpu", defaults.cpu_request), ("memory", defaults.memory_request)] {
        fill_in(&mut requests, key, default, &given_limits, f64::min);
    }
    let mut limits = given_limits;
    fill_in(&mut limits, "memory", defaults.memory_limit, &given_requests, f64::max);
    ResourceRequirements {
        requests: Some(requests),
        limits: Some(limits),
        ..given
    }
}

/// Puts `default` in where `into` has no such key, or the amount of `other` where `choose` prefers that.
fn fill_in(into: &mut Quantities, key: &str, default: &str, other: &Quantities, choose: fn(f64, f64) -> f64) {
    if into.contains_key(key) {
        return;
    }
    let default = Quantity(default.to_owned());
    let amounts = other.get(key).and_then(|other| Some((other, value(other)?)));
    let chosen = match (amounts, value(&default)) {
        (Some((other, theirs)), Some(ours)) if choose(theirs, ours) != ours => other.clone(),
        _ => default,
    };
    into.insert(key.to_owned(), chosen);
}

/// What a quantity stands for, close enough to compare two of them.
fn value(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '+')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => f64::powi(1024.0, 2),
        "Gi" => f64::powi(1024.0, 3),
        "Ti" => f64::powi(1024.0, 4),
        "Pi" => f64::powi(1024.0, 5),
        "Ei" => f64::powi(1024.0, 6),
        exponent => f64::powi(10.0, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantities(pairs: &[(&str, &str)]) -> Option<Quantities> {
        let pairs = pairs
            .iter()
            .map(|(key, text)| ((*key).to_owned(), Quantity((*text).to_owned())));
        Some(pairs.collect())
    }

    fn merge(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
        let given = ResourceRequirements {
            requests: quantities(requests),
            limits: quantities(limits),
            ..ResourceRequirements::default()
        };
        merged(EDGE, Some(&given))
    }

    fn made(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
        ResourceRequirements {
            requests: quantities(requests),
            limits: quantities(limits),
            ..ResourceRequirements::default()
        }
    }

    #[test]
    fn what_is_not_said_is_filled_in_key_by_key() {
        let defaults = made(&[("cpu", "250m"), ("memory", "256Mi")], &[("memory", "2Gi")]);
        assert_eq!(merged(EDGE, None), defaults);
        assert_eq!(merge(&[], &[]), defaults);
        assert_eq!(
            merge(&[("cpu", "2")], &[("example.com/nic", "1")]),
            made(
                &[("cpu", "2"), ("memory", "256Mi")],
                &[("example.com/nic", "1"), ("memory", "2Gi")]
            )
        );
    }

    #[test]
    fn a_default_gives_way_where_it_would_contradict_what_is_said() {
        assert_eq!(
            merge(&[("memory", "4Gi")], &[("cpu", "100m")]),
            made(
                &[("cpu", "100m"), ("memory", "4Gi")],
                &[("cpu", "100m"), ("memory", "4Gi")]
            )
        );
        assert_eq!(
            merge(&[], &[("memory", "1e8")]),
            made(&[("cpu", "250m"), ("memory", "1e8")], &[("memory", "1e8")])
        );
    }

    #[test]
    fn quantities_compare_by_what_they_stand_for() {
        let of = |text: &str| value(&Quantity(text.to_owned()));
        for (small, large) in [
            ("1", "1001m"),
            ("999M", "1Gi"),
            ("1Gi", "1.1Gi"),
            ("1e3", "1Ki"),
            ("5", "1E"),
            ("100n", "1u"),
        ] {
            assert!(of(small) < of(large), "{small} {large}");
        }
        assert_eq!(of("2E3"), Some(2_000.0));
        assert_eq!(of("+.5"), Some(0.5));
        assert_eq!(of("1.m"), Some(0.001));
        assert_eq!(of("many"), None);
    }
}
