//! The cases within one process.

use std::{
    cell::Cell,
    future::Future,
    mem::size_of,
    rc::Rc,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, LocalSet, yield_now};

use crate::{Case, Error, Home, Length, Reading, Total, memory};

/// How many messages may wait for an actor, where that is bounded; where not, its sender counts.
pub const CAPACITY: usize = 1_024;

/// How many messages a sender sends before others on its thread have their turn.
const BURST: u64 = 1_000;

/// How many asks pass between two looks at the clock.
const LOOK: u64 = 64;

/// How actors are started, told and asked within one process.
///
/// An actor adds up the numbers it is told, and answers a number that it is asked with itself.
pub trait Local: Clone + Send + 'static {
    /// What one sends to.
    type Ref: Clone + Send + 'static;

    /// Starts an actor on this thread, which calls [`mark_started`] once it runs.
    fn spawn(&self) -> impl Future<Output = Result<Self::Ref, Error>>;

    /// Tells, and waits while the actor has no room.
    fn tell(actor: &Self::Ref, number: u64) -> impl Future<Output = Result<(), Error>>;

    /// Asks.
    fn ask(actor: &Self::Ref, number: u64) -> impl Future<Output = Result<u64, Error>>;

    /// Asks how much it was told.
    fn total(actor: &Self::Ref) -> impl Future<Output = Result<Total, Error>>;

    /// Starts so many actors, and runs `send` on their thread or on another.
    fn stage<T, F, S>(self, home: Home, actors: usize, send: S) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + 'static,
        S: FnOnce(Self, Vec<Self::Ref>) -> F + Send + 'static,
    {
        two_threads(self, home, actors, send)
    }
}

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Counts an actor that runs.
pub fn mark_started() {
    STARTED.fetch_add(1, Ordering::Relaxed);
}

/// A runtime of one thread for actors and sender, or one for each.
///
/// That is faster for all than threads that take each other's work: a message then never costs
/// more than one thread's wake.
pub fn two_threads<L, T, F, S>(
    contestant: L,
    home: Home,
    actors: usize,
    send: S,
) -> Result<T, Error>
where
    L: Local,
    F: Future<Output = Result<T, Error>>,
    S: FnOnce(L, Vec<L::Ref>) -> F,
{
    if home == Home::Same {
        return on_this_thread(async {
            let refs = spawn_all(&contestant, actors).await?;
            send(contestant, refs).await
        });
    }
    let (give, refs) = mpsc::sync_channel(1);
    let theirs = contestant.clone();
    let (over, end) = tokio::sync::oneshot::channel::<()>();
    let other = thread::spawn(move || {
        on_this_thread(async move {
            let refs = spawn_all(&theirs, actors).await?;
            let _ = give.send(refs);
            let _ = end.await;
            Ok(())
        })
    });
    let Ok(refs) = refs.recv() else {
        return Err(match other.join() {
            Ok(Err(error)) => error,
            _ => "the actors' thread ended".into(),
        });
    };
    let sent = on_this_thread(send(contestant, refs));
    drop(over);
    sent
}

fn on_this_thread<T>(run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run)
}

async fn spawn_all<L: Local>(contestant: &L, count: usize) -> Result<Vec<L::Ref>, Error> {
    let mut refs = Vec::with_capacity(count);
    for _ in 0..count {
        refs.push(contestant.spawn().await?);
    }
    Ok(refs)
}

/// Measures a case.
pub(crate) fn play<L: Local>(
    contestant: L,
    case: Case,
    Length { time, actors }: Length,
) -> Result<Vec<Reading>, Error> {
    match case {
        Case::Tell(home, count) => contestant.stage(home, count, move |_, refs| async move {
            tell_for::<L>(&refs, time / 5).await?;
            Ok(vec![("messages_per_second", tell_for::<L>(&refs, time).await?)])
        }),
        Case::Ask(home, count) => contestant.stage(home, count, move |_, refs| async move {
            ask_for::<L>(&refs, time / 5).await?;
            Ok(vec![("requests_per_second", ask_for::<L>(&refs, time).await?)])
        }),
        Case::Spawn => contestant.stage(Home::Same, 0, move |contestant, _| async move {
            start_many(&contestant, actors / 10).await?;
            Ok(vec![("actors_per_second", start_many(&contestant, actors).await?)])
        }),
        Case::IdleBytes => contestant.stage(Home::Same, 1, move |contestant, first| async move {
            Ok(vec![("bytes_per_actor", idle(&contestant, &first, actors).await?)])
        }),
        Case::RemoteTell | Case::RemoteAsk(_) => Err("it plays within one process only".into()),
    }
}

/// Tells until it is time, and waits until all is handled. Returns the rate.
async fn tell_for<L: Local>(actors: &[L::Ref], time: Duration) -> Result<f64, Error> {
    let before = totals::<L>(actors).await?;
    let begun = Instant::now();
    let mut sent = Total::default();
    let mut targets = actors.iter().cycle();
    while begun.elapsed() < time {
        for _ in 0..BURST {
            let target = targets.next().ok_or("no actor")?;
            L::tell(target, sent.count).await?;
            sent.add(sent.count);
        }
        yield_now().await;
    }
    let handled = totals::<L>(actors).await?;
    let took = begun.elapsed();
    handled.check(before.and(sent))?;
    Ok(sent.count as f64 / took.as_secs_f64())
}

/// Asks all at once how much they were told: the last answers follow the last message.
async fn totals<L: Local>(actors: &[L::Ref]) -> Result<Total, Error> {
    let mut asks = JoinSet::new();
    for actor in actors {
        let actor = actor.clone();
        asks.spawn_local(async move { L::total(&actor).await });
    }
    let mut total = Total::default();
    while let Some(of_one) = asks.join_next().await {
        total = total.and(of_one??);
    }
    Ok(total)
}

/// Keeps one ask in flight to each actor until it is time. Returns the rate.
async fn ask_for<L: Local>(actors: &[L::Ref], time: Duration) -> Result<f64, Error> {
    let (begun, count) = (Instant::now(), Rc::new(Cell::new(0)));
    let over = Rc::new(Cell::new(false));
    let mut askers = JoinSet::new();
    for actor in actors {
        let (actor, count, over) = (actor.clone(), Rc::clone(&count), Rc::clone(&over));
        askers.spawn_local(async move {
            while !over.get() {
                let number = count.get();
                count.set(number + 1);
                if L::ask(&actor, number).await? != number {
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

/// Starts so many actors, and waits until all run. Returns the rate.
async fn start_many<L: Local>(contestant: &L, count: usize) -> Result<f64, Error> {
    let before = STARTED.load(Ordering::Relaxed);
    let begun = Instant::now();
    let refs = spawn_all(contestant, count).await?;
    while STARTED.load(Ordering::Relaxed) < before + count {
        yield_now().await;
    }
    let took = begun.elapsed();
    // They are left to the process's end: how fast they stop is nobody's question here.
    std::mem::forget(refs);
    Ok(count as f64 / took.as_secs_f64())
}

/// What an actor takes that has been asked once; the bench's own list of references aside.
async fn idle<L: Local>(contestant: &L, first: &[L::Ref], count: usize) -> Result<f64, Error> {
    for actor in first {
        L::ask(actor, 0).await?;
    }
    let before = memory::resident()?;
    let mut refs = Vec::with_capacity(count);
    for number in 0..count {
        let actor = contestant.spawn().await?;
        L::ask(&actor, number as u64).await?;
        refs.push(actor);
    }
    let each = memory::resident()?.saturating_sub(before) as f64 / count as f64;
    std::mem::forget(refs);
    Ok(each - size_of::<L::Ref>() as f64)
}
