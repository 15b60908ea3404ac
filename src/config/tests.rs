use super::{load, schema};

/// An environment with nothing in it.
fn no_env(_: &str) -> Option<String> {
    None
}

#[test]
fn the_common_case_loads() {
    let source = include_str!("../../conf/sidestream.yaml");
    let config =
        load(source, "sidestream.yaml", &no_env).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.routes.len(), 2);
    assert!(schema().contains("heartbeat"));
}
