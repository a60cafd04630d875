//! A node's configuration as its environment describes it.
//!
//! Invariant: what is missing is named all at once, and nothing leads to a development cluster.

use std::{net::SocketAddr, sync::Arc};

use actix_cluster_transport::{ClusterName, CredentialFiles, NodeName};

use super::{ClusterConfig, ClusterConfigError, Identity, WEIGHT_RULE, check};
use crate::cluster::discovery::{AddressFile, Discovery, DnsName};
#[cfg(feature = "dns-srv")]
use crate::cluster::discovery::{DnsService, is_name};

/// Reads the variables that `lookup` finds.
pub(super) fn read(
    lookup: impl Fn(&'static str) -> Option<String>,
) -> Result<ClusterConfig, ClusterConfigError> {
    let set = |name| lookup(name).filter(|value| !value.trim().is_empty());
    let mut missing = Vec::new();
    let mut required = |name, value: Option<String>| {
        value.unwrap_or_else(|| {
            missing.push(name);
            String::new()
        })
    };
    let name = required(NAME, set(NAME));
    let node = required(NODE, set(NODE));
    let bind = required(BIND, set(BIND));
    // A first node says that it is: with no seed by mistake it would found a second cluster.
    let sources = sources_of(set(SEEDS_DNS), set(SEEDS_SRV), set(SEEDS_FILE))?;
    let elsewhere = (!sources.is_empty()).then(String::new);
    let seeds = required(SEEDS, lookup(SEEDS).or(elsewhere));
    let chain = required(CERTIFICATE, set(CERTIFICATE));
    let key = required(KEY, set(KEY));
    let roots = required(ROOTS, set(ROOTS));
    if !missing.is_empty() {
        return Err(ClusterConfigError::Missing { variables: missing });
    }
    let cluster = ClusterName::new(&name).map_err(ClusterConfigError::Name)?;
    let node = NodeName::new(&node).map_err(ClusterConfigError::Name)?;
    let bind = parsed(BIND, &bind, "an ip:port")?;
    let advertise =
        set(ADVERTISE).map(|value| parsed(ADVERTISE, &value, "an ip:port")).transpose()?;
    let seeds = seeds_of(&seeds)?;
    let roles = set(ROLES).unwrap_or_default();
    let roles: Vec<&str> = roles.split(',').map(str::trim).filter(|r| !r.is_empty()).collect();
    let zone = set(ZONE).map(|zone| zone.trim().into());
    let weight = set(WEIGHT).map(|value| parsed(WEIGHT, &value, WEIGHT_RULE)).transpose()?;
    let mut files = CredentialFiles::new(chain, key, roots);
    if let Some(lists) = set(REVOKED) {
        files = files.revoked(lists);
    }
    let credentials = files.load().map_err(ClusterConfigError::Credentials)?;
    let config = ClusterConfig::assemble(cluster, Identity::Given(credentials), bind);
    let config = config.seeds(seeds).roles(roles);
    let weight = weight.unwrap_or(config.weight);
    Ok(ClusterConfig { node: Some(node), advertise, sources, zone, weight, ..config })
}

pub(super) const NAME: &str = "ACTIX_CLUSTER_NAME";
pub(super) const NODE: &str = "ACTIX_CLUSTER_NODE";
pub(super) const BIND: &str = "ACTIX_CLUSTER_BIND";
pub(super) const ADVERTISE: &str = "ACTIX_CLUSTER_ADVERTISE";
pub(super) const SEEDS: &str = "ACTIX_CLUSTER_SEEDS";
pub(super) const SEEDS_DNS: &str = "ACTIX_CLUSTER_SEEDS_DNS";
pub(super) const SEEDS_SRV: &str = "ACTIX_CLUSTER_SEEDS_SRV";
pub(super) const SEEDS_FILE: &str = "ACTIX_CLUSTER_SEEDS_FILE";
pub(super) const CERTIFICATE: &str = "ACTIX_CLUSTER_CERTIFICATE";
pub(super) const KEY: &str = "ACTIX_CLUSTER_KEY";
pub(super) const ROOTS: &str = "ACTIX_CLUSTER_ROOTS";
pub(super) const REVOKED: &str = "ACTIX_CLUSTER_REVOKED";
pub(super) const ROLES: &str = "ACTIX_CLUSTER_ROLES";
pub(super) const ZONE: &str = "ACTIX_CLUSTER_ZONE";
pub(super) const WEIGHT: &str = "ACTIX_CLUSTER_WEIGHT";

fn seeds_of(value: &str) -> Result<Vec<SocketAddr>, ClusterConfigError> {
    if value.trim().is_empty() {
        return Ok(Vec::new());
    }
    value.split(',').map(|seed| parsed(SEEDS, seed, "of ip:port, separated by commas")).collect()
}

fn sources_of(
    dns: Option<String>,
    service: Option<String>,
    file: Option<String>,
) -> Result<Vec<Arc<dyn Discovery>>, ClusterConfigError> {
    let mut sources: Vec<Arc<dyn Discovery>> = Vec::new();
    if let Some(dns) = dns {
        const RULE: &str = "a host:port";
        let broken = || check(SEEDS_DNS, false, &dns, RULE);
        let Some((host, port)) = dns.trim().rsplit_once(':') else {
            return broken().map(|()| sources);
        };
        sources.push(Arc::new(DnsName::new(host, parsed(SEEDS_DNS, port, RULE)?)));
    }
    if let Some(service) = service {
        sources.push(service_of(service.trim())?);
    }
    if let Some(file) = file {
        sources.push(Arc::new(AddressFile::new(file)));
    }
    Ok(sources)
}

#[cfg(feature = "dns-srv")]
fn service_of(name: &str) -> Result<Arc<dyn Discovery>, ClusterConfigError> {
    check(
        SEEDS_SRV,
        is_name(name),
        &name,
        "the name of a service, as _cluster._udp.shop.internal.",
    )?;
    Ok(Arc::new(DnsService::new(name)))
}

#[cfg(not(feature = "dns-srv"))]
fn service_of(name: &str) -> Result<Arc<dyn Discovery>, ClusterConfigError> {
    let rule = "unset, or read by a build with the feature `dns-srv` of actix-cluster";
    Err(ClusterConfigError::Setting { field: SEEDS_SRV, value: format!("{name:?}"), rule })
}

fn parsed<T: std::str::FromStr>(
    field: &'static str,
    value: &str,
    rule: &'static str,
) -> Result<T, ClusterConfigError> {
    let broken = |_| ClusterConfigError::Setting { field, value: format!("{value:?}"), rule };
    value.trim().parse().map_err(broken)
}
