//! Randomness as a value that is handed in.
//!
//! Invariant: nothing else in the library draws from a global generator, so that one seed decides
//! every draw of a simulated cluster.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// A seeded source of randomness with a single owner. Not for keys or secrets.
#[derive(Debug)]
pub struct Random(StdRng);

impl Random {
    /// A source whose draws are decided by `seed`.
    pub fn from_seed(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A source seeded by the operating system.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give, which no supported one admits to.
    pub fn from_os() -> Self {
        let seed = StdRng::try_from_rng(&mut rand::rngs::SysRng)
            .expect("the operating system gives randomness");
        Self(seed)
    }

    /// A source of its own for another owner, decided by this one's seed and the draws so far.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.0.random())
    }

    /// Any 64-bit number, each as likely.
    pub fn next_u64(&mut self) -> u64 {
        self.0.random()
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// A duration from half of `base` to all of it: enough spread to break up a herd, never longer
    /// than what was configured.
    pub fn jittered(&mut self, base: Duration) -> Duration {
        base.mul_f64(self.0.random_range(0.5..=1.0))
    }

    /// The generator itself, for libraries that take one.
    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.0
    }

    /// Gives the generator up, for libraries that own one.
    pub fn into_rng(self) -> StdRng {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut random = Random::from_seed(seed);
            let mut fork = random.fork();
            [random.next_u64(), fork.next_u64(), random.below(10)]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn jitter_stays_between_half_and_all() {
        let mut random = Random::from_seed(1);
        let base = Duration::from_millis(100);
        for _ in 0..1000 {
            let drawn = random.jittered(base);
            assert!(drawn >= base / 2 && drawn <= base, "{drawn:?}");
        }
    }
}
