//! One test under many seeds, and what is said of the seed that fails.

use std::{
    any::Any,
    fmt,
    future::poll_fn,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use actix_cluster_transport::simulation::Trace;

use super::{
    TestCluster,
    time::{self, within},
};

/// The environment variable that says under which seeds tests run, in place of their own: one number, or
/// a range such as `100..1000`.
pub const SEEDS: &str = "ACTIX_CLUSTER_SEEDS";

/// How much virtual time a run has unless said otherwise.
const LIMIT: Duration = Duration::from_secs(3_600);

/// A test as [`macro@super::cluster_test`] states it.
#[derive(Clone, Copy, Debug)]
pub struct ClusterTest {
    /// The package, as `cargo test` takes it.
    pub package: &'static str,
    /// The part of the package.
    pub target: Target,
    /// The test's module.
    pub module: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Under how many seeds it runs.
    pub seeds: u32,
    /// How much virtual time each run has, unless the usual.
    pub limit_secs: Option<u32>,
}

/// What cargo said when it compiled the test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The crate.
    pub crate_name: &'static str,
    /// The binary that it is, if it is one.
    pub binary: Option<&'static str>,
    /// Whether it is one of integration tests.
    pub of_integration_tests: bool,
}

/// Runs a test under all its seeds, and fails with the first that fails.
pub fn run<T: Outcome>(test: &ClusterTest, body: impl AsyncFn(TestCluster) -> T) {
    let asked = std::env::var_os(SEEDS).map(|asked| asked.to_string_lossy().into_owned());
    let seeds = match seeds(asked.as_deref(), test.seeds) {
        Ok(seeds) => seeds,
        Err(text) => panic!("{SEEDS}={text:?} is neither a number nor a range such as 0..100"),
    };
    for seed in seeds {
        let limit = test.limit_secs.map_or(LIMIT, |secs| Duration::from_secs(secs.into()));
        let Err(failure) = play_within(limit, seed, &body) else { continue };
        eprintln!("{failure}\nreplay it: {}", test.command(seed));
        // The panic's own text has been shown by its hook, and the others' just now.
        resume_unwind(Box::new(failure.to_string()));
    }
}

/// The seeds to run under; the text that is none.
fn seeds(asked: Option<&str>, count: u32) -> Result<Range<u64>, &str> {
    let Some(asked) = asked.map(str::trim).filter(|asked| !asked.is_empty()) else {
        return Ok(0..count.into());
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match asked.split_once("..") {
        Some((first, end)) => number(first).zip(number(end)),
        None => number(asked).and_then(|seed| Some((seed, seed.checked_add(1)?))),
    };
    range.map(|(first, end)| first..end).filter(|range| !range.is_empty()).ok_or(asked)
}

impl ClusterTest {
    /// What runs this test under one seed and nothing else.
    fn command(&self, seed: u64) -> String {
        let Self { package, target: Target { crate_name, binary, .. }, module, name, .. } = self;
        let target = match (binary, self.target.of_integration_tests) {
            (Some(binary), _) => format!("--bin {binary}"),
            (None, true) => format!("--test {crate_name}"),
            (None, false) => "--lib".to_owned(),
        };
        let path = match module.split_once("::") {
            Some((_, module)) => format!("{module}::{name}"),
            None => (*name).to_owned(),
        };
        format!("{SEEDS}={seed} cargo test -p {package} {target} -- --exact {path} --nocapture")
    }
}

/// What the body of a test may return: nothing, or a result whose error can be shown.
#[diagnostic::on_unimplemented(
    message = "a cluster test can't return `{Self}`",
    note = "it returns nothing, or a `Result<(), E>` whose error has `Debug`"
)]
pub trait Outcome {
    #[doc(hidden)]
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Debug> Outcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// Runs a test once, under one seed, in virtual time: what [`macro@super::cluster_test`] does for each of its
/// seeds. Gives the [`Trace`] of the run, which is the same each time.
///
/// The run has an hour of virtual time. When the body has ended, the nodes that still run are shut down, for
/// which each has a minute; what was killed or is paused by then is dropped.
///
/// # Errors
///
/// [`Failure`]: the body panicked, returned an error, or has not ended in time; or a node has not shut
/// down.
///
/// # Panics
///
/// Inside of another tokio runtime.
///
/// # Examples
///
/// See [`TestCluster`].
pub fn play<T: Outcome>(seed: u64, body: impl AsyncFn(TestCluster) -> T) -> Result<Trace, Failure> {
    play_within(LIMIT, seed, &body)
}

fn play_within<T: Outcome>(
    limit: Duration,
    seed: u64,
    body: &impl AsyncFn(TestCluster) -> T,
) -> Result<Trace, Failure> {
    let cluster = TestCluster::new(seed);
    let world = async {
        cluster.elapsed();
        let mut ended = simulated(body, &cluster, limit).await;
        if ended.is_ok() {
            ended = cluster.shut_down().await;
        }
        cluster.end();
        ended
    };
    let ended = time::run(world);
    ended.map(|()| cluster.trace()).map_err(|cause| Failure { seed, cause })
}

/// Runs the body itself, within its limit. Panics are caught here, so that nodes end in order after one.
async fn simulated<T: Outcome>(
    body: &impl AsyncFn(TestCluster) -> T,
    cluster: &TestCluster,
    limit: Duration,
) -> Result<(), String> {
    let mut body = pin!(body(cluster.clone()));
    let caught = poll_fn(|task| {
        let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(task)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    match within(limit, caught).await {
        Some(Ok(outcome)) => outcome.error().map_or(Ok(()), Err),
        Some(Err(panic)) => Err(said_by(&*panic)),
        None => {
            let states = cluster.states();
            Err(format!("it has not ended after {limit:?} of virtual time; {states}"))
        }
    }
}

fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a text"))
}

/// A run has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Under this seed.
    pub seed: u64,
    /// Why.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} failed: {}", self.seed, self.cause)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: Target, module: &'static str, expected: &str) {
        let (package, name) = ("a-shop", "a_cart_is_full");
        let test = ClusterTest { package, target, module, name, seeds: 3, limit_secs: None };
        let expected = format!(
            "ACTIX_CLUSTER_SEEDS=7 cargo test -p a-shop {expected}a_cart_is_full --nocapture"
        );
        assert_eq!(test.command(7), expected);
    }

    #[test]
    fn a_command_names_the_target_and_the_whole_path_of_its_test() {
        let target = |crate_name, binary, of_integration_tests| Target {
            crate_name,
            binary,
            of_integration_tests,
        };
        check(
            target("a_shop", None, false),
            "a_shop::carts::tests",
            "--lib -- --exact carts::tests::",
        );
        check(target("till", Some("till"), false), "till::tests", "--bin till -- --exact tests::");
        check(target("carts", None, true), "carts", "--test carts -- --exact ");
    }
}
