//! ServiceCIDR.

use machinery::Value;

use crate::table::{AGE, NAME, age, name as name_cell, strings, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, ip};

/// Rules of service networks.
pub(crate) struct ServiceCidr;

impl Rules for ServiceCidr {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = Path::new("spec.cidrs");
        let list = strings(object, &["spec", "cidrs"]);
        match list[..] {
            [] => errors.required(&path, "at least one CIDR required"),
            [a, b] => {
                let family = |t: &str| ip::parse_cidr(t).map(|(a, _)| a.is_ipv4());
                if family(a).is_some() && family(a) == family(b) {
                    let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                    errors.invalid(&path, object.at(&["spec", "cidrs"]).clone(), detail);
                }
            }
            [_] => {}
            _ => errors.too_many(&path, list.len(), 2),
        }
        for (i, cidr) in list.iter().enumerate() {
            ip::check_cidr(cidr, &path.index(i), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (list, had) = (strings(new, &["spec", "cidrs"]), strings(old, &["spec", "cidrs"]));
        let grown = had.len() == 1 && list.len() == 2 && list[0] == had[0];
        if cx.subresource.is_empty() && list != had && !grown {
            errors.invalid(
                &Path::new("spec.cidrs"),
                new.at(&["spec", "cidrs"]).clone(),
                "field is immutable",
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("CIDRs"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            strings(object, &["spec", "cidrs"]).join(",").into(),
            age(object, cx),
        ]
    }
}
