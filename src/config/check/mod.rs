//! From form to sense: `raw` to `model`. Every rule notes its problem and goes on with a default,
//! so that all problems of a file show at once; a configuration comes out only if there were none.

mod address;
mod admin;
mod at;
mod clients;
mod cors;
mod fanout;
mod names;
mod process;
mod routes;
mod sharing;
mod slow;
mod stream;
mod together;
mod upstreams;

use self::at::At;
use super::{document::Document, model::Config, raw};

/// Checks a decoded file. `None` when the document has findings, from here or from before.
pub(super) fn check(file: &raw::File, document: &Document) -> Option<Config> {
    let root = At::root(document);
    version(file, &root);
    let limits = process::limits(&file.limits, &root.key("limits"));
    let listeners = process::listeners(file, &root.key("listeners"));
    let trusted_proxies = clients::trusted(file, &root);
    let upstreams = upstreams::upstreams(&file.upstreams, &root.key("upstreams"));
    let (routes, table) = routes::routes(file, &upstreams, &limits, &root);
    let admin = admin::admin(&file.admin, &listeners, &root.key("admin"));
    let config = Config {
        listeners,
        trusted_proxies,
        upstreams,
        routes,
        ids_key: process::ids_key(file.ids_key.as_deref(), &root.key("ids_key")),
        table,
        limits,
        drain: process::drain(&file.drain, &root.key("drain")),
        admin,
        log: process::log(&file.log, &root.key("log")),
        threads: process::threads(file.threads, &root.key("threads")),
    };
    (!document.has_findings()).then_some(config)
}

fn version(file: &raw::File, root: &At<'_>) {
    match file.version {
        Some(version) if version.0 == 1 => {}
        Some(version) => root.key("version").problem(&format!(
            "version {} is not known; write `version: 1`",
            version.0
        )),
        None => root.missing(
            "version",
            "key `version` is missing; start the file with `version: 1`",
        ),
    }
}
