//! Which command a node needs next: pure, from what is wanted and what it has acknowledged.

use headwater_contract::{NodeHello, Publishing};
use jiff::Timestamp;

use super::{Service, Wanted};
use crate::fleet::pull_set::PullSet;

/// The incarnation of a node as its last hello told it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Boot {
    id: String,
    draining: Option<Timestamp>,
}

impl Boot {
    /// What a hello says of the node's incarnation.
    pub(super) fn of(hello: &NodeHello) -> Self {
        Self {
            id: hello.boot_id.clone(),
            draining: hello.figures.drain.as_ref().map(|drain| drain.deadline),
        }
    }
}

/// What one incarnation of a node has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    boot: Option<String>,
    pulls: Option<PullSet>,
    publishing: Option<Publishing>,
    service: Option<Service>,
}

/// A command that a node has not acknowledged yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Drain(Timestamp),
    Serve,
    Publishing(Publishing),
    Pulls(PullSet),
}

impl Acknowledged {
    /// Forgets everything if the node started anew since. A drain is taken as the hello tells it.
    pub(super) fn meet(&mut self, boot: &Boot) {
        if self.boot.as_deref() != Some(&boot.id) {
            *self = Self {
                boot: Some(boot.id.clone()),
                service: Some(boot.draining.map_or(Service::Serve, Service::Drain)),
                ..Self::default()
            };
        }
    }

    /// Notes that a command is being sent: until its answer is here the node may have taken it or not, and whatever is
    /// wanted next of this kind has to be said.
    pub(super) fn doubt(&mut self, command: &Command) {
        match command {
            Command::Drain(_) | Command::Serve => self.service = None,
            Command::Publishing(_) => self.publishing = None,
            Command::Pulls(_) => self.pulls = None,
        }
    }

    /// Notes that the node has taken a command.
    pub(super) fn record(&mut self, command: Command) {
        match command {
            Command::Drain(deadline) => self.service = Some(Service::Drain(deadline)),
            Command::Serve => self.service = Some(Service::Serve),
            Command::Publishing(publishing) => self.publishing = Some(publishing),
            Command::Pulls(pulls) => self.pulls = Some(pulls),
        }
    }

    /// The next command, or none if the node has acknowledged all that is wanted. The drain goes first: it is the one
    /// that keeps new viewers away.
    pub(super) fn next(&self, wanted: &Wanted) -> Option<Command> {
        self.boot.as_ref()?;
        if let Some(service) = wanted.service
            && self.service != Some(service)
        {
            return Some(match service {
                Service::Serve => Command::Serve,
                Service::Drain(deadline) => Command::Drain(deadline),
            });
        }
        if let Some(publishing) = &wanted.publishing
            && self.publishing.as_ref() != Some(publishing)
        {
            return Some(Command::Publishing(publishing.clone()));
        }
        if let Some(pulls) = &wanted.pulls
            && self.pulls.as_ref() != Some(pulls)
        {
            return Some(Command::Pulls(pulls.clone()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str, draining: Option<Timestamp>) -> Boot {
        Boot {
            id: id.into(),
            draining,
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            pulls: Some(PullSet::default()),
            publishing: None,
            service: Some(Service::Serve),
        }
    }

    #[test]
    fn nothing_is_sent_before_the_node_said_who_it_is() {
        assert_eq!(Acknowledged::default().next(&wanted()), None);
    }

    #[test]
    fn a_command_is_due_until_acknowledged_and_again_after_a_restart() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.meet(&boot("one", None));
        let command = acknowledged.next(&wanted()).unwrap();
        assert_eq!(command, Command::Pulls(PullSet::default()));
        acknowledged.record(command);
        assert_eq!(acknowledged.next(&wanted()), None);
        acknowledged.meet(&boot("one", None));
        assert_eq!(
            acknowledged.next(&wanted()),
            None,
            "the same incarnation said hello again"
        );
        acknowledged.meet(&boot("two", None));
        assert!(acknowledged.next(&wanted()).is_some());
    }

    #[test]
    fn what_is_not_decided_is_not_sent() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.meet(&boot("one", Some(Timestamp::UNIX_EPOCH)));
        assert_eq!(acknowledged.next(&Wanted::default()), None);
    }

    #[test]
    fn a_drain_left_by_an_earlier_control_plane_is_taken_back() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.meet(&boot("one", Some(Timestamp::UNIX_EPOCH)));
        assert_eq!(acknowledged.next(&wanted()), Some(Command::Serve));
    }

    /// A drain whose answer was lost held although the control plane had gone back to what was acknowledged before it.
    #[test]
    fn what_was_sent_without_an_answer_is_taken_back_by_a_command() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.meet(&boot("one", None));
        acknowledged.record(Command::Pulls(PullSet::default()));
        acknowledged.doubt(&Command::Drain(Timestamp::UNIX_EPOCH));
        assert_eq!(acknowledged.next(&wanted()), Some(Command::Serve));
        acknowledged.record(Command::Serve);
        acknowledged.doubt(&Command::Pulls(PullSet::from(headwater_contract::Pulls {
            term: Some(1),
            ..Default::default()
        })));
        assert_eq!(acknowledged.next(&wanted()), Some(Command::Pulls(PullSet::default())));
    }

    #[test]
    fn the_drain_goes_first() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.meet(&boot("one", None));
        let wanted = Wanted {
            service: Some(Service::Drain(Timestamp::UNIX_EPOCH)),
            ..wanted()
        };
        assert_eq!(acknowledged.next(&wanted), Some(Command::Drain(Timestamp::UNIX_EPOCH)));
    }
}
