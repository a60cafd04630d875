//! The example `web` as a process, asked by an HTTP client that knows nothing of it.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use actix_cluster::{AskError, RejectReason, UnknownReason, prelude::*};
use actix_web::{ResponseError as _, http::header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::answers::Refusal;

#[expect(dead_code, reason = "the example uses all of it")]
#[path = "../web/answers.rs"]
mod answers;

/// The server; it ends with its standard input.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let test = env::current_exe().expect("this binary");
        let profile = test.parent().and_then(Path::parent).expect("the folder of the profile");
        let program = profile.join("examples").join("web");
        assert!(program.exists(), "{} is not built: run all tests, or build it", program.display());
        let mut child = Command::new(program)
            .args(["--rows", "1500", "--nodes", "2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("serving 1500 flights on ").expect(&line).to_owned();
        Self { child, url }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        answer(agent().get(format!("{}{path}", self.url)).call())
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = agent().post(format!("{}{path}", self.url));
        answer(request.header("content-type", "application/json").send(body))
    }

    /// Ends the standard input, and waits until the process has ended.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

fn answer(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut answer = answer.expect("an answer");
    let mut text = String::new();
    answer.body_mut().as_reader().read_to_string(&mut text).expect("a body");
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[test]
fn a_flight_that_is_posted_counts_at_its_aircraft_and_at_both_airports() {
    let server = Server::start();
    let departures = |code: &str| {
        let (status, airport) = server.get(&format!("/airports/{code}"));
        assert_eq!(status, 200, "{airport}");
        assert!(
            airport["node"].as_str().is_some_and(|node| node.starts_with("node-")),
            "{airport}"
        );
        let count = |what: &str| airport["totals"][what].as_u64().expect("a number");
        (count("departures"), count("arrivals"))
    };
    let (newark, houston) = (departures("EWR"), departures("IAH"));
    let (_, before) = server.get("/aircraft/N14228");
    let flight = json!({
        "tail": "N14228", "carrier": "UA", "origin": "EWR", "dest": "IAH", "delay": 2, "miles": 1400
    });
    let (status, posted) = server.post("/flights", &flight.to_string());
    assert_eq!(status, 201, "{posted}");
    assert_eq!(departures("EWR"), (newark.0 + 1, newark.1));
    assert_eq!(departures("IAH"), (houston.0, houston.1 + 1));
    let (status, after) = server.get("/aircraft/N14228");
    assert_eq!(status, 200);
    let miles = |of: &Value| of["totals"]["carriers"]["UA"]["miles"].as_u64().expect("a number");
    assert_eq!(miles(&after), miles(&before) + 1400);

    let (status, health) = server.get("/health");
    assert_eq!((status, &health["members"]), (200, &json!(3)));
    server.end();
}

#[test]
fn what_is_not_there_or_not_right_is_said_by_name() {
    let server = Server::start();
    assert_eq!(
        server.get("/airports/XXX"),
        (404, json!({ "error": "no airport XXX", "field": null }))
    );
    assert_eq!(server.get("/aircraft/N0").0, 404);
    assert_eq!(server.get("/elsewhere").0, 404);

    let whole = json!({
        "tail": "N14228", "carrier": "UA", "origin": "EWR", "dest": "IAH", "delay": 2, "miles": 1400
    });
    for (field, wrong) in
        [("tail", "N0"), ("carrier", "UNITED"), ("origin", "XXX"), ("dest", "YYY")]
    {
        let mut flight = whole.clone();
        flight[field] = json!(wrong);
        let (status, error) = server.post("/flights", &flight.to_string());
        assert_eq!((status, &error["field"]), (400, &json!(field)), "{error}");
    }
    let mut flight = whole.clone();
    flight["miles"] = json!("far");
    let request = agent().post(format!("{}/flights", server.url));
    let request = request.header("content-type", "text/plain");
    assert_eq!(answer(request.send(&whole.to_string())).0, 415);
    let long = format!("{{\"tail\": \"{}\"}}", "x".repeat(5_000));
    assert_eq!(server.post("/flights", &long).0, 413);
    for body in [flight.to_string(), whole.to_string().replace("miles", "kilometres")] {
        let (status, error) = server.post("/flights", &body);
        assert_eq!(status, 400, "{error}");
        assert!(error["error"].as_str().is_some_and(|text| text.contains("column")), "{error}");
    }
    server.end();
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<(), ()>")]
#[remote(name = "web.Any", version = 1)]
struct Any;

/// The status of a failed ask, and whether it is said when to try again.
fn told(error: &AskError<Any>) -> (u16, bool) {
    let response = Refusal::of(error).error_response();
    (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER))
}

#[test]
fn the_status_of_a_failed_ask_says_whether_it_can_have_run() {
    let rejected = |reason| AskError::Rejected { reason, message: Any };
    for reason in [RejectReason::Full, RejectReason::Unreachable, RejectReason::Expired] {
        assert_eq!(told(&rejected(reason)), (503, true), "{reason}");
    }
    assert_eq!(told(&rejected(RejectReason::Mismatch)), (500, false));
    assert_eq!(told(&AskError::Unknown(UnknownReason::Deadline)), (504, false));
    assert_eq!(told(&AskError::Unknown(UnknownReason::NodeDown)), (502, false));
    assert_eq!(told(&AskError::Handler(())), (502, false));
}
