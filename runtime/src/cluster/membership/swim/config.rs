//! The timings of the SWIM membership: right for a cluster within one data centre.
//!
//! They hold together: a probe is over within its period; a suspicion lasts several of them, and is
//! told for longer than it lasts; a node doubts itself before its first suspicion is over.

use std::{
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use foca::{Config, PeriodicParams};

use super::wire::PACKET_LIMIT;

/// How often a seed is asked again while no other member is seen: about a probe's period, and a
/// burden for nobody.
pub(super) const ANNOUNCE_AGAIN: Duration = Duration::from_millis(500);

/// How often a member is probed. Half of memberlist's LAN default, for a cut-off node has to be
/// known within 4 s by all.
const PROBE_PERIOD: Duration = Duration::from_millis(500);

/// How long a probed member may take before others are asked to try. Half of the period leaves as
/// much time to them; it is some hundred round trips of a data centre.
const PROBE_ROUND_TRIP: Duration = Duration::from_millis(250);

/// How many others try, and how many hear at once of a suspicion refuted or of a leave: memberlist's
/// and foca's default.
const INDIRECT_PROBES: usize = 3;

/// How long a suspect has to refute: three probe periods, and several hops of gossip each way.
pub(super) const SUSPECT_TO_DOWN: Duration = Duration::from_millis(1_500);

/// How often, and to how many, updates are sent beside the probes: memberlist's LAN default.
const GOSSIP: (Duration, usize) = (Duration::from_millis(200), 3);

/// After how long without a packet a node doubts itself: every member is probed and gets answers to
/// its own probes, each about once in a period.
pub(super) const DEAF: Duration = Duration::from_millis(1_000);

/// How long a node that hears from nobody declares nobody down: until the others, who noticed its
/// silence as it noticed theirs, have declared it down. When it hears again, suspects have their
/// full time to refute. Else it would come back from a short cut and have healthy members end.
pub(super) const ISOLATED: Duration = Duration::from_millis(4_500);

/// How often each update is passed on by each node. At 15 packets of gossip a second, and the
/// probes, 40 take some 2 s: a suspicion is told for longer than it lasts, so that a suspect that
/// could not be reached for most of that time still learns of it. Foca's default of 10 does not.
const TRANSMISSIONS: u8 = 40;

/// How often a member is asked for all that it knows, which repairs what gossip has missed.
const FULL_SYNC: (Duration, usize) = (Duration::from_secs(5), 1);

/// How often those that are down are tried, so that a healed partition is noticed within seconds.
const TRY_DOWN: (Duration, usize) = (Duration::from_secs(2), 2);

/// Foca's configuration.
pub(super) fn config() -> Config {
    let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let periodic =
        |(frequency, members)| Some(PeriodicParams { frequency, num_members: count(members) });
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_ROUND_TRIP,
        num_indirect_probes: count(INDIRECT_PROBES),
        max_transmissions: NonZeroU8::new(TRANSMISSIONS).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: SUSPECT_TO_DOWN,
        // Never by time, lest an incarnation that was down come back: `Names` decides.
        remove_down_after: None,
        max_packet_size: count(PACKET_LIMIT),
        notify_down_members: true,
        periodic_announce: periodic(FULL_SYNC),
        periodic_announce_to_down_members: periodic(TRY_DOWN),
        periodic_gossip: periodic(GOSSIP),
    }
}
