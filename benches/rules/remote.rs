//! The cases between two processes.

use std::{
    cell::Cell,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, LocalSet, yield_now};

use crate::{Case, Error, Length, Reading, Total};

/// How many messages a sender sends before others on its thread have their turn.
const BURST: u64 = 256;

/// How many asks pass between two looks at the clock.
const LOOK: u64 = 16;

/// What a message of 64 bytes carries: eight numbers, each of eight bytes also where small ones
/// take fewer. The first one tells them apart.
pub type Note = [u64; 8];

/// What every number of a note has set.
const HIGH: u64 = 0x00ff_ffff_0000_0000;

/// How an actor of another process is told and asked.
///
/// It adds up the first numbers of the notes that it is told, and answers an asked one with its first
/// number.
pub trait Remote: Clone + 'static {
    /// What one sends to.
    type Ref: Clone + 'static;

    /// Is the far end: starts the actor, calls [`listening`](crate::listening), and goes on until the process is ended.
    fn far(self) -> Result<(), Error>;

    /// Drives the near end. On one thread unless a contestant needs more.
    fn drive<T>(run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        one_thread(run)
    }

    /// Finds the actor of the far end that listens there.
    fn connect(&self, far: &str) -> impl Future<Output = Result<Self::Ref, Error>>;

    /// Tells, and waits while there is no room, if that is bounded.
    fn tell(actor: &Self::Ref, note: Note) -> impl Future<Output = Result<(), Error>>;

    /// Asks.
    fn ask(actor: &Self::Ref, note: Note) -> impl Future<Output = Result<u64, Error>>;

    /// Asks how much it was told.
    fn total(actor: &Self::Ref) -> impl Future<Output = Result<Total, Error>>;
}

/// Runs on this thread alone.
pub fn one_thread<T>(run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run)
}

/// Measures a case.
pub(crate) fn play<R: Remote>(
    contestant: R,
    case: Case,
    Length { time, .. }: Length,
    far: &str,
) -> Result<Vec<Reading>, Error> {
    R::drive(async {
        let actor = contestant.connect(far).await?;
        match case {
            Case::RemoteTell => {
                tell_for::<R>(&actor, time / 5).await?;
                Ok(vec![("messages_per_second", tell_for::<R>(&actor, time).await?)])
            }
            Case::RemoteAsk(in_flight) => {
                ask_for::<R>(&actor, in_flight, time / 5).await?;
                Ok(vec![("requests_per_second", ask_for::<R>(&actor, in_flight, time).await?)])
            }
            _ => Err("it plays between processes only".into()),
        }
    })
}

fn note(number: u64) -> Note {
    [HIGH | number & u64::from(u32::MAX); 8]
}

/// Tells until it is time, and waits until all is handled. Returns the rate.
async fn tell_for<R: Remote>(actor: &R::Ref, time: Duration) -> Result<f64, Error> {
    let before = R::total(actor).await?;
    let begun = Instant::now();
    let mut sent = Total::default();
    while begun.elapsed() < time {
        for _ in 0..BURST {
            let note = note(sent.count);
            R::tell(actor, note).await?;
            sent.add(note[0]);
        }
        yield_now().await;
    }
    let handled = R::total(actor).await?;
    let took = begun.elapsed();
    handled.check(before.and(sent))?;
    Ok(sent.count as f64 / took.as_secs_f64())
}

/// Keeps so many asks in flight until it is time. Returns the rate.
async fn ask_for<R: Remote>(
    actor: &R::Ref,
    in_flight: usize,
    time: Duration,
) -> Result<f64, Error> {
    let (begun, count) = (Instant::now(), Rc::new(Cell::new(0)));
    let over = Rc::new(Cell::new(false));
    let mut askers = JoinSet::new();
    for _ in 0..in_flight {
        let (actor, count, over) = (actor.clone(), Rc::clone(&count), Rc::clone(&over));
        askers.spawn_local(async move {
            while !over.get() {
                let number = count.get();
                count.set(number + 1);
                let note = note(number);
                if R::ask(&actor, note).await? != note[0] {
                    return Err(Error::from("an answer was another's"));
                }
                if number.is_multiple_of(LOOK) {
                    over.set(over.get() || begun.elapsed() >= time);
                }
            }
            Ok(())
        });
    }
    while let Some(asker) = askers.join_next().await {
        asker??;
    }
    Ok(count.get() as f64 / begun.elapsed().as_secs_f64())
}
