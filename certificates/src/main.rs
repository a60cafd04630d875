//! Makes, shows and revokes the certificates of a cluster's nodes.
//!
//! The authority is a directory: `ca.pem`, `ca-key.pem`, `crl.pem` and, in `issued`, a copy of each
//! certificate, by which a node is revoked by name.

mod files;
mod show;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use actix_cluster_transport::{
    NodeName,
    authority::CertificateAuthority,
    tls::{CertificateDetails, Fingerprint},
};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use self::files::{Overwrite, make_directory, read, write};

/// Makes, shows and revokes the certificates of a cluster's nodes.
///
/// Every node proves who it is with a certificate of an authority that all nodes trust. Begin with
/// an authority, then make one certificate for each node:
///
///   certificates ca --out ca
///   certificates node carts-1 --ca ca --out carts-1
///
/// Copy the node's directory to its host, and nothing else: whoever has ca/ca-key.pem can become any
/// node. The node reads carts-1.pem, carts-1-key.pem, roots.pem and crl.pem from it. To shut a node
/// out, revoke it, give the new crl.pem to every other node, and have them rotate:
///
///   certificates revoke carts-1 --ca ca
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Options {
    #[command(subcommand)]
    task: Task,
    /// Print what was done as JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Make an authority: ca.pem, ca-key.pem and an empty crl.pem
    Ca {
        /// The directory to make it in
        #[arg(long)]
        out: PathBuf,
        /// For how many days it holds
        #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Replace an authority that is there: every certificate of the old one is worthless then
        #[arg(long)]
        force: bool,
    },
    /// Make a node's certificate and key, beside copies of ca.pem (as roots.pem) and crl.pem
    Node {
        /// The node's name, as its configuration says it
        name: NodeName,
        /// The authority's directory
        #[arg(long)]
        ca: PathBuf,
        /// The directory to write to
        #[arg(long)]
        out: PathBuf,
        /// For how many days it holds
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// A further name the node may go by, or `*.` and a name; may be given more than once
        #[arg(long)]
        san: Vec<String>,
        /// Replace files that are there, to renew them: the former certificate stays valid until it
        /// expires or is revoked
        #[arg(long)]
        force: bool,
    },
    /// Revoke a node or one certificate, by writing it into the authority's crl.pem
    Revoke {
        /// A node's name, for all certificates that were made for it, or a certificate's file
        what: String,
        /// The authority's directory
        #[arg(long)]
        ca: PathBuf,
    },
    /// Show names, validity and fingerprint of each certificate of a file
    Show {
        /// A file of PEM certificates
        file: PathBuf,
    },
}

/// What went wrong, and what to do next.
pub(crate) struct Failure(String);

impl Failure {
    fn because(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self(format!("{what}; {remedy}"))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

/// What was done, for a person and for a script.
struct Done {
    text: String,
    json: Value,
}

fn main() -> ExitCode {
    let Options { task, json } = Options::parse();
    match run(task) {
        Ok(done) if json => println!("{}", done.json),
        Ok(done) => println!("{}", done.text),
        Err(Failure(text)) => {
            if json {
                eprintln!("{}", json!({ "error": text }));
            } else {
                eprintln!("error: {text}");
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(task: Task) -> Result<Done, Failure> {
    match task {
        Task::Ca { out, days, force } => make_authority(&out, days, Overwrite::from(force)),
        Task::Node { name, ca, out, days, san, force } => {
            make_node(&NodeRequest { name, days, others: san }, &ca, &out, Overwrite::from(force))
        }
        Task::Revoke { what, ca } => revoke(&what, &ca),
        Task::Show { file } => show::show(&file),
    }
}

#[expect(clippy::disallowed_methods, reason = "validity is a matter of the wall clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";
const LIST: &str = "crl.pem";
const ISSUED: &str = "issued";

fn make_authority(out: &Path, lifetime: u32, overwrite: Overwrite) -> Result<Done, Failure> {
    let authority = CertificateAuthority::new(now(), days(lifetime))?;
    let list = authority.revocation_list(now(), None, &[])?;
    let (certificate, key) = (authority.certificate_pem(), authority.key_pem());
    make_directory(out)?;
    make_directory(&out.join(ISSUED))?;
    let all = [(CERTIFICATE, &certificate), (KEY, &key), (LIST, &list)];
    overwrite.check(all.iter().map(|(file, _)| out.join(file)))?;
    for (file, text) in all {
        write(&out.join(file), text)?;
    }
    let details = details(&certificate)?;
    let text = format!(
        "made an authority in {}, until {}\nnext: certificates node NAME --ca {0} --out DIR, for \
         each node; keep {} secret",
        out.display(),
        show::date(details.not_after),
        out.join(KEY).display(),
    );
    Ok(Done { text, json: show::json(&details) })
}

struct NodeRequest {
    name: NodeName,
    days: u32,
    others: Vec<String>,
}

fn make_node(
    request: &NodeRequest,
    ca: &Path,
    out: &Path,
    overwrite: Overwrite,
) -> Result<Done, Failure> {
    let authority = load(ca)?;
    let name = &request.name;
    let issued = authority.issue(now(), days(request.days), name, &request.others)?;
    let details = issued.details()?;
    let list = read(&ca.join(LIST))?;
    make_directory(out)?;
    let chain = out.join(format!("{name}.pem"));
    let key = out.join(format!("{name}-key.pem"));
    overwrite.check([chain.clone(), key.clone()])?;
    // First of all what revokes it: a certificate that is out is always known here.
    let copies = ca.join(ISSUED);
    make_directory(&copies)?;
    write(&copies.join(format!("{name}-{}.pem", details.fingerprint)), &issued.chain)?;
    write(&chain, &issued.chain)?;
    write(&key, &issued.key)?;
    write(&out.join("roots.pem"), &authority.certificate_pem())?;
    write(&out.join(LIST), &list)?;
    let text = format!(
        "made {} and {}, until {}\nnext: copy {} to the node's host, and have it read {name}.pem, \
         {name}-key.pem, roots.pem and {LIST}",
        chain.display(),
        key.display(),
        show::date(details.not_after),
        out.display(),
    );
    Ok(Done { text, json: show::json(&details) })
}

fn load(ca: &Path) -> Result<CertificateAuthority, Failure> {
    let (certificate, key) = (ca.join(CERTIFICATE), ca.join(KEY));
    if !certificate.exists() {
        let remedy = format!("make one with: certificates ca --out {}", ca.display());
        return Err(Failure::because(format!("{} holds no authority", ca.display()), remedy));
    }
    files::check_private(&key)?;
    Ok(CertificateAuthority::from_pem(&read(&certificate)?, &read(&key)?)?)
}

fn revoke(what: &str, ca: &Path) -> Result<Done, Failure> {
    let authority = load(ca)?;
    let path = Path::new(what);
    let revoked = if path.is_file() {
        let pem = read(path)?;
        vec![details(&pem).map_err(|Failure(error)| {
            Failure::because(format!("{what}: {error}"), "give a node's certificate")
        })?]
    } else {
        issued_for(what, ca)?
    };
    let own = Fingerprint::from_pem(authority.certificate_pem().as_bytes());
    if revoked.iter().any(|details| Some(details.fingerprint) == own) {
        let remedy =
            "give every node a certificate of another one, and take this one off its roots";
        return Err(Failure::because("an authority cannot revoke itself", remedy));
    }
    let serials: Vec<_> = revoked.iter().map(|details| details.serial.clone()).collect();
    let previous = read(&ca.join(LIST))?;
    let list = authority.revocation_list(now(), Some(&previous), &serials)?;
    let path = ca.join(LIST);
    write(&path, &list)?;
    let lines: Vec<_> = revoked.iter().map(|details| details.fingerprint.to_string()).collect();
    let text = format!(
        "revoked {}\nnext: give {} to every node, and have each rotate",
        lines.join("\nrevoked "),
        path.display(),
    );
    let json = json!({
        "revoked": revoked.iter().map(show::json).collect::<Vec<_>>(),
        "list": path.display().to_string(),
    });
    Ok(Done { text, json })
}

/// What was made for a node.
fn issued_for(node: &str, ca: &Path) -> Result<Vec<CertificateDetails>, Failure> {
    let mut found = Vec::new();
    let copies = ca.join(ISSUED);
    for entry in fs::read_dir(&copies).map_err(|error| files::failed(&copies, &error))? {
        let path = entry.map_err(|error| files::failed(&copies, &error))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        // The fingerprint behind the last `-` holds none.
        if stem.rsplit_once('-').is_some_and(|(name, _)| name == node) {
            found.push(details(&read(&path)?)?);
        }
    }
    if found.is_empty() {
        let remedy =
            format!("give a name that it issued for (see {}), or a file", copies.display());
        let what = format!("the authority has issued nothing for {node}, and no file is called so");
        return Err(Failure::because(what, remedy));
    }
    found.sort_by_key(|details| details.fingerprint);
    Ok(found)
}

fn details(pem: &str) -> Result<CertificateDetails, Failure> {
    Ok(CertificateDetails::from_pem(pem.as_bytes())?.swap_remove(0))
}
