//! What a Service has: cluster addresses, families, node ports, a health-check port.
//!
//! Source: upstream's `pkg/registry/core/service/storage/alloc.go` (which Service gets what, and what is kept over an
//! update), single-stack IPv4.

use super::{Extra, NODE_PORTS};
use crate::registry::Op;
use crate::status::{ApiError, Result};
use machinery::Value;
use std::net::Ipv4Addr;
use store_api::Op as StoreOp;

fn ty(service: &Value) -> &str {
    service.str_at(&["spec", "type"]).unwrap_or("ClusterIP")
}

fn has_address(service: &Value) -> bool {
    !service.is_null() && ty(service) != "ExternalName"
}

fn wants_ports(service: &Value) -> bool {
    match ty(service) {
        "NodePort" => true,
        "LoadBalancer" => service.at(&["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false),
        _ => false,
    }
}

fn may_have_ports(service: &Value) -> bool {
    matches!(ty(service), "NodePort" | "LoadBalancer")
}

fn needs_health_port(service: &Value) -> bool {
    ty(service) == "LoadBalancer" && service.str_at(&["spec", "externalTrafficPolicy"]) == Some("Local")
}

/// Addresses that a Service holds.
fn addresses(service: &Value) -> Vec<Ipv4Addr> {
    if !has_address(service) {
        return Vec::new();
    }
    let list = service.list_at(&["spec", "clusterIPs"]);
    let single = service.at(&["spec", "clusterIP"]);
    let all = if list.is_empty() {
        std::slice::from_ref(single)
    } else {
        list
    };
    all.iter().filter_map(|v| v.as_str()?.parse().ok()).collect()
}

/// Ports that a Service holds.
fn ports(service: &Value) -> Vec<u16> {
    let mut all = Vec::new();
    if service.is_null() || !may_have_ports(service) {
        return all;
    }
    let listed = service.list_at(&["spec", "ports"]).iter().map(|p| &p["nodePort"]);
    for value in listed.chain([service.at(&["spec", "healthCheckNodePort"])]) {
        if let Some(port) = value.as_i64().and_then(|n| u16::try_from(n).ok())
            && port > 0
            && !all.contains(&port)
        {
            all.push(port);
        }
    }
    all
}

fn invalid(op: &Op<'_>, service: &Value, field: &str, message: &str) -> ApiError {
    let name = service.str_at(&["metadata", "name"]).unwrap_or_default();
    ApiError::invalid_field(
        op.kind.group(),
        op.kind.kind(),
        name,
        "FieldValueInvalid",
        field,
        message,
    )
}

/// Keeps what an update left out and the old Service had.
fn keep(new: &mut Value, old: &Value) {
    if has_address(new) && has_address(old) {
        for field in ["clusterIP", "clusterIPs"] {
            if new.at(&["spec", field]).is_zero() && !old.at(&["spec", field]).is_zero() {
                let value = old.at(&["spec", field]).clone();
                new.at_mut(&["spec"]).insert(field, value);
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if new.at(&["spec", field]).is_zero() && !old.at(&["spec", field]).is_zero() {
                let value = old.at(&["spec", field]).clone();
                new.at_mut(&["spec"]).insert(field, value);
            }
        }
    }
    if may_have_ports(new) && may_have_ports(old) {
        let old_ports = old.list_at(&["spec", "ports"]).to_vec();
        let mut used: Vec<i64> = new
            .list_at(&["spec", "ports"])
            .iter()
            .filter_map(|p| p["nodePort"].as_i64())
            .filter(|n| *n != 0)
            .collect();
        if let Some(Value::List(list)) = new.get_mut("spec").and_then(|s| s.get_mut("ports")) {
            for port in list {
                if !port["nodePort"].is_zero() {
                    continue;
                }
                let same = |o: &&Value| o["port"] == port["port"] && o["protocol"] == port["protocol"];
                let before = old_ports
                    .iter()
                    .find(same)
                    .and_then(|o| o["nodePort"].as_i64())
                    .filter(|n| *n != 0);
                if let (Some(n), Value::Map(map)) = (before.filter(|n| !used.contains(n)), port) {
                    map.insert("nodePort", n);
                    used.push(n);
                }
            }
        }
    }
    if needs_health_port(new) && needs_health_port(old) && new.at(&["spec", "healthCheckNodePort"]).is_zero()
    {
        let value = old.at(&["spec", "healthCheckNodePort"]).clone();
        new.at_mut(&["spec"]).insert("healthCheckNodePort", value);
    }
}

/// Removes what the new type does not have.
fn drop_unused(new: &mut Value, old: &Value) {
    if old.is_null() {
        return;
    }
    if !has_address(new) && has_address(old) {
        let spec = new.at_mut(&["spec"]);
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    }
    if may_have_ports(old) && !may_have_ports(new) {
        let before = old.list_at(&["spec", "ports"]).to_vec();
        if let Some(Value::List(list)) = new.get_mut("spec").and_then(|s| s.get_mut("ports")) {
            for port in list {
                let unchanged = before
                    .iter()
                    .any(|o| o["nodePort"] == port["nodePort"] && o["port"] == port["port"]);
                if let (true, Value::Map(map)) = (unchanged, port) {
                    map.remove("nodePort");
                }
            }
        }
    }
    if needs_health_port(old) && !needs_health_port(new) {
        new.at_mut(&["spec"]).remove("healthCheckNodePort");
    }
}

fn fill_families(op: &Op<'_>, service: &mut Value) -> Result<()> {
    let headless = service.str_at(&["spec", "clusterIP"]) == Some("None");
    let selects = !service.at(&["spec", "selector"]).is_zero();
    let policy = service
        .str_at(&["spec", "ipFamilyPolicy"])
        .unwrap_or_default()
        .to_owned();
    let families: Vec<String> = service
        .list_at(&["spec", "ipFamilies"])
        .iter()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect();
    let loose = headless && !selects;
    if !loose {
        if policy == "RequireDualStack" {
            let message =
                "Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
            return Err(invalid(op, service, "spec.ipFamilyPolicy", message));
        }
        if let Some(i) = families.iter().position(|f| f == "IPv6") {
            let message = "Invalid value: \"IPv6\": not configured on this cluster";
            return Err(invalid(op, service, &format!("spec.ipFamilies[{i}]"), message));
        }
    }
    let spec = service.at_mut(&["spec"]);
    if families.is_empty() {
        let wanted: Vec<Value> = if loose && (policy.is_empty() || policy == "RequireDualStack") {
            vec!["IPv4".into(), "IPv6".into()]
        } else {
            vec!["IPv4".into()]
        };
        spec.insert("ipFamilies", wanted);
    }
    if policy.is_empty() {
        let both = spec
            .get("ipFamilies")
            .and_then(Value::as_list)
            .map_or(0, <[Value]>::len)
            > 1;
        spec.insert(
            "ipFamilyPolicy",
            if loose && both {
                "RequireDualStack"
            } else {
                "SingleStack"
            },
        );
    }
    Ok(())
}

/// Fills in what a Service gets, and says what it takes and gives back.
pub(super) async fn fill(op: &Op<'_>, new: &mut Value, old: &Value, dry_run: bool) -> Result<Extra> {
    keep(new, old);
    drop_unused(new, old);
    let namespace = op.namespace().to_owned();
    let name = new.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
    let (had, had_ports) = (addresses(old), ports(old));
    let mut extra = Extra::default();

    if has_address(new) {
        fill_addresses(op, new, &had, &namespace, &name, &mut extra).await?;
    }
    if may_have_ports(new) {
        fill_ports(op, new, &had_ports, &namespace, &name, &mut extra).await?;
    }
    let (has, has_ports) = (addresses(new), ports(new));
    for gone in had.iter().filter(|a| !has.contains(a)) {
        extra
            .ops
            .push(StoreOp::delete(&super::address_key(op, &gone.to_string())?));
    }
    for gone in had_ports.iter().filter(|p| !has_ports.contains(p)) {
        extra.ops.push(StoreOp::delete(&super::port_key(op, *gone)?));
    }
    if dry_run { Ok(Extra::default()) } else { Ok(extra) }
}

async fn fill_addresses(
    op: &Op<'_>,
    new: &mut Value,
    had: &[Ipv4Addr],
    namespace: &str,
    name: &str,
    extra: &mut Extra,
) -> Result<()> {
    // The single and the plural field mean the same; the plural is filled from the single one.
    if new.list_at(&["spec", "clusterIPs"]).is_empty()
        && let Some(ip) = new
            .str_at(&["spec", "clusterIP"])
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
    {
        new.at_mut(&["spec"]).insert("clusterIPs", vec![Value::from(ip)]);
    } else if new.at(&["spec", "clusterIP"]).is_zero()
        && let Some(ip) = new.at(&["spec", "clusterIPs"])[0].as_str().map(str::to_owned)
    {
        new.at_mut(&["spec"]).insert("clusterIP", ip);
    }
    fill_families(op, new)?;
    let given = new.str_at(&["spec", "clusterIP"]).unwrap_or_default().to_owned();
    if given == "None" {
        return Ok(());
    }
    let range = super::service_range(op)?;
    if given.is_empty() {
        let Some(address) = super::pick_address(op, range).await? else {
            let why = "failed to allocate a serviceIP: range is full";
            return Err(ApiError::internal(why));
        };
        let text = address.to_string();
        let spec = new.at_mut(&["spec"]);
        spec.insert("clusterIP", text.clone());
        spec.insert("clusterIPs", vec![Value::from(text)]);
        return super::take_address(op, address, namespace, name, extra);
    }
    // What is no address at all is for validation to say.
    let Ok(address) = given.parse::<Ipv4Addr>() else {
        return Ok(());
    };
    if had.contains(&address) {
        return Ok(());
    }
    let refuse = |why: String| {
        let message = format!("Invalid value: [\"{given}\"]: failed to allocate IP {given}: {why}");
        invalid(op, new, "spec.clusterIPs", &message)
    };
    if !range.contains(address) {
        return Err(refuse(format!(
            "the provided IP ({given}) is not in the valid range. The range of valid IPs is {range}"
        )));
    }
    if super::is_taken(op, &super::address_key(op, &given)?).await? {
        return Err(refuse("provided IP is already allocated".into()));
    }
    super::take_address(op, address, namespace, name, extra)
}

async fn fill_ports(
    op: &Op<'_>,
    new: &mut Value,
    had: &[u16],
    namespace: &str,
    name: &str,
    extra: &mut Extra,
) -> Result<()> {
    let wants = wants_ports(new);
    let mut taken: Vec<u16> = Vec::new();
    let listed = new.list_at(&["spec", "ports"]).to_vec();
    // First those asked for by number.
    let asked = listed
        .iter()
        .enumerate()
        .map(|(i, p)| (format!("spec.ports[{i}].nodePort"), p["nodePort"].as_i64()));
    let health = (
        "spec.healthCheckNodePort".to_owned(),
        new.int_at(&["spec", "healthCheckNodePort"]),
    );
    for (field, number) in asked.chain([health]) {
        let Some(number) = number.filter(|n| *n != 0) else {
            continue;
        };
        let refuse = |why: &str| invalid(op, new, &field, &format!("Invalid value: {number}: {why}"));
        let Some(port) = u16::try_from(number).ok().filter(|p| NODE_PORTS.contains(p)) else {
            return Err(refuse(&format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            )));
        };
        if taken.contains(&port) {
            continue;
        }
        taken.push(port);
        if had.contains(&port) {
            continue;
        }
        if super::is_taken(op, &super::port_key(op, port)?).await? {
            return Err(refuse("provided port is already allocated"));
        }
        super::take_port(op, port, namespace, name, extra)?;
    }
    if !wants {
        return Ok(());
    }
    // One number serves all protocols of the same port.
    let mut by_port: Vec<(Value, Value, u16)> = Vec::new();
    for (i, port) in listed.iter().enumerate() {
        if !port["nodePort"].is_zero() {
            continue;
        }
        let shared = by_port
            .iter()
            .find(|(number, protocol, _)| *number == port["port"] && *protocol != port["protocol"]);
        let picked = match shared {
            Some((.., picked)) => *picked,
            None => {
                let picked = new_port(op, &taken).await?;
                taken.push(picked);
                super::take_port(op, picked, namespace, name, extra)?;
                picked
            }
        };
        by_port.push((port["port"].clone(), port["protocol"].clone(), picked));
        if let Some(Value::List(list)) = new.get_mut("spec").and_then(|s| s.get_mut("ports"))
            && let Some(Value::Map(map)) = list.get_mut(i)
        {
            map.insert("nodePort", i64::from(picked));
        }
    }
    if needs_health_port(new) && new.at(&["spec", "healthCheckNodePort"]).is_zero() {
        let picked = new_port(op, &taken).await?;
        super::take_port(op, picked, namespace, name, extra)?;
        new.at_mut(&["spec"])
            .insert("healthCheckNodePort", i64::from(picked));
    }
    Ok(())
}

async fn new_port(op: &Op<'_>, avoid: &[u16]) -> Result<u16> {
    super::pick_port(op, avoid)
        .await?
        .ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))
}

/// What a deleted Service gives back.
pub(super) fn release(op: &Op<'_>, service: &Value) -> Result<Extra> {
    let mut extra = Extra::default();
    for address in addresses(service) {
        extra
            .ops
            .push(StoreOp::delete(&super::address_key(op, &address.to_string())?));
    }
    for port in ports(service) {
        extra.ops.push(StoreOp::delete(&super::port_key(op, port)?));
    }
    Ok(extra)
}
