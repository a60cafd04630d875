//! Each rule by itself: what it takes to suspect a member, and what to declare it down.

use actix_cluster_transport::Clock;

use super::*;

fn id(name: &str) -> NodeId {
    NodeId { name: name.into(), incarnation: 1 }
}

/// Links of `me` with these, all heard now.
struct World {
    links: Links,
    now: Instant,
    beats: u64,
}

impl World {
    fn new(names: &[&str]) -> Self {
        let now = Clock::default().now();
        let members: Vec<_> = names.iter().map(|name| id(name)).collect();
        let mut links = Links::default();
        links.follow(now, members.iter());
        Self { links, now, beats: 0 }
    }

    /// Lets time pass in steps, with the beats of `alive`, and returns all errands.
    fn pass(&mut self, millis: u64, alive: &[&str]) -> Vec<Errand> {
        let mut errands = Vec::new();
        for _ in 0..millis / 100 {
            self.now += LOOK;
            self.beats += 1;
            for name in alive {
                let activity = Activity { link: 1, datagrams: self.beats };
                self.links.see(self.now, &id(name), Some(activity));
            }
            errands.extend(self.links.look(self.now, 1));
        }
        errands
    }

    fn refuse(&mut self, name: &str) -> Vec<Errand> {
        self.links.handle_port(self.now, &id(name), true, 1)
    }

    fn testify(&mut self, from: &str, of: &str, asks: bool) -> Vec<Errand> {
        self.links.handle_refusal(self.now, &id(from), &id(of), asks, 1)
    }
}

fn probe(name: &str) -> Errand {
    Errand::Probe(id(name))
}

fn testify(of: &str, to: &str, asks: bool) -> Errand {
    Errand::Testify { of: id(of), to: id(to), asks }
}

#[test]
fn a_quiet_member_is_asked_for_and_then_suspected() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    assert_eq!(world.pass(600, &["a", "b", "d", "e"]), []);
    let through = |helper| Errand::PingThrough { target: id("c"), helper: id(helper) };
    let asked = world.pass(100, &["a", "b", "d", "e"]);
    assert_eq!(
        asked,
        [probe("c"), Errand::Ping(id("c")), through("a"), through("b"), through("d")]
    );
    world.links.handle_port(world.now, &id("c"), false, 1);
    let probes_only = |errands: Vec<Errand>| errands.iter().all(|errand| *errand == probe("c"));
    assert!(probes_only(world.pass(300, &["a", "b", "d", "e"])));
    assert!(world.pass(100, &["a", "b", "d", "e"]).contains(&Errand::Suspect(id("c"))));
    assert!(probes_only(world.pass(500, &["a", "b", "d", "e"])), "once");
}

#[test]
fn a_quiet_member_that_others_reach_is_not_suspected() {
    let mut world = World::new(&["a", "b"]);
    for _ in 0..20 {
        let errands = world.pass(500, &["a"]);
        assert!(!errands.iter().any(|errand| matches!(errand, Errand::Suspect(_))), "{errands:?}");
        world.links.reach(&id("b"));
    }
}

#[test]
fn a_slow_node_waits_longer() {
    let mut world = World::new(&["a"]);
    for _ in 0..13 {
        world.now += LOOK;
        assert_eq!(world.links.look(world.now, 2), []);
    }
    world.now += LOOK;
    assert_eq!(world.links.look(world.now, 2)[0], probe("a"));
}

#[test]
fn a_node_that_stood_still_does_not_take_that_for_silence() {
    let mut world = World::new(&["a"]);
    world.now += Duration::from_secs(5);
    world.links.stand_still(world.now, Duration::from_secs(5));
    assert_eq!(world.links.look(world.now, 1), []);
}

#[test]
fn two_that_are_refused_declare_it_down_and_one_does_not() {
    let mut world = World::new(&["a", "b", "c"]);
    world.pass(700, &["a", "b"]);
    let asks = [testify("c", "a", true), testify("c", "b", true)];
    assert_eq!(world.refuse("c"), asks);
    world.pass(200, &["a", "b"]);
    assert_eq!(world.refuse("c"), asks, "its own word does not confirm itself");
    assert_eq!(world.testify("a", "c", false), [Errand::Down(id("c"))]);
}

#[test]
fn others_are_asked_once_for_each_refusal() {
    let mut world = World::new(&["a", "c"]);
    world.pass(700, &["a"]);
    assert_eq!(world.refuse("c"), [testify("c", "a", true)]);
    let later = world.pass(500, &["a"]);
    assert!(!later.contains(&testify("c", "a", true)), "{later:?}");
}

#[test]
fn a_broken_connection_makes_its_member_quiet_at_once() {
    let mut world = World::new(&["a", "b"]);
    world.pass(200, &["a", "b"]);
    world.links.lose(world.now, &id("b"));
    assert_eq!(world.links.look_at(), Some(world.now));
    assert!(!world.links.lives(world.now, &id("b")) && world.links.lives(world.now, &id("a")));
    assert_eq!(world.links.look(world.now, 1)[..2], [probe("b"), Errand::Ping(id("b"))]);
}

#[test]
fn a_refusal_of_what_was_asked_before_the_last_word_is_none() {
    let mut world = World::new(&["a", "b", "c"]);
    assert!(world.pass(700, &["a", "b"]).contains(&probe("c")));
    world.pass(100, &["a", "b", "c"]);
    assert_eq!(world.refuse("c"), [], "it has been heard since it was probed");
    world.testify("a", "c", false);
    let errands = world.pass(600, &["a", "b"]);
    assert!(!errands.contains(&Errand::Down(id("c"))), "{errands:?}");
}

#[test]
fn who_is_asked_looks_for_itself_and_answers() {
    let mut world = World::new(&["a", "c"]);
    world.pass(700, &["a"]);
    assert_eq!(world.testify("a", "c", true), [], "it is being probed already");
    let answer = [testify("c", "a", false), Errand::Down(id("c"))];
    assert_eq!(world.refuse("c"), answer);
    let mut world = World::new(&["a", "c"]);
    let looks = [probe("c"), Errand::Ping(id("c"))];
    assert_eq!(world.testify("a", "c", true), looks, "even before it is quiet");
}

#[test]
fn who_is_asked_too_soon_after_a_look_looks_later_though_the_member_lives() {
    let mut world = World::new(&["a", "c"]);
    assert!(world.pass(700, &["a"]).contains(&probe("c")));
    world.links.handle_port(world.now, &id("c"), false, 1);
    world.pass(100, &["a", "c"]);
    assert_eq!(world.testify("a", "c", true), [], "it was probed a moment ago");
    assert_eq!(world.pass(100, &["a", "c"]), [probe("c")]);
}

#[test]
fn a_later_incarnation_has_a_link_of_its_own() {
    let mut world = World::new(&["c"]);
    world.pass(600, &[]);
    let later = NodeId { incarnation: 2, ..id("c") };
    world.links.follow(world.now, [&later].into_iter());
    let activity = Some(Activity { link: 1, datagrams: 1 });
    assert!(!world.links.see(world.now, &id("c"), activity), "nothing is known of the earlier one");
    assert_eq!(world.pass(600, &[]), [], "it is heard from now on");
    assert!(world.pass(100, &[]).contains(&Errand::Probe(later)));
}

#[test]
fn a_link_that_lives_is_stronger_than_refusals() {
    let mut world = World::new(&["a", "b", "c"]);
    for _ in 0..20 {
        world.testify("a", "c", true);
        let refused = world.refuse("c");
        assert_eq!(refused, [], "it may still be heard");
        let errands = world.pass(200, &["a", "b", "c"]);
        assert!(!errands.contains(&Errand::Down(id("c"))), "{errands:?}");
    }
    // What is not heard after that is believed.
    world.testify("a", "c", true);
    world.refuse("c");
    assert!(world.pass(300, &["a", "b"]).contains(&Errand::Down(id("c"))));
}

#[test]
fn the_last_one_left_asks_twice() {
    let mut world = World::new(&["a"]);
    world.pass(700, &[]);
    assert_eq!(world.refuse("a"), []);
    assert!(world.pass(200, &[]).contains(&probe("a")));
    assert_eq!(world.refuse("a"), [Errand::Down(id("a"))]);
}

#[test]
fn those_who_are_gone_themselves_are_not_waited_for() {
    let mut world = World::new(&["a", "b"]);
    world.pass(700, &[]);
    assert_eq!(world.refuse("a"), [testify("a", "b", true)]);
    assert_eq!(world.refuse("b"), [], "the only other one is refused too");
    world.pass(200, &[]);
    assert_eq!(world.refuse("b"), [Errand::Down(id("b"))]);
    assert_eq!(world.refuse("a"), [Errand::Down(id("a"))]);
}

#[test]
fn nobody_testifies_for_itself_and_no_stranger_does() {
    let mut world = World::new(&["a", "b", "c"]);
    world.pass(700, &["a", "b"]);
    world.refuse("c");
    assert_eq!(world.testify("c", "c", false), []);
    assert_eq!(world.testify("stranger", "c", false), []);
    let earlier = NodeId { incarnation: 0, ..id("a") };
    assert_eq!(world.links.handle_refusal(world.now, &earlier, &id("c"), false, 1), []);
}

#[test]
fn a_bounded_number_of_hosts_is_asked_at_once() {
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    let errands = world.pass(1_000, &[]);
    let probed = errands.iter().filter(|errand| matches!(errand, Errand::Probe(_))).count();
    assert_eq!(probed, AT_ONCE, "none of them has answered");
    for name in &names {
        world.links.handle_port(world.now, &id(name), false, 1);
    }
    assert!(world.pass(100, &[]).iter().any(|errand| matches!(errand, Errand::Probe(_))));
    let pinged = |errand: &&Errand| matches!(errand, Errand::Ping(_));
    assert_eq!(world.pass(100, &[]).iter().filter(pinged).count(), AT_ONCE);
}

#[test]
fn a_suspect_that_is_heard_is_told_once_for_each_refutation() {
    let mut world = World::new(&["a"]);
    assert!(!world.links.tells_suspect(world.now, &id("a"), 0), "it has no link yet");
    world.pass(100, &["a"]);
    assert!(world.links.tells_suspect(world.now, &id("a"), 0));
    assert!(!world.links.tells_suspect(world.now, &id("a"), 0));
    assert!(world.links.tells_suspect(world.now, &id("a"), 1));
    world.pass(700, &[]);
    assert!(!world.links.tells_suspect(world.now, &id("a"), 2), "it is quiet");
}
