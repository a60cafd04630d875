//! Senders of one side: a thread with a task for each target.

use std::{cell::Cell, rc::Rc, thread::JoinHandle};

use actix_cluster_transport::{Class, SendError, Session};
use tokio::{
    sync::watch,
    task::{JoinSet, LocalSet},
};

use crate::check::TARGETS;

/// How many were sent to each target.
pub(crate) type Sent = Vec<u64>;

/// How many messages a task sends before it lets others go on.
const BATCH: u32 = 64;

/// Sends to all targets as fast as they take it, until told to stop.
pub(crate) fn start(session: Session, mut stop: watch::Receiver<bool>) -> JoinHandle<Sent> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let sent: Rc<[Cell<u64>]> = (0..TARGETS).map(|_| Cell::new(0)).collect();
            let mut tasks = JoinSet::new();
            for target in 0..TARGETS {
                tasks.spawn_local(send(session.clone(), target, Rc::clone(&sent)));
            }
            // An error says that the other side is gone: time to stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
            tasks.shutdown().await;
            sent.iter().map(Cell::get).collect()
        })
    })
}

/// Sends to one target until the session ends or the task is dropped.
async fn send(session: Session, target: u64, sent: Rc<[Cell<u64>]>) {
    let sent = &sent[target as usize];
    let mut payload = [0; 64];
    loop {
        for _ in 0..BATCH {
            let payload = numbered(&mut payload, sent.get());
            match session.try_send(Class::Message, target, 1, payload) {
                Ok(()) => sent.set(sent.get() + 1),
                Err(SendError::Full) => break,
                Err(_) => return,
            }
        }
        let mut ticket = None;
        let payload = numbered(&mut payload, sent.get());
        let waited =
            std::future::poll_fn(|task| session.poll_send(target, 1, payload, &mut ticket, task));
        if waited.await.is_err() {
            return;
        }
        sent.set(sent.get() + 1);
        tokio::task::yield_now().await;
    }
}

/// A payload of 16 to 64 bytes that begins with a number.
fn numbered(payload: &mut [u8; 64], number: u64) -> &[u8] {
    payload[..8].copy_from_slice(&number.to_le_bytes());
    &payload[..16 + (number % 49) as usize]
}
