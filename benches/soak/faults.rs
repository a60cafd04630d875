//! Which fault comes when, decided by one seed.

use std::{io, time::Duration};

use actix_cluster_transport::{Random, socket::Way};

use crate::node::{IDLE, Node};

pub(crate) struct Faults {
    pub(crate) cuts: u64,
    random: Random,
    state: State,
    /// When the state changes.
    until: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calm,
    Faulty,
}

/// How two nodes are kept apart.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing passes.
    Total,
    /// One side hears nothing, and is heard.
    Deaf,
    /// One side is not heard, and hears.
    Mute,
    /// One side's socket is gone.
    Closed,
}

impl Faults {
    /// Begins calmly.
    pub(crate) fn new(random: Random) -> Self {
        Self { cuts: 0, random, state: State::Calm, until: Duration::from_millis(200) }
    }

    /// Begins or ends a fault if it is time; `now` counts from the beginning.
    pub(crate) fn step(&mut self, left: &Node, right: &Node, now: Duration) -> io::Result<()> {
        if now < self.until {
            return Ok(());
        }
        let ms = Duration::from_millis;
        match self.state {
            State::Calm => {
                self.begin(left, right);
                self.state = State::Faulty;
                // Half of them outlast the connection, half do not.
                let long = self.random.below(2) == 1;
                let length = ms(5 + self.random.below(300));
                self.until = now + length + if long { IDLE } else { Duration::ZERO };
            }
            State::Faulty => {
                heal(left, right)?;
                if self.random.below(2) == 1 {
                    left.connect(right);
                    right.connect(left);
                }
                self.state = State::Calm;
                self.until = now + ms(20 + self.random.below(300));
            }
        }
        Ok(())
    }

    /// Ends whatever is.
    pub(crate) fn end(&mut self, left: &Node, right: &Node) -> io::Result<()> {
        self.state = State::Calm;
        heal(left, right)
    }

    fn begin(&mut self, left: &Node, right: &Node) {
        let faults = [Fault::Total, Fault::Deaf, Fault::Mute, Fault::Closed];
        let fault = faults[self.random.below(faults.len() as u64) as usize];
        let hit = if self.random.below(2) == 1 { left } else { right };
        match fault {
            Fault::Total => hit.network.cut(Way::Both),
            Fault::Deaf => hit.network.cut(Way::In),
            Fault::Mute => hit.network.cut(Way::Out),
            Fault::Closed => hit.network.close_ports(),
        }
        self.cuts += 1;
    }
}

fn heal(left: &Node, right: &Node) -> io::Result<()> {
    for node in [left, right] {
        node.network.heal();
        node.open_ports()?;
    }
    Ok(())
}
