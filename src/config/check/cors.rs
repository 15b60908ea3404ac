//! CORS of a route: origins as browsers write them.

use std::time::Duration;

use http::HeaderName;

use super::{
    super::{
        defaults,
        model::{Cors, Identity, OriginPattern, Origins},
        raw::{AllOr, Defaults},
    },
    at::At,
    fanout::{DAY, Place, nested},
    names,
};

pub(super) fn cors(
    route: &Defaults,
    defaults: &Defaults,
    identity: &Identity,
    place: &Place<'_, '_>,
) -> Option<Cors> {
    if route.cors.is_none() && defaults.cors.is_none() {
        return None;
    }
    let origins = match nested!(route, defaults, cors.origins) {
        Some(AllOr::All) => Origins::All,
        Some(AllOr::Names(names)) => {
            Origins::Listed(origins(&names, &place.of(&["cors", "origins"])))
        }
        // That it is missing is told with what else must fit together.
        None => return None,
    };
    let credentials = nested!(route, defaults, cors.credentials).unwrap_or(false);
    let max_age = place.of(&["cors", "max_age"]).time(
        nested!(route, defaults, cors.max_age),
        defaults::CORS_MAX_AGE,
        Duration::ZERO..=DAY,
    );
    let more = nested!(route, defaults, cors.headers).unwrap_or_default();
    let more = names::cors_headers(&more, &place.of(&["cors", "headers"]));
    let usual = defaults::CORS_HEADERS.map(HeaderName::from_static);
    let mut headers = Vec::new();
    for name in usual
        .into_iter()
        .chain(identity.headers.clone())
        .chain(more)
    {
        if !headers.contains(&name) {
            headers.push(name);
        }
    }
    Some(Cors {
        origins,
        credentials,
        max_age,
        headers,
    })
}

fn origins(names: &[String], at: &At<'_>) -> Vec<OriginPattern> {
    if names.is_empty() {
        at.problem("no page could read; name an origin, or leave `cors` out");
    }
    let mut patterns = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match origin(name) {
            Err(problem) => at.item(index).problem(problem),
            Ok(pattern) if patterns.contains(&pattern) => {
                at.item(index).problem("this origin stands twice; keep one");
            }
            Ok(pattern) => patterns.push(pattern),
        }
    }
    patterns
}

/// Browsers write an origin in one way only (HTML standard, section 7.1.1), and so is it to be
/// written here.
fn origin(text: &str) -> Result<OriginPattern, &'static str> {
    const FORM: &str = "this is not an origin; write scheme, host and perhaps a port, without a \
                        slash at the end, as in `https://app.example.com` or \
                        `https://*.example.com`";
    match text {
        "*" => return Err("`*` is no origin; write `origins: all` for the pages of everybody"),
        "null" => {
            return Err(
                "`null` stands for every sandboxed page and local file, whoever made it; leave it out",
            );
        }
        _ => {}
    }
    let (scheme, authority) = text.split_once("://").ok_or(FORM)?;
    let is_scheme = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let host = authority.strip_prefix('*').unwrap_or(authority);
    let is_authority = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    if !is_scheme || !is_authority {
        return Err(FORM);
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("browsers send origins in lower case; write it so");
    }
    if (scheme == "https" && host.ends_with(":443")) || (scheme == "http" && host.ends_with(":80"))
    {
        return Err("browsers leave out the port that the scheme stands for; leave it out");
    }
    if !authority.starts_with('*') {
        return Ok(OriginPattern::Exact(text.to_owned()));
    }
    if !host.starts_with('.') || host.len() < 2 {
        return Err(FORM);
    }
    Ok(OriginPattern::Below {
        scheme: format!("{scheme}://"),
        suffix: host.to_owned(),
    })
}
