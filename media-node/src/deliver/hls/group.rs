//! What a group's name leads to: one playlist, or one manifest, of all of its members.

use super::Ask;
use super::reply::{Cache, Kind};
use crate::deliver::Delivery;
use crate::deliver::members::{self, Member};
use crate::names::StreamName;
use crate::package::dash;
use crate::package::dash::outline::Outline;
use crate::package::hls::channel::{Channel, Rendered};
use crate::package::hls::multivariant::{self, Variant};

/// What a group of that name has to answer; none if there is no such group, or it is asked for something that groups lack.
pub(super) async fn answer(delivery: &Delivery, name: &StreamName, ask: &Ask) -> Option<Kind> {
    match *ask {
        Ask::Multivariant { plain } => multivariant(delivery, name, plain).await,
        Ask::Manifest(form) => manifest(delivery, name, form).await,
        _ => None,
    }
}

/// The multivariant playlist of a group's members; none if there is none that is live.
async fn multivariant(delivery: &Delivery, name: &StreamName, plain: bool) -> Option<Kind> {
    let members = members::members(delivery, name).await;
    let variant = |member: &Member| Variant {
        folder: folder(&member.name, plain),
        ..member.variant.clone()
    };
    let variants: Vec<Variant> = members.iter().map(variant).collect();
    (!variants.is_empty()).then(|| Kind::playlist(multivariant::render(&variants, plain), Cache::Seconds(1)))
}

/// The manifest of MPEG-DASH of a group's members; of those that have ended if none lives any more, so that players see the end.
/// None if nothing of them is here.
async fn manifest(delivery: &Delivery, name: &StreamName, form: dash::Form) -> Option<Kind> {
    // Every player asks each second, for what is the same for all.
    if let Some(rendered) = delivery.roster.manifest(name, form) {
        return Some(Kind::Manifest(rendered));
    }
    let plain = form == dash::Form::Plain;
    let clock = match form {
        dash::Form::Low => "../api/time",
        dash::Form::Plain => "../../api/time",
    };
    let outline = |name: &StreamName, channel: &Channel| {
        channel.asked();
        channel.with(|window| Outline::of(window, folder(name, plain)))
    };
    let members = members::members(delivery, name).await;
    // Players ask anew each second: one that nobody watches at the moment is not to be pulled again and again.
    members.iter().for_each(|member| member.stream.offer());
    let mut outlines: Vec<Outline> = members
        .iter()
        .map(|member| outline(&member.name, &member.channel))
        .collect();
    if outlines.is_empty() {
        let ended = delivery.channels.ended(name).into_iter().take(members::MAX_MEMBERS);
        outlines.extend(ended.map(|(name, channel)| outline(&name, &channel)));
        outlines.sort_by_key(|outline| std::cmp::Reverse(outline.height()));
    }
    let rendered = Rendered::new(dash::manifest::render(&outlines, form, clock)?);
    delivery.roster.keep_manifest(name, form, &rendered);
    Some(Kind::Manifest(rendered))
}

/// Where a member's files are: seen from beside the group's folder, or from in it.
fn folder(name: &StreamName, within: bool) -> String {
    match within {
        true => format!("../{name}/"),
        false => format!("{name}/"),
    }
}
