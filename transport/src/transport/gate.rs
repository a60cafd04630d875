//! Who may begin a handshake: so that those who have proven nothing cost next to nothing.
//!
//! Below [`RETRY_FROM`] handshakes under way everybody may. Above it an address has to show first
//! that it is its sender's (QUIC's retry, which this end answers without keeping anything), and then
//! each address has a share; so a flood, from forged addresses or from one host, leaves room to
//! others. A handshake is over when TLS is: then [`Greetings`](super::greetings) counts.
//! Knows no connection: callers ask, and give back.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, rc::Rc};

/// From so many handshakes under way on, addresses are validated first.
pub(super) const RETRY_FROM: usize = 32;

/// The most handshakes under way from one address: a host may run many nodes.
pub(super) const ADDRESS_LIMIT: usize = 64;

/// The most handshakes under way.
pub(super) const HANDSHAKES_LIMIT: usize = 256;

/// The most bytes that wait of one connection until it is admitted, and of all together. Beyond,
/// packets are dropped, and sent again by peers that mean it.
pub(super) const INCOMING_BYTES: u64 = 64 * 1024;
pub(super) const INCOMING_BYTES_ALL: u64 = 4 * 1024 * 1024;

/// Handshakes under way. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Rc<RefCell<UnderWay>>);

#[derive(Debug, Default)]
struct UnderWay {
    count: usize,
    /// Those from addresses that were validated; as many entries as handshakes, at most.
    by_address: BTreeMap<IpAddr, usize>,
    turned_away: TurnedAway,
}

/// Connections that were not admitted, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TurnedAway {
    pub(super) retried: u64,
    pub(super) refused: u64,
    pub(super) ignored: u64,
}

/// What becomes of a connection that comes in.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It may shake hands, and gives its place back when the pass is dropped.
    Admit(Pass),
    /// Its address is to be validated first.
    Validate,
    /// There are too many.
    Refuse,
    /// There are too many, and its address may be forged: an answer would go to somebody else.
    Ignore,
}

/// A place of a handshake that is under way.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Gate,
    address: Option<IpAddr>,
}

impl Gate {
    pub(super) fn ask(&self, address: IpAddr, is_validated: bool) -> Verdict {
        let verdict = self.judge(host(address), is_validated);
        let turned_away = &mut self.0.borrow_mut().turned_away;
        match verdict {
            Verdict::Admit(_) => {}
            Verdict::Validate => turned_away.retried += 1,
            Verdict::Refuse => turned_away.refused += 1,
            Verdict::Ignore => turned_away.ignored += 1,
        }
        verdict
    }

    /// How many handshakes are under way.
    pub(super) fn under_way(&self) -> usize {
        self.0.borrow().count
    }

    pub(super) fn turned_away(&self) -> TurnedAway {
        self.0.borrow().turned_away
    }

    fn judge(&self, address: IpAddr, is_validated: bool) -> Verdict {
        let mut under_way = self.0.borrow_mut();
        let too_many = if is_validated { Verdict::Refuse } else { Verdict::Ignore };
        if under_way.count >= HANDSHAKES_LIMIT {
            return too_many;
        }
        if under_way.count >= RETRY_FROM && !is_validated {
            return Verdict::Validate;
        }
        if is_validated {
            let share = under_way.by_address.entry(address).or_default();
            if *share >= ADDRESS_LIMIT {
                return Verdict::Refuse;
            }
            *share += 1;
        }
        under_way.count += 1;
        drop(under_way);
        Verdict::Admit(Pass { gate: self.clone(), address: is_validated.then_some(address) })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut under_way = self.gate.0.borrow_mut();
        under_way.count -= 1;
        let Some(address) = self.address else { return };
        if let Some(share) = under_way.by_address.get_mut(&address) {
            *share -= 1;
            if *share == 0 {
                under_way.by_address.remove(&address);
            }
        }
    }
}

/// What counts as one host: of IPv6 the first 64 bits, since a host has all addresses below them.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            std::net::Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        std::net::Ipv4Addr::from(number as u32).into()
    }

    fn admit(gate: &Gate, from: usize, is_validated: bool) -> Pass {
        match gate.ask(address(from), is_validated) {
            Verdict::Admit(pass) => pass,
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn under_load_an_address_is_validated_first() {
        let gate = Gate::default();
        let passes: Vec<Pass> = (0..RETRY_FROM).map(|n| admit(&gate, n, false)).collect();
        assert!(matches!(gate.ask(address(1), false), Verdict::Validate));
        drop(admit(&gate, 1, true));
        drop(passes);
        drop(admit(&gate, 1, false));
        assert_eq!((gate.0.borrow().count, gate.0.borrow().by_address.len()), (0, 0));
    }

    #[test]
    fn one_address_leaves_room_to_others() {
        let gate = Gate::default();
        let passes: Vec<Pass> = (0..ADDRESS_LIMIT).map(|_| admit(&gate, 1, true)).collect();
        assert!(matches!(gate.ask(address(1), true), Verdict::Refuse));
        drop(admit(&gate, 2, true));
        drop(passes);
        drop(admit(&gate, 1, true));
    }

    #[test]
    fn there_is_a_bound_for_all() {
        let gate = Gate::default();
        let _passes: Vec<Pass> = (0..HANDSHAKES_LIMIT).map(|n| admit(&gate, n, true)).collect();
        assert!(matches!(gate.ask(address(1_000), true), Verdict::Refuse));
        assert!(matches!(gate.ask(address(1_000), false), Verdict::Ignore));
    }

    #[test]
    fn a_host_is_one_whatever_its_address_looks_like() {
        let same = |a: &str, b: &str| host(a.parse().unwrap()) == host(b.parse().unwrap());
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1") && !same("10.0.0.1", "10.0.0.2"));
    }
}
