//! Each rule on either side of its bound.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{environment::*, *};
use crate::cluster::discovery::DnsName;

const LANES: NonZeroU16 = NonZeroU16::MIN;

fn dev() -> ClusterConfig {
    ClusterConfig::dev("shop").expect("a name")
}

/// What a node needs at least: its host's addresses are bound, and one of them is advertised.
fn production() -> ClusterConfig {
    unadvertised().advertise(addr("10.0.0.7:7461"))
}

fn unadvertised() -> ClusterConfig {
    let name = NodeName::new("n1").expect("a name");
    ClusterConfig::new("shop", Authority::new().issue(&name)).expect("a name")
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn addrs(count: u16) -> impl Iterator<Item = SocketAddr> {
    (1..=count).map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

fn outcome(config: &ClusterConfig) -> Result<Validated, String> {
    config.validate("n1", LANES).map_err(|error| error.to_string())
}

fn passes(config: &ClusterConfig) -> Validated {
    outcome(config).expect("it keeps the rules")
}

fn refused(config: &ClusterConfig) -> String {
    outcome(config).expect_err("it breaks a rule")
}

/// A directory that is removed at the end of a test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let name = format!("actix-cluster-{test}-{}", std::process::id());
        Self(env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An environment in which nothing is missing, with its PEM files.
fn environment(scratch: &Scratch) -> BTreeMap<&'static str, String> {
    let authority = Authority::new();
    let pem = authority.issue_pem(&NodeName::new("n1").expect("a name"));
    fs::create_dir_all(&scratch.0).expect("a directory");
    let write = |file: &str, text: &str| {
        let path = scratch.0.join(file);
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    BTreeMap::from([
        (NAME, "shop".to_owned()),
        (NODE, "n1".to_owned()),
        (BIND, "10.0.0.7:7461".to_owned()),
        (SEEDS, String::new()),
        (CERTIFICATE, write("chain.pem", &pem.chain)),
        (KEY, write("key.pem", &pem.key)),
        (ROOTS, write("roots.pem", &authority.roots_pem())),
    ])
}

fn read(environment: &BTreeMap<&'static str, String>) -> Result<ClusterConfig, ClusterConfigError> {
    environment::read(|name| environment.get(name).cloned())
}

#[test]
fn the_defaults_keep_the_rules() {
    let validated = passes(&dev());
    assert_eq!(validated.transport.bind, addr("127.0.0.1:0"));
    assert_eq!((validated.profile.weight, validated.join_timeout), (1, Duration::from_secs(30)));
    assert_eq!((validated.advertise, validated.seeds), (None, vec![]));
    assert_eq!(format!("{:?}", validated.network), "Udp");
    assert!(validated.is_dev);
    let validated = passes(&production());
    assert_eq!(validated.transport.bind, addr("0.0.0.0:7461"));
    assert!(!validated.is_dev);
    assert!(refused(&unadvertised()).starts_with("advertise is None"));
    passes(&unadvertised().bind(addr("10.0.0.7:0")));
}

#[test]
fn what_was_set_comes_out() {
    let config = production()
        .bind(addr("10.0.0.7:0"))
        .advertise(addr("192.0.2.1:7000"))
        .seed(addr("10.0.0.5:7461"))
        .seeds([addr("10.0.0.6:7461"), addr("[2001:db8::1]:7461")])
        .network(Udp);
    let lanes = NonZeroU16::new(7).expect("not zero");
    let validated = config.validate("n1", lanes).expect("it keeps the rules");
    assert_eq!(validated.transport.cluster.as_str(), "shop");
    assert_eq!(validated.transport.node.as_str(), "n1");
    assert_eq!(validated.transport.lanes, lanes);
    assert_eq!(validated.transport.bind, addr("10.0.0.7:0"));
    assert_eq!(validated.advertise, Some(addr("192.0.2.1:7000")));
    let seeds = ["10.0.0.5:7461", "10.0.0.6:7461", "[2001:db8::1]:7461"].map(addr);
    assert_eq!(validated.seeds, seeds);
    assert_eq!(config.node_name(), None);
}

#[test]
fn development_stays_on_loopback() {
    for right in ["127.0.0.1:7", "127.9.9.9:7", "[::1]:7", "[::ffff:127.0.0.1]:7"].map(addr) {
        passes(&dev().bind(right).advertise(right).seed(right));
    }
    for wrong in ["0.0.0.0:7", "10.0.0.1:7", "128.0.0.1:7", "[::]:7", "[::2]:7"].map(addr) {
        assert_eq!(
            refused(&dev().bind(wrong)),
            format!("bind is {wrong}, and has to be {LOOPBACK_RULE}")
        );
        assert!(refused(&dev().advertise(wrong)).starts_with("advertise is"));
        assert!(refused(&dev().seed(addr("127.0.0.1:7")).seed(wrong)).starts_with("seed is"));
    }
    passes(&production().bind(addr("10.0.0.1:7")).advertise(addr("10.0.0.1:7")));
}

#[test]
fn peers_are_reached_at_an_ip_and_a_port() {
    for wrong in ["127.0.0.1:0", "0.0.0.0:7", "[::]:7", "[::ffff:0.0.0.0]:7"].map(addr) {
        let rule = "and has to be an ip that is not 0.0.0.0 or ::, and a port";
        assert_eq!(refused(&production().seed(wrong)), format!("seed is {wrong}, {rule}"));
        let error = refused(&production().advertise(wrong));
        assert_eq!(error, format!("advertise is {wrong}, {rule}"));
    }
    passes(&production().seed(addr("127.0.0.1:1")).advertise(addr("127.0.0.1:65535")));
}

#[test]
fn a_node_has_at_most_64_seeds() {
    assert_eq!(passes(&dev().seeds(addrs(64))).seeds.len(), 64);
    let error = refused(&dev().seeds(addrs(65)));
    assert_eq!(error, "seeds is 65 addresses, and has to be at most 64");
}

#[test]
fn sources_of_seeds_are_bounded_and_come_from_the_environment_too() {
    let with = |count| (0..count).fold(dev(), |config, n| config.discover(DnsName::new("h", n)));
    passes(&with(8));
    assert_eq!(refused(&with(9)), "discover is 9 sources, and has to be at most 8");
    let scratch = Scratch::new("sources");
    let mut environment = environment(&scratch);
    environment.remove(SEEDS);
    for (name, value) in [(SEEDS_DNS, "shop.internal:7461"), (SEEDS_FILE, "/etc/nodes")] {
        let mut environment = environment.clone();
        environment.insert(name, value.to_owned());
        let config = read(&environment).expect("seeds are to be found elsewhere");
        assert_eq!((config.seeds.len(), config.sources.len()), (0, 1));
    }
    let mut with_service = environment.clone();
    with_service.insert(SEEDS_SRV, "_cluster._udp.shop.internal".to_owned());
    if cfg!(feature = "dns-srv") {
        assert_eq!(read(&with_service).expect("they are to be found there").sources.len(), 1);
        with_service.insert(SEEDS_SRV, "shop..internal".to_owned());
        let error = read(&with_service).expect_err("that is no name").to_string();
        assert!(error.contains("ACTIX_CLUSTER_SEEDS_SRV"), "{error}");
    } else {
        let error = read(&with_service).expect_err("nobody would look there").to_string();
        assert!(error.contains("ACTIX_CLUSTER_SEEDS_SRV") && error.contains("dns-srv"), "{error}");
    }
    for broken in ["shop.internal", "shop.internal:http"] {
        environment.insert(SEEDS_DNS, broken.to_owned());
        let error = read(&environment).expect_err(broken).to_string();
        assert!(
            error.contains("ACTIX_CLUSTER_SEEDS_DNS") && error.contains("a host:port"),
            "{error}"
        );
    }
}

#[test]
fn roles_are_a_set_of_labels_and_a_zone_is_a_label() {
    let profile = passes(&dev().roles(["b", "a", "b"]).zone("z-1")).profile;
    assert_eq!(
        (&*profile.roles, profile.zone.as_deref()),
        (&["a".into(), "b".into()][..], Some("z-1"))
    );
    assert_eq!(profile.release.as_ref(), env!("CARGO_PKG_VERSION"));
    let error = refused(&dev().roles(["a b"]));
    assert_eq!(
        error,
        "role is \"a b\", and has to be 1 to 64 letters, digits, dots, hyphens and underscores"
    );
    assert!(refused(&dev().zone("")).starts_with("zone is \"\", and has to be 1 to 64"));
    let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
    let many = many.iter().map(String::as_str);
    passes(&dev().roles(many.clone().take(32)));
    assert_eq!(refused(&dev().roles(many)), "roles is 33 roles, and has to be at most 32");
}

#[test]
fn a_weight_is_at_most_1000() {
    assert_eq!(passes(&dev().weight(0)).profile.weight, 0);
    assert_eq!(passes(&dev().weight(1_000)).profile.weight, 1_000);
    let error = refused(&dev().weight(1_001));
    assert_eq!(error, "weight is 1001, and has to be a whole number from 0 to 1000");
}

#[test]
fn joining_takes_from_a_second_to_an_hour() {
    let step = Duration::from_nanos(1);
    let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(3_600));
    passes(&dev().join_timeout(shortest));
    passes(&dev().join_timeout(longest));
    refused(&dev().join_timeout(shortest - step));
    refused(&dev().join_timeout(longest + step));
    let error = refused(&dev().join_timeout(Duration::ZERO));
    assert_eq!(error, "join_timeout is 0ns, and has to be 1 s to 1 h");
}

#[test]
fn names_are_checked() {
    for wrong in ["", "a b"] {
        let outcomes = [
            ClusterConfig::dev(wrong),
            ClusterConfig::dev_in(wrong, "never made"),
            ClusterConfig::new(wrong, Authority::new().issue(&"n1".parse().expect("a name"))),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(ClusterConfigError::Name(_))), "{outcome:?}");
        }
    }
    let error = dev().validate("N1", LANES).expect_err("upper case");
    assert!(matches!(&error, ClusterConfigError::Name(source) if source.value == "N1"));
    assert!(error.source().is_some());
}

#[test]
fn development_vouches_for_any_name_and_given_credentials_for_theirs() {
    dev().validate("another.name", LANES).expect("issued for it");
    let error = production().validate("n2", LANES).expect_err("another's certificate");
    assert!(matches!(&error, ClusterConfigError::Transport(source) if source.field == "node"));
    assert!(error.source().is_some());
}

#[test]
fn lanes_are_held_to_the_limit_of_the_transport() {
    let lanes = |count| NonZeroU16::new(count).expect("not zero");
    dev().validate("n1", lanes(256)).expect("the most lanes");
    let error = dev().validate("n1", lanes(257)).expect_err("too many");
    assert!(matches!(error, ClusterConfigError::Transport(source) if source.field == "lanes"));
}

#[test]
fn clones_share_their_authority_and_other_calls_do_not() {
    let shown = |config: &ClusterConfig| format!("{:?}", config.identity);
    let config = dev();
    assert_eq!(shown(&config), shown(&config.clone()));
    assert_ne!(shown(&config), shown(&dev()));
    let scratch = Scratch::new("shared-authority");
    let kept = || ClusterConfig::dev_in("shop", &scratch.0).expect("a directory");
    assert_eq!(shown(&kept()), shown(&kept()));
    assert!(passes(&kept()).is_dev);
    fs::write(scratch.0.join("ca-key.pem"), "no key").expect("written");
    let error = ClusterConfig::dev_in("shop", &scratch.0).expect_err("no key");
    assert!(matches!(error, ClusterConfigError::Development(_)));
    assert!(error.source().is_some());
}

#[test]
fn the_environment_describes_a_node() {
    let scratch = Scratch::new("environment");
    let mut environment = environment(&scratch);
    let config = read(&environment).expect("nothing is missing");
    assert_eq!(config.node_name(), Some("n1"));
    let validated = passes(&config);
    assert_eq!(validated.transport.bind, addr("10.0.0.7:7461"));
    assert_eq!((validated.advertise, validated.seeds), (None, vec![]));
    assert_eq!((validated.profile.weight, validated.is_dev), (1, false));
    environment.insert(SEEDS, "10.0.0.5:1, [::1]:2".to_owned());
    environment.insert(ADVERTISE, "192.0.2.1:3".to_owned());
    environment.insert(WEIGHT, "0".to_owned());
    environment.insert(ROLES, "worker, api,".to_owned());
    environment.insert(ZONE, " z ".to_owned());
    let validated = passes(&read(&environment).expect("nothing is missing"));
    assert_eq!(validated.seeds, [addr("10.0.0.5:1"), addr("[::1]:2")]);
    assert_eq!(validated.advertise, Some(addr("192.0.2.1:3")));
    let profile = validated.profile;
    assert_eq!((profile.weight, profile.zone.as_deref()), (0, Some("z")));
    assert_eq!(profile.roles, ["api".into(), "worker".into()]);
}

#[test]
fn all_that_the_environment_lacks_is_named_at_once() {
    let error = read(&BTreeMap::new()).expect_err("nothing is set");
    let all = [NAME, NODE, BIND, SEEDS, CERTIFICATE, KEY, ROOTS];
    assert_eq!(
        error.to_string(),
        format!("missing in the environment, set all of: {}", all.join(", "))
    );
    let scratch = Scratch::new("missing");
    for name in all {
        let mut environment = environment(&scratch);
        environment.remove(name);
        let error = read(&environment).expect_err(name);
        assert!(
            matches!(&error, ClusterConfigError::Missing { variables } if *variables == [name]),
            "{name}: {error}"
        );
        environment.insert(name, " ".to_owned());
        assert_eq!(read(&environment).is_ok(), name == SEEDS, "{name}");
    }
}

#[test]
fn a_wrong_variable_is_shown_with_its_rule() {
    let scratch = Scratch::new("wrong");
    let wrong = [
        (BIND, "localhost:1", "an ip:port"),
        (ADVERTISE, "10.0.0.1", "an ip:port"),
        (SEEDS, ":7", "of ip:port, separated by commas"),
        (WEIGHT, "-1", WEIGHT_RULE),
    ];
    for (name, value, rule) in wrong {
        let mut environment = environment(&scratch);
        environment.insert(name, value.to_owned());
        let error = read(&environment).expect_err(name).to_string();
        assert_eq!(error, format!("{name} is {value:?}, and has to be {rule}"));
    }
    for seeds in ["10.0.0.1:1,", ",", "10.0.0.1:1;10.0.0.2:1"] {
        let mut environment = environment(&scratch);
        environment.insert(SEEDS, seeds.to_owned());
        assert!(matches!(read(&environment), Err(ClusterConfigError::Setting { .. })));
    }
    for (name, value) in [(NAME, "a b"), (NODE, "N1")] {
        let mut environment = environment(&scratch);
        environment.insert(name, value.to_owned());
        let error = read(&environment).expect_err(name);
        assert!(matches!(error, ClusterConfigError::Name(source) if source.value == value));
    }
    for name in [CERTIFICATE, KEY, ROOTS] {
        let mut environment = environment(&scratch);
        environment.insert(name, "no such file".to_owned());
        let error = read(&environment).expect_err(name);
        assert!(matches!(error, ClusterConfigError::Credentials(_)), "{name}: {error}");
        assert!(error.source().is_some());
    }
}
