use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    task::Wake,
};

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Some bells, and what rings them.
fn bells<const COUNT: usize>() -> ([Arc<Bell>; COUNT], [Waker; COUNT]) {
    let bells: [Arc<Bell>; COUNT] = std::array::from_fn(|_| Arc::default());
    let wakers = bells.each_ref().map(|bell| Waker::from(Arc::clone(bell)));
    (bells, wakers)
}

fn rung<const COUNT: usize>(bells: &[Arc<Bell>; COUNT]) -> [u32; COUNT] {
    bells.each_ref().map(|bell| bell.0.swap(0, Ordering::Relaxed))
}

const AIM: Aim = Aim { actor_type: WireId(1), target: 7 << 52 };

fn spot(number: u64) -> Spot {
    Spot::Here(ActorId(number))
}

#[test]
fn those_that_wait_for_a_way_go_one_after_the_other() {
    let lines = Lines::default();
    let (bells, wakers) = bells::<3>();
    assert_eq!(lines.standing(AIM, None, || spot(1)), Standing::MayGo);
    let [first, second, third] =
        wakers.each_ref().map(|waker| lines.wait(AIM, None, waker).expect("room"));
    assert_eq!(lines.standing(AIM, Some(first), || spot(1)), Standing::MayGo);
    for behind in [Some(second), Some(third), None] {
        assert_eq!(lines.standing(AIM, behind, || spot(1)), Standing::Behind);
    }
    let another = Aim { target: AIM.target + 1, ..AIM };
    assert_eq!(lines.standing(another, None, || spot(1)), Standing::MayGo, "of the same shard");
    assert_eq!(lines.wait(AIM, Some(first), &wakers[0]), Some(first), "it keeps its place");
    lines.wake(|aim| aim.target == another.target);
    assert_eq!(rung(&bells), [0, 0, 0]);
    lines.wake(|aim| aim.target == AIM.target);
    assert_eq!(rung(&bells), [1, 0, 0]);
    lines.wake_shard(Shard(7));
    lines.wake_shard(Shard(7 + STRIPES as u16));
    assert_eq!(rung(&bells), [1, 0, 0]);
    lines.leave(AIM, first);
    assert!(rung(&bells)[1] > 0);
    lines.leave(AIM, third);
    lines.leave(AIM, second);
    assert_eq!(lines.standing(AIM, None, || spot(1)), Standing::MayGo);
    assert!(lines.stripes.iter().all(|stripe| lock(stripe).is_empty()));
    assert!(lines.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0));
}

#[test]
fn those_that_stand_go_over_in_their_order_and_others_follow() {
    let lines = Lines::default();
    let (bells, wakers) = bells::<3>();
    let stand =
        |rank, to, at: usize| lines.stand(AIM, rank, spot(to), || true, &wakers[at]).expect("room");
    let [(first, _), (second, _)] = [stand(None, 1, 0), stand(None, 1, 1)];
    assert_eq!(lines.standing(AIM, None, || spot(1)), Standing::MayGo, "the spot has a line");
    assert_eq!(lines.standing(AIM, None, || spot(2)), Standing::Behind);
    let (third, stands) = stand(None, 2, 2);
    assert!(!stands, "others are to go there before");
    assert_eq!(rung(&bells), [0, 0, 0]);
    lines.wake(|_| true);
    assert_eq!(rung(&bells), [1, 0, 0]);
    assert_eq!(stand(Some(first), 2, 0), (first, true));
    assert_eq!(rung(&bells), [0, 1, 0]);
    assert_eq!(stand(Some(second), 2, 1), (second, true));
    assert_eq!(rung(&bells), [0, 0, 1]);
    assert_eq!(lines.standing(AIM, Some(second), || spot(2)), Standing::Stands);
    assert_eq!(stand(Some(third), 2, 2), (third, true));
    lines.leave(AIM, first);
    assert_eq!(rung(&bells), [0, 0, 0], "their spot tells them");
    // The second gives up when the way has changed once more, and before it goes over.
    lines.wake(|_| true);
    lines.leave(AIM, second);
    assert_eq!(rung(&bells), [0, 1, 1]);
}

#[test]
fn who_takes_a_place_by_an_old_look_keeps_nobody_from_being_told() {
    let lines = Lines::default();
    let (bells, wakers) = bells::<3>();
    let stand = |to, is_still_way, at: usize| {
        lines.stand(AIM, None, spot(to), || is_still_way, &wakers[at]).expect("room")
    };
    let [(first, _), (second, _)] = [stand(1, true, 0), stand(1, true, 1)];
    lines.wake(|_| true);
    assert_eq!(rung(&bells), [1, 0, 0]);
    assert!(stand(1, false, 2).1, "it had looked before");
    lines.step_back(AIM, first);
    assert_eq!(lines.standing(AIM, Some(second), || spot(1)), Standing::Behind);
    lines.leave(AIM, first);
    assert!(
        rung(&bells)[1] > 0,
        "there was room at the next spot, and it is not told by the former"
    );
}

#[test]
fn whoever_stands_nowhere_takes_those_behind_along() {
    let lines = Lines::default();
    let waker = Waker::noop();
    let stand = |rank, to| lines.stand(AIM, rank, spot(to), || true, waker).expect("room");
    let [(first, _), (second, _)] = [stand(None, 1), stand(None, 1)];
    assert_eq!(lines.wait(AIM, Some(first), waker), Some(first));
    assert_eq!(lines.standing(AIM, Some(second), || spot(1)), Standing::Behind);
    assert_eq!(stand(Some(first), 1), (first, true));
    let standing = lines.standing(AIM, Some(second), || spot(1));
    assert_eq!(standing, Standing::MayGo, "its former place is ahead of the first one's");
}

#[test]
fn who_stepped_back_behind_one_that_gives_up_is_told() {
    let lines = Lines::default();
    let (bells, wakers) = bells::<2>();
    let [(first, _), (second, _)] = wakers
        .each_ref()
        .map(|waker| lines.stand(AIM, None, spot(1), || true, waker).expect("room"));
    // The spot has closed, and the second one has looked first.
    assert_eq!(lines.standing(AIM, Some(second), || spot(2)), Standing::Behind);
    assert_eq!(lines.wait(AIM, Some(second), &wakers[1]), Some(second));
    lines.leave(AIM, first);
    assert_eq!(rung(&bells), [0, 1]);
}

#[test]
fn those_that_wait_for_a_node_are_all_told() {
    let lines = Lines::default();
    let (bells, wakers) = bells::<2>();
    let rank = lines.wait_for_node(None, &wakers[0]).expect("room");
    lines.wait_for_node(None, &wakers[1]).expect("room");
    lines.leave_nodes(rank);
    lines.wake_all();
    assert_eq!(rung(&bells), [0, 1]);
}

/// A sender as a task has it.
#[derive(Default)]
struct Sender {
    rank: Option<Ticket>,
    /// At which spot it has a place, and the ticket there.
    place: Option<(usize, Spot, u64)>,
    is_woken: Arc<Flag>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A mailbox or a session: who waits there, and how many it takes at once.
#[derive(Default)]
struct Place {
    /// How often it has closed, and another one has come in its place.
    closed: u64,
    last: u64,
    line: VecDeque<(u64, Arc<Flag>)>,
    room: u32,
}

impl Place {
    fn spot(&self, at: usize) -> Spot {
        spot(self.closed * PLACES as u64 + at as u64)
    }

    /// All that wait there are told, in any order.
    fn close(&mut self) {
        self.closed += 1;
        self.line.drain(..).for_each(|(_, sender)| sender.wake());
    }

    fn wake(&self) {
        if let (1.., Some((_, first))) = (self.room, self.line.front()) {
            Arc::clone(first).wake();
        }
    }
}

const PLACES: usize = 3;

#[derive(Default)]
struct World {
    lines: Lines,
    way: Option<usize>,
    changes: u32,
    places: [Place; PLACES],
    /// Those whose messages are under way, by the order in which they came.
    senders: BTreeMap<u32, Sender>,
    last: u32,
    sent: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Op {
    Send,
    PollWoken(usize),
    /// Also one that nobody has called.
    Poll(usize),
    /// The way changes between its look and what it does.
    PollAcross(usize, Option<usize>),
    Drop(usize),
    Lead(Option<usize>),
    Room(usize, u32),
    Close(usize),
}

fn way() -> impl Strategy<Value = Option<usize>> {
    prop::option::weighted(0.7, 0..PLACES)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Send),
        4 => any::<usize>().prop_map(Op::PollWoken),
        1 => any::<usize>().prop_map(Op::Poll),
        1 => (any::<usize>(), way()).prop_map(|(pick, way)| Op::PollAcross(pick, way)),
        1 => any::<usize>().prop_map(Op::Drop),
        2 => way().prop_map(Op::Lead),
        2 => (0..PLACES, 1u32..4).prop_map(|(place, room)| Op::Room(place, room)),
        1 => (0..PLACES).prop_map(Op::Close),
    ]
}

impl World {
    fn run(&mut self, op: Op) {
        match op {
            Op::Send => {
                self.last += 1;
                self.senders.insert(self.last, Sender::default());
                self.poll(self.last, None);
            }
            Op::PollWoken(pick) => {
                let woken = self.woken();
                if let Some(number) = woken.get(pick % woken.len().max(1)) {
                    self.poll(*number, None);
                }
            }
            Op::Poll(pick) => {
                self.pick(pick).into_iter().for_each(|number| self.poll(number, None));
            }
            Op::PollAcross(pick, way) => {
                self.pick(pick).into_iter().for_each(|number| self.poll(number, Some(way)));
            }
            Op::Drop(pick) => self.pick(pick).into_iter().for_each(|number| self.end(number)),
            Op::Lead(way) => self.lead(way),
            Op::Close(place) => self.places[place].close(),
            Op::Room(place, room) => {
                self.places[place].room += room;
                self.places[place].wake();
            }
        }
    }

    fn lead(&mut self, way: Option<usize>) {
        self.way = way;
        self.changes += 1;
        self.lines.wake(|_| way.is_some());
    }

    fn woken(&self) -> Vec<u32> {
        let is_woken = |sender: &Sender| sender.is_woken.0.load(Ordering::Relaxed);
        self.senders
            .iter()
            .filter(|(_, sender)| is_woken(sender))
            .map(|(number, _)| *number)
            .collect()
    }

    fn pick(&self, pick: usize) -> Option<u32> {
        self.senders.keys().nth(pick % self.senders.len().max(1)).copied()
    }

    /// As a message's future does it.
    fn poll(&mut self, number: u32, meanwhile: Option<Option<usize>>) {
        let sender = &self.senders[&number];
        let is_woken = Arc::clone(&sender.is_woken);
        is_woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&is_woken));
        let (rank, way, changes) = (sender.rank, self.way, self.changes);
        let found = way.map(|way| self.places[way].spot(way));
        let standing = found.clone().map(|found| self.lines.standing(AIM, rank, || found));
        meanwhile.into_iter().for_each(|way| self.lead(way));
        if self.changes != changes {
            is_woken.0.store(true, Ordering::Relaxed);
        }
        let (Some(at), Some(found), Some(Standing::Stands | Standing::MayGo)) =
            (way, found, standing)
        else {
            let rank = self.lines.wait(AIM, rank, &waker);
            self.senders.get_mut(&number).expect("it is there").rank = rank;
            return self.leave_place(number);
        };
        if let (Some(Standing::MayGo), Some(rank)) = (standing, rank) {
            self.lines.step_back(AIM, rank);
            self.leave_place(number);
        }
        if self.enter(number, at) {
            self.sent.push(number);
            return self.end(number);
        }
        let is_still_way = || self.changes == changes;
        let stood = self.lines.stand(AIM, rank, found, is_still_way, &waker);
        let (rank, stands) = stood.expect("room");
        self.senders.get_mut(&number).expect("it is there").rank = Some(rank);
        if !stands {
            self.leave_place(number);
        }
    }

    /// Whether there was room, or else it waits there.
    fn enter(&mut self, number: u32, at: usize) -> bool {
        let found = self.places[at].spot(at);
        if self.senders[&number].place.as_ref().is_some_and(|(_, spot, _)| *spot != found) {
            self.leave_place(number);
        }
        let sender = self.senders.get_mut(&number).expect("it is there");
        let place = &mut self.places[at];
        let is_next = match &sender.place {
            Some((_, _, ticket)) => place.line.front().is_some_and(|(first, _)| first == ticket),
            None => place.line.is_empty(),
        };
        if is_next && place.room > 0 {
            place.room -= 1;
            return true;
        }
        if sender.place.is_none() {
            place.last += 1;
            place.line.push_back((place.last, Arc::clone(&sender.is_woken)));
            sender.place = Some((at, found, place.last));
        }
        false
    }

    fn leave_place(&mut self, number: u32) {
        let place = self.senders.get_mut(&number).and_then(|sender| sender.place.take());
        if let Some((at, spot, ticket)) = place
            && self.places[at].spot(at) == spot
        {
            self.places[at].line.retain(|(of, _)| *of != ticket);
            self.places[at].wake();
        }
    }

    /// Its message is sent, or given up.
    fn end(&mut self, number: u32) {
        self.leave_place(number);
        let rank = self.senders.remove(&number).and_then(|sender| sender.rank);
        if let Some(rank) = rank {
            self.lines.leave(AIM, rank);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn wherever_the_way_leads_nobody_is_overtaken_and_nobody_forgotten(
        way in way(),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut world = World { way, ..World::default() };
        for op in ops {
            world.run(op);
            prop_assert!(world.sent.is_sorted(), "{:?}", world.sent);
        }
        // A change would have them all look again: only without a way there is one.
        if world.way.is_none() {
            world.run(Op::Lead(Some(0)));
        }
        world.run(Op::Room(world.way.expect("there is one"), u32::MAX - 1_000));
        while let [first, ..] = world.woken()[..] {
            world.poll(first, None);
        }
        prop_assert!(world.sent.is_sorted(), "{:?}", world.sent);
        prop_assert_eq!(world.senders.len(), 0, "nobody calls them");
    }
}
